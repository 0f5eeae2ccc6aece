"""Meta-SGD. Li, Zhou, Chen and Li (2017), arXiv:1707.09835.

MAML with a learned rate for each parameter: with a of the size of theta, and L the support's
loss, an inner step is (their equation 1)
    theta' = theta - a * grad L(theta),    elementwise,
so that a gives the direction as well as the length. Start and rates are trained together on
the loss of the queries at theta' (their algorithm 1); after one step
    d loss_Q / d a = - grad L(theta) * grad loss_Q(theta').
Rates may become negative, as there. They start at uniform draws from [0.005, 0.1).

They are rates of the steps they were learned for, so as many are taken at test as in training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from bench.contract import Reals, Space, Tensors, Whole
from bench.inner import Rates
from bench.schemes import AbstractInnerLoop, first_rates, learned_rates


@dataclass(frozen=True, kw_only=True)
class MetaSgd(AbstractInnerLoop):
    """Learn a start and a rate for each parameter, with which one step solves a task."""

    reference: ClassVar[str] = "arXiv:1707.09835"
    order: Literal[1, 2] = 2  # 1: inner gradients are constants
    steps: PositiveInt = 1  # the abstract: adapts in just one step
    rate: PositiveFloat = 1e-3  # Adam on the meta-gradient, as of MAML
    tasks_per_step: PositiveInt = 4  # as of MAML
    task_ways: PositiveInt | None = None  # the ways of the suite, which its head has
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 15  # as of MAML
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "steps": Whole(low=1, high=5),  # the abstract: 1; up to those of MAML
    }

    @property
    def test_steps(self) -> int:
        """As many as in training."""
        return self.steps

    def learned(self, params: Tensors) -> Tensors:
        """Return the first rates, ``rate.*``, one for each number in encoder and head."""
        return first_rates(params)

    def rates(self, params: Tensors) -> Rates:
        """Encoder and head move, each number at its own rate."""
        return learned_rates(params)
