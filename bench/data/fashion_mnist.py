"""Fashion-MNIST: its ten classes of clothing, split for few-shot learning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from bench.archive import Archive
from bench.contract import AbstractData, Examples

SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("Ankle boot", "Sandal", "Sneaker"),
    "val": ("Bag", "Trouser"),
    "test": ("Coat", "Dress", "Pullover", "Shirt", "T-shirt/top"),
}
SIZE = 28  # pixels of a side
DIGEST = "44f6a158aceb36ca154434372466e27ed64456e399c2e377bb1d4acc843cdb9b"
ARCHIVE = Archive(
    plugin="fashion_mnist",
    reader="FashionMNIST",
    folders=("FashionMNIST/raw", "FashionMNIST/raw"),
    advice="Unpack (gunzip) the four files of "
    "https://github.com/zalandoresearch/fashion-mnist/tree/master/data/fashion to "
    "FOLDER/FashionMNIST/raw",
)


@dataclass(frozen=True, kw_only=True)
class FashionMnist(AbstractData):
    """Fashion-MNIST (Xiao et al. 2017): 3, 2, 5 classes of 7000 grey photographs [1, 28, 28].

    A split of ours, as none is published: five classes are for test, so that a 5-way test task
    can be filled, and classes that are easily taken for one another stay together: shoes are
    train, what covers the trunk is test, which makes test hard. With three training classes,
    tasks from labels have three ways at most. Train and test images are put together.
    ``size`` and ``channels`` bring it to the form of another set, such as that of cifar_fs: scaled
    by Pillow (bilinear), and the grey values repeated.
    """

    reference: ClassVar[str] = "arXiv:1708.07747"
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    augment: ClassVar[str] = "affine"
    added: ClassVar[Mapping[str, object]] = {"size": SIZE, "channels": 1}
    size: Annotated[int, Field(ge=4, le=1024)] = SIZE  # pixels of a side, as it was published
    channels: Literal[1, 3] = 1
    download: bool = False  # where it is missing, let torchvision fetch it below the root folder

    @property
    def digest(self) -> str | None:  # type: ignore[override]  # known of the set as published alone
        """What the whole set must hash to."""
        return DIGEST if (self.size, self.channels) == (SIZE, 1) else None

    def read(self, root: Path | None) -> Examples:
        """Read all 70,000 images."""
        place = ARCHIVE.find(root, download=self.download)
        read = {name: self._formed(images) for name, images in ARCHIVE.read(place).items()}
        return Examples(arrays=read, splits=SPLITS)

    def _formed(self, images: np.ndarray) -> np.ndarray:
        """Scale and repeat images [N, 1, 28, 28] to [N, channels, size, size]."""
        from PIL import Image

        if self.size != SIZE:
            scaled = [
                Image.fromarray(one).resize((self.size, self.size), Image.Resampling.BILINEAR)
                for one in images[:, 0]
            ]
            images = np.stack([np.asarray(one) for one in scaled])[:, None]
        return images.repeat(self.channels, axis=1)

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the names, sizes and times of the files."""
        return ARCHIVE.fingerprint(root, download=self.download)
