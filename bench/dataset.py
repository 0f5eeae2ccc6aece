"""Examples on disk: where they lie, their mapped cache, their digest, their splits.

<cache>/datasets/<name>-<hash>/{examples.npy, meta.json}: written once, whole or not at all, and
memory-mapped from then on. The hash covers the source's parameters, revision and fingerprint.
<cache>/digests/<digest>: the name of the folder above that holds the set of this digest.

Examples are ordered by split, class name, and within a class by the hash of their bytes, so that
two routes to the same set give the same order and the same digest.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import platformdirs
from filelock import FileLock

from bench.cell import Json, digest
from bench.checked import SPLITS as SPLITS
from bench.checked import TYPES, checked
from bench.errors import UserError
from bench.form import Form
from bench.store import write_atomic

if TYPE_CHECKING:
    from bench.contract import AbstractData, Examples

FORMAT = 3  # raised when the order or the layout of the cache changes
_PROJECT = "meta-ssl-bench"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One split: examples [N, *form.shape] sorted by class, labels int64 [N] from 0."""

    examples: np.ndarray
    form: Form
    labels: np.ndarray
    classes: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A whole set: ``examples`` [N, *shape] is a read-only map of a file.

    ``classes`` are in the order of ``examples``, ``counts`` how many examples each has; ``splits``
    maps train, val and test to the classes in each, of which an unlabelled set has one, in train;
    ``notes`` say what was left out or filled in.
    """

    examples: np.ndarray
    form: Form
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    splits: Mapping[str, tuple[str, ...]]
    digest: str
    notes: tuple[str, ...] = ()

    def part(self, split: str) -> Part:
        """Return one split, which has classes; its examples are a view of the map."""
        first = self.classes.index(self.splits[split][0])
        last = first + len(self.splits[split])
        counts = self.counts[first:last]
        start = sum(self.counts[:first])
        return Part(
            examples=self.examples[start : start + sum(counts)],
            form=self.form,
            labels=np.repeat(np.arange(len(counts)), counts),
            classes=self.splits[split],
            counts=counts,
        )


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the plan needs to know: form of an example, examples a class in each split, digest."""

    form: Form
    counts: Mapping[str, tuple[int, ...]]
    digest: str
    notes: tuple[str, ...] = ()


def facts(dataset: Dataset) -> Facts:
    """Return what the plan needs of a set."""
    counts = {
        split: dataset.part(split).counts if dataset.splits[split] else () for split in SPLITS
    }
    return Facts(form=dataset.form, counts=counts, digest=dataset.digest, notes=dataset.notes)


def find_root(given: Path | None) -> Path | None:
    """Return the folder of the data sets: ``--data``, $BENCH_DATA, or the user's data folder.

    Raises:
        UserError: the folder that ``--data`` or $BENCH_DATA names is not there.
    """
    variable = os.environ.get("BENCH_DATA")
    named = given or (Path(variable) if variable else None)
    if named and not named.is_dir():
        where = "--data" if given else "$BENCH_DATA"
        raise UserError(where, f"no folder {named}", "Name the folder that holds the data sets.")
    usual = platformdirs.user_data_path(_PROJECT, appauthor=False)
    return named or (usual if usual.is_dir() else None)


def cache_folder() -> Path:
    """Return where mapped sets are kept: $BENCH_CACHE, or the user's cache folder."""
    variable = os.environ.get("BENCH_CACHE")
    return Path(variable) if variable else platformdirs.user_cache_path(_PROJECT, appauthor=False)


def stamp(folder: Path) -> str:
    """Hash the names, sizes and times of all files below a folder, hidden ones left out."""
    total = hashlib.sha256()
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(name for name in files if not name.startswith(".")):
            seen = _stat(Path(place) / name)
            path = os.path.relpath(place, folder)
            total.update(f"{path}\0{name}\0{seen.st_size}\0{seen.st_mtime_ns}\0".encode())
    return total.hexdigest()


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise UserError(str(path), f"cannot be read ({error.strerror})", "Remove it.") from error


def open_dataset(source: "AbstractData", name: str, root: Path | None) -> Dataset:
    """Map a set from the cache; the first time, or when the cache is damaged, read it.

    Raises:
        UserError: the set is not there, breaks the contract, or is not the one that is known.
    """
    folder = cache_folder() / "datasets" / f"{name}-{_identity(source, name, root)[:16]}"
    dataset = _load_checked(folder, source.digest)
    if dataset is None:
        _make_parent(folder)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            dataset = _load_checked(folder, source.digest) or _build(source, name, root, folder)
    pointer = _pointer(dataset.digest)
    if not pointer.is_file() or pointer.read_text() != folder.name:
        _make_parent(pointer)
        write_atomic(pointer, folder.name.encode())
    return dataset


def open_known(digest: str) -> Dataset:
    """Map a set that ``open_dataset`` has opened before, by its digest alone: no source is asked.

    Raises:
        FileNotFoundError: the cache does not hold it, or not whole.
    """
    try:
        folder = cache_folder() / "datasets" / _pointer(digest).read_text()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no set of digest {digest} in {cache_folder()}") from error
    dataset = _load(folder, digest)
    if dataset is None:
        raise FileNotFoundError(f"{folder} does not hold the set of digest {digest}, whole")
    return dataset


