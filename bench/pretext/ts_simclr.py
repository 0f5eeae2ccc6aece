"""Contrastive learning of time series. Tang et al. (2020), arXiv:2011.11542.

SimCLR's loss on two views of each series; the views are made here, whatever policy the suite has,
since what a view may change is what the method says about the data. The authors try eight changes,
alone and in pairs, in a fixed order; here are the four of them that fit any number of channels,
one after the other. TS-TCC (Eldele et al. 2021, arXiv:2106.14112) has two unlike views, one of
scaling and one of permutation with jitter.

Shapes: B series, C channels, T steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractNetwork,
    AbstractPretext,
    Form,
    Reals,
    Space,
    Tensors,
    Whole,
)
from bench.contrastive import nt_xent
from bench.warps import jittered, permuted, scaled, time_warped


@dataclass(frozen=True, kw_only=True)
class TsSimclr(AbstractPretext):
    """Find a series' other view, warped in time, permuted, scaled and noisy, among the batch's."""

    reference: ClassVar[str] = "arXiv:2011.11542"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    views: ClassVar[int] = 2
    batch_size: PositiveInt = 128  # series; TS-TCC; Tang et al.: 512 of far larger sets
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here; TS-TCC: 3e-4
    temperature: PositiveFloat = 0.1  # Tang et al.; TS-TCC: 0.2
    projection: PositiveInt = 50  # features that are compared; Tang et al.
    warp: NonNegativeFloat = 0.2  # standard deviation of log-speed; Tang et al. 0.2 of speed
    knots: NonNegativeInt = 4  # Tang et al.
    segments: PositiveInt = 5  # at most so many parts change places; Tang et al. cut at 4 places
    scale: NonNegativeFloat = 0.1  # standard deviation of a channel's factor; Tang et al.
    jitter: NonNegativeFloat = 0.05  # standard deviation of the noise; Tang et al.; TS-TCC: 0.8
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "temperature": Reals(low=0.05, high=1.0, log=True),  # as for simclr
        "warp": Reals(low=0.0, high=0.5),  # none, to speeds that differ threefold
        "segments": Whole(low=1, high=8),  # none, to TS-TCC's for activities
        "scale": Reals(low=0.0, high=1.1),  # none, to TS-TCC's
        "jitter": Reals(low=0.0, high=0.8),  # none, to TS-TCC's
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the projection: two layers, as for simclr; Tang et al. have three."""
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.projection))

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCT: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean over 2 B views of the normalised temperature-scaled cross-entropy."""
        views = torch.cat([self.view(x_BCT, rng), self.view(x_BCT, rng)])
        return nt_xent(net.head(net.encode(views)), self.temperature), state

    def view(self, x_BCT: Tensor, rng: Generator) -> Tensor:
        """Return one view of each series."""
        warped = time_warped(x_BCT, self.warp, self.knots, rng)
        permuted_BCT = permuted(warped, self.segments, rng)
        return jittered(scaled(permuted_BCT, self.scale, rng), self.jitter, rng)
