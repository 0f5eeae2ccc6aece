"""Experience replay from a tiny memory. Chaudhry et al. (2019), arXiv:1902.10486.

A few examples of each class are kept when its group has passed. Each step is on the new group's
examples and on the kept ones together, as one batch (their equation 1 and algorithm 1). There a
batch of 10 is drawn from the memory for each batch of 10 of the stream, which is seen once; here a
step sees all of both. What is kept is of every class alike, as with their ring buffer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import NonNegativeInt
from torch import nn

from bench.contract import AbstractLearner, AbstractStrategy, Lesson, Tensors
from bench.lessons import descent, new_and_kept, zero_head


@dataclass(frozen=True, kw_only=True)
class Replay(AbstractStrategy):
    """Train encoder and head on each group and on what is kept of those before."""

    reference: ClassVar[str] = "arXiv:1902.10486"
    kept: NonNegativeInt = 2  # examples of a class; the authors: from 1 up
    pretext_steps: NonNegativeInt = 0  # on a group without labels, before it is learned

    def head(self, width: int, outputs: int) -> nn.Module:
        """Return a linear layer of zeros."""
        return zero_head(width, outputs)

    def learn(
        self, learner: AbstractLearner, start: Tensors, params: Tensors, lesson: Lesson, rate: float
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps on new and kept examples as one batch."""
        return descent(learner, params, new_and_kept(lesson), rate)
