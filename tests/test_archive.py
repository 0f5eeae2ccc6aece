"""Sets that torchvision reads, CIFAR-10 and Fashion-MNIST: both halves, splits of ours, errors."""

import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contract import AbstractData
from bench.data import cifar10, fashion_mnist
from bench.data.cifar10 import Cifar10
from bench.data.fashion_mnist import FashionMnist
from bench.dataset import cache_folder, facts, open_dataset
from bench.errors import UserError

CIFAR_CLASSES = [
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
]
FASHION_CLASSES = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]
LABELS = np.arange(60) * 7 % 10  # of the images in the order of the files: six of each class


def pixels(*shape: int) -> np.ndarray:
    """Return 60 random images of a shape."""
    return np.random.default_rng(0).integers(0, 256, (60, *shape), np.uint8)


def write_cifar(root: Path) -> np.ndarray:
    """Write 60 images as CIFAR-10's six batches; return them, [60, 3, 32, 32]."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    images = pixels(3, 32, 32)
    files = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for place, file in enumerate(files):
        part = slice(10 * place, 10 * place + 10)
        batch = {"data": images[part].reshape(10, -1), "labels": LABELS[part].tolist()}
        (folder / file).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CIFAR_CLASSES}))
    return images


def write_fashion(root: Path) -> np.ndarray:
    """Write 60 images as Fashion-MNIST's four files; return them, [60, 1, 28, 28]."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    images = pixels(1, 28, 28)
    for name, part in (("train", slice(0, 50)), ("t10k", slice(50, 60))):
        head = struct.pack(">4i", 0x803, len(images[part]), 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(head + images[part].tobytes())
        head = struct.pack(">2i", 0x801, len(images[part]))
        labels = LABELS[part].astype(np.uint8).tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(head + labels)
    return images


@dataclass(frozen=True, kw_only=True)
class Case:
    """A set, and how a small one of its kind is written."""

    name: str
    cls: type[Cifar10] | type[FashionMnist]
    write: Callable[[Path], np.ndarray]
    folder: str
    downloader: str  # torchvision's method that fetches it
    examples: int  # a class of the real set
    classes: list[str]  # in torchvision's order
    splits: Mapping[str, tuple[str, ...]]


CASES = (
    Case(
        name="cifar10",
        cls=Cifar10,
        write=write_cifar,
        folder="cifar-10-batches-py",
        downloader="torchvision.datasets.CIFAR10.download",
        examples=6000,
        classes=CIFAR_CLASSES,
        splits=cifar10.SPLITS,
    ),
    Case(
        name="fashion_mnist",
        cls=FashionMnist,
        write=write_fashion,
        folder="FashionMNIST/raw",
        downloader="torchvision.datasets.FashionMNIST.download",
        examples=7000,
        classes=FASHION_CLASSES,
        splits=fashion_mnist.SPLITS,
    ),
)
each_set = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def without_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision take small archives, and our sources any digest."""
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for case in CASES:
        monkeypatch.setattr(case.cls, "digest", None)


@each_set
@pytest.mark.usefixtures("without_sums")
def test_both_halves_make_one_set(case: Case, tmp_path: Path) -> None:
    """Train and test images are put together, channels first, each in the class of its label."""
    images = case.write(tmp_path)
    arrays = case.cls().read(tmp_path).arrays
    assert set(arrays) == set(case.classes)
    for number, name in enumerate(case.classes):
        assert np.array_equal(arrays[name], images[number == LABELS])


@each_set
@pytest.mark.usefixtures("without_sums")
def test_a_split_of_ours_leaves_five_classes_for_test(case: Case, tmp_path: Path) -> None:
    """Three of torchvision's classes are train, two val, five test: enough for a 5-way task."""
    case.write(tmp_path)
    known = facts(open_dataset(case.cls(), case.name, tmp_path))
    assert known.counts == {"train": (6,) * 3, "val": (6,) * 2, "test": (6,) * 5}


LOOK_ALIKES = [
    *({"automobile", "truck"}, {"cat", "dog"}, {"deer", "horse"}),
    *({"Sandal", "Sneaker", "Ankle boot"}, {"Coat", "Pullover", "Shirt", "T-shirt/top", "Dress"}),
]


def test_look_alikes_are_in_one_split() -> None:
    """No class that is easily taken for another is in another split than that one."""
    parts = [set(names) for case in CASES for names in case.splits.values()]
    assert [sum(alike <= part for part in parts) for alike in LOOK_ALIKES] == [1] * 5


@each_set
@pytest.mark.parametrize("root", [None, Path("nowhere")], ids=["no root", "empty root"])
def test_a_missing_set_says_what_to_fetch(case: Case, root: Path | None) -> None:
    """Without the set, reading and fingerprint are one error: what to fetch, where to put it."""
    source: AbstractData = case.cls()
    for ask in (source.read, source.fingerprint):
        with pytest.raises(UserError, match=f"https.* to FOLDER/{case.folder}, and give --data"):
            ask(root)


def test_an_archive_with_other_sums_is_refused(tmp_path: Path) -> None:
    """CIFAR-10 that torchvision's checksums do not know is an error that says what to fetch."""
    write_cifar(tmp_path)
    with pytest.raises(UserError, match=rf"refuses it .* Delete it\. Unpack .* to {tmp_path}/cif"):
        Cifar10().read(tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 15, 1000])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    """Fashion-MNIST's files, which torchvision has no sums for, are refused where they are cut."""
    write_fashion(tmp_path)
    file = tmp_path / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"raw: torchvision refuses it .* Delete it"):
        FashionMnist().read(tmp_path)


