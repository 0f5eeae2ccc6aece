"""Transitions of simulated worlds: how they are read, shown and compared.

Shapes: N or B transitions of 2 rows (what was known, what came: see ``bench.transitions``) and D
numbers each, of which the last is the action's.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Generator, Tensor

from bench.contract import AbstractModality, Form

HEIGHT, BAR, GAP = 80, 7, 6  # pixels of a shown transition, of its bars, between numbers
LARGEST = 3.0  # in scaled units; longer bars are cut
INK = ("#1f4e79", "#b45f06")  # of what was known, and what came


@dataclass(frozen=True, kw_only=True)
class Transition(AbstractModality):
    """Transitions, stored as float32 [N, 2, D]; encoders see the same values.

    Of two worlds alike in their parameters so are all transitions: nearness is no sign of a copy.
    """

    reference: ClassVar[str] = "arXiv:2407.17032"
    stored: ClassVar[Literal["uint8", "float32", "int32"]] = "float32"
    values: ClassVar[bool] = True  # what comes of a state and an action
    unlike: ClassVar[str] = "Take worlds of one family."
    forms: ClassVar[tuple[Form, ...]] = tuple(
        Form(shape=shape, modality="transition") for shape in ((2, 4), (2, 5))
    )

    def inputs(self, stored: Tensor) -> Tensor:
        """Return values in torch's default precision."""
        return stored.to(torch.get_default_dtype())

    def allows(self, x: Tensor, form: Form) -> str | None:
        """Return why these are none: values that are not finite, or an action that came of it."""
        if not x.isfinite().all():
            return "values are not finite"
        return None if not x[:, 1, -1].any() else "the action's place in the second row is not 0"

    def altered(self, x: Tensor, form: Form) -> Tensor:
        """Return transitions the other way round, one higher: none is its own."""
        other = 1 - x
        other[:, 1, -1] = 0
        return other

    def looks(self, examples: np.ndarray) -> np.ndarray | None:
        """Return nothing: equal transitions are found as such, others have nothing in common."""
        return None

    def blank(self, examples: np.ndarray) -> np.ndarray:
        """Say of each transition whether all its numbers are zero."""
        found: np.ndarray = (examples == 0).all((1, 2))
        return found

    def apart(self, one: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the mean difference over both rows."""
        found: np.ndarray = np.abs(others - one).mean((1, 2), dtype=np.float64)
        return found

    def sheet(self, examples: Sequence[np.ndarray], form: Form) -> bytes:
        """Return each transition as bars, two for a number: what was known, what came."""
        across = 2 * BAR + GAP
        width = form.shape[1] * across + GAP
        sheet = Image.new("RGB", (len(examples) * (width + 8) - 8, HEIGHT), "white")
        draw, middle = ImageDraw.Draw(sheet), HEIGHT // 2
        for number, rows_2D in enumerate(examples):
            left = number * (width + 8)
            draw.rectangle((left, 0, left + width - 1, HEIGHT - 1), outline="#bbbbbb")
            draw.line((left, middle, left + width - 1, middle), fill="#bbbbbb")
            tall_2D = (rows_2D / LARGEST).clip(-1, 1) * (middle - 4)
            for (row, place), tall in np.ndenumerate(tall_2D):
                start, end = left + GAP + place * across + row * BAR, middle - round(float(tall))
                box = (start, min(middle, end), start + BAR - 2, max(middle, end))
                draw.rectangle(box, fill=INK[row])
        buffer = io.BytesIO()
        sheet.save(buffer, "png")
        return buffer.getvalue()

    def made(self, form: Form, count: int, rng: Generator) -> Tensor:
        """Make up transitions [count, 2, D] in which the change depends on state and action."""
        width = form.shape[1]
        known = torch.rand(count, width, generator=rng, dtype=torch.float64) * 2 - 1
        came = known.roll(1, -1).sin() + 0.5 * known[:, -1:]
        came[:, -1] = 0
        found: Tensor = torch.stack([known, came], 1).to(torch.get_default_dtype())
        return found
