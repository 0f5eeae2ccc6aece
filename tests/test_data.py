"""The cache of data sets: order, digest, splits, damage, and the errors a user can cause."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import ClassVar

import numpy as np
import platformdirs
import pytest

from bench.contract import AbstractData, Examples
from bench.dataset import Dataset, Facts, cache_folder, facts, find_root, open_dataset
from bench.errors import UserError
from bench.form import Form

Change = Callable[[dict[str, np.ndarray], dict[str, tuple[str, ...]]], object]
CHANGES: dict[str, Change] = {
    "": lambda a, s: None,
    "pixel": lambda a, s: np.bitwise_xor(a["a"][:1], 1, out=a["a"][:1]),
    "moved": lambda a, s: s.update(train=("d",), val=("b", "c")),
}
FLAWS: dict[str, tuple[Change, str]] = {
    "shared": (lambda a, s: s.update(val=("c", "b")), "class 'b' is in train and in val"),
    "twice": (lambda a, s: s.update(val=("c", "c")), "class 'c' is in val and in val"),
    "empty split": (lambda a, s: s.update(test=()), "'test': 0"),
    "no split": (lambda a, s: s.pop("val"), "train, val, test need some each"),
    "unknown": (lambda a, s: s.update(test=("a", "z")), "class 'z' has no examples"),
    "unplaced": (lambda a, s: s.update(train=("d",)), "class 'b' is in no split"),
    "empty class": (lambda a, s: a.update(b=a["b"][:0]), "class 'b' is uint8"),
    "floats": (lambda a, s: a.update(b=a["b"] / 255), "class 'b' is float64"),
    "shape": (lambda a, s: a.update(b=a["b"][..., 1:]), "class 'b' is uint8"),
}


@dataclass(frozen=True, kw_only=True)
class Toy(AbstractData):
    """Four classes of small images; ``change`` alters them, ``step`` -1 turns their order."""

    reference: ClassVar[str] = "doi:10.0000/toy"
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    reads: ClassVar[list[str]] = []
    name: str
    change: str = ""
    step: int = 1

    def read(self, root: Path | None) -> Examples:
        """Return the same examples each time, in the order asked for."""
        self.reads.append(self.name)
        pixels = (np.arange(384) ** 2 * 7 // 3 % 256).astype(np.uint8).reshape(4, 6, 1, 4, 4)
        arrays = {key: pixels[i][:: self.step] for i, key in enumerate("dcba")}
        splits: dict[str, tuple[str, ...]] = {"train": ("d", "b"), "val": ("c",), "test": ("a",)}
        changes = CHANGES | {flaw: change for flaw, (change, _) in FLAWS.items()}
        changes[self.change](arrays, splits)
        return Examples(arrays=arrays, splits=splits)

    def fingerprint(self, root: Path | None) -> str:
        """Return a constant: the parameters alone tell toys apart."""
        return "toy"


def opened(name: str, change: str = "", step: int = 1) -> Dataset:
    """Open a toy set."""
    return open_dataset(Toy(name=name, change=change, step=step), "toy", None)


def cache_of(dataset: Dataset) -> Path:
    """Return the folder that a data set is mapped from."""
    return Path(str(getattr(dataset.examples, "filename", ""))).parent


def test_order_is_split_then_class_then_hash() -> None:
    """Classes are sorted within their split, examples within their class by hash."""
    dataset = opened("order")
    hashes = [hashlib.sha256(one.tobytes()).hexdigest() for one in dataset.examples]
    assert dataset.classes == ("b", "d", "c", "a")
    assert all(hashes[i : i + 6] == sorted(hashes[i : i + 6]) for i in range(0, 24, 6))
    assert dataset.examples.dtype == np.uint8
    assert not dataset.examples.flags.writeable


def test_two_orders_of_reading_give_one_set() -> None:
    """The order in which a source reads examples changes neither order nor digest."""
    one, other = opened("route"), opened("route", step=-1)
    assert one.digest == other.digest
    assert np.array_equal(one.examples, other.examples)


def test_digest_covers_pixels_and_splits() -> None:
    """The digest is pinned, and another pixel or another split gives another."""
    digests = [opened("digest", change).digest for change in ("", "pixel", "moved")]
    assert digests[0] == "4bb880e1eaad548ee52a6611e3a024de2cce4ef24f72b6dee4d02643b6e0dd17"
    assert len(set(digests)) == 3


def test_a_part_is_one_split_with_labels_from_zero(glyphs: Dataset) -> None:
    """A part's images are those of its classes, labelled in order, without a copy."""
    part = opened("part").part("train")
    assert part.classes == ("b", "d")
    assert part.labels.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(part.examples, opened("part").examples[:12])
    test = glyphs.part("test")
    assert np.shares_memory(test.examples, glyphs.examples)
    assert len(test.examples) == len(test.labels) == sum(test.counts)
    assert np.array_equal(test.examples[-1], glyphs.examples[-1])


