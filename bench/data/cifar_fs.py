"""CIFAR-FS: CIFAR-100 with its hundred classes split for few-shot learning.

Two routes lead to one order and one digest: CIFAR-FS's class folders, and the CIFAR-100 that
torchvision reads, its train and test images put together.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.archive import Archive
from bench.contract import AbstractData, Examples
from bench.dataset import stamp
from bench.errors import UserError

# The lists of Bertinetto et al. 2019, as they released them.
_TRAIN = (
    "apple aquarium_fish bear bee bottle bowl boy bridge bus can castle caterpillar chair clock"
    " cloud cockroach couch cup dinosaur dolphin elephant forest girl hamster house kangaroo"
    " keyboard lawn_mower lion lizard lobster mountain mouse mushroom oak_tree orange orchid"
    " palm_tree pear pine_tree plate porcupine possum rabbit raccoon ray road seal shrew skunk"
    " skyscraper snake spider squirrel streetcar sunflower tank tiger train trout tulip turtle"
    " willow_tree wolf"
)
_VAL = (
    "beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle"
    " otter sea shark television tractor"
)
_TEST = (
    "baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail"
    " sweet_pepper table telephone wardrobe whale woman worm"
)
SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": tuple(_TRAIN.split()),
    "val": tuple(_VAL.split()),
    "test": tuple(_TEST.split()),
}
CLASSES = sorted(name for names in SPLITS.values() for name in names)
FOLDERS, PICKLED = "cifar-fs", "cifar-100-python"
ARCHIVE = Archive(
    plugin="cifar_fs",
    reader="CIFAR100",
    folders=(PICKLED, PICKLED),
    advice=f"Unpack https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz to FOLDER/{PICKLED}, "
    f"or CIFAR-FS to FOLDER/{FOLDERS}/data/<class>/*.png",
)


@dataclass(frozen=True, kw_only=True)
class CifarFs(AbstractData):
    """CIFAR-FS (Bertinetto et al. 2019): 64, 16, 20 classes of 600 colour photographs [3, 32, 32].

    Below the root folder it is found in ``cifar-fs/data/<class>/*.png``, else in
    ``cifar-100-python``. ``download``: where neither is there, torchvision fetches CIFAR-100 into
    the root folder (without one, into bench's cache).

    CIFAR-100 holds some photographs twice, under two labels: 7 images of test stand in train (6:
    girl and baby, snake and worm) or val (shark and whale), and 8 of val in train (seal and otter,
    spider and crab). They are left where every published result had them.
    """

    reference: ClassVar[str] = "arXiv:1805.08136"
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    augment: ClassVar[str] = "crop_jitter"
    digest: ClassVar[str | None] = (
        "66dc3f2376201982907b4992eee97082ad834f0d1d863c186b9b93aa586de0f8"
    )
    known_duplicates: ClassVar[tuple[str, ...]] = (
        "25a59f86fbfcf1277d50f2ebb265e82427f5f56be56a579af07abbacd8666e44",
        "2d1a344a051300acc2295413f0f1b150bcf954a0d11c79266ed24866292d4d0b",
        "34125e7df2c3a1daf0821dd42c715cacec82a84aa7ca76233ad1790481994a3e",
        "458e2dafda4e21af30313084834d6411f493cefe2b7eb08e1fd2757e9708e947",
        "5b13b43cb5d6af30cb5672a7342128ed7c5b33ba710b7ef2077832a901fa37d1",
        "5c748fe01e38f2a35e61774e98984630b94b7c8965e4d71fa8bb24bcd4276f03",
        "5e71ed1c700600ffb7db1f3a32fb9efdf06820d6aa79a144da2089a4e3cbead4",
        "7d793f6267f2db2cec010a4ca793e5c746d3b0e10271303c005197114360197f",
        "7f64602648e55637de4d49877e81787b54e0e36cc8e5d31833da872126ac956d",
        "ba03336c29af8033f7cdf4bac6e37a862fb7411be7e9c9d75ae266eb85667be9",
        "ba33309444adb65cb12924beb88ea63528bd5d790605f89dcf64505d0f32678f",
        "c4f28552112be223ba27c0f2790d67f2d8fb05d71ef4aa9e4a4b5f31308bafc3",
        "cb302247a2a45db02500187dc4e28c9810bde8543e18aa908c53af62cafb9e90",
        "d8220e65e29f14bac13f007a365c81585b044fc007935ee48ff9ba15c3e462e2",
        "eb4cfe6a588f893a8bb324b72dba4535eb2e4236cd1a8d4cad4b19ad19a94720",
    )
    examples_per_class: ClassVar[int] = 600
    download: bool = False

    def read(self, root: Path | None) -> Examples:
        """Read all 60,000 images, in whichever layout is there."""
        folder = self._find(root)
        arrays = _from_folders(folder) if folder.name == FOLDERS else ARCHIVE.read(folder.parent)
        for name, array in arrays.items():
            if len(array) != self.examples_per_class:
                raise UserError(
                    f"data cifar_fs: {folder}",
                    f"class {name} has {len(array)} images, expected {self.examples_per_class}",
                    "CIFAR-FS takes the train and the test images of CIFAR-100: fetch it anew.",
                )
        return Examples(arrays=arrays, splits=SPLITS)

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the names, sizes and times of the files."""
        return stamp(self._find(root))

    def _find(self, root: Path | None) -> Path:
        """Return the folder of the set in either layout, fetched now when that is asked for."""
        place = ARCHIVE.place(root, download=self.download)
        if place and (place / FOLDERS / "data").is_dir():
            return place / FOLDERS
        return ARCHIVE.find(root, download=self.download) / PICKLED


def _from_folders(folder: Path) -> Mapping[str, np.ndarray]:
    """Read one PNG an image."""
    _check_lists(folder / "splits" / "bertinetto")
    found = {one.name for one in (folder / "data").glob("[!.]*") if one.is_dir()}
    for name in sorted(found ^ set(CLASSES)):
        raise UserError(
            f"data cifar_fs: {folder / 'data'}",
            f"there is {'a' if name in found else 'no'} folder {name!r}",
            f"CIFAR-FS has the {len(CLASSES)} classes of CIFAR-100, a folder each.",
        )
    with ThreadPoolExecutor() as pool:
        arrays = pool.map(_read_class, [folder / "data" / name for name in CLASSES])
        return dict(zip(CLASSES, arrays, strict=True))


def _read_class(folder: Path) -> np.ndarray:
    files = sorted(folder.glob("[!.]*.png"))
    images = np.empty((len(files), 3, 32, 32), np.uint8)
    for place, file in enumerate(files):
        images[place] = _read_image(file)
    return images


def _read_image(file: Path) -> np.ndarray:
    """Return one image [3, 32, 32]."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        found = f"it cannot be read as an image ({error})"
        raise UserError(f"data cifar_fs: {file}", found, "Fetch it anew.") from error
    if pixels.shape != (32, 32, 3):
        found = f"it is {pixels.shape[1]} x {pixels.shape[0]} pixels"
        raise UserError(f"data cifar_fs: {file}", found, "CIFAR-100 has 32 x 32.")
    return pixels.transpose(2, 0, 1)


def _check_lists(folder: Path) -> None:
    """Refuse split files that disagree with the split as it was released."""
    for split, names in SPLITS.items():
        file = folder / f"{split}.txt"
        other = set(file.read_text().split()) ^ set(names) if file.is_file() else set()
        if other:
            raise UserError(
                f"data cifar_fs: {file}",
                f"classes that differ from CIFAR-FS's {split} split: {', '.join(sorted(other))}",
                "Put the released file back, or use data: image_folder for a split of your own.",
            )
