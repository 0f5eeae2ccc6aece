"""No meta-learning: a simple classifier on the features of the support.

The control that everybody forgets: features learned by self-supervision (or not learned at
all), and a prototype, nearest-neighbour or logistic-regression head at test time. Nearest
class mean as in Snell et al. (2017); logistic regression on L2-normalised features with
C = 1 as in Tian et al. (2020), arXiv:2003.11539, by scikit-learn. ``tune_steps`` makes of the
prototypes the start of a linear head that is tuned on the support, ProtoTune of Medina et al.
(2020), arXiv:2006.11325; the nearest mean by distance and by its square are the same class.

Shapes: N ways, S support examples, Q queries, D features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat
from torch import Tensor

from bench.contract import AbstractLearner, AbstractMeta, Norm, Reals, Space, Task, Tensors
from bench.inner import WEIGHT, own_scores, prototype_tuning


@dataclass(frozen=True, kw_only=True)
class NoMeta(AbstractMeta):
    """Classify queries by a simple head on the encoder's features; nothing is meta-trained."""

    reference: ClassVar[str] = "arXiv:2003.11539"
    norm: ClassVar[Norm] = "running"
    frozen_encoder: ClassVar[bool] = True
    vectorises: ClassVar[bool] = False  # scikit-learn is not torch
    head: Literal["prototypes", "neighbour", "logistic"] = "prototypes"
    regularisation: PositiveFloat = 1.0  # scikit-learn's C of the logistic head; Tian et al. (2020)
    tune_steps: NonNegativeInt = 0  # of prototypes as a linear head; ProtoTransfer: 15 epochs
    tune_rate: PositiveFloat = 1e-3  # Adam; ProtoTransfer's authors' eval.py
    added: ClassVar[Mapping[str, object]] = {"tune_steps": 0, "tune_rate": 1e-3}

    def __post_init__(self) -> None:
        """Refuse steps of a head that has none."""
        if self.tune_steps and self.head != "prototypes":
            raise ValueError(f"tune_steps is for head: prototypes, not for {self.head}")

    @property
    def space(self) -> Mapping[str, Space]:  # type: ignore[override]  # follows from the head
        """What the head has to tune: prototypes and the nearest neighbour have nothing."""
        if self.head == "logistic":
            return {"regularisation": Reals(low=1e-2, high=1e2, log=True)}  # 1/100 to 100 times it
        if self.tune_steps:
            return {"tune_rate": Reals(low=1e-4, high=3e-2, log=True)}  # as every rate of Adam
        return {}

    @property
    def test_steps(self) -> int:
        """Those of the prototypes' head; by default none are taken."""
        return self.tune_steps

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield once, or with a head after 1, 2, ... steps from the prototypes."""
        tuning = prototype_tuning(learner, params, support_x, support_y, self.tune_rate)
        return islice(tuning, self.tune_steps + 1)

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the head's score of each query for each way."""
        support_SD, query_QD = learner.embed_both(params, task.support_x, task.query_x)
        if WEIGHT in params:
            return own_scores(params, query_QD)[:, : task.ways]
        if self.head == "logistic":
            return self._logistic(support_SD, query_QD, task)
        members_NS = F.one_hot(task.support_y, task.ways).T.bool()
        if self.head == "neighbour":
            distance_QNS = torch.cdist(query_QD, support_SD).unsqueeze(1)
            return -distance_QNS.masked_fill(~members_NS, torch.inf).amin(2)
        prototypes_ND = torch.stack([support_SD[member_S].mean(0) for member_S in members_NS])
        return -torch.cdist(query_QD, prototypes_ND)

    def _logistic(self, support_SD: Tensor, query_QD: Tensor, task: Task) -> Tensor:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.regularisation, max_iter=1000)
        model.fit(F.normalize(support_SD, dim=1).cpu().numpy(), task.support_y.cpu().numpy())
        scores = model.decision_function(F.normalize(query_QD, dim=1).cpu().numpy())
        if task.ways == 2:  # scikit-learn then gives the second class's score alone
            scores = torch.as_tensor(scores)[:, None] * torch.tensor([-0.5, 0.5])
        return torch.as_tensor(scores, device=query_QD.device)
