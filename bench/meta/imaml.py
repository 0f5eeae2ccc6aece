"""MAML by implicit gradients. Rajeswaran, Finn, Kakade and Levine (2019), arXiv:1909.04630.

In a task the start theta is a prior: with L the support's loss, the inner problem is
    phi = argmin_phi L(phi) + lambda / 2 |phi - theta|^2.
At its solution grad L(phi) + lambda (phi - theta) = 0; differentiated with respect to theta, with
H the Hessian of L at phi,  H dphi/dtheta + lambda (dphi/dtheta - I) = 0, so that
    meta-gradient = (I + H / lambda)^-1 grad loss_Q(phi)      (their theorem 1).
The path to phi does not matter and is not kept. The system is solved by a few steps of conjugate
gradients (their algorithm 2), which need products H v = d <grad L, v> / d phi alone.

The inner problem is solved by gradient descent, and the system, only nearly: the direction is
not the exact gradient of the loss that is returned. Two differences from the authors' code, which
leaves the proximal term out of the inner steps and takes one step on it alone at their end, and
which solves (2 I + H / (lambda + 10)) for damping: here both are as in the paper. At test the
same inner problem is solved (there lambda is 0).

Defaults are those of the authors' README, Omniglot 5-way 1-shot.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Norm, Reals, Space, Task, TaskShape, Tensors
from bench.inner import after, gradient_steps
from bench.schemes import AbstractLinearHead, support_loss


@dataclass(frozen=True, kw_only=True)
class Imaml(AbstractLinearHead):
    """Learn a start near which the solutions of tasks lie; the path to them is not seen."""

    reference: ClassVar[str] = "arXiv:1909.04630"
    regularisation: PositiveFloat = 2.0  # lambda; authors' README
    steps: PositiveInt = 16  # of the inner problem, in training and at test; authors' README
    inner_rate: PositiveFloat = 0.1  # authors' README
    solver_steps: PositiveInt = 5  # of conjugate gradients; authors' README
    rate: PositiveFloat = 1e-3  # Adam on the meta-gradient; authors' README
    tasks_per_step: PositiveInt = 32  # authors' README
    task_ways: PositiveInt | None = None  # the ways of the suite, which its head has
    task_shots: PositiveInt = 1  # authors' README
    task_queries: NonNegativeInt = 1  # authors' dataset.py: as many as shots
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "regularisation": Reals(low=0.2, high=5.0, log=True),  # from a tenth of the authors'; times
        # the inner rate it stays below 2, where steps on the proximal term alone diverge
        "inner_rate": Reals(low=1e-2, high=0.3, log=True),  # a tenth to three times the authors'
    }

    @property
    def test_steps(self) -> int:
        """As many as in training, as in the authors' code."""
        return self.steps

    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return the query loss at the inner solution, and the implicit meta-gradient."""
        steps = self.adapt(learner, params, task.support_x, task.support_y)
        solution = after(steps, self.steps)
        loss, slope = learner.gradient(lambda now: self.query_loss(learner, now, task), solution)
        inner = support_loss(learner, task.support_x, task.support_y)

        def product(vector: Tensors) -> Tensors:
            """Return (I + H / lambda) v."""
            _, curved = learner.gradient(
                lambda now: _dot(learner.gradient(inner, now, differentiable=True)[1], vector),
                solution,
            )
            return _plus(vector, 1 / self.regularisation, curved)

        return loss, conjugate_gradients(product, slope, self.solver_steps)

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... gradient steps on the inner problem."""
        inner = support_loss(learner, support_x, support_y)

        def proximal(now: Tensors) -> Tensor:
            away = _plus(now, -1, params)
            return inner(now) + self.regularisation / 2 * _dot(away, away)

        rates = dict.fromkeys(params, self.inner_rate)
        return gradient_steps(learner, proximal, params, rates, differentiable=False)

    def examples_per_task(self, shape: TaskShape, norm: Norm) -> int:
        """The support in every step of both loops, then the queries."""
        steps = self.steps + self.solver_steps
        return steps * shape.num_support + shape.passed_with_queries(norm)


def conjugate_gradients(
    product: Callable[[Tensors], Tensors], right: Tensors, steps: int
) -> Tensors:
    """Return nearly the solution x of ``product(x) = right``, by steps from zero.

    The number of steps is fixed, so that tasks can go through it together; what is solved
    before its end stays.
    """
    solution: Tensors = {name: torch.zeros_like(value) for name, value in right.items()}
    residual = direction = right
    size = _dot(residual, residual)
    for _ in range(steps):
        example = product(direction)
        length = _ratio(size, _dot(direction, example))
        solution = _plus(solution, length, direction)
        residual = _plus(residual, -length, example)
        before, size = size, _dot(residual, residual)
        direction = _plus(residual, _ratio(size, before), direction)
    return solution


def _dot(a: Tensors, b: Tensors) -> Tensor:
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()


def _plus(a: Tensors, factor: Tensor | float, b: Tensors) -> Tensors:
    return {name: value + factor * b[name] for name, value in a.items()}


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Divide; what is divided by zero, which is zero itself, stays."""
    return a / torch.where(b == 0, torch.ones_like(b), b)
