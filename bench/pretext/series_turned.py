"""Backwards, upside down, or both. Saeed, Ozcelebi and Lukkien (2019), arXiv:1907.11879.

Of the eight transformations whose presence their networks recognise, two are exact and undo
themselves: negation, and turning time around (their "horizontal flip"). Here they make one question
of four classes, 2 x 2. In each class every channel is shown about its own mean: a level would tell
by its sign what is negated, and where values have bounds, to negate about the mean moves these.

Shapes: B series, C channels, T steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, Reals, Setting, Space

SHORTEST = 4  # steps: what holds fewer has hardly a direction


@dataclass(frozen=True, kw_only=True)
class SeriesTurned(AbstractClassifying):
    """Name whether a series runs backwards, stands upside down, or both."""

    reference: ClassVar[str] = "arXiv:1907.11879"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    batch_size: PositiveInt = 128  # series, as for the pretexts of images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """As it was, backwards, upside down, both: 0 to 3."""
        return 4

    def declines(self, setting: Setting) -> str | None:
        """One step has no direction."""
        if setting.form.shape[-1] < SHORTEST:
            return f"series_turned needs series of at least {SHORTEST} steps"
        return None

    def show(self, x_BCT: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each series backwards in classes 1 and 3, upside down in classes 2 and 3."""
        backwards_B11, negated_B11 = ((class_B // bit % 2 == 1)[:, None, None] for bit in (1, 2))
        centred = x_BCT - x_BCT.mean(2, keepdim=True)
        turned = torch.where(backwards_B11, centred.flip(2), centred)
        return torch.where(negated_B11, -turned, turned)
