"""Any images of a user's own, without classes: to pre-train on, and for nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from bench.contract import AbstractData, Examples
from bench.dataset import stamp
from bench.errors import UserError
from bench.pictures import ENDINGS, read_picture
from bench.splits import folder_at

CLASS = "images"  # the one that all of them are of


@dataclass(frozen=True, kw_only=True)
class UnlabelledFolder(AbstractData):
    """Every image below ``path``, however deep, scaled and cropped as ``image_folder`` does.

    It has no classes and no splits: it stands as ``pretrain`` in ``data: {pretrain: ..., train:
    ..., test: ...}``, with the ``size`` and ``grey`` of the sets beside it. Names of files and
    folders mean nothing; those that begin with a dot, or have no image's ending, are left out.
    """

    reference: ClassVar[str] = "arXiv:1606.04080"  # as image_folder: 84 pixels are customary since
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    unlabelled: ClassVar[bool] = True
    path: str
    size: Annotated[int, Field(ge=4, le=1024)] = 84  # pixels of a side
    grey: bool = False
    called: str | None = None  # what reports call it, in the place of unlabelled_folder

    @property
    def title(self) -> str | None:
        """What reports call it."""
        return self.called

    @property
    def augment(self) -> str:  # type: ignore[override]  # here it follows from the colours
        """The policy that suits these images."""
        return "affine" if self.grey else "crop_jitter"

    def read(self, root: Path | None) -> Examples:
        """Read every image, in any order: what is kept goes by content."""
        folder = self._folder(root)
        files = [one for one in sorted(folder.rglob("*")) if one.is_file() and _shown(one, folder)]
        images = [one for one in files if one.suffix.lower() in ENDINGS]
        if not images:
            found = f"none of {len(files)} files is an image, by its ending"
            works = f"Put images there: {', '.join(ENDINGS)}."
            raise UserError(f"data unlabelled_folder: {folder}", found, works)
        read = [
            read_picture(file, self.size, grey=self.grey, data="unlabelled_folder")
            for file in images
        ]
        left = len(files) - len(images)
        notes = (f"files without an image's ending, which are left out: {left}",) if left else ()
        return Examples(arrays={CLASS: np.stack(read)}, splits={"train": (CLASS,)}, notes=notes)

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the names, sizes and times of the files."""
        return stamp(self._folder(root))

    def _folder(self, root: Path | None) -> Path:
        return folder_at(self.path, root, "unlabelled_folder", "images")


def _shown(file: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(folder).parts)
