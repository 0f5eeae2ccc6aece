"""Find the segment that was erased. After Pathak et al. (2016), arXiv:1604.07379.

They erase a region of an image and have it painted again. Here a stretch of a series is erased, in
all channels, and the head says in which of several segments. A step at either end of a segment
stays: if the first or the last of a series could be gone, that one value would tell two classes.

What stands there instead is the mean of each channel of the series itself, under noise: the mean
alone could not be seen in a series that stays near it.

Shapes: B series, C channels, T steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, AtLeastTwo, Reals, Setting, Space

NOISE = 0.3  # either way, in deviations of the series: of most, less than a stretch moves by
SMALLEST = 4  # steps of a segment, two of which can go


@dataclass(frozen=True, kw_only=True)
class SeriesErased(AbstractClassifying):
    """Name the segment that was erased from a series."""

    reference: ClassVar[str] = "arXiv:1604.07379"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    batch_size: PositiveInt = 128  # series, as for the pretexts of images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    segments: AtLeastTwo = 8  # so that less than an eighth of a series is erased
    spare: Annotated[float, Field(ge=0, le=0.5)] = 0.25  # share of a segment that stays, two steps
    # at least; before and behind what is erased, at random
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """The segments."""
        return self.segments

    def declines(self, setting: Setting) -> str | None:
        """A segment has to hold some steps."""
        least = SMALLEST * self.segments
        if setting.form.shape[-1] < least:
            return f"series_erased of {self.segments} segments needs at least {least} steps"
        return None

    def show(self, x_BCT: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each series with a stretch erased within the segment that its class says."""
        length = x_BCT.shape[2]
        side = length // self.segments
        spare = max(2, round(self.spare * side))
        jitter_B = torch.randint(spare - 1, class_B.shape, generator=rng, device=x_BCT.device)
        first_B1 = (class_B * length // self.segments + 1 + jitter_B).unsqueeze(1)
        step_T = torch.arange(length, device=x_BCT.device)
        gone_BT = (step_T >= first_B1) & (step_T < first_B1 + side - spare)
        return torch.where(gone_BT.unsqueeze(1), _filling(x_BCT, rng), x_BCT)


def _filling(x_BCT: Tensor, rng: Generator) -> Tensor:
    """Return the mean of each channel under noise, for every step."""
    mean, deviation = x_BCT.mean(2, keepdim=True), x_BCT.std(2, keepdim=True, correction=0)
    noise = torch.rand(x_BCT.shape, generator=rng, dtype=torch.float32, device=x_BCT.device)
    return mean + NOISE * deviation * (2 * noise.to(x_BCT.dtype) - 1)
