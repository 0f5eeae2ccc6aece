"""Letters of five scripts in twelve type styles: the embedded default, with nothing to download.

The outlines come from the DejaVu fonts that matplotlib carries, as the whole numbers that stand in
the font files, and are filled here with sums and products alone: no version of Pillow or FreeType,
no hinting, and no platform's sine can change a pixel, so the digest can be pinned.

Shapes: P points of an outline, S straight pieces of it, R scanlines.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.contract import AbstractData, Examples
from bench.errors import UserError
from bench.seeds import derive

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "train": ("LATIN", "GREEK", "DIGIT"),
    "val": ("CYRILLIC",),
    "test": ("ARMENIAN", "GEORGIAN"),
}
STYLES = tuple(
    f"DejaVu{family}{weight}"
    for family, slant in (("Sans", "Oblique"), ("SansMono", "Oblique"), ("Serif", "Italic"))
    for weight in ("", "-Bold", f"-{slant}", f"-Bold{slant}")
)
SIZE = 28  # pixels, as in most few-shot work on Omniglot
EM = 24.0  # pixels of one em: a capital is 17 high, a small x 13
LARGEST = 24.0  # pixels; a wider or higher letter is shrunk to this
SCANLINES = 4  # of a pixel; across, coverage is exact
PIECES = 8  # straight pieces of a curve: off by less than 0.01 pixel
JITTERS = 2  # images of a letter in a style
WARP = 0.12  # most that an entry of the 2x2 matrix is off the identity: turns, shears and scales
SHIFT = 1.5  # pixels, most that a letter is off the centre
ALIKE = 6  # styles that must render two characters to the same pixels to make them one class


@dataclass(frozen=True, kw_only=True)
class Glyphs(AbstractData):
    """Latin, Greek and digits against Cyrillic, then Armenian and Georgian: white on black.

    A character is a class when all styles hold it, it has no diacritic, and no earlier one looks
    the same (Latin, Greek and Cyrillic A are one class, of train). 24 images [1, 28, 28] a class:
    12 styles x 2 seeded affine warps. Characters as few-shot classes follow Lake et al. 2015.
    """

    reference: ClassVar[str] = "doi:10.1126/science.aab3050"
    augment: ClassVar[str] = "affine"
    digest: ClassVar[str | None] = None

    def read(self, root: Path | None) -> Examples:
        """Render every class; ``root`` is not used."""
        outlines = _outlines()
        splits = {
            split: tuple(unicodedata.name(letter) for letter in letters)
            for split, letters in _classes(outlines).items()
        }
        arrays = {
            name: np.stack(list(_images(name, outlines)))
            for names in splits.values()
            for name in names
        }
        return Examples(arrays=arrays, splits=splits)

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the font files; ``root`` is not used."""
        total = hashlib.sha256()
        for style in STYLES:
            total.update(_font_file(style).read_bytes())
        return total.hexdigest()