@each_set
@pytest.mark.usefixtures("without_sums")
def test_download_fetches_where_it_is_missing(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With download the set is fetched once: to the root folder, or else to bench's cache."""
    asked: list[Path] = []

    def fetch(self: object) -> None:
        asked.append(Path(str(getattr(self, "root", ""))))
        asked[-1].mkdir(parents=True, exist_ok=True)
        case.write(asked[-1])

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(case.downloader, fetch, raising=True)
    source = case.cls(download=True)
    for root in (tmp_path, None):
        assert source.fingerprint(root) == source.fingerprint(root)
        assert len(source.read(root).arrays) == 10
    assert asked == [tmp_path, cache_folder() / "downloads"]


@each_set
def test_a_download_that_fails_is_told(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network, one error says how to get the set by hand."""

    def fetch(self: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(case.downloader, fetch)
    with pytest.raises(UserError, match=r"could not fetch it \(Network is .* Unpack "):
        case.cls(download=True).fingerprint(tmp_path)


@each_set
def test_a_real_set_is_the_pinned_one(case: Case, real_data: Path) -> None:
    """The real set has the pinned digest, and all its images in each class."""
    if not (real_data / case.folder).is_dir():
        pytest.skip(f"{case.folder} is not in BENCH_DATA")
    known = facts(open_dataset(case.cls(), case.name, real_data))
    assert known.digest == case.cls().digest is not None
    assert set().union(*known.counts.values()) == {case.examples}


@pytest.mark.usefixtures("without_sums")
def test_clothing_takes_the_form_of_another_set(tmp_path: Path) -> None:
    """Scaled by Pillow's bilinear filter and repeated; as published only where neither is asked."""
    images = write_fashion(tmp_path)
    source = FashionMnist(size=32, channels=3)

    read = source.read(tmp_path).arrays
    plain = FashionMnist().read(tmp_path).arrays

    name = FASHION_CLASSES[LABELS[0]]
    scaled = Image.fromarray(images[0, 0]).resize((32, 32), Image.Resampling.BILINEAR)
    assert read[name].shape[1:] == (3, 32, 32)
    assert all(np.array_equal(channel, np.asarray(scaled)) for channel in read[name][0])
    assert np.array_equal(plain[name][0], images[0])


def test_the_digest_of_clothing_is_known_as_published_alone() -> None:
    """In another form it is another set, whose digest nobody has pinned."""
    assert FashionMnist(size=28, channels=1).digest == FashionMnist().digest is not None
    assert FashionMnist(size=32).digest is None
    assert FashionMnist(channels=3).digest is None
