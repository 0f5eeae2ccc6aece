"""The data sources: glyphs and CIFAR-FS by two routes."""

import hashlib
import pickle
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import glyphs as rendering
from bench.data.cifar_fs import CLASSES, SPLITS, CifarFs
from bench.data.glyphs import Glyphs
from bench.dataset import Dataset, facts, open_dataset
from bench.errors import UserError


def write_class(folder: Path, *, count: int = 2, seed: int = 0) -> np.ndarray:
    """Write a class of random 32 x 32 images and return them, [count, 3, 32, 32]."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{number}.png")
    return pixels.transpose(0, 3, 1, 2)


# --- glyphs ---------------------------------------------------------------------------------


def test_glyphs_are_the_pinned_set(glyphs: Dataset) -> None:
    """537 characters of 24 images of 28 x 28, with the pinned digest."""
    known = facts(glyphs)
    assert known.digest == Glyphs.digest
    assert known.form.shape == (1, 28, 28)
    assert {split: (len(n), set(n)) for split, n in known.counts.items()} == {
        "train": (344, {24}),
        "val": (83, {24}),
        "test": (110, {24}),
    }


def test_every_glyph_shows_something(glyphs: Dataset) -> None:
    """No image is blank or full, and each has ink at full strength on black."""
    ink = (glyphs.examples > 127).mean(axis=(1, 2, 3))
    assert ink.min() > 0.005
    assert ink.max() < 0.5
    assert glyphs.examples.max(axis=(1, 2, 3)).min() >= 250


def test_glyphs_of_a_class_differ(glyphs: Dataset) -> None:
    """Styles and warps make 24 different images of each character."""
    for images in np.split(glyphs.examples, len(glyphs.classes)):
        assert len({image.tobytes() for image in images}) == 24


def test_look_alikes_are_one_class_of_one_split(glyphs: Dataset) -> None:
    """Greek and Cyrillic letters that look Latin, and Armenian ones too, are left out."""
    assert "LATIN CAPITAL LETTER A" in glyphs.splits["train"]
    assert "CYRILLIC CAPITAL LETTER ZHE" in glyphs.splits["val"]
    absent = "\u0391\u0410\u041e\u043e\u0430\u0395\u0425\u0405\u0585\u0555\u054d"
    assert not {unicodedata.name(letter) for letter in absent} & set(glyphs.classes)
    assert not any(" WITH ACUTE" in name for name in glyphs.classes)


def test_a_square_is_filled_exactly() -> None:
    """Coverage of edges within a pixel is exact across, and in quarters along."""
    corners = np.array([[-4.25, -3.5], [-4.25, 3.5], [4.25, 3.5], [4.25, -3.5]])
    image = rendering._fill(np.stack([corners, np.roll(corners, -1, axis=0)], axis=1))
    column = np.r_[np.zeros(9), 0.25, np.ones(8), 0.25, np.zeros(9)]
    row = np.r_[np.zeros(10), 0.5, np.ones(6), 0.5, np.zeros(10)]
    assert image.tolist() == np.floor(np.outer(row, column) * 255 + 0.5).tolist()


def test_a_hole_is_left_empty_and_an_overlap_is_not() -> None:
    """A contour within another is a hole when it runs the other way, else it changes nothing."""
    big = np.array([[-6.0, -6.0], [-6.0, 6.0], [6.0, 6.0], [6.0, -6.0]])

    def sides(corners: np.ndarray) -> np.ndarray:
        return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)

    whole = rendering._fill(sides(big))
    same = rendering._fill(np.concatenate([sides(big), sides(big / 2)]))
    hole = rendering._fill(np.concatenate([sides(big), sides(big[::-1] / 2)]))
    assert np.array_equal(same, whole)
    assert whole.sum() - hole.sum() == 6 * 6 * 255


def test_fonts_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without matplotlib's fonts the error says which file, and what to install."""
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"DejaVuSans\.ttf: .* Install matplotlib"):
        Glyphs().fingerprint(None)


# --- cifar_fs -------------------------------------------------------------------------------


def test_cifar_lists_are_the_released_ones() -> None:
    """The class lists have the sums of Bertinetto's files."""
    sums = {
        split: hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
        for split, names in SPLITS.items()
    }
    assert sums == {
        "train": "e40c037757741c61e50829c14d921fd10476dfc74ca34da755afdcf05e75b9c1",
        "val": "e02b317c48c94270f9d5385a65f92a748210ed6c14138a0d3ac79a5fdc571f07",
        "test": "2a35675fcdddfebb30b999bbeda046762a08705273587d19c96d3c3ab9dd8142",
    }


