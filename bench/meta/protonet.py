"""Prototypical networks. Snell, Swersky and Zemel (2017), arXiv:1703.05175.

The prototype of a class is the mean of its support features; a query's score for a class is
minus the squared Euclidean distance to the prototype (their equations 1 and 2).

``tune_steps`` adds the second half of ProtoTransfer, Medina et al. (2020), arXiv:2006.11325: at
test the prototypes are the start of a linear head that is tuned on the support; training is as
without.

Shapes: N ways, S support examples, Q queries, D features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Norm, Reals, Space, Task, Tensors
from bench.inner import WEIGHT, own_scores, prototype_tuning, prototypical_scores
from bench.schemes import AbstractComputedHead


@dataclass(frozen=True, kw_only=True)
class Protonet(AbstractComputedHead):
    """Learn features in which a class is a ball around the mean of its support."""

    reference: ClassVar[str] = "arXiv:1703.05175"
    norm: ClassVar[Norm] = "running"
    frozen_encoder: ClassVar[bool] = True
    test_only: ClassVar[tuple[str, ...]] = ("tune_steps", "tune_rate")
    rate: PositiveFloat = 1e-3  # Adam; authors' code
    halve_every: PositiveFloat = (
        0.2  # share of training after which the rate halves; authors' code:
    )
    # every 20 of at most 100 epochs
    tasks_per_step: PositiveInt = 1  # authors' code
    task_ways: PositiveInt | None = (
        20  # section 3.2: more ways in training than at test; 20 for 5-shot
    )
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 15  # section 3.2
    tune_steps: NonNegativeInt = 0  # of a head at test; ProtoTransfer's authors: 15 epochs
    tune_rate: PositiveFloat = 1e-3  # Adam; ProtoTransfer's authors' eval.py
    added: ClassVar[Mapping[str, object]] = {"tune_steps": 0, "tune_rate": 1e-3}

    @property
    def space(self) -> Mapping[str, Space]:  # type: ignore[override]  # follows from the steps
        """The rate and its schedule; where a head is tuned, its rate as well."""
        own: dict[str, Space] = {
            "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
            "halve_every": Reals(low=0.1, high=1.0, log=True),  # from that of R2-D2 to never
        }
        tuned: dict[str, Space] = {
            "tune_rate": Reals(low=1e-4, high=3e-2, log=True),  # of the head, likewise
        }
        return own | tuned if self.tune_steps else own

    @property
    def test_steps(self) -> int:
        """Those of the head; by default none are taken."""
        return self.tune_steps

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield once, or with a head after 1, 2, ... steps from the prototypes."""
        tuning = prototype_tuning(learner, params, support_x, support_y, self.tune_rate)
        return islice(tuning, self.tune_steps + 1)

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return minus the squared distance of each query to each prototype, or a tuned score."""
        support_SD, query_QD = learner.embed_both(params, task.support_x, task.query_x)
        if WEIGHT in params:
            return own_scores(params, query_QD)[:, : task.ways]
        return prototypical_scores(support_SD, task.support_y, query_QD, task.ways)
