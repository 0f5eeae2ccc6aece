"""Sentences as ids of tokens: how they are read, shown and compared.

Shapes: N or B sentences, T tokens of the longest, V kinds of tokens.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Generator, Tensor

from bench.contract import AbstractModality, Form
from bench.tokens import PAD, SPECIAL

LINE, COLUMN, LETTER = 14, 190, 6  # of a shown sentence, in pixels: line, width, a letter's width
WORDS = (*SPECIAL, *(f"word{number}" for number in range(36)))


@dataclass(frozen=True, kw_only=True)
class Text(AbstractModality):
    """Sentences as ids of tokens, stored as int32 [N, T]; encoders see them as int64.

    Two look alike where they hold the same tokens, in whatever order.
    """

    reference: ClassVar[str] = "doi:10.1145/361219.361220"
    stored: ClassVar[Literal["uint8", "float32", "int32"]] = "int32"
    unlike: ClassVar[str] = (
        "A set of text has a vocabulary of its own: write all of it to one text_csv, whose column "
        "of splits says what is trained and what is tested on."
    )
    forms: ClassVar[tuple[Form, ...]] = tuple(
        Form(shape=(length,), modality="text", vocabulary=WORDS) for length in (12, 24)
    )

    def inputs(self, stored: Tensor) -> Tensor:
        """Return ids as int64."""
        return stored.long()

    def allows(self, x: Tensor, form: Form) -> str | None:
        """Return why these are no sentences: unknown ids, a gap of padding, or nothing else."""
        if x.dtype != torch.int64 or (
            len(x) and not (x.min() >= 0 and x.max() < len(form.vocabulary))
        ):
            return f"they are {x.dtype}, and not int64 from 0 to {len(form.vocabulary) - 1}"
        padded = x == PAD
        if (padded[:, :-1] & ~padded[:, 1:]).any():
            return "a token stands after the padding of its sentence"
        return "a sentence is empty" if padded[:, 0].any() else None

    def altered(self, x: Tensor, form: Form) -> Tensor:
        """Return sentences of as many tokens, each counted from the vocabulary's other end."""
        first, last = len(SPECIAL), len(form.vocabulary) - 1
        return torch.where(x >= first, first + last - x, x)

    def looks(self, examples: np.ndarray) -> np.ndarray:
        """Return a hash of each sentence's tokens, sorted."""
        ordered = np.sort(examples, axis=1)
        digests = [hashlib.sha256(one.tobytes()).digest()[:8] for one in ordered]
        return np.array([int.from_bytes(one) for one in digests], np.uint64)

    def blank(self, examples: np.ndarray) -> np.ndarray:
        """Say of each sentence whether it has no token of the vocabulary's own."""
        return np.asarray((examples < len(SPECIAL)).all(1))

    def apart(self, one: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the share of places that hold another token."""
        found: np.ndarray = (others != one).mean(1)
        return found

    def sheet(self, examples: Sequence[np.ndarray], form: Form) -> bytes:
        """Return sentences side by side, as the vocabulary spells them."""
        columns = [wrap(spelled(one, form), COLUMN // LETTER) for one in examples]
        height = LINE * max(map(len, columns)) + 6
        sheet = Image.new("RGB", (len(columns) * (COLUMN + 10) - 10, height), "white")
        draw = ImageDraw.Draw(sheet)
        for number, lines in enumerate(columns):
            for row, line in enumerate(lines):
                draw.text((number * (COLUMN + 10) + 2, row * LINE + 2), line, fill="black")
        buffer = io.BytesIO()
        sheet.save(buffer, "png")
        return buffer.getvalue()

    def made(self, form: Form, count: int, rng: Generator) -> Tensor:
        """Make up sentences [count, T] of different lengths, half of them at least."""
        (length,) = form.shape
        first, last = len(SPECIAL), len(form.vocabulary)
        ids = torch.randint(first, last, (count, length), generator=rng)
        ends = torch.randint(length // 2, length + 1, (count, 1), generator=rng)
        return torch.where(torch.arange(length) < ends, ids, PAD)


def spelled(ids: np.ndarray, form: Form) -> str:
    """Return a sentence as its vocabulary spells it; ``##`` joins a token to the one before."""
    words = [form.vocabulary[token] for token in ids if token != PAD]
    return " ".join(words).replace(" ##", "")
