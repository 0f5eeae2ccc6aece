"""Which classes of a source are train, val and test, where it has no split of its own."""

import hashlib
from collections.abc import Collection
from pathlib import Path

from bench.dataset import SPLITS
from bench.errors import UserError, suggest

HOLDS = "a folder for each class, or one of lists for splits"  # what sources ask a folder for
VAL, TEST = 0.16, 0.20  # parts of the classes, as CIFAR-FS and mini-ImageNet have them


def by_hash(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Split classes by the order of the hashes of their names."""
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    val = max(1, round(VAL * len(order)))
    test = val + max(1, round(TEST * len(order)))
    parts = {"train": order[test:], "val": order[:val], "test": order[val:test]}
    return {split: tuple(part) for split, part in parts.items()}


def listed(names: Collection[str], lists: Path, data: str) -> dict[str, tuple[str, ...]]:
    """Return the classes that train.txt, val.txt and test.txt below ``lists`` name, a line each.

    ``data`` is the source's name, for what is said of mistakes.

    Raises:
        UserError: a file is not there, or names what is not among ``names``.
    """
    splits = {}
    for split in SPLITS:
        file = lists / f"{split}.txt"
        if not file.is_file():
            works = "Write one class a line into each of train.txt, val.txt and test.txt."
            raise UserError(f"data {data}: {file}", "there is no such file", works)
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        splits[split] = tuple(name for name in lines if name)
        for number, name in enumerate(lines, start=1):
            if name and name not in names:
                where = f"data {data}: {file}:{number}"
                raise UserError(where, f"there is no class {name!r}", suggest(name, names))
    return splits


def folder_at(path: str, root: Path | None, data: str, holds: str = HOLDS) -> Path:
    """Return a folder that a parameter names, from the root folder or else the working folder.

    ``holds``: what it should hold, for what is said where it is not there.

    Raises:
        UserError: there is none.
    """
    folder = (root or Path()) / Path(path).expanduser()
    if not folder.is_dir():
        found = f"no folder {folder.absolute()}"
        raise UserError(f"data {data}", found, f"Name a folder that holds {holds}.")
    return folder
