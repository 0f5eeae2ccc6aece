"""What an audit of data looks at: the splits of one set, or of the sets that roles have.

Shapes: N examples of all splits that are looked at.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from bench.cell import Json
from bench.contract import Form
from bench.dataset import SPLITS, Dataset, open_known

BEFORE = {"train": "pretrain", "val": "pretrain val"}  # what splits of another set are called
SEEN_TWICE = (  # a row may well be trained twice on the same, and chosen by what it sees again
    ("pretrain", "train"),
    ("pretrain val", "train"),
    ("pretrain val", "val"),
)


@dataclass(frozen=True, kw_only=True)
class Audited:
    """Examples [N] sorted by split, then class.

    ``sets``: the digest of the set that each split is of. ``classes``: their names, of which two
    may be alike where sets are several, ``counts`` how many examples each has, and ``class_split``
    which place in ``splits`` its split has.
    """

    examples: np.ndarray
    form: Form
    splits: tuple[str, ...]
    sets: tuple[str, ...]
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    class_split: tuple[int, ...]

    @cached_property
    def label(self) -> np.ndarray:
        """A place in ``classes`` for each example [N]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def split(self) -> np.ndarray:
        """A place in ``splits`` for each example [N]."""
        place: np.ndarray = np.array(self.class_split)[self.label]
        return place

    def pairs(self) -> Iterator[tuple[str, int, int]]:
        """Yield each pair of splits that should share nothing: ``train-val``, and two places."""
        for first, second in combinations(range(len(self.splits)), 2):
            if (self.splits[first], self.splits[second]) not in SEEN_TWICE:
                yield f"{self.splits[first]}-{self.splits[second]}", first, second

    def groups(self) -> list[dict[str, Json]]:
        """Find the groups of classes (``Group/name``) that stand in more than one split.

        From one set to another, which may write them otherwise, a group is known by a word of its
        name that classes without a group begin with (``Greek/character01``, ``GREEK SMALL LETTER
        ALPHA``), and a class by its whole name.
        """
        found: dict[str, dict[str, int]] = {}
        for name, at in zip(self.classes, self.class_split, strict=True):
            group, slash, _ = name.partition("/")
            if slash:
                counts = found.setdefault(group, {})
                counts[self.splits[at]] = counts.get(self.splits[at], 0) + 1
        known = [{"group": g, "classes": c} for g, c in sorted(found.items()) if len(c) > 1]
        told = {one["group"] for one in known}
        return known + [one for one in self._by_words(set(found)) if one["group"] not in told]

    def _by_words(self, groups: set[str]) -> Iterator[dict[str, Json]]:
        """Yield what has one name in two sets, but for its spelling."""
        if len(set(self.sets)) == 1:
            return
        words = {word: group for group in sorted(groups) for word in _words(group)}
        found: dict[str, dict[str, int]] = {}
        sets: dict[str, set[str]] = {}
        for name, at in zip(self.classes, self.class_split, strict=True):
            group, slash, _ = name.partition("/")
            first = next(iter(_words(name)), "")
            alone = "" if slash or not first else name.lower()  # a number is no name
            for told in {group if slash else words.get(first, ""), alone}:
                counts = found.setdefault(told, {})
                counts[self.splits[at]] = counts.get(self.splits[at], 0) + 1
                sets.setdefault(told, set()).add(self.sets[at])
        for told in sorted(found.keys() - {""}):
            if len(sets[told]) > 1:
                yield {"group": told, "classes": found[told]}


def _words(name: str) -> Sequence[str]:
    """Return the words of a name of three letters or more, in small letters."""
    return re.findall(r"[^\W\d_]{3,}", name.lower())


def audited(inputs: Mapping[str, Json]) -> Audited:
    """Open what the inputs of an ``audit`` stage name.

    Where roles have other sets, a row sees the training and validation splits of the set that is
    trained on, the training split of the one that is pre-trained on (its validation split too,
    as ``pretrain val``, where ``splits`` names it), and the test split of the one that is tested
    on.
    """
    own = open_known(inputs["data"]["digest"])
    others = {role: open_known(one["digest"]) for role, one in inputs.get("elsewhere", {}).items()}
    if not others:
        return _of([(split, own, split) for split in SPLITS])
    before = inputs["elsewhere"].get("pretrain")
    seen = before.get("splits", ["train"]) if before else []
    parts = [(BEFORE[split], others["pretrain"], split) for split in seen]
    parts += [("train", own, "train"), ("val", own, "val")]
    return _of([*parts, ("test", others.get("test", own), "test")])


def _of(parts: Sequence[tuple[str, Dataset, str]]) -> Audited:
    """Put splits after each other; those of one set lie so already."""
    read = [dataset.part(split) for _, dataset, split in parts]
    sets = {dataset.digest: dataset for _, dataset, _ in parts}
    one = len(sets) == 1 and [split for *_, split in parts] == list(SPLITS)
    examples = parts[0][1].examples if one else np.concatenate([part.examples for part in read])
    return Audited(
        examples=examples,
        form=read[0].form,
        splits=tuple(role for role, *_ in parts),
        sets=tuple(dataset.digest for _, dataset, _ in parts),
        classes=tuple(name for part in read for name in part.classes),
        counts=tuple(count for part in read for count in part.counts),
        class_split=tuple(at for at, part in enumerate(read) for _ in part.classes),
    )
