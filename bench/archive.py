"""Sets that torchvision downloads and reads: where they lie, how they are fetched and read.

A set comes in two halves, for torchvision's users train and test. Here both are put together:
what few-shot learning splits is the classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from bench.dataset import cache_folder, stamp
from bench.errors import UserError

# What torchvision raises on files that are missing, damaged, or not to be had.
REFUSALS = (RuntimeError, OSError, ValueError, TypeError, AssertionError)


class _Half(Protocol):
    """What torchvision makes of one half: images [N, H, W] or [N, H, W, C], their classes."""

    data: ArrayLike
    targets: ArrayLike
    classes: list[str]


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A set of torchvision, by the name of its class there, and the folders it reads."""

    plugin: str  # the name in a suite
    reader: str  # the class in torchvision.datasets
    folders: tuple[str, str]  # of the two halves, below the root folder
    switch: str = "train"  # the argument that picks a half: the first where it is True
    advice: str  # how to get it by hand: "Unpack ADDRESS to FOLDER/..."

    def place(self, root: Path | None, *, download: bool) -> Path | None:
        """Return where the folders belong: the root, else bench's cache if it is to download."""
        return root or (cache_folder() / "downloads" if download else None)

    def find(self, root: Path | None, *, download: bool) -> Path:
        """Return the folder that holds both halves, fetched now where that is asked for.

        Raises:
            UserError: they are not there, or could not be fetched; says what to do.
        """
        place = self.place(root, download=download)
        if place and download:
            self._fetch(place)
        missing = [one for one in self.folders if not (place and (place / one).is_dir())]
        if place and not missing:
            return place
        raise UserError(
            f"data {self.plugin}",
            f"{missing[0]} is not in {place}" if place else "no root folder is set",
            f"{self.advice}, and give --data FOLDER or set BENCH_DATA=FOLDER; or write "
            f"data: {{name: {self.plugin}, download: true}}.",
        )

    def fingerprint(self, root: Path | None, *, download: bool) -> str:
        """Return the hash of the names, sizes and times of the files."""
        place = self.find(root, download=download)
        return "-".join(stamp(place / one) for one in dict.fromkeys(self.folders))

    def read(self, place: Path) -> Mapping[str, np.ndarray]:
        """Return both halves together, uint8 [examples, C, H, W] by class.

        Raises:
            UserError: torchvision, which checks sums where it has them, refuses the files.
        """
        try:
            halves = [self._open(place, first) for first in (True, False)]
        except REFUSALS as error:
            where = f"data {self.plugin}: {place / self.folders[0]}"
            found = f"torchvision refuses it ({error})"
            raise UserError(where, found, f"Delete it. {self._again(place)}") from error
        images = np.concatenate([np.asarray(half.data) for half in halves])
        labels = np.concatenate([np.asarray(half.targets) for half in halves])
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        return {name: images[labels == number] for number, name in enumerate(halves[0].classes)}

    def _fetch(self, place: Path) -> None:
        """Let torchvision fetch the halves whose folders are not there."""
        try:
            for first, folder in zip((True, False), self.folders, strict=True):
                if not (place / folder).is_dir():
                    self._open(place, first, download=True)
        except REFUSALS as error:
            found = f"torchvision could not fetch it ({error})"
            raise UserError(f"data {self.plugin}", found, self._again(place)) from error

    def _open(self, place: Path, first: bool, **options: bool) -> _Half:
        from torchvision import datasets

        half: _Half = getattr(datasets, self.reader)(place, **{self.switch: first}, **options)
        return half

    def _again(self, place: Path) -> str:
        return self.advice.replace("FOLDER", str(place)) + "."
