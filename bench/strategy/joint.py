"""Training on all groups so far, anew after each: the upper control, which no stream allows.

*Joint training* of Li and Hoiem (2016), arXiv:1606.09282, section 2: an oracle that keeps every
example. It begins from the start each time, so that what it knows after t groups is what it would
have learned had all of them come at once; its steps are those of t groups.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bench.contract import AbstractLearner, AbstractStrategy, Lesson, Tensors
from bench.lessons import descent, new_and_kept, zero_head


@dataclass(frozen=True, kw_only=True)
class Joint(AbstractStrategy):
    """Train encoder and head from the start on every example that has been met."""

    reference: ClassVar[str] = "arXiv:1606.09282"
    oracle: ClassVar[bool] = True
    kept: ClassVar[int] = 0  # type: ignore[misc]  # an oracle's memory has no size
    pretext_steps: ClassVar[int] = 0  # type: ignore[misc]  # it begins anew: they would be lost

    def head(self, width: int, outputs: int) -> nn.Module:
        """Return a linear layer of zeros."""
        return zero_head(width, outputs)

    def steps(self, asked: int, groups: int) -> int:
        """Return as many for each group that it trains on as others take on it."""
        return asked * groups

    def learn(
        self, learner: AbstractLearner, start: Tensors, params: Tensors, lesson: Lesson, rate: float
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps from the start on everything."""
        return descent(learner, start, new_and_kept(lesson), rate)
