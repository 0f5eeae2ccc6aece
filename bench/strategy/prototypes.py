"""Nearest class mean: each class is the mean of its features, and no step is taken.

The rule by which iCaRL classifies, Rebuffi et al. (2017), arXiv:1611.07725, algorithm 1, without
its exemplars, its training and its normalisation of features: sums and counts of features are
enough for the means, so nothing of a group is kept. A stream's order has no say where the encoder
stands still; with ``pretext_steps`` it moves, and the sums of earlier groups grow stale.

Shapes: B examples, C classes of the whole stream, D features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn

from bench.contract import AbstractLearner, AbstractStrategy, Lesson, Tensors
from bench.inner import memberships

SUMS, COUNTS = "head.sums", "head.counts"  # among the parameters, of the module below


class _Means(nn.Module):
    """Scores by class means; its parameters are what has been met, not what is trained."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.sums = nn.Parameter(torch.zeros(outputs, width))
        self.counts = nn.Parameter(torch.zeros(outputs))

    def forward(self, z_BD: Tensor) -> Tensor:
        means_CD = self.sums / self.counts.clamp(min=1).unsqueeze(1)
        return -(z_BD.unsqueeze(1) - means_CD).square().sum(2)


@dataclass(frozen=True, kw_only=True)
class Prototypes(AbstractStrategy):
    """Add a group's features to the sums of its classes."""

    reference: ClassVar[str] = "arXiv:1611.07725"
    rated: ClassVar[bool] = False
    kept: ClassVar[int] = 0  # type: ignore[misc]  # sums are enough
    pretext_steps: NonNegativeInt = 0  # on a group without labels, before it is learned

    def head(self, width: int, outputs: int) -> nn.Module:
        """Return sums and counts of nothing yet; a score is minus the squared distance."""
        return _Means(width, outputs)

    def steps(self, asked: int, groups: int) -> int:
        """None are taken."""
        return 0

    def learn(
        self, learner: AbstractLearner, start: Tensors, params: Tensors, lesson: Lesson, rate: float
    ) -> Iterator[Tensors]:
        """Yield once: the group's features joined the sums."""
        z_BD = learner.embed(params, lesson.new_x)
        members_CB = memberships(lesson.new_y, len(params[COUNTS]), z_BD.dtype)
        yield {
            **params,
            SUMS: params[SUMS] + members_CB @ z_BD,
            COUNTS: params[COUNTS] + members_CB.sum(1),
        }
