"""Joint training on all tasks at once. Multitask learning, Caruana (1997).

The control of meta-learning, doi:10.1023/A:1007379606734: the same tasks, but no step is taken
within one. Encoder and one linear head, with an output for each class that tasks are made of,
descend on the cross-entropy of all of a task's examples. Classes that a task does not ask about
take no part: with z the scores, R the classes that may be its ways, c the class of an example,
    loss = -log( exp(z_c) / sum over k in R of exp(z_k) ).
To learn from the first gradient of each task alone is g1 of Nichol, Achiam and Schulman (2018),
arXiv:1803.02999, section 6.2, of the sums of an inner loop's gradients the one that helps least.

With ``tasks: labels`` it is plain supervised training on all training classes. At test, prototypes
on the encoder as it is.

Shapes: N ways, S support examples, Q queries, B = S + Q examples, C classes, D features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from bench.contract import (
    AbstractLearner,
    AbstractMetaTrained,
    Norm,
    Reals,
    Setting,
    Space,
    Task,
    TaskShape,
    Tensors,
)
from bench.inner import prototypical_scores


@dataclass(frozen=True, kw_only=True)
class Joint(AbstractMetaTrained):
    """Train on all tasks jointly, by one head over all their classes; no step within a task."""

    reference: ClassVar[str] = "doi:10.1023/A:1007379606734"
    norm: ClassVar[Norm] = "running"
    frozen_encoder: ClassVar[bool] = True
    fixed_head: ClassVar[bool] = True
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    tasks_per_step: PositiveInt = 4  # tasks as MAML has them, whose control it is
    task_ways: PositiveInt | None = None
    task_shots: PositiveInt = 5  # as MAML
    task_queries: NonNegativeInt = 15  # as MAML; they are trained on like the support
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def test_steps(self) -> int:
        """None are taken."""
        return 0

    def declines(self, setting: Setting) -> str | None:
        """One head for all tasks needs classes that stay what they are."""
        if setting.task and not setting.fixed_classes:
            return "joint needs tasks of a fixed number of classes: labels, or a family of pretexts"
        return None

    def head(self, width: int, outputs: int) -> nn.Module:
        """Return one linear layer with an output for each class of the task source."""
        return nn.Linear(width, outputs)

    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return the cross-entropy of support and queries under the common head, its gradient."""
        assert task.classes is not None
        assert task.rivals is not None
        x = torch.cat([task.support_x, task.query_x])
        class_B = task.classes[torch.cat([task.support_y, task.query_y])]
        others_C = ~task.rivals

        def loss(now: Tensors) -> Tensor:
            scores_BC = learner.head(now, learner.embed(now, x))
            return F.cross_entropy(scores_BC.masked_fill(others_C, -torch.inf), class_B)

        return learner.gradient(loss, params)

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield once: prototypes are a function of the support."""
        yield params

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return minus the squared distance of each query to each prototype."""
        support_SD, query_QD = learner.embed_both(params, task.support_x, task.query_x)
        return prototypical_scores(support_SD, task.support_y, query_QD, task.ways)

    def examples_per_task(self, shape: TaskShape, norm: Norm) -> int:
        """Support and queries, once."""
        return shape.num_support + shape.num_queries
