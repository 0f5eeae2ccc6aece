"""Model-agnostic meta-learning. Finn, Abbeel and Levine (2017), arXiv:1703.03400.

For a task with support S and query Q, and U the map of k gradient steps on the support's loss,
    theta' = U(theta),  meta-gradient = d loss_Q(theta') / d theta      (order 2, algorithm 2)
    meta-gradient ~ d loss_Q / d theta at theta'                         (order 1, section 5.2)

Defaults are those of the authors' code for mini-ImageNet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from bench.contract import Reals, Space, Tensors, Whole
from bench.inner import Rates
from bench.schemes import AbstractInnerLoop


@dataclass(frozen=True, kw_only=True)
class Maml(AbstractInnerLoop):
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
    zero_head: bool = False  # it starts at zero in each task, and is not meta-trained; the zeroing
    # trick of Kao et al. (2022), arXiv:2106.15367
    added: ClassVar[Mapping[str, object]] = {"zero_head": False}
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "inner_rate": Reals(low=3e-3, high=0.5, log=True),  # authors: 0.01 to 0.4; a little beyond
        "steps": Whole(low=1, high=5),  # authors: 1 for 5-way Omniglot, else 5
    }

    def rates(self, params: Tensors) -> Rates:
        """Everything moves at one rate."""
        return dict.fromkeys(params, self.inner_rate)
