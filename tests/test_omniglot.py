"""Omniglot: Vinyals' split, turned classes, drawings made small, and what a user can get wrong."""

import hashlib
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import omniglot
from bench.data.omniglot import Omniglot, Turned, vinyals_split
from bench.dataset import Dataset, facts, open_dataset
from bench.errors import UserError

BACKGROUND, EVALUATION = (
    f"omniglot-py/images_{half}/Early_Runes" for half in ("background", "evaluation")
)
FEW = {
    "train": ("Early_Runes/character01", "Early_Runes/character02"),
    "val": ("Early_Runes/character03",),
    "test": ("Early_Runes/character04",),
}


def scribble(seed: int, size: int = 105) -> Image.Image:
    """Return a drawing of one bit: ink, 0, in a few bars that are two pixels wide."""
    drawing = np.full((size, size), 255, np.uint8)
    for start, low, high in np.random.default_rng(seed).integers(0, size - 1, (4, 3)):
        drawing[start : start + 2, min(low, high) : max(low, high) + 1] = 0
    return Image.fromarray(drawing).convert("1")


def write_characters(root: Path) -> None:
    """Write two drawings of each of the few characters, two of them in each half."""
    for number in range(1, 5):
        folder = root / (BACKGROUND if number < 3 else EVALUATION) / f"character0{number}"
        folder.mkdir(parents=True)
        for drawing in (1, 2):
            scribble(10 * number + drawing).save(folder / f"000{number}_0{drawing}.png")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let Omniglot be four characters of two drawings, without a digest; return its root."""
    monkeypatch.setattr(omniglot, "vinyals_split", lambda: FEW)
    monkeypatch.setattr(Omniglot, "drawings", 2)
    monkeypatch.setattr(Omniglot, "digests", dict.fromkeys(("train", "all", "none")))
    write_characters(tmp_path)
    return tmp_path


def opened(root: Path, rotations: Turned) -> Dataset:
    """Open Omniglot with these rotations."""
    return open_dataset(Omniglot(rotations=rotations), "omniglot", root)


# --- the split ------------------------------------------------------------------------------


def test_the_split_is_vinyals() -> None:
    """The names of the characters in each split have the sums of the list that is in use."""
    sums = {
        split: hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
        for split, names in vinyals_split().items()
    }
    assert sums == {
        "train": "c350ea5778649d32e0ac6ec889c2307081c3925cf690fc8933ebdf3d800b69b2",
        "val": "d3f56052fbd17195c86774f0ac0189eb7e3e9a0656d5ff71b234479d512fecb2",
        "test": "bbbdc01c73fd2d347b6d10079314fb3df275938be403cbe915c1c09a38b1ba37",
    }
    assert {split: len(names) for split, names in vinyals_split().items()} == {
        "train": 1028,
        "val": 172,
        "test": 423,
    }


def test_the_split_is_shipped() -> None:
    """The list of the split is among the files that an installed package holds."""
    configuration = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    patterns = configuration["tool"]["setuptools"]["package-data"]["bench"]
    file = Path(omniglot.__file__).with_name("omniglot_vinyals.txt")
    package = file.parent.parent
    assert file in {one for pattern in patterns for one in package.glob(pattern)}


# --- turned classes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rotations", "expected"),
    [
        ("none", {"train": 2, "val": 1, "test": 1}),
        ("train", {"train": 8, "val": 1, "test": 1}),
        ("all", {"train": 8, "val": 4, "test": 4}),
    ],
)
def test_turned_classes_are_where_they_are_asked_for(
    few: Path, rotations: Turned, expected: dict[str, int]
) -> None:
    """Quarter turns are further classes of no split, of train alone, or of all three."""
    dataset = opened(few, rotations)
    assert {split: len(names) for split, names in dataset.splits.items()} == expected
    assert set(dataset.counts) == {2}
    beyond = [name for name in dataset.classes if not name.startswith(FEW["train"])]
    assert any("rot" in name for name in beyond) == (rotations == "all")


def test_turns_are_only_in_train_by_default() -> None:
    """A test task of the default set never holds a character and its turn."""
    assert Omniglot() == Omniglot(rotations="train")


def test_a_turned_class_is_its_character_turned(few: Path) -> None:
    """``rot090`` holds the drawings of its character after a quarter turn, and so on."""
    arrays = Omniglot(rotations="all").read(few).arrays
    for name in (name for names in FEW.values() for name in names):
        once, twice, thrice = (arrays[f"{name}/rot{turn}"] for turn in ("090", "180", "270"))
        assert np.array_equal(once, arrays[name].transpose(0, 1, 3, 2)[:, :, ::-1])
        assert np.array_equal(twice, arrays[name][:, :, ::-1, ::-1])
        assert np.array_equal(thrice, once[:, :, ::-1, ::-1])


def test_each_choice_of_rotations_is_another_set(few: Path) -> None:
    """The three sets differ in their digests, and each has a pinned digest of its own."""
    choices: tuple[Turned, ...] = ("train", "all", "none")
    assert len({opened(few, rotations).digest for rotations in choices}) == 3


def test_a_set_that_is_not_the_known_one_is_refused(
    few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest that is expected is the one of the rotations that were asked for."""
    known: dict[Turned, str] = {"train": "a" * 64, "all": "b" * 64, "none": "c" * 64}
    monkeypatch.setattr(Omniglot, "digests", known)
    for rotations, expected in known.items():
        with pytest.raises(UserError, match=f"expected {expected}"):
            opened(few, rotations)


