"""Shapes that several meta-learning algorithms share: what each adds is in its own file.

Shapes: B examples, S support examples, Q queries, D features.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import (
    AbstractLearner,
    AbstractMetaTrained,
    Loss,
    Norm,
    Setting,
    Task,
    TaskShape,
    Tensors,
)
from bench.inner import Rates, after, gradient_steps, loss_of

FIRST_RATES = (0.005, 0.1)  # the range of Meta-SGD's first rates, arXiv:1707.09835


class AbstractComputedHead(AbstractMetaTrained):
    """A head that is computed from the support's features at once; nothing is iterated."""

    halve_every: float  # share of training after which the rate halves

    @property
    def test_steps(self) -> int:
        """None are taken."""
        return 0

    def declines(self, setting: Setting) -> str | None:
        """The loss is over queries."""
        return _without_queries(self, setting)

    def schedule(self, progress: float) -> float:
        """Halve the rate in equal parts of training."""
        return float(0.5 ** (progress // self.halve_every))

    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return the cross-entropy of the queries, and its gradient."""
        return learner.gradient(
            lambda now: F.cross_entropy(self.predict(learner, now, task), task.query_y), params
        )

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield once: the head is a function of the support."""
        yield params

    def examples_per_task(self, shape: TaskShape, norm: Norm) -> int:
        """Support and queries, once."""
        return shape.num_support + shape.num_queries


class AbstractLinearHead(AbstractMetaTrained):
    """One trained linear layer on the encoder, with an output for each of the suite's ways."""

    values: ClassVar[bool] = True
    uses_queries: ClassVar[bool] = True  # its training needs tasks with queries
    zero_head: bool = False  # the head starts at zero in each task, and is not meta-trained

    def declines(self, setting: Setting) -> str | None:
        """A linear head fits one number of ways."""
        name, task = type(self).__module__.rpartition(".")[2], setting.task
        if task and task.ways != setting.ways and not setting.values:
            return f"{name}'s head has {setting.ways} outputs, its tasks {task.ways} ways"
        return _without_queries(self, setting) if self.uses_queries else None

    def head(self, width: int, ways: int) -> nn.Module:
        """Return one linear layer; with ``zero_head`` it is zero, and remains so in training."""
        layer = nn.Linear(width, ways)
        if self.zero_head:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        return layer

    def start(self, params: Tensors) -> Tensors:
        """Return what a task of training begins with: with ``zero_head``, zeros for the head.

        Whatever the head is, they are zeros, so that the meta-gradient with respect to it is zero:
        the zeroing trick of Kao, Chiu and Chen (2022), arXiv:2106.15367.
        """
        if not self.zero_head:
            return params
        # Times 0, not zeros_like: inner gradients are taken with respect to what is on the tape.
        return {n: 0 * value if n.startswith("head.") else value for n, value in params.items()}

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the head's scores of the queries."""
        query_QD = learner.embed_queries(params, task.support_x, task.query_x)
        return learner.head(params, query_QD)

    def query_loss(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the cross-entropy of the queries, or of numbers the mean squared error."""
        return loss_of(self.predict(learner, params, task), task.query_y)


def support_loss(learner: AbstractLearner, x: Tensor, y: Tensor) -> Loss:
    """Return the loss of examples (see ``loss_of``) under encoder and head, a function of these."""
    return lambda params: loss_of(learner.head(params, learner.embed(params, x)), y)


class AbstractInnerLoop(AbstractLinearHead):
    """MAML's scheme: gradient steps on the support, and a loss of the queries at their end."""

    order: Literal[1, 2]
    steps: int  # in training

    @abstractmethod
    def rates(self, params: Tensors) -> Rates:
        """Return the rate of each tensor that moves in a task."""

    @property
    def second_order(self) -> bool:  # type: ignore[override]  # here it follows from ``order``
        """Whether the meta-gradient goes through the inner gradients."""
        return self.order == 2

    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return the query loss after ``steps`` steps, and its gradient (order 1 or 2).

        In order 1 the steps are constants, so that theta' = theta - constants: the gradient
        with respect to theta is the one at theta'.
        """
        x, y, through = task.support_x, task.support_y, self.second_order

        def loss(start: Tensors) -> Tensor:
            begin = self.start(start)
            adapted = after(
                self.inner_steps(learner, begin, x, y, differentiable=through), self.steps
            )
            return self.query_loss(learner, adapted, task)

        return learner.gradient(loss, params)

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... gradient steps on the support's cross-entropy."""
        return self.inner_steps(learner, params, support_x, support_y, differentiable=False)

    def examples_per_task(self, shape: TaskShape, norm: Norm) -> int:
        """The support in every step, then the queries."""
        return self.steps * shape.num_support + shape.passed_with_queries(norm)

    def inner_steps(
        self,
        learner: AbstractLearner,
        params: Tensors,
        x: Tensor,
        y: Tensor,
        *,
        differentiable: bool,
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... gradient steps on the support's cross-entropy."""
        loss = support_loss(learner, x, y)
        return gradient_steps(
            learner, loss, params, self.rates(params), differentiable=differentiable
        )


class AbstractHeadLoop(AbstractLinearHead):
    """ANIL's scheme: the steps move the head alone, on features that are computed once."""

    order: Literal[1, 2]
    steps: int  # in training

    @abstractmethod
    def head_steps(
        self,
        learner: AbstractLearner,
        params: Tensors,
        z_SD: Tensor,
        y_S: Tensor,
        *,
        differentiable: bool,
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps of the head on the features' cross-entropy."""

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
            steps = self.head_steps(
                learner,
                self.start(now),
                support_SD,
                task.support_y,
                differentiable=self.second_order,
            )
            return loss_of(learner.head(after(steps, self.steps), query_QD), task.query_y)

        return learner.gradient(loss, params)

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... gradient steps of the head."""
        support_SD = learner.embed(params, support_x)
        return self.head_steps(learner, params, support_SD, support_y, differentiable=False)

    def examples_per_task(self, shape: TaskShape, norm: Norm) -> int:
        """Support and queries, once."""
        return shape.num_support + shape.num_queries


def first_rates(params: Tensors) -> Tensors:
    """Draw Meta-SGD's first rates, ``rate.*``, one for each number in encoder and head."""
    return {
        f"rate.{name}": torch.empty(value.shape).uniform_(*FIRST_RATES)
        for name, value in params.items()
    }


def learned_rates(params: Tensors) -> Rates:
    """Return the rates that are trained with encoder and head, by the name of what moves."""
    return {name: params[f"meta.rate.{name}"] for name in params if not name.startswith("meta.")}


def _without_queries(method: AbstractMetaTrained, setting: Setting) -> str | None:
    name = type(method).__module__.rpartition(".")[2]
    if setting.task and setting.task.queries < 1:
        return f"{name} learns from queries, its tasks have none"
    return None
