"""Relative position of patches. Doersch, Gupta and Efros (2015), arXiv:1505.05192.

An image is cut into a 3 x 3 grid; from the centre patch and one of its eight neighbours, the
head says which neighbour it is. A gap and a jitter keep lines that run across the border from
giving it away (their section 3.1). Both patches are resized to the size of the image, so that the
encoder sees inputs of one size, as Gidaris et al. (2019, arXiv:1906.05186) do on small images.

As a class to be shown, both patches stand side by side in one image, the centre's on the left:
then no second pass and no head on two inputs are needed.

Shapes: B images, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractClassifying,
    AbstractNetwork,
    Form,
    Reals,
    Setting,
    Space,
    Tensors,
)
from bench.patches import jittered

SMALLEST_SIDE = 18  # below this a patch of a third, less gap and jitter, holds under 4 x 4 pixels
NEIGHBOURS = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]


@dataclass(frozen=True, kw_only=True)
class Position(AbstractClassifying):
    """Name which of its eight neighbours a patch is, beside the patch in the centre."""

    reference: ClassVar[str] = "arXiv:1505.05192"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    views: ClassVar[int] = 2  # the centre and one neighbour
    batch_size: PositiveInt = 128  # images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    spare: Annotated[float, Field(ge=0, le=0.5)] = 0.25  # share of a grid cell left for gap and
    # jitter; Doersch: 96-pixel patches, 48 apart, +- 7 pixels, which small images cannot afford
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """The neighbours."""
        return len(NEIGHBOURS)

    def declines(self, setting: Setting) -> str | None:
        """Patches of less than a few pixels hold nothing."""
        if min(setting.form.shape[1:]) < SMALLEST_SIDE:
            return f"position needs images of at least {SMALLEST_SIDE} pixels a side"
        return None

    def head(self, width: int, form: Form) -> nn.Module:
        """Return two layers on both patches' features, with a score for each neighbour."""
        return nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 8))

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean cross-entropy, in nats, of the neighbour's place."""
        size, (height, width) = len(x_BCHW), x_BCHW.shape[-2:]
        which_B = torch.randint(8, (size,), generator=rng, device=x_BCHW.device)
        patches = self._patches(x_BCHW, which_B, (width, width), height, rng)
        features = net.encode(torch.cat(patches))
        scores = net.head(torch.cat([features[:size], features[size:]], dim=1))
        return F.cross_entropy(scores, which_B), state

    def show(self, x_BCHW: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return the centre's patch, resized to the left half, and the neighbour's on the right."""
        height, width = x_BCHW.shape[-2:]
        halves = (width // 2, width - width // 2)
        return torch.cat(self._patches(x_BCHW, class_B, halves, height, rng), dim=3)

    def _patches(
        self,
        x_BCHW: Tensor,
        class_B: Tensor,
        widths: tuple[int, int],
        height: int,
        rng: Generator,
    ) -> list[Tensor]:
        """Cut the centre and a neighbour out of each image, resized to a height and two widths."""
        neighbour_B2 = torch.tensor(NEIGHBOURS, device=x_BCHW.device)[class_B]
        cells = (torch.ones_like(neighbour_B2), neighbour_B2)
        cut = [jittered(x_BCHW, cell, cells=3, spare=self.spare, rng=rng) for cell in cells]
        return [
            F.interpolate(patch, (height, width), mode="bilinear", align_corners=False)
            for patch, width in zip(cut, widths, strict=True)
        ]
