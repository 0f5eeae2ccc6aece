"""Fine-tuning along the stream, with nothing against forgetting: the lower control.

As the baseline *fine-tuning* of Li and Hoiem (2016), arXiv:1606.09282, section 2, and *Naive* of
Avalanche (Lomonaco et al. 2021, arXiv:2104.00405): gradient descent on each group's own
cross-entropy, from what the group before has left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import NonNegativeInt
from torch import nn

from bench.contract import AbstractLearner, AbstractStrategy, Lesson, Tensors
from bench.lessons import descent, new, zero_head


@dataclass(frozen=True, kw_only=True)
class Naive(AbstractStrategy):
    """Train encoder and head on each group as it comes."""

    reference: ClassVar[str] = "arXiv:1606.09282"
    kept: ClassVar[int] = 0  # type: ignore[misc]  # here it is no parameter
    pretext_steps: NonNegativeInt = 0  # on a group without labels, before it is learned

    def head(self, width: int, outputs: int) -> nn.Module:
        """Return a linear layer of zeros."""
        return zero_head(width, outputs)

    def learn(
        self, learner: AbstractLearner, start: Tensors, params: Tensors, lesson: Lesson, rate: float
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps on the new group alone."""
        return descent(learner, params, new(lesson), rate)
