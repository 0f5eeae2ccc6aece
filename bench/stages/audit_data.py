"""The audit of a set: which examples and classes of one split stand in another one, too.

Shapes: N examples of the whole set.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.cell import Json, Progress, StageSpec, Started
from bench.contract import AbstractModality
from bench.dataset import SPLITS, Dataset, open_known
from bench.stages.place import Clock, Place, Result, peak_memory
from bench.stages.source import modality_of

LEAST_SHARE = 0.5  # of a class: when as many of its examples stand in another class, they overlap
PAIRS = 12  # look-alikes of a set that are shown
REPORTS = 10  # progress events


@dataclass(frozen=True, kw_only=True)
class Members:
    """Of each example [N]: which split (a place in SPLITS) and which class of the set it is of."""

    split: np.ndarray
    label: np.ndarray

    @staticmethod
    def of(dataset: Dataset) -> "Members":
        """Read them from the order of the examples: by split, then class."""
        placed = {key: at for at, split in enumerate(SPLITS) for key in dataset.splits[split]}
        of_class = np.array([placed[key] for key in dataset.classes])
        label = np.repeat(np.arange(len(dataset.counts)), dataset.counts)
        return Members(split=of_class[label], label=label)


def audit_data(spec: StageSpec, place: Place) -> Result:
    """Run one ``audit`` stage of a set; ``spec.inputs["known"]``: sha256 of known duplicates.

    The manifest gets, beside metrics ``unknown_duplicates`` (examples of a split that stand in an
    earlier one and are not known) and ``class_overlaps``, these facts:

    * ``exact``: by pair of splits (``train-test``) the examples of the second whose bytes stand in
      the first: ``known``, ``unknown``; ``within``: examples of a split that stand in another
      class of it, by split.
    * ``classes``: each pair of classes of two splits of which one shares at least half of its
      examples with the other: ``classes``, ``splits`` (two each), ``share``.
    * ``perceptual``: by pair of splits the examples of the second that look like one
      of the first, by the hash of their modality, exact duplicates and blank ones left out:
      ``counts``; and ``pairs``, at most PAIRS, those that differ least first: ``splits``,
      ``classes`` (two each), ``difference`` (as the modality measures it), ``png`` (both
      side by side, base64). Or ``skipped``: why there is none.
    * ``groups``: of class names ``Group/name``, each group with classes in two splits: ``group``,
      ``classes`` (split to their number).
    """
    clock = Clock()
    dataset = open_known(spec.inputs["data"]["digest"])
    place.emit(Started(key=spec.key, step=0, total=REPORTS))
    hashes = _sums(dataset.examples)
    members = Members.of(dataset)
    exact = _exact(hashes, members, frozenset(spec.inputs["known"]))
    classes = _class_overlaps(hashes, members, dataset)
    facts = {
        "exact": exact,
        "classes": classes,
        "perceptual": _perceptual(spec, place, dataset, members, hashes),
        "groups": _groups(dataset),
    }
    return Result(
        metrics={
            "unknown_duplicates": sum(one["unknown"] for one in exact["pairs"].values()),
            "class_overlaps": len(classes),
        },
        curve={},
        cost={
            "seconds": clock.seconds(),
            "examples": len(hashes),
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": 0,
        },
        files={},
        facts=facts,
    )


def _sums(examples: np.ndarray) -> np.ndarray:
    """Return the sha256 of each example's bytes, as text of 64 hex digits [N]."""
    return np.array([hashlib.sha256(one.tobytes()).hexdigest() for one in examples])


def _pairs() -> Iterator[tuple[str, int, int]]:
    """Yield each pair of splits, named ``train-val``, and its two places in SPLITS."""
    for first, second in combinations(range(len(SPLITS)), 2):
        yield f"{SPLITS[first]}-{SPLITS[second]}", first, second


def _standing(kind_N: np.ndarray, split_N: np.ndarray) -> np.ndarray:
    """Return [N, splits]: whether the kind of each example has an example in each split."""
    stands = np.zeros((kind_N.max() + 1, len(SPLITS)), bool)
    stands[kind_N, split_N] = True
    found: np.ndarray = stands[kind_N]
    return found


def _exact(hashes: np.ndarray, members: Members, known: frozenset[str]) -> dict[str, Json]:
    """Count examples whose bytes stand in another split, and in another class of their own."""
    _, kind_N = np.unique(hashes, return_inverse=True)
    stands = _standing(kind_N, members.split)
    listed = np.isin(hashes, list(known))
    pairs = {}
    for name, first, second in _pairs():
        found = (members.split == second) & stands[:, first]
        pairs[name] = {
            "known": int((found & listed).sum()),
            "unknown": int((found & ~listed).sum()),
        }
    own = kind_N * len(SPLITS) + members.split  # one example in one split
    _, own_N, sizes = np.unique(own, return_inverse=True, return_counts=True)
    alike = np.unique(np.stack([own_N, members.label], 1), axis=0)
    several = np.bincount(alike[:, 0], minlength=len(sizes)) > 1
    within = several[own_N]
    return {
        "pairs": pairs,
        "within": {
            split: int((within & (members.split == at)).sum()) for at, split in enumerate(SPLITS)
        },
    }


