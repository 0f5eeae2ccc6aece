"""Find the segment that was erased. After Pathak et al. (2016), arXiv:1604.07379.

They erase a region of an image and have it painted again. Here one of several segments of a series
is erased, in all channels, and the head says which, as for images.

What stands there instead is the mean of each channel of the series itself, under noise: the mean
alone could not be seen in a series that stays near it.

Shapes: B series, C channels, T steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, AtLeastTwo, Reals, Setting, Space

NOISE = 0.3  # either way, in standard deviations of the series: 0.17 of its deviation


@dataclass(frozen=True, kw_only=True)
class SeriesErased(AbstractClassifying):
    """Name the segment that was erased from a series."""

    reference: ClassVar[str] = "arXiv:1604.07379"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    batch_size: PositiveInt = 128  # series, as for the pretexts of images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    segments: AtLeastTwo = 8  # so that an eighth of a series is erased
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """The segments."""
        return self.segments

    def declines(self, setting: Setting) -> str | None:
        """A segment has to hold some steps."""
        least = 4 * self.segments
        if setting.form.shape[-1] < least:
            return f"series_erased of {self.segments} segments needs at least {least} steps"
        return None

    def show(self, x_BCT: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each series with the segment erased whose number is its class."""
        length = x_BCT.shape[2]
        segment_T = torch.arange(length, device=x_BCT.device) * self.segments // length
        noise = torch.rand(x_BCT.shape, generator=rng, dtype=torch.float32, device=x_BCT.device)
        mean, spread = x_BCT.mean(2, keepdim=True), x_BCT.std(2, keepdim=True, correction=0)
        fill = mean + NOISE * spread * (2 * noise.to(x_BCT.dtype) - 1)
        return torch.where((segment_T == class_B.unsqueeze(1)).unsqueeze(1), fill, x_BCT)