@pytest.fixture
def small_cifar(monkeypatch: pytest.MonkeyPatch) -> CifarFs:
    """Return CIFAR-FS as if it had three images a class and were not pinned."""
    monkeypatch.setattr(CifarFs, "examples_per_class", 3)
    monkeypatch.setattr(CifarFs, "digest", None)
    return CifarFs()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Write a small set in the layout of CIFAR-FS; return the root folder."""
    for place, name in enumerate(CLASSES):
        write_class(tmp_path / "cifar-fs" / "data" / name, count=3, seed=place)
    lists = tmp_path / "cifar-fs" / "splits" / "bertinetto"
    lists.mkdir(parents=True)
    for split, names in SPLITS.items():
        (lists / f"{split}.txt").write_text("\n".join(reversed(names)))
    return tmp_path


def write_archive(root: Path) -> None:
    """Write the same small set as torchvision's CIFAR-100: two images of a class are train."""
    folder = root / "cifar-100-python"
    folder.mkdir()
    for half, part in (("train", slice(1, 3)), ("test", slice(0, 1))):
        data, labels = [], []
        for place in np.random.default_rng(1).permutation(len(CLASSES)):
            pixels = np.random.default_rng(int(place)).integers(0, 256, (3, 32, 32, 3), np.uint8)
            chosen = pixels.transpose(0, 3, 1, 2)[part][::-1]
            data.append(chosen.reshape(len(chosen), -1))
            labels += [int(place)] * len(chosen)
        content = {"data": np.concatenate(data), "fine_labels": labels}
        (folder / half).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": CLASSES}))


def test_both_routes_give_one_set(
    small_cifar: CifarFs, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class folders and torchvision's archive lead to the same order and digest."""
    archive = tmp_path / "archive"
    archive.mkdir()
    write_archive(archive)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    one = open_dataset(small_cifar, "cifar_fs", folders)
    other = open_dataset(small_cifar, "cifar_fs", archive)
    assert one.digest == other.digest
    assert one.splits == other.splits
    assert np.array_equal(one.examples, other.examples)
    first = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    apples = {image.tobytes() for image in first.transpose(0, 3, 1, 2)}
    assert {image.tobytes() for image in one.examples[:3]} == apples


def test_an_archive_with_other_sums_is_refused(tmp_path: Path) -> None:
    """What torchvision's checksums do not know is an error that says what to fetch."""
    write_archive(tmp_path)
    with pytest.raises(UserError, match=r"torchvision refuses it .* Delete it\. Unpack https"):
        CifarFs().read(tmp_path)


@pytest.mark.parametrize("root", [None, Path("nowhere")], ids=["no root", "empty root"])
def test_a_missing_cifar_says_what_to_fetch(root: Path | None) -> None:
    """Without the set, reading and fingerprint are one error: what to fetch, where to put it."""
    for ask in (CifarFs().read, CifarFs().fingerprint):
        with pytest.raises(UserError, match=r"cifar-100-python\.tar\.gz to FOLDER/cifar-100-py"):
            ask(root)


CIFAR_FLAWS: dict[str, tuple[Callable[[Path], object], str]] = {
    "count": (
        lambda f: (f / "data" / "bee" / "0.png").unlink(),
        "class bee has 2 images, expected 3",
    ),
    "missing": (lambda f: (f / "data" / "bee").rename(f / "bee"), "there is no folder 'bee'"),
    "extra": (lambda f: (f / "data" / "cheese").mkdir(), "there is a folder 'cheese'"),
    "unreadable": (lambda f: (f / "data" / "bee" / "1.png").write_text("x"), "1.png: it cannot be"),
    "size": (
        lambda f: Image.new("RGB", (30, 32)).save(f / "data" / "bee" / "1.png"),
        "1.png: it is 30 x 32 pixels",
    ),
    "lists": (
        lambda f: (f / "splits" / "bertinetto" / "val.txt").write_text("otter"),
        "val.txt: classes that differ from CIFAR-FS's val split: beaver",
    ),
}


@pytest.mark.parametrize("flaw", list(CIFAR_FLAWS))
def test_a_broken_cifar_names_the_file(small_cifar: CifarFs, folders: Path, flaw: str) -> None:
    """A class, image or list that is not as released is named."""
    CIFAR_FLAWS[flaw][0](folders / "cifar-fs")
    with pytest.raises(UserError) as caught:
        small_cifar.read(folders)
    assert CIFAR_FLAWS[flaw][1] in str(caught.value)


def test_download_is_asked_of_torchvision_once(
    small_cifar: CifarFs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With download the archive is fetched where it is missing, and not again."""
    asked: list[str] = []

    def fetch(self: object, url: str = "") -> None:
        asked.append(url)
        write_archive(tmp_path)

    monkeypatch.setattr("torchvision.datasets.CIFAR100.download", fetch)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    source = CifarFs(download=True)
    assert source.fingerprint(tmp_path) == source.fingerprint(tmp_path)
    assert len(source.read(tmp_path).arrays) == 100
    assert len(asked) == 1


def test_real_cifar_is_the_pinned_set(real_data: Path) -> None:
    """The real CIFAR-FS has the pinned digest, 64, 16 and 20 classes, 600 images in each."""
    known = facts(open_dataset(CifarFs(), "cifar_fs", real_data))
    assert known.digest == CifarFs.digest
    assert known.form.shape == (3, 32, 32)
    assert {split: (len(n), set(n)) for split, n in known.counts.items()} == {
        "train": (64, {600}),
        "val": (16, {600}),
        "test": (20, {600}),
    }