def _class_overlaps(
    hashes: np.ndarray, members: Members, dataset: Dataset
) -> list[dict[str, Json]]:
    """Find the pairs of classes of two splits of which one lies in the other by half or more."""
    _, kind_N = np.unique(hashes, return_inverse=True)
    crossing = _standing(kind_N, members.split).sum(1) > 1
    holders: dict[int, dict[int, int]] = {}  # an example to the classes that hold it, how often
    for kind, label in zip(kind_N[crossing], members.label[crossing], strict=True):
        classes = holders.setdefault(int(kind), {})
        classes[int(label)] = classes.get(int(label), 0) + 1
    shared: dict[tuple[int, int], int] = {}  # (class, other): examples of the class in the other
    for classes in holders.values():
        for label, count in classes.items():
            for other in classes:
                shared[label, other] = shared.get((label, other), 0) + count
    split_of = {int(label): int(at) for label, at in zip(members.label, members.split, strict=True)}
    found: dict[tuple[int, int], float] = {}
    for (label, other), count in sorted(shared.items()):
        share = count / dataset.counts[label]
        if split_of[label] != split_of[other] and share >= LEAST_SHARE:
            pair = (min(label, other), max(label, other))
            found[pair] = max(share, found.get(pair, 0.0))
    return [
        {
            "classes": [dataset.classes[one] for one in pair],
            "splits": [SPLITS[split_of[one]] for one in pair],
            "share": share,
        }
        for pair, share in found.items()
    ]


def _groups(dataset: Dataset) -> list[dict[str, Json]]:
    """Find the groups (``Group/name``) whose classes stand in more than one split."""
    found: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        for name in dataset.splits[split]:
            group, slash, _ = name.partition("/")
            if slash:
                counts = found.setdefault(group, {})
                counts[split] = counts.get(split, 0) + 1
    return [{"group": one, "classes": c} for one, c in sorted(found.items()) if len(c) > 1]


def _perceptual(
    spec: StageSpec, place: Place, dataset: Dataset, members: Members, hashes: np.ndarray
) -> dict[str, Json]:
    """Find the examples of one split that look like one of another, beyond exact duplicates."""
    modality = modality_of(dataset.form)
    kinds = _looks(spec, place, dataset.examples, modality)
    if kinds is None:
        return {"skipped": f"nothing tells when {dataset.form} looks alike"}
    _, exact_N = np.unique(hashes, return_inverse=True)
    exactly = _standing(exact_N, members.split)
    blank = modality.blank(dataset.examples)
    _, kind_N = np.unique(kinds, return_inverse=True)
    kind_N[blank] = kind_N.max() + 1 + np.arange(blank.sum())
    looks = _standing(kind_N, members.split)
    counts, alike = {}, []
    for name, first, second in _pairs():
        found = np.flatnonzero((members.split == second) & looks[:, first] & ~exactly[:, first])
        counts[name] = len(found)
        there_N = members.split == first
        for one in found.tolist():
            others = np.flatnonzero((kind_N == kind_N[one]) & there_N)
            away = modality.apart(dataset.examples[one], dataset.examples[others])
            alike.append((float(away.min()), int(others[away.argmin()]), one))
    nearest = sorted(alike)[:PAIRS]
    return {"counts": counts, "pairs": [_shown(one, dataset, members) for one in nearest]}


def _looks(
    spec: StageSpec, place: Place, examples: np.ndarray, modality: AbstractModality
) -> np.ndarray | None:
    """Return what says of each example [N] what it looks like; None where nothing does."""
    found = []
    for number, part in enumerate(np.array_split(examples, REPORTS)):
        looks = modality.looks(part)
        if looks is None:
            return None
        found.append(looks)
        place.emit(Progress(key=spec.key, step=number + 1, total=REPORTS, values={}))
    return np.concatenate(found)


def _shown(pair: tuple[float, int, int], dataset: Dataset, members: Members) -> Mapping[str, Json]:
    difference, *both = pair
    shown = [dataset.examples[one] for one in both]
    sheet = modality_of(dataset.form).sheet(shown, dataset.form)
    return {
        "splits": [SPLITS[members.split[one]] for one in both],
        "classes": [dataset.classes[members.label[one]] for one in both],
        "difference": difference,
        "png": base64.b64encode(sheet).decode(),
    }
