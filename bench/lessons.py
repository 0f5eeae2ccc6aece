"""Steps on the lessons of a stream, shared by the strategies.

Shapes: B examples, C classes of the whole stream.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import AbstractLearner, Lesson, Tensors
from bench.inner import gradient_steps

Told = tuple[Tensor, Tensor, Tensor]  # examples, classes [B], among which they are told [B, C]


def zero_head(width: int, outputs: int) -> nn.Module:
    """Return a linear layer of zeros: before the first step no class is preferred."""
    layer = nn.Linear(width, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def new(lesson: Lesson) -> Told:
    """Return the examples of the lesson's own group."""
    return lesson.new_x, lesson.new_y, lesson.own.expand(len(lesson.new_y), -1)


def new_and_kept(lesson: Lesson) -> Told:
    """Return the examples of the group and all that is kept, as one batch."""
    x, y, own_BC = new(lesson)
    kept_own = lesson.own.expand(len(lesson.kept_y), -1)
    if lesson.kept_own is not None:
        kept_own = lesson.kept_own
    return (
        torch.cat([x, lesson.kept_x]),
        torch.cat([y, lesson.kept_y]),
        torch.cat([own_BC, kept_own]),
    )


def descent(
    learner: AbstractLearner, params: Tensors, told: Told, rate: float
) -> Iterator[Tensors]:
    """Yield ``params`` after 0, 1, 2, ... steps of gradient descent, without end.

    The loss is the mean cross-entropy (nats) of a whole batch, over the classes among which each
    example is told apart: the others' scores have no say in it.
    """
    x, y, own_BC = told

    def loss(now: Tensors) -> Tensor:
        scores_BC = learner.head(now, learner.embed(now, x))
        return F.cross_entropy(scores_BC.masked_fill(~own_BC, -torch.inf), y)

    rates = dict.fromkeys(params, rate)
    return gradient_steps(learner, loss, params, rates, differentiable=False)
