"""Where a window stands. After Doersch, Gupta and Efros (2015), arXiv:1505.05192.

Of an image they show the patch in the middle and one of its neighbours, and ask which neighbour it
is; here it is windows of a series. It is cut into cells, ``reach`` on either side of the one in the
middle; shown are a window of the middle one in the first half, and one of another cell, drawn out
alike, in the second: the head says which cell. Their gap and jitter keep what runs across a border
from telling it.

Shapes: B series, C channels, T steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, Reals, Setting, Space
from bench.patches import drawn_out, window

SMALLEST_CELL = 6  # steps; what is spare leaves 4 of them


@dataclass(frozen=True, kw_only=True)
class SeriesPosition(AbstractClassifying):
    """Name which window of a series stands behind the one of its middle."""

    reference: ClassVar[str] = "arXiv:1505.05192"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    batch_size: PositiveInt = 128  # series, as for the pretexts of images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    reach: PositiveInt = 2  # cells on either side: four classes, from five windows
    spare: Annotated[float, Field(ge=0, le=0.5)] = 0.25  # share of a cell left for gap and jitter,
    # as for images
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """The cells but for the one in the middle, from first to last."""
        return 2 * self.reach

    @property
    def _cells(self) -> int:
        return 2 * self.reach + 1

    def declines(self, setting: Setting) -> str | None:
        """Windows of less than a few steps hold nothing."""
        least = self._cells * SMALLEST_CELL
        if setting.form.shape[-1] < least:
            return f"series_position of {self._cells} cells needs at least {least} steps"
        return None

    def show(self, x_BCT: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return a window of the middle, drawn out to the first half, and then one of the cell."""
        length = x_BCT.shape[2]
        middle_B = torch.full_like(class_B, self.reach)
        other_B = class_B + (class_B >= self.reach)
        shown = [
            drawn_out(window(x_BCT, cell_B, cells=self._cells, spare=self.spare, rng=rng), steps)
            for cell_B, steps in ((middle_B, length // 2), (other_B, length - length // 2))
        ]
        return torch.cat(shown, dim=2)
