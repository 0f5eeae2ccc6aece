"""A user's own classes: a folder of images for each, the split given or derived by hash."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from bench.contract import AbstractData, Examples
from bench.dataset import SPLITS, stamp
from bench.errors import UserError
from bench.pictures import read_picture
from bench.splits import by_hash, folder_at, listed


@dataclass(frozen=True, kw_only=True)
class ImageFolder(AbstractData):
    """Images in ``path/<class>/*``, scaled (bilinear) and cropped around the centre to a square.

    The split: ``splits`` is a folder with train.txt, val.txt and test.txt (a class a line); else
    ``path`` holds train, val and test, and the classes in them; else classes are sorted by the
    hash of their names, and the first 16 % (at least one) are val, the next 20 % test, the rest
    train: a class that is added moves at most the classes at the two borders.
    Relative paths start from the root folder where one is set, else from the working folder.
    The customary 84 pixels are those of Vinyals et al. 2016. Readers of JPEG differ in their last
    bits, so another machine may give another digest; PNG gives one everywhere. Several folders in
    one suite are told apart by what they are ``called``.
    """

    reference: ClassVar[str] = "arXiv:1606.04080"
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    added: ClassVar[Mapping[str, object]] = {"called": None}
    path: str
    size: Annotated[int, Field(ge=4, le=1024)] = 84  # pixels of a side
    grey: bool = False
    splits: str | None = None
    called: str | None = None  # what reports call it, in the place of image_folder

    @property
    def title(self) -> str | None:
        """What reports call it."""
        return self.called

    @property
    def augment(self) -> str:  # type: ignore[override]  # here it follows from the colours
        """The policy that suits these images."""
        return "affine" if self.grey else "crop_jitter"

    def read(self, root: Path | None) -> Examples:
        """Read every image of every class."""
        folders, splits = self._layout(root)
        arrays = {name: self._read_class(folder) for name, folder in folders.items()}
        return Examples(arrays=arrays, splits=splits)

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the names, sizes and times of the files."""
        folders = [folder_at(self.path, root, "image_folder")]
        if self.splits is not None:
            folders.append(folder_at(self.splits, root, "image_folder"))
        return "-".join(stamp(folder) for folder in folders)

    def _layout(self, root: Path | None) -> tuple[dict[str, Path], dict[str, tuple[str, ...]]]:
        """Return the folder of each class, and which split it is in."""
        path = folder_at(self.path, root, "image_folder")
        folders = _folders(path)
        if self.splits is None and set(SPLITS) & set(folders):
            return _split_folders(path, folders)
        if len(folders) < 3:
            raise UserError(
                f"data image_folder: {path}",
                f"{len(folders)} classes (a folder each)",
                "At least three are needed, one for each of train, val and test.",
            )
        if self.splits is None:
            return folders, by_hash(folders)
        splits = listed(folders, folder_at(self.splits, root, "image_folder"), "image_folder")
        return {name: folders[name] for names in splits.values() for name in names}, splits

    def _read_class(self, folder: Path) -> np.ndarray:
        files = sorted(one for one in folder.glob("[!.]*") if one.is_file())
        if not files:
            works = "Put its images there, or remove the folder."
            raise UserError(f"data image_folder: {folder}", "a class with no image", works)
        return np.stack(
            [read_picture(file, self.size, grey=self.grey, data="image_folder") for file in files]
        )


def _folders(path: Path) -> dict[str, Path]:
    return {one.name: one for one in sorted(path.glob("[!.]*")) if one.is_dir()}


def _split_folders(
    path: Path, folders: Mapping[str, Path]
) -> tuple[dict[str, Path], dict[str, tuple[str, ...]]]:
    """Return the classes below train, val and test."""
    if set(folders) != set(SPLITS):
        found = f"the folders {', '.join(folders)}"
        works = "Have train, val and test and no other, or none of the three."
        raise UserError(f"data image_folder: {path}", found, works)
    classes: dict[str, Path] = {}
    splits = {}
    for split in SPLITS:
        inside = _folders(folders[split])
        for name in sorted(set(inside) & set(classes)):
            found = f"class {name!r} is also in {classes[name].parent.name}"
            raise UserError(
                f"data image_folder: {folders[split]}", found, "A class is in one split."
            )
        classes |= inside
        splits[split] = tuple(inside)
    return classes, splits
