"""Relative position of patches. Doersch, Gupta and Efros (2015), arXiv:1505.05192.

An image is cut into a 3 x 3 grid; from the centre patch and one of its eight neighbours, the
head says which neighbour it is. A gap and a jitter keep lines that run across the border from
giving it away (their section 3.1). Both patches are resized to the size of the image, so that the
encoder sees inputs of one size, as Gidaris et al. (2019, arXiv:1906.05186) do on small images.

Shapes: B images, C channels, H height, W width, P side of a patch in pixels.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Setting, Shape, Tensors

SMALLEST_SIDE = 18  # below this a patch of a third, less gap and jitter, holds under 4 x 4 pixels
NEIGHBOURS = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]


@dataclass(frozen=True, kw_only=True)
class Position(AbstractPretext):
    """Name which of its eight neighbours a patch is, beside the patch in the centre."""

    reference: ClassVar[str] = "arXiv:1505.05192"
    views: ClassVar[int] = 2  # the centre and one neighbour
    batch_size: PositiveInt = 128  # images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    spare: Annotated[float, Field(ge=0, le=0.5)] = 0.25  # share of a grid cell left for gap and
    # jitter; Doersch: 96-pixel patches, 48 apart, +- 7 pixels, which small images cannot afford

    def declines(self, setting: Setting) -> str | None:
        """Patches of less than a few pixels hold nothing."""
        if len(setting.shape) != 3 or min(setting.shape[1:]) < SMALLEST_SIDE:
            return f"position needs images of at least {SMALLEST_SIDE} pixels a side"
        return None

    def head(self, width: int, shape: Shape) -> nn.Module:
        """Return two layers on both patches' features, with a score for each neighbour."""
        return nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 8))

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean cross-entropy, in nats, of the neighbour's place."""
        size, device = len(x_BCHW), x_BCHW.device
        which_B = torch.randint(8, (size,), generator=rng, device=device)
        place_B2 = torch.tensor(NEIGHBOURS, device=device)[which_B]
        centre = self._patches(x_BCHW, torch.ones_like(place_B2), rng)
        neighbour = self._patches(x_BCHW, place_B2, rng)
        features = net.encode(torch.cat([centre, neighbour]))
        scores = net.head(torch.cat([features[:size], features[size:]], dim=1))
        return F.cross_entropy(scores, which_B), state

    def _patches(self, x_BCHW: Tensor, place_B2: Tensor, rng: Generator) -> Tensor:
        """Cut one jittered patch from each image's grid cell, resized to [B, C, H, W]."""
        height, width = x_BCHW.shape[-2:]
        side = min(height, width) // 3
        patch = side - round(self.spare * side)
        jitter = torch.randint(  # half of what is spare, so that a gap always remains
            (side - patch) // 2 + 1, place_B2.shape, generator=rng, device=x_BCHW.device
        )
        corner_B2 = place_B2 * side + jitter
        steps_P = torch.arange(patch, device=x_BCHW.device)
        rows_BP1 = (corner_B2[:, :1] + steps_P).unsqueeze(2)
        columns_B1P = (corner_B2[:, 1:] + steps_P).unsqueeze(1)
        images_B11 = torch.arange(len(x_BCHW), device=x_BCHW.device)[:, None, None]
        patches = x_BCHW[images_B11, :, rows_BP1, columns_B1P].permute(0, 3, 1, 2)
        return F.interpolate(patches, (height, width), mode="bilinear", align_corners=False)