# --- drawings -------------------------------------------------------------------------------


def shrunk(drawing: Image.Image) -> np.ndarray:
    """Shrink by Lanczos' formula, as floats: a sinc times a wider one, cut off at three lobes."""
    ink = 255.0 - np.asarray(drawing.convert("L"))
    scale = 105 / 28
    centre = (np.arange(28) + 0.5) * scale
    away = (np.arange(105) + 0.5 - centre[:, None]) / scale
    weights = np.where(abs(away) < 3, np.sinc(away) * np.sinc(away / 3), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    wide: np.ndarray = np.clip(ink @ weights.T, 0, 255)
    return np.asarray(np.clip(weights @ wide, 0, 255))


def test_drawings_are_shrunk_by_lanczos(few: Path) -> None:
    """Ink is white on black, and every pixel is the filter's, to the rounding of two passes."""
    arrays = Omniglot().read(few).arrays
    for number, name in enumerate((one for names in FEW.values() for one in names), start=1):
        for place in (0, 1):
            expected = shrunk(scribble(10 * number + place + 1))
            assert arrays[name].shape == (2, 1, 28, 28)
            assert np.abs(arrays[name][place, 0] - expected).max() < 1.5


def test_a_thin_stroke_stays_whole(few: Path) -> None:
    """A line of one pixel shows wherever it runs: the nearest pixel alone would lose it."""
    for row in range(30, 40):
        drawing = np.full((105, 105), 255, np.uint8)
        drawing[row] = 0
        Image.fromarray(drawing).convert("1").save(few / BACKGROUND / "character01/0001_01.png")
        line = Omniglot().read(few).arrays["Early_Runes/character01"][0, 0]
        assert line.max(axis=0).min() > 40


def test_drawings_of_eight_bits_are_the_same(few: Path) -> None:
    """One bit or eight, a file of the same drawing gives the same set."""
    before = opened(few, "none").digest
    for file in few.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert opened(few, "none").digest == before


# --- what is not there, and what is broken --------------------------------------------------


@pytest.mark.parametrize("root", [None, Path("nowhere")], ids=["no root", "empty root"])
def test_a_missing_omniglot_says_what_to_fetch(root: Path | None) -> None:
    """Without the set, reading and fingerprint are one error: what to fetch, where to put it."""
    for ask in (Omniglot().read, Omniglot().fingerprint):
        with pytest.raises(UserError, match=r"images_evaluation\.zip of https.* FOLDER/omniglot"):
            ask(root)


def test_one_half_is_not_enough(few: Path) -> None:
    """The half that is missing is named."""
    (few / "omniglot-py" / "images_evaluation").rename(few / "elsewhere")
    with pytest.raises(UserError, match="omniglot-py/images_evaluation is not in"):
        Omniglot().read(few)


FLAWS: dict[str, tuple[Callable[[Path], object], str]] = {
    "count": (
        lambda f: (f / "character01" / "0001_01.png").unlink(),
        "character01: there are 1 drawings, expected 2",
    ),
    "missing": (
        lambda f: (f / "character01").rename(f.parent / "elsewhere"),
        "there is no folder 'Early_Runes/character01'",
    ),
    "extra": (
        lambda f: (f / "character09").mkdir(),
        "there is a folder 'Early_Runes/character09'",
    ),
    "unreadable": (
        lambda f: (f / "character02" / "0002_01.png").write_text("x"),
        "0002_01.png: it cannot be read as an image",
    ),
    "size": (
        lambda f: scribble(1, 28).save(f / "character02" / "0002_01.png"),
        "0002_01.png: it is 28 x 28 pixels",
    ),
}


@pytest.mark.parametrize("flaw", list(FLAWS))
def test_a_broken_omniglot_names_the_file(few: Path, flaw: str) -> None:
    """A character or drawing that is not as released is named."""
    FLAWS[flaw][0](few / BACKGROUND)
    with pytest.raises(UserError) as caught:
        Omniglot().read(few)
    assert FLAWS[flaw][1] in str(caught.value)


def test_the_fingerprint_covers_the_drawings_alone(few: Path) -> None:
    """Another drawing gives another fingerprint; what lies beside the drawings does not."""
    before = Omniglot().fingerprint(few)
    (few / "omniglot-py" / "splits").mkdir()
    (few / "omniglot-py" / "splits" / "train.txt").write_text("Early_Runes/character01")
    assert Omniglot().fingerprint(few) == before
    (few / EVALUATION / "character04" / "0004_02.png").write_text("x")
    assert Omniglot().fingerprint(few) != before


def test_download_asks_for_each_half_once(
    few: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With download torchvision fetches the halves that are missing, and none again."""
    root = tmp_path_factory.mktemp("fetched")
    asked: list[str] = []

    def fetch(self: object) -> None:
        half = f"images_{'background' if getattr(self, 'background', None) else 'evaluation'}"
        asked.append(half)
        (root / "omniglot-py").mkdir(exist_ok=True)
        (few / "omniglot-py" / half).rename(root / "omniglot-py" / half)

    monkeypatch.setattr("torchvision.datasets.Omniglot.download", fetch)
    monkeypatch.setattr("torchvision.datasets.Omniglot._check_integrity", lambda self: True)
    source = Omniglot(download=True)
    assert source.fingerprint(root) == source.fingerprint(root)
    assert len(source.read(root).arrays) == 10
    assert asked == ["images_background", "images_evaluation"]


def test_real_omniglot_is_the_pinned_set(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real Omniglot has the pinned digest for each choice of rotations."""
    if not (real_data / "omniglot-py").is_dir():
        pytest.skip("omniglot-py is not in BENCH_DATA")
    monkeypatch.setattr(omniglot, "_read_drawing", cache(omniglot._read_drawing))
    sizes: dict[Turned, tuple[int, int]] = {
        "none": (1028, 423),
        "train": (4112, 423),
        "all": (4112, 1692),
    }
    for rotations, (train, test) in sizes.items():
        known = facts(opened(real_data, rotations))
        assert known.digest == Omniglot(rotations=rotations).digest is not None
        assert known.form.shape == (1, 28, 28)
        assert known.counts["train"] == (20,) * train
        assert known.counts["test"] == (20,) * test
