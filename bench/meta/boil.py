"""Body only update in the inner loop. Oh, Yoo, Kim and Yun (2021), arXiv:2008.08882.

MAML with two inner rates (their section 3.1): on the support's loss L, in a task
    theta_body' = theta_body - a_body grad_body L,    theta_head' = theta_head,    a_head = 0.
The head is the same in every task, so that it is the features that have to move. The
meta-gradient is MAML's: encoder and head are both trained on the loss of the queries.

Defaults are those of the authors' code, which takes one step in training and at test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from bench.contract import Reals, Space, Tensors, Whole
from bench.inner import Rates
from bench.schemes import AbstractInnerLoop


@dataclass(frozen=True, kw_only=True)
class Boil(AbstractInnerLoop):
    """Learn a start from which steps on the encoder alone solve a task; the head stays."""

    reference: ClassVar[str] = "arXiv:2008.08882"
    order: Literal[1, 2] = 2  # 1: inner gradients are constants
    steps: PositiveInt = 1  # inner steps; authors' main.py
    inner_rate: PositiveFloat = 0.5  # of the encoder; authors' run_4conv.sh
    rate: PositiveFloat = 1e-3  # Adam on the meta-gradient; authors' code
    tasks_per_step: PositiveInt = 4  # authors' code
    task_ways: PositiveInt | None = None  # the ways of the suite, which its head has
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 15  # authors' code
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "inner_rate": Reals(low=0.05, high=1.0, log=True),  # a tenth to twice the authors'
        "steps": Whole(low=1, high=5),  # authors: 1; up to those of MAML
    }

    @property
    def test_steps(self) -> int:
        """As many as in training, as in the authors' code."""
        return self.steps

    def rates(self, params: Tensors) -> Rates:
        """The encoder moves, the head does not."""
        return {name: self.inner_rate for name in params if name.startswith("encoder.")}
