"""CIFAR-10: its ten classes, split for few-shot learning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.archive import Archive
from bench.contract import AbstractData, Examples

SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("automobile", "frog", "truck"),
    "val": ("bird", "ship"),
    "test": ("airplane", "cat", "deer", "dog", "horse"),
}
ARCHIVE = Archive(
    plugin="cifar10",
    reader="CIFAR10",
    folders=("cifar-10-batches-py", "cifar-10-batches-py"),
    advice="Unpack https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz to "
    "FOLDER/cifar-10-batches-py",
)


@dataclass(frozen=True, kw_only=True)
class Cifar10(AbstractData):
    """CIFAR-10 (Krizhevsky 2009): 3, 2, 5 classes of 6000 colour photographs [3, 32, 32].

    A split of ours, as none is published: five classes are for test, so that a 5-way test task
    can be filled, and classes that are easily taken for one another (automobile and truck, cat
    and dog, deer and horse) stay together. With three training classes, tasks from labels have
    three ways at most. Train and test images are put together.
    """

    reference: ClassVar[str] = "doi:10.1109/TPAMI.2008.128"  # the tiny images it is drawn from;
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    # Krizhevsky (2009), "Learning multiple layers of features", has no identifier
    augment: ClassVar[str] = "crop_jitter"
    digest: ClassVar[str | None] = (
        "b2a30ef3392ad6ae84c0ef1603902d38afe42e57e1fbbdfcade2cfc9c82eaa23"
    )
    download: bool = False  # where it is missing, let torchvision fetch it below the root folder

    def read(self, root: Path | None) -> Examples:
        """Read all 60,000 images."""
        place = ARCHIVE.find(root, download=self.download)
        return Examples(arrays=ARCHIVE.read(place), splits=SPLITS)

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the names, sizes and times of the files."""
        return ARCHIVE.fingerprint(root, download=self.download)
