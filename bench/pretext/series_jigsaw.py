"""Segments in another order. After Noroozi and Favaro (2016), arXiv:1603.09246.

A series is cut into segments, which are put together again in another order; the head says in
which. Saeed, Ozcelebi and Lukkien (2019, arXiv:1907.11879) ask of such series whether they were
permuted at all. As the tiles of images, each segment is cut at random from its cell, so that what
runs across a border does not give the order away, and all are drawn out alike.

Shapes: B series, S segments, O orders, C channels, T steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, Reals, Setting, Space
from bench.patches import drawn_out, window

SMALLEST_CELL = 6  # steps; what is spare leaves 4 of them


@dataclass(frozen=True, kw_only=True)
class SeriesJigsaw(AbstractClassifying):
    """Name the order in which the segments of a series were put together."""

    reference: ClassVar[str] = "arXiv:1603.09246"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    batch_size: PositiveInt = 128  # series, as for the pretexts of images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    segments: Literal[3, 4, 5] = 4  # as many as the tiles of small images: 24 orders
    spare: Annotated[float, Field(ge=0, le=0.5)] = 0.25  # share of a cell left for gap and jitter,
    # as for images
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """All orders, as the words of a dictionary follow each other; 0 is the series' own."""
        return factorial(self.segments)

    def declines(self, setting: Setting) -> str | None:
        """Segments of less than a few steps hold nothing."""
        least = self.segments * SMALLEST_CELL
        if setting.form.shape[-1] < least:
            return f"series_jigsaw of {self.segments} segments needs at least {least} steps"
        return None

    def show(self, x_BCT: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each series' segments in the order of its class: place s holds order[s]."""
        count, length = self.segments, x_BCT.shape[2]
        orders_OS = torch.tensor(list(permutations(range(count))), device=x_BCT.device)
        cell_N = orders_OS[class_B].flatten()
        repeated = x_BCT.repeat_interleave(count, dim=0)
        cut = window(repeated, cell_N, cells=count, spare=self.spare, rng=rng)
        segments = drawn_out(cut, length // count).view(len(x_BCT), count, x_BCT.shape[1], -1)
        return drawn_out(segments.transpose(1, 2).flatten(2), length)