def test_facts_are_what_the_plan_needs() -> None:
    """Facts hold the shape, the examples of each class by split, and the digest."""
    expected = Facts(
        form=Form(shape=(1, 4, 4), modality="image"),
        counts={"train": (6, 6), "val": (6,), "test": (6,)},
        digest=opened("facts").digest,
    )
    assert facts(opened("facts")) == expected


def test_a_set_is_read_once() -> None:
    """The second opening maps the cache and reads nothing."""
    assert opened("once").digest == opened("once").digest
    assert Toy.reads.count("once") == 1


def test_parameters_have_caches_of_their_own() -> None:
    """Two sets of parameters never share a cache folder."""
    assert cache_of(opened("own")) != cache_of(opened("own", step=-1))


def test_two_at_once_both_succeed() -> None:
    """Of two that open a new set at the same time one reads it and both get it."""
    start = Barrier(2)

    def attempt(_: int) -> str:
        start.wait(10)
        return opened("at once").digest

    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(attempt, range(2)))
    assert digests[0] == digests[1]
    assert Toy.reads.count("at once") == 1


def _truncate(folder: Path) -> None:
    file = folder / "examples.npy"
    file.write_bytes(file.read_bytes()[:-1])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": _truncate,
    "empty": lambda folder: (folder / "examples.npy").write_bytes(b""),
    "other shape": lambda folder: np.save(
        folder / "examples.npy", np.zeros((3, 1, 4, 4), np.uint8)
    ),
    "no images": lambda folder: (folder / "examples.npy").unlink(),
    "no json": lambda folder: (folder / "meta.json").write_text("{"),
    "json list": lambda folder: (folder / "meta.json").write_text("[1]"),
    "no digest": lambda folder: (folder / "meta.json").write_text(
        json.dumps(json.loads((folder / "meta.json").read_text()) | {"splits": {}})
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_cache_is_built_again(damage: str) -> None:
    """Whatever is wrong with a cached set, it is read again and then whole."""
    name = f"damage {damage}"
    before = opened(name)
    expected, folder = before.examples.copy(), cache_of(before)
    del before
    DAMAGE[damage](folder)
    assert np.array_equal(opened(name).examples, expected)
    assert Toy.reads.count(name) == 2
    assert opened(name).digest
    assert Toy.reads.count(name) == 2


@pytest.mark.parametrize("flaw", list(FLAWS))
def test_a_source_that_breaks_the_contract_is_named(flaw: str) -> None:
    """Bad splits and arrays are one error that names the class, and leave no cache behind."""
    before = set((cache_folder() / "datasets").glob("*/"))
    with pytest.raises(UserError) as caught:
        opened(f"flaw {flaw}", flaw)
    assert FLAWS[flaw][1] in str(caught.value)
    assert {one for one in (cache_folder() / "datasets").glob("*/") if one.is_dir()} <= before


def test_a_wrong_digest_shows_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that is not the known one is refused with what was found and expected."""
    found = opened("wrong").digest
    monkeypatch.setattr(Toy, "digest", "e" * 64)
    with pytest.raises(UserError, match=f"{found}, expected {'e' * 64}"):
        opened("wrong")


def test_a_cache_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file where the cache folder should be is one clear error."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        opened("unwritable")


def test_root_is_the_option_then_the_variable_then_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """--data goes before $BENCH_DATA, that before the user's folder, and none may be there."""
    for name in ("option", "variable", "usual"):
        (tmp_path / name).mkdir()
    usual = tmp_path / "usual"
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: usual)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "variable"))
    assert find_root(tmp_path / "option") == tmp_path / "option"
    assert find_root(None) == tmp_path / "variable"
    monkeypatch.delenv("BENCH_DATA")
    assert find_root(None) == usual
    usual.rmdir()
    assert find_root(None) is None


def test_a_root_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder that was named and is missing is never passed over."""
    with pytest.raises(UserError, match="--data"):
        find_root(tmp_path / "missing")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="BENCH_DATA"):
        find_root(None)
