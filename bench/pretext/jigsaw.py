"""Jigsaw puzzles. Noroozi and Favaro (2016), arXiv:1603.09246.

An image is cut into tiles, which are put together again in another order; the head says which
of a fixed set of permutations it was. As there, each tile is cut at random from its cell, so that
neither edges nor lines across them give the order away, and the permutations are chosen for large
Hamming distances.

Two differences. There each tile passes a network of its own, and their features are joined; here
the encoder sees one image, the tiles put together, and so has to look at all of it. And there 3 x 3
tiles of 64 pixels are used, which small images cannot afford: 2 x 2 tiles have 24 permutations.

Shapes: B images, G tiles a side, T = G G tiles, P permutations, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from math import factorial
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, AtLeastTwo, Reals, Setting, Space
from bench.patches import jittered

SMALLEST_TILE = 6  # pixels a side of a cell; what is spare leaves 4 x 4 of them


@dataclass(frozen=True, kw_only=True)
class Jigsaw(AbstractClassifying):
    """Name the order in which the tiles of an image were put together."""

    reference: ClassVar[str] = "arXiv:1603.09246"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    batch_size: PositiveInt = 128  # images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    grid: Literal[2, 3] = 2  # tiles a side; the authors: 3
    permutations: AtLeastTwo = 24  # all there are of 2 x 2 tiles; the authors: up to 1000 of 3 x 3
    spare: Annotated[float, Field(ge=0, le=0.5)] = 0.25  # share of a cell left for gap and jitter;
    # the authors: tiles of 64 pixels in cells of 75
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    def __post_init__(self) -> None:
        """Refuse more permutations than there are."""
        if self.permutations > factorial(self.grid**2):
            raise ValueError(
                f"{self.permutations} permutations, but {self.grid} x {self.grid} tiles have"
                f" {factorial(self.grid**2)}"
            )

    @property
    def num_classes(self) -> int:
        """The permutations."""
        return self.permutations

    def declines(self, setting: Setting) -> str | None:
        """Tiles of less than a few pixels hold nothing."""
        least = self.grid * SMALLEST_TILE
        if min(setting.form.shape[1:]) < least:
            return f"jigsaw with {self.grid} tiles a side needs images of at least {least} pixels"
        return None

    def show(self, x_BCHW: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each image's tiles in the order of its class: place t holds tile order[t]."""
        size, grid = x_BCHW.shape[-2:], self.grid
        orders_PT = torch.tensor(distant_permutations(grid**2, self.permutations))
        tile_BT = orders_PT.to(x_BCHW.device)[class_B]
        cell_N2 = torch.stack([tile_BT // grid, tile_BT % grid], dim=2).flatten(0, 1)
        repeated = x_BCHW.repeat_interleave(grid**2, dim=0)
        tiles = jittered(repeated, cell_N2, cells=grid, spare=self.spare, rng=rng)
        tiles = _resized(tiles, (size[0] // grid, size[1] // grid))
        return _resized(_joined(tiles, grid), (size[0], size[1]))


def _joined(tiles: Tensor, grid: int) -> Tensor:
    """Put tiles [B G G, C, h, w], row by row, together to images [B, C, G h, G w]."""
    count, channels, height, width = tiles.shape
    grids = tiles.view(count // grid**2, grid, grid, channels, height, width)
    return grids.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


@cache
def distant_permutations(length: int, count: int) -> tuple[tuple[int, ...], ...]:
    """Choose permutations that are far from each other in Hamming distance, the identity first.

    Each next one is farthest from the nearest of those before; of equals it has the largest
    summed distance to them, and of these it comes first in lexicographic order. The authors begin
    with a random one, and look at the mean distance alone.
    """
    every_NL = np.array(list(permutations(range(length))), dtype=np.int8)
    nearest_N, summed_N = np.full(len(every_NL), length + 1), np.zeros(len(every_NL), dtype=int)
    chosen = [0]
    while len(chosen) < count:
        distance_N = (every_NL != every_NL[chosen[-1]]).sum(1)
        nearest_N, summed_N = np.minimum(nearest_N, distance_N), summed_N + distance_N
        chosen.append(int((nearest_N * count * length + summed_N).argmax()))
    return tuple(tuple(every_NL[number].tolist()) for number in chosen)
