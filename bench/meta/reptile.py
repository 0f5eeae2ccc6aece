"""Reptile. Nichol, Achiam and Schulman (2018), arXiv:1803.02999.

Train on a task for k steps of minibatches, theta' = U_k(theta), then move the start towards
the result: theta <- theta + e (theta' - theta), with e falling linearly from ``rate`` to 0
(their algorithm 2 and section 6). The direction to descend is thus theta - theta'.

The inner optimizer is Adam with beta1 = 0, as in the authors' code. Two differences from it: the
second moments start at zero in each task (there they persist), and minibatches run through the
task's examples in their order, which is balanced over classes (there they are shuffled).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Norm, Reals, Space, Task, TaskShape, Tensors, Whole
from bench.inner import adam, after, zero_moments
from bench.schemes import AbstractLinearHead, support_loss


@dataclass(frozen=True, kw_only=True)
class Reptile(AbstractLinearHead):
    """Move the start towards what a few steps on each task lead to."""

    reference: ClassVar[str] = "arXiv:1803.02999"
    optimizer: ClassVar[Literal["adam", "sgd"]] = "sgd"
    uses_queries: ClassVar[bool] = False
    descends_loss: ClassVar[bool] = False  # theta - theta' is no gradient
    steps: PositiveInt = 8  # inner steps in training; authors' README, mini-ImageNet
    inner_rate: PositiveFloat = 1e-3  # of the inner Adam; authors' README
    inner_batch: PositiveInt = 10  # examples in an inner step; authors' README, 5-way
    rate: PositiveFloat = 1.0  # the outer step; authors' README
    tasks_per_step: PositiveInt = 5  # authors' README
    task_ways: PositiveInt | None = None
    task_shots: PositiveInt = 15  # authors' README, mini-ImageNet: more than at test
    task_queries: NonNegativeInt = 0  # all of a task's examples are trained on
    zero_head: bool = False  # it starts at zero in each task, and is not meta-trained; the zeroing
    # trick of Kao et al. (2022), arXiv:2106.15367
    added: ClassVar[Mapping[str, object]] = {"zero_head": False}
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=0.1, high=1.0, log=True),  # authors: args.py 0.1, README 1
        "inner_rate": Reals(low=1e-4, high=1e-2, log=True),  # a tenth to ten times the authors'
        "steps": Whole(low=5, high=20),  # authors: README 5 to 10, args.py 20
    }

    def __post_init__(self) -> None:
        """Refuse to learn nothing: from a head of zeros the first step moves the head alone."""
        if self.zero_head and self.steps < 2:
            raise ValueError("with zero_head one step moves no encoder: steps of 2 or more do")

    def schedule(self, progress: float) -> float:
        """Anneal the outer step linearly to zero."""
        return 1.0 - progress

    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return the loss of the last inner step, and theta - theta'.

        With ``zero_head`` the head of theta' is of this task alone: the start does not follow it.
        """
        x = torch.cat([task.support_x, task.query_x])
        y = torch.cat([task.support_y, task.query_y])
        start = self.start(params)
        loss, adapted = after(self._trajectory(learner, start, x, y), self.steps)
        moved = {name: start[name] - adapted[name] for name in params}
        return loss, self.start(moved)  # zeros where the head is not to move

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... Adam steps on minibatches of the support."""
        for _, adapted in self._trajectory(learner, params, support_x, support_y):
            yield adapted

    def examples_per_task(self, shape: TaskShape, norm: Norm) -> int:
        """One minibatch in every step."""
        return self.steps * min(self.inner_batch, shape.num_support + shape.num_queries)

    def _trajectory(
        self, learner: AbstractLearner, params: Tensors, x: Tensor, y: Tensor
    ) -> Iterator[tuple[Tensor, Tensors]]:
        """Yield the loss of the step before (zero at first) and the parameters after it."""
        loss, moments = x.new_zeros(()), zero_moments(params)
        size, step = min(self.inner_batch, len(x)), 0
        while True:
            yield loss, params
            batch = (torch.arange(size, device=x.device) + step * size) % len(x)
            step += 1
            loss, gradient = learner.gradient(support_loss(learner, x[batch], y[batch]), params)
            params, moments = adam(
                params, gradient, moments, step=step, rate=self.inner_rate, beta1=0.0
            )
