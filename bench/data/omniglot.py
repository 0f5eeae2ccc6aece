"""Omniglot: 1623 handwritten characters of 50 alphabets, twenty drawings of each.

Characters are split as by Vinyals et al. (2016), arXiv:1606.04080: 1028 train, 172 val, 423 test.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from bench.archive import Archive
from bench.contract import AbstractData, Examples
from bench.dataset import SPLITS
from bench.errors import UserError

ARCHIVE = Archive(
    plugin="omniglot",
    reader="Omniglot",
    folders=("omniglot-py/images_background", "omniglot-py/images_evaluation"),
    switch="background",
    advice="Unpack images_background.zip and images_evaluation.zip of "
    "https://github.com/brendenlake/omniglot/tree/master/python to FOLDER/omniglot-py",
)
DRAWN = 105  # pixels of a side, as they were drawn
SIZE = 28  # pixels of a side, as in Vinyals et al. 2016 and since
TURNS = 4  # the drawing as it is, and after one, two and three quarter turns
Turned = Literal["train", "all", "none"]


@dataclass(frozen=True, kw_only=True)
class Omniglot(AbstractData):
    """Omniglot (Lake et al. 2015) in Vinyals' split: ink 255 on 0, [1, 28, 28], 20 a class.

    ``rotations``: where quarter turns of a character are further classes, named
    ``Alphabet/characterNN/rot090`` and so on: ``train`` alone; ``all`` three splits, the protocol
    of Snell et al. (2017) and most published numbers; ``none``. Under ``all`` a test task may
    hold a character and its turn, so its numbers are not those of the other two.
    Lanczos is the filter that Finn et al. (2017) name. Pillow takes the nearest pixel instead
    where an image has one bit, as here: strokes break. So drawings get 8 bits before they shrink.
    Below the root folder: ``omniglot-py/images_background`` and ``images_evaluation``, folders
    of alphabets.
    """

    reference: ClassVar[str] = "doi:10.1126/science.aab3050"
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    augment: ClassVar[str] = "affine"
    digests: ClassVar[Mapping[Turned, str | None]] = {
        "train": "16572d8a0d9d70d6b9e3c1cb3f03c9358c129b140df43ba221033aaf36c851cc",
        "all": "308cb1bb1084748ec916a91ec92b1a0647da7d36929015df48169f0066dc1b9b",
        "none": "463b58f5c9b731e8d5d422ee6ebec94ebeaa11f396f25d49f707120f30f330e0",
    }
    drawings: ClassVar[int] = 20  # of a character
    rotations: Turned = "train"  # where quarter turns are further classes
    download: bool = False  # where the drawings are missing, let torchvision fetch them

    @property
    def digest(self) -> str | None:  # type: ignore[override]  # here it follows from the rotations
        """What the whole set must hash to."""
        return self.digests[self.rotations]

    def read(self, root: Path | None) -> Examples:
        """Read every drawing, shrink it, and add the turned classes."""
        folders = _characters(ARCHIVE.find(root, download=self.download))
        with ThreadPoolExecutor() as pool:
            images = pool.map(self._read_character, folders.values())
            upright = dict(zip(folders, images, strict=True))
        arrays: dict[str, np.ndarray] = {}
        splits = {}
        for split, names in vinyals_split().items():
            turned = self.rotations == "all" or self.rotations == split
            classes = {
                key: array
                for name in names
                for key, array in _turns(name, upright[name], TURNS if turned else 1)
            }
            splits[split] = tuple(classes)
            arrays |= classes
        return Examples(arrays=arrays, splits=splits)

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the names, sizes and times of the drawings."""
        return ARCHIVE.fingerprint(root, download=self.download)

    def _read_character(self, folder: Path) -> np.ndarray:
        files = sorted(folder.glob("[!.]*.png"))
        if len(files) != self.drawings:
            raise UserError(
                f"data omniglot: {folder}",
                f"there are {len(files)} drawings, expected {self.drawings}",
                "Unpack it anew.",
            )
        return np.stack([_read_drawing(file) for file in files])


def vinyals_split() -> dict[str, tuple[str, ...]]:
    """Return the characters of train, val and test, from lines ``split alphabet first-last``."""
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    text = Path(__file__).with_name("omniglot_vinyals.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        split, alphabet, span = line.split()
        first, last = map(int, span.split("-"))
        lists[split] += [f"{alphabet}/character{n:02d}" for n in range(first, last + 1)]
    return {split: tuple(names) for split, names in lists.items()}


def _characters(folder: Path) -> dict[str, Path]:
    """Return the folder of each character by ``Alphabet/characterNN``."""
    found = {
        f"{one.parent.name}/{one.name}": one
        for half in ARCHIVE.folders
        for one in sorted((folder / half).glob("[!.]*/[!.]*"))
        if one.is_dir()
    }
    known = {name for names in vinyals_split().values() for name in names}
    for name in sorted(set(found) ^ known):
        raise UserError(
            f"data omniglot: {folder}",
            f"there is {'a' if name in found else 'no'} folder {name!r}",
            f"Omniglot has {len(known)} characters, a folder each: unpack it anew.",
        )
    return found


def _read_drawing(file: Path) -> np.ndarray:
    """Return one drawing [1, SIZE, SIZE]: ink 255 on 0."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            drawing = ImageOps.invert(opened.convert("L"))
    except (OSError, SyntaxError) as error:
        found = f"it cannot be read as an image ({error})"
        raise UserError(f"data omniglot: {file}", found, "Fetch it anew.") from error
    if drawing.size != (DRAWN, DRAWN):
        found = f"it is {drawing.width} x {drawing.height} pixels"
        raise UserError(f"data omniglot: {file}", found, f"Omniglot has {DRAWN} x {DRAWN}.")
    return np.asarray(drawing.resize((SIZE, SIZE), Image.Resampling.LANCZOS))[None]


def _turns(name: str, images: np.ndarray, turns: int) -> list[tuple[str, np.ndarray]]:
    """Return a character's class and those of its quarter turns, counter-clockwise."""
    return [
        (f"{name}/rot{90 * turn:03d}" if turn else name, np.rot90(images, turn, (2, 3)))
        for turn in range(turns)
    ]
