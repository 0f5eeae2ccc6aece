"""Letters of five scripts in twelve type styles: the embedded default, with nothing to download.

The outlines come from the DejaVu fonts that matplotlib carries, as the whole numbers that stand in
the font files, and are filled here by arithmetic that every machine rounds alike: no version of
Pillow or FreeType, no hinting, no platform's sine can change a pixel, so the digest can be pinned.

Shapes: S straight pieces of an outline, R scanlines, X pixels across.
"""

import hashlib
import unicodedata
from collections import Counter, defaultdict
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
LARGEST = 22.0  # pixels; a wider or higher letter is shrunk to this
SCANLINES = 4  # of a pixel; across, coverage is exact
PIECES = 8  # straight pieces of a curve: off by 0.06 pixel at most
JITTERS = 2  # images of a letter in a style
WARP = 0.12  # most that an entry of the 2x2 matrix is off the identity: turns, shears and scales
SHIFT = 1.5  # pixels, most that a letter is off the centre
ALIKE = 3  # styles that draw two characters to the same pixels make them one class; two styles
# would join the italic forms of Cyrillic te and Latin m, whose upright forms differ
UNITS = 64  # of a path that matplotlib returns unscaled: it divides by 64
MOVE, CURVE, CLOSE = 1, 3, 79  # codes of a path; anything else is a line

Points = list[list[list[float]]]


@dataclass(frozen=True, kw_only=True)
class Glyphs(AbstractData):
    """Latin, Greek and digits against Cyrillic, then Armenian and Georgian: white on black.

    A character is a class when all styles hold it, it has no diacritic, and no earlier one looks
    the same (Latin, Greek and Cyrillic A are one class, of train). 24 images [1, 28, 28] a class:
    12 styles x 2 seeded affine warps. Characters as few-shot classes follow Lake et al. 2015.
    """

    reference: ClassVar[str] = "doi:10.1126/science.aab3050"
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    augment: ClassVar[str] = "affine"
    digest: ClassVar[str | None] = (
        "ece2a3072fadaa6ae6e322da7147cbb4cd50071b61ca30221ad1befa234d5b42"
    )

    def read(self, root: Path | None) -> Examples:
        """Render every class; ``root`` is not used."""
        outlines = _outlines()
        letters = _distinct(outlines)
        names = {letter: unicodedata.name(letter) for letter in letters}
        splits = {
            split: tuple(names[letter] for letter in letters if _split(letter) == split)
            for split in SCRIPTS
        }
        arrays = {
            names[letter]: np.stack(list(_images(names[letter], outlines[letter])))
            for letter in letters
        }
        return Examples(arrays=arrays, splits=splits)

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the font files; ``root`` is not used."""
        total = hashlib.sha256()
        for style in STYLES:
            total.update(_font_file(style).read_bytes())
        return total.hexdigest()


def _font_file(style: str) -> Path:
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{style}.ttf"
    if not file.is_file():
        raise UserError(
            f"data glyphs: {file}",
            "this font is not there",
            "Install matplotlib as it is published: its own fonts are drawn.",
        )
    return file


def _split(letter: str) -> str | None:
    """Return the split of a letter or digit without a diacritic, by its script; else None."""
    kinds = ("Lu", "Ll", "Lo", "Nd")
    if unicodedata.decomposition(letter) or unicodedata.category(letter) not in kinds:
        return None
    script = unicodedata.name(letter).split()[0]
    return next((split for split, scripts in SCRIPTS.items() if script in scripts), None)


def _outlines() -> dict[str, list[np.ndarray]]:
    """Return each letter that all styles hold, split by split: its outline in each style."""
    from matplotlib.ft2font import FT2Font

    fonts = [FT2Font(str(_font_file(style))) for style in STYLES]
    held = set[int].intersection(*(set(font.get_charmap()) for font in fonts))
    letters = [
        letter for split in SCRIPTS for letter in map(chr, sorted(held)) if _split(letter) == split
    ]
    return {letter: [_outline(font, letter) for font in fonts] for letter in letters}


def _outline(font: "FT2Font", letter: str) -> np.ndarray:
    """Return the straight pieces [S, 2 ends, 2] in pixels, y upwards, centred on their box."""
    from matplotlib.ft2font import LoadFlags

    font.load_char(ord(letter), flags=LoadFlags.NO_SCALE | LoadFlags.IGNORE_TRANSFORM)
    points, codes = font.get_path()
    lines, curves = _contours((points * UNITS).tolist(), codes.tolist())
    pieces = np.concatenate([np.array(lines).reshape(-1, 2, 2), _straightened(curves)])
    low, high = pieces.min(axis=(0, 1)), pieces.max(axis=(0, 1))
    scale = min(EM / font.units_per_EM, LARGEST / (high - low).max())
    centred: np.ndarray = (pieces - (low + high) / 2) * scale
    return centred


def _contours(points: list[list[float]], codes: list[int]) -> tuple[Points, Points]:
    """Return the lines (2 points each) and the quadratic curves (3) of a path's closed contours."""
    lines, curves = [], []
    start = here = points[0]
    steps = iter(zip(points, codes, strict=True))
    for point, code in steps:
        if code == MOVE:
            start = here = point
        elif code == CURVE:
            end, _ = next(steps)
            curves.append([here, point, end])
            here = end
        else:
            end = start if code == CLOSE else point
            lines.append([here, end])
            here = end
    return lines, curves


