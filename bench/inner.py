"""Gradient steps on a support set, shared by the gradient-based meta-algorithms."""

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from torch import Tensor

from bench.contract import AbstractLearner, Loss, Tensors

Yielded = TypeVar("Yielded")


def descend(params: Tensors, gradient: Tensors, rate: float) -> dict[str, Tensor]:
    """Take one step of gradient descent."""
    return {name: value - rate * gradient[name] for name, value in params.items()}


def gradient_steps(
    learner: AbstractLearner, loss: Loss, params: Tensors, *, rate: float, differentiable: bool
) -> Iterator[Tensors]:
    """Yield ``params`` after 0, 1, 2, ... steps of gradient descent on ``loss``, without end.

    ``differentiable``: the result is a function of ``params`` that second-order
    meta-gradients see through; else gradients are constants (first order).
    """
    while True:
        yield params
        _, gradient = learner.gradient(loss, params, differentiable=differentiable)
        params = descend(params, gradient, rate)


def after(trajectory: Iterator[Yielded], steps: int) -> Yielded:
    """Return what ``trajectory`` yields after ``steps`` steps."""
    return next(islice(trajectory, steps, None))
