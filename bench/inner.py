"""Steps on a support set, and the heads they move, shared by the meta-algorithms.

Shapes: N ways, S support examples, B examples, D features.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import ClassVar, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import (
    AbstractLearner,
    AbstractMetaTrained,
    Loss,
    Setting,
    Task,
    TaskShape,
    Tensors,
)

Yielded = TypeVar("Yielded")
Rates = Mapping[str, float | Tensor]  # of gradient descent, by the name of what moves
Moments = tuple[Tensors, Tensors]  # means of the gradient and of its square

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults, Kingma and Ba (2015)
WEIGHT, BIAS = "tuned.weight", "tuned.bias"  # of a head that exists in one task alone

# --- steps -------------------------------------------------------------------------------------


def after(trajectory: Iterator[Yielded], steps: int) -> Yielded:
    """Return what ``trajectory`` yields after ``steps`` steps."""
    return next(islice(trajectory, steps, None))


def gradient_steps(
    learner: AbstractLearner, loss: Loss, params: Tensors, rates: Rates, *, differentiable: bool
) -> Iterator[Tensors]:
    """Yield ``params`` after 0, 1, 2, ... steps of gradient descent on ``loss``, without end.

    What has no rate stays. ``differentiable``: the result is a function of ``params`` that
    second-order meta-gradients see through; else gradients are constants (first order).
    """
    while True:
        yield params
        slopes = _slopes(learner, loss, params, rates, differentiable=differentiable)
        params = {**params, **{n: params[n] - rates[n] * slope for n, slope in slopes.items()}}


def _slopes(
    learner: AbstractLearner,
    loss: Loss,
    params: Tensors,
    names: Mapping[str, object],
    *,
    differentiable: bool = False,
) -> Tensors:
    """Return the gradient of a loss of all ``params`` with respect to some of them."""
    _, slopes = learner.gradient(
        lambda some: loss({**params, **some}),
        {name: params[name] for name in names},
        differentiable=differentiable,
    )
    return slopes


def adam_steps(
    learner: AbstractLearner, loss: Loss, params: Tensors, rate: float
) -> Iterator[Tensors]:
    """Yield ``params`` after 0, 1, 2, ... steps of Adam on ``loss``, without end."""
    moments, step = zero_moments(params), 0
    while True:
        yield params
        step += 1
        _, gradient = learner.gradient(loss, params)
        params, moments = adam(params, gradient, moments, step=step, rate=rate, beta1=BETA1)


def zero_moments(params: Tensors) -> Moments:
    """Return what Adam knows before its first step."""
    zeros = {name: torch.zeros_like(value) for name, value in params.items()}
    return zeros, zeros


def adam(
    params: Tensors, gradient: Tensors, moments: Moments, *, step: int, rate: float, beta1: float
) -> tuple[dict[str, Tensor], Moments]:
    """Take step number ``step`` (from 1) of Adam; Kingma and Ba (2015), algorithm 1."""
    first, second = moments
    first = {n: beta1 * old + (1 - beta1) * gradient[n] for n, old in first.items()}
    second = {n: BETA2 * old + (1 - BETA2) * gradient[n].square() for n, old in second.items()}
    moved = {
        name: value
        - rate
        * (first[name] / (1 - beta1**step))
        / ((second[name] / (1 - BETA2**step)).sqrt() + EPSILON)
        for name, value in params.items()
    }
    return moved, (first, second)


# --- methods with a trained linear head --------------------------------------------------------


class AbstractLinearHead(AbstractMetaTrained):
    """One trained linear layer on the encoder, with an output for each of the suite's ways."""

    uses_queries: ClassVar[bool] = True  # its training needs tasks with queries

    def declines(self, setting: Setting) -> str | None:
        """A linear head fits one number of ways."""
        name, task = type(self).__module__.rpartition(".")[2], setting.task
        if task and task.ways != setting.ways:
            return f"{name}'s head has {setting.ways} outputs, its tasks {task.ways} ways"
        if task and task.queries < 1 and self.uses_queries:
            return f"{name} learns from queries, its tasks have none"
        return None

    def head(self, width: int, ways: int) -> nn.Module:
        """Return one linear layer."""
        return nn.Linear(width, ways)

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the head's scores of the queries."""
        query_QD = learner.embed_queries(params, task.support_x, task.query_x)
        return learner.head(params, query_QD)

    def query_loss(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the cross-entropy of the queries."""
        return F.cross_entropy(self.predict(learner, params, task), task.query_y)


def support_loss(learner: AbstractLearner, x: Tensor, y: Tensor) -> Loss:
    """Return the cross-entropy of examples under encoder and head, as a function of these."""
    return lambda params: F.cross_entropy(learner.head(params, learner.embed(params, x)), y)


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
            adapted = after(self._steps(learner, start, x, y, differentiable=through), self.steps)
            return self.query_loss(learner, adapted, task)

        return learner.gradient(loss, params)

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... gradient steps on the support's cross-entropy."""
        return self._steps(learner, params, support_x, support_y, differentiable=False)

    def examples_per_task(self, shape: TaskShape) -> int:
        """The support in every step, then support and queries."""
        return (self.steps + 1) * shape.num_support + shape.num_queries

    def _steps(
        self,
        learner: AbstractLearner,
        params: Tensors,
        x: Tensor,
        y: Tensor,
        *,
        differentiable: bool,
    ) -> Iterator[Tensors]:
        loss = support_loss(learner, x, y)
        return gradient_steps(
            learner, loss, params, self.rates(params), differentiable=differentiable
        )


# --- a linear head of one task -----------------------------------------------------------------


def memberships(y_S: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return 1 where an example is of a class, else 0: [classes, S]."""
    label_N1 = torch.arange(classes, device=y_S.device).unsqueeze(1)
    return (y_S == label_N1).to(dtype)


def prototypes(z_SD: Tensor, y_S: Tensor, classes: int) -> Tensor:
    """Return the mean features of each class [classes, D], zero where it has no examples."""
    members_NS = memberships(y_S, classes, z_SD.dtype)
    return members_NS @ z_SD / members_NS.sum(1, keepdim=True).clamp(min=1)


def own_scores(params: Tensors, z_BD: Tensor) -> Tensor:
    """Apply the task's own head."""
    return F.linear(z_BD, params[WEIGHT], params[BIAS])


def own_loss(params: Tensors, z_SD: Tensor, y_S: Tensor) -> Tensor:
    """Return the cross-entropy of a support set under the task's own head.

    The head has S rows, since adaptation is not told the ways and there are at most S; rows of
    classes without examples take no part.
    """
    absent_N = memberships(y_S, len(y_S), torch.int64).sum(1) == 0
    return F.cross_entropy(own_scores(params, z_SD).masked_fill(absent_N, -torch.inf), y_S)


def prototype_tuning(
    learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor, rate: float
) -> Iterator[Tensors]:
    """Yield ``params``, then with a linear head after 1, 2, ... steps from the prototypes.

    ProtoTune of Medina, Devos and Grossglauser (2020), arXiv:2006.11325, section 2.2. With
    prototypes p the score -|z - p|^2 = 2 p z - |p|^2 - |z|^2 is that of a linear head of weight
    2 p and bias -|p|^2, but for a term that all classes share. Adam then descends on the
    support's cross-entropy, the encoder standing still. The authors take minibatches of one
    example a class; here a step sees the whole support.
    """
    yield params
    support_SD = learner.embed(params, support_x)
    means = prototypes(support_SD, support_y, len(support_y))
    start = {WEIGHT: 2 * means, BIAS: -means.square().sum(1)}
    tuned = adam_steps(learner, lambda own: own_loss(own, support_SD, support_y), start, rate)
    yield from ({**params, **own} for own in islice(tuned, 1, None))
