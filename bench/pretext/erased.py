"""Find what was erased. After Pathak et al. (2016), Context encoders, arXiv:1604.07379.

They erase a region of an image, and have it painted again. Here one cell of a grid is erased, and
the head says which: the same damage, as a question with a few answers.

They fill the region with the mean colour. So it is here, with the mean of each channel of the image
itself, but under noise: the mean alone could not be seen where an image is of one tone all over,
and black could not in drawings on black.

Shapes: B images, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, AtLeastTwo, Reals, Setting, Space

NOISE = 0.1  # either way, in [0, 1]: seen on any plain ground, less than most textures hold


@dataclass(frozen=True, kw_only=True)
class Erased(AbstractClassifying):
    """Name the cell of a grid that was erased from an image."""

    reference: ClassVar[str] = "arXiv:1604.07379"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    batch_size: PositiveInt = 128  # images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    grid: AtLeastTwo = 4  # cells a side, so that a sixteenth of an image is erased
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """The cells."""
        return self.grid**2

    def declines(self, setting: Setting) -> str | None:
        """A cell has to hold some pixels."""
        if min(setting.form.shape[1:]) < 2 * self.grid:
            return f"erased needs images of at least {2 * self.grid} pixels a side"
        return None

    def show(self, x_BCHW: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each image with the cell erased whose number, row by row, is its class."""
        height, width = x_BCHW.shape[-2:]
        row_H = torch.arange(height, device=x_BCHW.device) * self.grid // height
        column_W = torch.arange(width, device=x_BCHW.device) * self.grid // width
        gone_BHW = (row_H.unsqueeze(1) * self.grid + column_W) == class_B[:, None, None]
        noise = torch.rand(x_BCHW.shape, generator=rng, dtype=torch.float32, device=x_BCHW.device)
        mean = x_BCHW.mean((2, 3), keepdim=True)
        fill = (mean + NOISE * (2 * noise - 1).to(x_BCHW.dtype)).clamp(0, 1)
        return torch.where(gone_BHW.unsqueeze(1), fill, x_BCHW)