def _straightened(curves: Points) -> np.ndarray:
    """Cut quadratic curves into straight pieces [S, 2 ends, 2]."""
    a, b, c = np.array(curves).reshape(-1, 3, 1, 2).swapaxes(0, 1)
    t = (np.arange(PIECES + 1) / PIECES)[:, None]
    points = a * (1 - t) * (1 - t) + b * 2 * t * (1 - t) + c * t * t
    return np.stack([points[:, :-1], points[:, 1:]], axis=2).reshape(-1, 2, 2)


def _distinct(outlines: Mapping[str, list[np.ndarray]]) -> list[str]:
    """Leave out each letter that looks like an earlier one."""
    seen: defaultdict[tuple[int, bytes], list[str]] = defaultdict(list)
    distinct = []
    for letter, styles in outlines.items():
        looks = [(style, _fill(pieces).tobytes()) for style, pieces in enumerate(styles)]
        alike = Counter(earlier for look in looks for earlier in seen[look])
        if max(alike.values(), default=0) < ALIKE:
            distinct.append(letter)
        for look in looks:
            seen[look].append(letter)
    return distinct


def _images(name: str, styles: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the warped images [1, SIZE, SIZE] of a letter."""
    for style, pieces in zip(STYLES, styles, strict=True):
        for number in range(JITTERS):
            stream = np.random.Philox(key=derive("glyph", name, style, number))
            xx, xy, yx, yy, right, up = (stream.random_raw(6) >> 11) * 2.0**-52 - 1
            x, y = pieces[..., 0], pieces[..., 1]
            warped_x = x + WARP * (xx * x + xy * y) + SHIFT * right
            warped_y = y + WARP * (yx * x + yy * y) + SHIFT * up
            yield _fill(np.stack([warped_x, warped_y], axis=-1))[None]


def _fill(pieces: np.ndarray) -> np.ndarray:
    """Return the inside of an outline as uint8 [SIZE, SIZE]: non-zero winding, exact across."""
    x0, x1 = pieces[:, 0, 0] + SIZE / 2, pieces[:, 1, 0] + SIZE / 2
    y0, y1 = SIZE / 2 - pieces[:, 0, 1], SIZE / 2 - pieces[:, 1, 1]
    y_R = (np.arange(SIZE * SCANLINES) + 0.5) / SCANLINES
    below = y_R >= y0[:, None]
    piece, row = np.nonzero(below != (y_R >= y1[:, None]))
    slope = (x1[piece] - x0[piece]) / (y1[piece] - y0[piece])
    x = np.clip(x0[piece] + (y_R[row] - y0[piece]) * slope, 0, SIZE)
    left = x.astype(np.int64)
    sign = np.where(below[piece, row], 1.0, -1.0)
    change_RX = np.zeros((len(y_R), SIZE + 2))
    np.add.at(change_RX, (row, left), sign * (left + 1 - x))
    np.add.at(change_RX, (row, left + 1), sign * (x - left))
    cover = np.minimum(np.abs(np.cumsum(change_RX, axis=1)), 1)[:, :SIZE]
    lines = cover.reshape(SIZE, SCANLINES, SIZE)
    total = lines[:, 0] + lines[:, 1] + lines[:, 2] + lines[:, 3]
    return (total * (255 / SCANLINES) + 0.5).astype(np.uint8)
