"""Almost no inner loop. Raghu, Raghu, Bengio and Vinyals (2020), arXiv:1909.09157.

MAML whose inner steps move the head alone (their section 4). With features f(x) of the encoder,
    head' = U(head; f(S)),    k gradient steps on the support's cross-entropy,
    meta-gradient = d loss(head', f(Q)) / d (encoder, head)      (order 2)
Features do not change within a task: support and queries pass the encoder once, and the steps
are those of a linear layer. The encoder is reached through f(Q) and, in order 2, through f(S)
in the steps; in order 1 the steps are constants.

Defaults are those of learn2learn's example for FC100, which trains on a support and as many
queries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Task, TaskShape, Tensors
from bench.inner import AbstractLinearHead, after, gradient_steps


@dataclass(frozen=True, kw_only=True)
class Anil(AbstractLinearHead):
    """Learn features on which a few gradient steps of the head alone solve a task."""

    reference: ClassVar[str] = "arXiv:1909.09157"
    frozen_encoder: ClassVar[bool] = True
    order: Literal[1, 2] = 2  # 1: inner gradients are constants
    steps: PositiveInt = 5  # inner steps in training; learn2learn's anil_fc100.py
    inner_rate: PositiveFloat = 0.1  # of the head; learn2learn's anil_fc100.py
    rate: PositiveFloat = 1e-3  # Adam on the meta-gradient; learn2learn's anil_fc100.py
    tasks_per_step: PositiveInt = 32  # learn2learn's anil_fc100.py
    task_ways: PositiveInt | None = None  # the ways of the suite, which its head has
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 5  # learn2learn's anil_fc100.py

    @property
    def second_order(self) -> bool:  # type: ignore[override]  # here it follows from ``order``
        """Whether the meta-gradient goes through the inner gradients."""
        return self.order == 2

    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return the query loss after ``steps`` steps of the head, and its gradient."""

        def loss(now: Tensors) -> Tensor:
            support_SD, query_QD = learner.embed_both(now, task.support_x, task.query_x)
            steps = self._steps(
                learner, now, support_SD, task.support_y, differentiable=self.second_order
            )
            return F.cross_entropy(learner.head(after(steps, self.steps), query_QD), task.query_y)

        return learner.gradient(loss, params)

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... gradient steps of the head."""
        support_SD = learner.embed(params, support_x)
        return self._steps(learner, params, support_SD, support_y, differentiable=False)

    def examples_per_task(self, shape: TaskShape) -> int:
        """Support and queries, once."""
        return shape.num_support + shape.num_queries

    def _steps(
        self,
        learner: AbstractLearner,
        params: Tensors,
        z_SD: Tensor,
        y_S: Tensor,
        *,
        differentiable: bool,
    ) -> Iterator[Tensors]:
        rates = {name: self.inner_rate for name in params if name.startswith("head.")}

        def loss(now: Tensors) -> Tensor:
            return F.cross_entropy(learner.head(now, z_SD), y_S)

        return gradient_steps(learner, loss, params, rates, differentiable=differentiable)
