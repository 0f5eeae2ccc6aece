"""Jitter, scale, permute and warp in time: views of time series.

Shapes: B series, C channels, T steps.
"""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractAugment
from bench.warps import jittered, permuted, scaled, time_warped


@dataclass(frozen=True, kw_only=True)
class Warp(AbstractAugment):
    """Run at another speed, scale, add noise: changes that keep what a series is.

    Values are those of Iwana and Uchida (2021), doi:10.1371/journal.pone.0254841, for series of
    standard deviation 1; Um et al. (2017) describe the changes. Their permutation is off: on most
    sets the order of its parts is part of what a series is. Changes come in the order of fields.
    """

    reference: ClassVar[str] = "arXiv:1706.00527"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    warp: NonNegativeFloat = 0.2  # standard deviation of log-speed at each knot; theirs of speed
    knots: NonNegativeInt = 4  # between the ends, at equal distances
    segments: PositiveInt = 1  # at most so many parts change places; Iwana and Uchida: 1 to 4
    scale: NonNegativeFloat = 0.1  # standard deviation of a channel's factor around 1
    jitter: NonNegativeFloat = 0.03  # standard deviation of the noise; Um et al., Tang et al.: 0.05

    def __call__(self, x: Tensor, rng: Generator) -> Tensor:
        """Return a changed copy of each series [B, C, T]."""
        views = time_warped(x, self.warp, self.knots, rng)
        if self.segments > 1:
            views = permuted(views, self.segments, rng)
        return jittered(scaled(views, self.scale, rng), self.jitter, rng)