def _pointer(digest: str) -> Path:
    return cache_folder() / "digests" / digest


def _identity(source: "AbstractData", name: str, root: Path | None) -> str:
    params = asdict(cast(Any, source))
    params = {k: v for k, v in params.items() if k not in source.added or v != source.added[k]}
    inputs = {"name": name, "params": params, "revision": source.revision, "format": FORMAT}
    return digest(inputs | {"fingerprint": source.fingerprint(root)})


def _build(source: "AbstractData", name: str, root: Path | None, folder: Path) -> Dataset:
    """Read a set, check it, and write its cache."""
    examples = source.read(root)
    form = checked(name, source.modality, examples, unlabelled=source.unlabelled)
    orders = {key: _order(array) for key, array in examples.arrays.items()}
    meta = _describe(form, examples, orders)
    if source.digest not in (None, meta["digest"]):
        raise UserError(
            f"data {name}",
            f"the digest of this set is {meta['digest']}, expected {source.digest}",
            f"It is not the set of {source.reference}: fetch it again where it was fetched; where "
            f"bench makes it, install the versions that bench was released with.",
        )
    _write(folder, meta, _in_order(meta, examples, orders))
    dataset = _load(folder, source.digest)
    assert dataset is not None, f"{folder} is not what was written"
    return dataset


def _order(array: np.ndarray) -> list[tuple[str, int]]:
    """Return (hash, position) of each example, sorted."""
    hashes = (hashlib.sha256(example.tobytes()).hexdigest() for example in array)
    return sorted((one, position) for position, one in enumerate(hashes))


def _describe(
    form: Form, examples: "Examples", orders: Mapping[str, list[tuple[str, int]]]
) -> dict[str, Json]:
    """Return what ``meta.json`` holds: form, splits with their classes' counts, digest, notes."""
    names = {split: sorted(examples.splits.get(split, ())) for split in SPLITS}
    hashes = {key: [one for one, _ in order] for key, order in orders.items()}
    return {
        "form": asdict(form),
        "splits": {split: [[key, len(orders[key])] for key in names[split]] for split in SPLITS},
        "digest": digest({**form.described, "splits": names, "examples": hashes}),
        "notes": list(examples.notes),
    }


def _in_order(
    meta: Json, examples: "Examples", orders: Mapping[str, list[tuple[str, int]]]
) -> Iterator[np.ndarray]:
    for split in SPLITS:
        for key, _ in meta["splits"][split]:
            yield examples.arrays[key][[position for _, position in orders[key]]]


def _make_parent(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(folder.parent, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UserError:
    found = f"the cache cannot be written ({error.strerror})"
    return UserError(str(folder.parent), found, "Set BENCH_CACHE to a folder with space.")


def _write(folder: Path, meta: Json, blocks: Iterator[np.ndarray]) -> None:
    """Write the cache beside its place, then rename; the caller holds the lock."""
    scratch = folder.with_name(f".{folder.name}")
    counts = [count for split in SPLITS for _, count in meta["splits"][split]]
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        first = next(blocks)
        shape = (sum(counts), *first.shape[1:])
        examples = np.lib.format.open_memmap(
            scratch / "examples.npy", mode="w+", dtype=first.dtype, shape=shape
        )
        for start, block in zip(np.cumsum([0, *counts]), chain([first], blocks), strict=False):
            examples[start : start + len(block)] = block
        examples.flush()
        content = meta | {"examples_sha256": _sum(scratch / "examples.npy")}
        write_atomic(scratch / "meta.json", json.dumps(content).encode())
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _load_checked(folder: Path, expected: str | None) -> Dataset | None:
    """Map a cached set whose every byte is what was written; else None."""
    dataset = _load(folder, expected)
    if dataset is not None:
        wanted = json.loads((folder / "meta.json").read_bytes()).get("examples_sha256")
        if _sum(folder / "examples.npy") != wanted:
            return None
    return dataset


def _load(folder: Path, expected: str | None) -> Dataset | None:
    """Map a cached set; None when it is not there, damaged, or not the expected one."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        examples = np.lib.format.open_memmap(folder / "examples.npy", mode="r")
        listed = [(split, key, count) for split in SPLITS for key, count in meta["splits"][split]]
        form = Form(**{key: _tupled(value) for key, value in meta["form"].items()})
        dataset = Dataset(
            examples=examples,
            form=form,
            classes=tuple(key for _, key, _ in listed),
            counts=tuple(count for _, _, count in listed),
            splits={at: tuple(key for s, key, _ in listed if s == at) for at in SPLITS},
            digest=meta["digest"],
            notes=tuple(meta["notes"]),
        )
        whole = examples.shape == (sum(dataset.counts), *form.shape) and examples.dtype in TYPES
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dataset if whole and expected in (None, dataset.digest) else None


def _tupled(value: Json) -> Json:
    return tuple(value) if isinstance(value, list) else value
