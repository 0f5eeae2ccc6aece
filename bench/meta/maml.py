"""Model-agnostic meta-learning. Finn, Abbeel and Levine (2017), arXiv:1703.03400.

For a task with support S and query Q, and U the map of k gradient steps on the support's loss,
    theta' = U(theta),  meta-gradient = d loss_Q(theta') / d theta      (order 2, algorithm 2)
    meta-gradient ~ d loss_Q / d theta at theta'                         (order 1, section 5.2)

Defaults are those of the authors' code for mini-ImageNet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from bench.contract import AbstractLearner, AbstractMetaTrained, Setting, Task, TaskShape, Tensors
from bench.inner import after, gradient_steps


@dataclass(frozen=True, kw_only=True)
class Maml(AbstractMetaTrained):
    """Learn a start from which a few gradient steps on the support solve a task."""

    reference: ClassVar[str] = "arXiv:1703.03400"
    order: Literal[1, 2] = 2
    steps: PositiveInt = 5  # inner steps in training; authors' code, mini-ImageNet
    inner_rate: PositiveFloat = 0.01  # authors' code, mini-ImageNet; 0.4 for 5-way Omniglot
    rate: PositiveFloat = 1e-3  # Adam on the meta-gradient; authors' code
    tasks_per_step: PositiveInt = 4  # authors' code, mini-ImageNet
    task_ways: PositiveInt | None = (
        None  # the head has one output a way, so tasks have the suite's ways
    )
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 15  # authors' code

    def declines(self, setting: Setting) -> str | None:
        """A linear head fits one number of ways."""
        if setting.task and setting.task.ways != setting.ways:
            return f"maml's head has {setting.ways} outputs, its tasks {setting.task.ways} ways"
        if setting.task and setting.task.queries < 1:
            return "maml learns from queries, its tasks have none"
        return None

    @property
    def second_order(self) -> bool:  # type: ignore[override]  # here it follows from ``order``
        """Whether the meta-gradient goes through the inner gradients."""
        return self.order == 2

    def head(self, width: int, ways: int) -> nn.Module:
        """Return one linear layer."""
        return nn.Linear(width, ways)

    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return the query loss after ``steps`` steps, and its gradient (order 1 or 2)."""

        def query_loss(adapted: Tensors) -> Tensor:
            return F.cross_entropy(self.predict(learner, adapted, task), task.query_y)

        def adapted(start: Tensors) -> Tensors:
            return after(self._steps(learner, start, task.support_x, task.support_y), self.steps)

        if self.order == 1:
            return learner.gradient(query_loss, adapted(params))
        return learner.gradient(lambda start: query_loss(adapted(start)), params)

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... gradient steps on the support's cross-entropy."""
        return self._steps(learner, params, support_x, support_y, differentiable=False)

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the head's scores of the queries."""
        _, query_QD = learner.embed_both(params, task.support_x, task.query_x)
        return learner.head(params, query_QD)

    def examples_per_task(self, shape: TaskShape) -> int:
        """The support in every step, then support and queries."""
        return (self.steps + 1) * shape.num_support + shape.num_queries

    def _steps(
        self,
        learner: AbstractLearner,
        params: Tensors,
        support_x: Tensor,
        support_y: Tensor,
        differentiable: bool | None = None,
    ) -> Iterator[Tensors]:
        def support_loss(now: Tensors) -> Tensor:
            return F.cross_entropy(learner.head(now, learner.embed(now, support_x)), support_y)

        through = self.second_order if differentiable is None else differentiable
        return gradient_steps(
            learner, support_loss, params, rate=self.inner_rate, differentiable=through
        )
