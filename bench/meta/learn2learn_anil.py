"""ANIL with learn2learn's inner loop: the cross-check of ``anil``, and its peer.

Raghu, Raghu, Bengio and Vinyals (2020), arXiv:1909.09157, as in learn2learn's example
``anil_fc100.py``: ``learn2learn.algorithms.MAML``, of Arnold et al. (2020), arXiv:2008.12284,
wraps the head alone. Parameters and defaults are those of ``anil``, and so are its results up to
rounding.

Shapes: S support examples, D features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Task, TaskShape, Tensors
from bench.inner import AbstractLinearHead, after
from bench.meta._learn2learn import AsModule, adapted, algorithms


@dataclass(frozen=True, kw_only=True)
class Learn2LearnAnil(AbstractLinearHead):
    """Learn features as anil does, with the inner steps of the library learn2learn."""

    reference: ClassVar[str] = "arXiv:2008.12284"
    extra: ClassVar[str | None] = "learn2learn"
    vectorises: ClassVar[bool] = False  # its steps are autograd's, on modules
    frozen_encoder: ClassVar[bool] = True
    order: Literal[1, 2] = 2  # this and all below: as anil
    steps: PositiveInt = 5
    inner_rate: PositiveFloat = 0.1
    rate: PositiveFloat = 1e-3
    tasks_per_step: PositiveInt = 32
    task_ways: PositiveInt | None = None
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 5

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
        head = {name: value for name, value in params.items() if name.startswith("head.")}
        maml = algorithms().MAML(
            AsModule(learner.head, head), lr=self.inner_rate, first_order=not differentiable
        )
        return adapted(maml, params, z_SD, y_S)
