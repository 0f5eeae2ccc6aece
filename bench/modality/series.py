"""Time series: how they are read, shown and compared.

Shapes: N or B series, C channels, T steps, W letters of a word.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import tau
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Generator, Tensor

from bench.contract import AbstractModality, Form

LETTERS = 16  # of a series' word: means of as many pieces
BREAKS = np.array([-0.97, -0.43, 0.0, 0.43, 0.97])  # cut a normal distribution in six equal parts
SIZE = (150, 80)  # of a shown series, in pixels
INK = ("#1f4e79", "#b45f06", "#38761d", "#741b47")  # of the channels


@dataclass(frozen=True, kw_only=True)
class Series(AbstractModality):
    """Series of equal length, stored as float32 [N, C, T]; encoders see the same values.

    Two look alike where their words are equal: the means of 16 pieces of a standardised series,
    each as one of six levels (SAX, Lin et al. 2003, doi:10.1145/882082.882086).
    """

    reference: ClassVar[str] = "doi:10.1145/882082.882086"
    stored: ClassVar[Literal["uint8", "float32", "int32"]] = "float32"
    unlike: ClassVar[str] = (
        "Take series of one length and one number of channels: ucr has a length to resample to."
    )
    forms: ClassVar[tuple[Form, ...]] = tuple(
        Form(shape=shape, modality="series") for shape in ((1, 40), (2, 40), (1, 64), (1, 128))
    )

    def inputs(self, stored: Tensor) -> Tensor:
        """Return values in torch's default precision."""
        return stored.to(torch.get_default_dtype())

    def allows(self, x: Tensor, form: Form) -> str | None:
        """Return why these are no series: values that are not finite."""
        return None if x.isfinite().all() else "values are not finite"

    def altered(self, x: Tensor, form: Form) -> Tensor:
        """Return series upside down, one higher: none is its own."""
        return 1 - x

    def looks(self, examples: np.ndarray) -> np.ndarray:
        """Return a hash of each series' word."""
        pieces = np.array_split(_standardised(examples), min(LETTERS, examples.shape[-1]), axis=-1)
        means_NW = np.stack([one.mean((1, 2)) for one in pieces], 1)
        letters_NW = np.searchsorted(BREAKS, means_NW).astype(np.uint64)
        place_W = np.uint64(6) ** np.arange(letters_NW.shape[1], dtype=np.uint64)
        found: np.ndarray = (letters_NW * place_W).sum(1, dtype=np.uint64)
        return found

    def blank(self, examples: np.ndarray) -> np.ndarray:
        """Say of each series whether it stays where it is."""
        found: np.ndarray = (examples == examples[..., :1]).all((1, 2))
        return found

    def apart(self, one: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the mean difference over steps, of standardised series."""
        away = np.abs(_standardised(others) - _standardised(one[None]))
        found: np.ndarray = away.mean((1, 2))
        return found

    def sheet(self, examples: Sequence[np.ndarray], form: Form) -> bytes:
        """Return curves in a row, each in a frame of its own, from its lowest to its highest."""
        width, height = SIZE
        sheet = Image.new("RGB", (len(examples) * (width + 8) - 8, height), "white")
        draw = ImageDraw.Draw(sheet)
        for number, series_CT in enumerate(examples):
            left, low = number * (width + 8), float(series_CT.min())
            span = float(series_CT.max()) - low or 1.0
            draw.rectangle((left, 0, left + width - 1, height - 1), outline="#bbbbbb")
            across_T = left + 3 + np.linspace(0, width - 7, series_CT.shape[1])
            for channel, values_T in enumerate(series_CT):
                up_T = height - 4 - (values_T - low) / span * (height - 8)
                points = list(zip(across_T.tolist(), up_T.tolist(), strict=True))
                draw.line(points, fill=INK[channel % len(INK)], width=1)
        buffer = io.BytesIO()
        sheet.save(buffer, "png")
        return buffer.getvalue()

    def made(self, form: Form, count: int, rng: Generator) -> Tensor:
        """Make up waves [count, C, T] of different rates and phases, with some noise."""
        shape = (count, form.shape[0], 1)
        rate, phase = torch.rand(2, *shape, generator=rng, dtype=torch.float64)
        time_T = torch.linspace(0, 1, form.shape[1], dtype=torch.float64)
        noise = torch.rand(count, *form.shape, generator=rng, dtype=torch.float64)
        waves = ((1 + 3 * rate) * time_T * tau + phase * tau).sin() + 0.4 * noise
        found: Tensor = waves.to(torch.get_default_dtype())
        return found


def _standardised(examples: np.ndarray) -> np.ndarray:
    """Return series of mean 0 and standard deviation 1; a flat one is 0."""
    centred = examples.astype(np.float64) - examples.mean((1, 2), keepdims=True, dtype=np.float64)
    scale = centred.std((1, 2), keepdims=True)
    found: np.ndarray = centred / np.where(scale > 0, scale, 1.0)
    return found
