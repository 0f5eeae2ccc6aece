"""The audit of data: which examples and classes of one split stand in another one, too.

Shapes: N examples of all splits.
"""

import base64
import hashlib
from collections.abc import Mapping

import numpy as np

from bench.cell import Json, Progress, StageSpec, Started
from bench.contract import AbstractModality
from bench.stages.audited import Audited, audited
from bench.stages.place import Clock, Place, Result, peak_memory
from bench.stages.source import modality_of

LEAST_SHARE = 0.5  # of a class: when as many of its examples stand in another class, they overlap
PAIRS = 12  # look-alikes of a set that are shown
REPORTS = 10  # progress events


def audit_data(spec: StageSpec, place: Place) -> Result:
    """Run one ``audit`` stage of data; ``spec.inputs["known"]``: sha256 of known duplicates.

    It is of the three splits of a set; where a row has other sets to pre-train or to be tested
    on, of the splits of each that it sees, those for pre-training as ``pretrain`` and ``pretrain
    val``. A duplicate is known within a set alone.

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
      ``classes`` (split to their number); of several sets also what has one name in two of them.
    """
    clock = Clock()
    data = audited(spec.inputs)
    place.emit(Started(key=spec.key, step=0, total=REPORTS))
    hashes = _sums(data.examples)
    exact = _exact(hashes, data, frozenset(spec.inputs["known"]))
    classes = _class_overlaps(hashes, data)
    facts = {
        "exact": exact,
        "classes": classes,
        "perceptual": _perceptual(spec, place, data, hashes),
        "groups": data.groups(),
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


def _standing(kind_N: np.ndarray, data: Audited) -> np.ndarray:
    """Return [N, splits]: whether the kind of each example has an example in each split."""
    stands = np.zeros((kind_N.max() + 1, len(data.splits)), bool)
    stands[kind_N, data.split] = True
    found: np.ndarray = stands[kind_N]
    return found


def _exact(hashes: np.ndarray, data: Audited, known: frozenset[str]) -> dict[str, Json]:
    """Count examples whose bytes stand in another split, and in another class of their own."""
    _, kind_N = np.unique(hashes, return_inverse=True)
    stands = _standing(kind_N, data)
    pairs = {}
    for name, first, second in data.pairs():
        found = (data.split == second) & stands[:, first]
        listed = np.isin(hashes, list(known)) & (data.sets[first] == data.sets[second])
        pairs[name] = {
            "known": int((found & listed).sum()),
            "unknown": int((found & ~listed).sum()),
        }
    own = kind_N * len(data.splits) + data.split  # one example in one split
    _, own_N, sizes = np.unique(own, return_inverse=True, return_counts=True)
    alike = np.unique(np.stack([own_N, data.label], 1), axis=0)
    several = np.bincount(alike[:, 0], minlength=len(sizes)) > 1
    within = several[own_N]
    return {
        "pairs": pairs,
        "within": {
            split: int((within & (data.split == at)).sum()) for at, split in enumerate(data.splits)
        },
    }


def _class_overlaps(hashes: np.ndarray, data: Audited) -> list[dict[str, Json]]:
    """Find the pairs of classes of two splits of which one lies in the other by half or more."""
    _, kind_N = np.unique(hashes, return_inverse=True)
    crossing = _standing(kind_N, data).sum(1) > 1
    holders: dict[int, dict[int, int]] = {}  # an example to the classes that hold it, how often
    for kind, label in zip(kind_N[crossing], data.label[crossing], strict=True):
        classes = holders.setdefault(int(kind), {})
        classes[int(label)] = classes.get(int(label), 0) + 1
    shared: dict[tuple[int, int], int] = {}  # (class, other): examples of the class in the other
    for classes in holders.values():
        for label, count in classes.items():
            for other in classes:
                shared[label, other] = shared.get((label, other), 0) + count
    apart = {(first, second) for _, first, second in data.pairs()}
    found: dict[tuple[int, int], float] = {}
    for (label, other), count in sorted(shared.items()):
        share, pair = count / data.counts[label], (min(label, other), max(label, other))
        if tuple(data.class_split[one] for one in pair) in apart and share >= LEAST_SHARE:
            found[pair] = max(share, found.get(pair, 0.0))
    return [
        {
            "classes": [data.classes[one] for one in pair],
            "splits": [data.splits[data.class_split[one]] for one in pair],
            "share": share,
        }
        for pair, share in found.items()
    ]


def _perceptual(
    spec: StageSpec, place: Place, data: Audited, hashes: np.ndarray
) -> dict[str, Json]:
    """Find the examples of one split that look like one of another, beyond exact duplicates."""
    modality = modality_of(data.form)
    kinds = _looks(spec, place, data.examples, modality)
    if kinds is None:
        return {"skipped": f"nothing tells when {data.form} looks alike"}
    _, exact_N = np.unique(hashes, return_inverse=True)
    exactly = _standing(exact_N, data)
    blank = modality.blank(data.examples)
    _, kind_N = np.unique(kinds, return_inverse=True)
    kind_N[blank] = kind_N.max() + 1 + np.arange(blank.sum())
    looks = _standing(kind_N, data)
    counts, alike = {}, []
    for name, first, second in data.pairs():
        found = np.flatnonzero((data.split == second) & looks[:, first] & ~exactly[:, first])
        counts[name] = len(found)
        there_N = data.split == first
        for one in found.tolist():
            others = np.flatnonzero((kind_N == kind_N[one]) & there_N)
            away = modality.apart(data.examples[one], data.examples[others])
            alike.append((float(away.min()), int(others[away.argmin()]), one))
    nearest = sorted(alike)[:PAIRS]
    return {"counts": counts, "pairs": [_shown(one, data) for one in nearest]}


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


def _shown(pair: tuple[float, int, int], data: Audited) -> Mapping[str, Json]:
    difference, *both = pair
    shown = [data.examples[one] for one in both]
    sheet = modality_of(data.form).sheet(shown, data.form)
    return {
        "splits": [data.splits[data.split[one]] for one in both],
        "classes": [data.classes[data.label[one]] for one in both],
        "difference": difference,
        "png": base64.b64encode(sheet).decode(),
    }
