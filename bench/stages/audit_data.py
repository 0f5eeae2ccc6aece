"""The audit of a set: which images and classes of one split stand in another one, too.

Shapes: N examples of the whole set, C channels, H height, W width.
"""

import base64
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from PIL import Image

from bench.cell import Json, Progress, StageSpec, Started
from bench.dataset import SPLITS, Dataset, open_known
from bench.stages.place import Clock, Place, Result, peak_memory

LEAST_SHARE = 0.5  # of a class: when as many of its examples stand in another class, they overlap
PAIRS = 12  # look-alikes of a set that are shown
THUMBNAIL = 96  # pixels, the longest side of a shown image
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
    * ``perceptual``: by pair of splits the examples of the second whose 64-bit perceptual hash
      (DCT, by ``imagehash``) stands in the first, exact duplicates and blank images left out:
      ``counts``; and ``pairs``, at most PAIRS, those that differ least first: ``splits``,
      ``classes`` (two each), ``difference`` (mean over pixels, in [0, 255]), ``png`` (both images
      side by side, base64). Or ``skipped``: why there is none.
    * ``groups``: of class names ``Group/name``, each group with classes in two splits: ``group``,
      ``classes`` (split to their number).
    """
    clock = Clock()
    dataset = open_known(spec.inputs["data"]["digest"])
    place.emit(Started(key=spec.key, step=0, total=REPORTS))
    hashes = _sums(dataset.images)
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


def _sums(images: np.ndarray) -> np.ndarray:
    """Return the sha256 of each example's bytes, as text of 64 hex digits [N]."""
    return np.array([hashlib.sha256(one.tobytes()).hexdigest() for one in images])


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
    own = kind_N * len(SPLITS) + members.split  # one image in one split
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
    holders: dict[int, dict[int, int]] = {}  # an image to the classes that hold it, how often
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
    """Find the images of one split that look like one of another, beyond exact duplicates."""
    shape = dataset.shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        return {"skipped": f"examples of shape {list(shape)} are not images"}
    kinds = _looks(spec, place, dataset.images)
    _, exact_N = np.unique(hashes, return_inverse=True)
    exactly = _standing(exact_N, members.split)
    flat = dataset.images.reshape(len(dataset.images), -1)
    blank = _blank(dataset.images)
    _, kind_N = np.unique(kinds, return_inverse=True)
    kind_N[blank] = kind_N.max() + 1 + np.arange(blank.sum())
    looks = _standing(kind_N, members.split)
    counts, alike = {}, []
    for name, first, second in _pairs():
        found = np.flatnonzero((members.split == second) & looks[:, first] & ~exactly[:, first])
        counts[name] = len(found)
        alike += [_nearest(int(one), kind_N, members.split == first, flat) for one in found]
    nearest = sorted(alike)[:PAIRS]
    return {"counts": counts, "pairs": [_shown(one, dataset, members) for one in nearest]}


def _blank(images: np.ndarray) -> np.ndarray:
    """Say of each image [N, C, H, W] whether it is of one colour: such look alike, tell nothing."""
    channels = images.reshape(*images.shape[:2], -1)
    found: np.ndarray = (channels == channels[:, :, :1]).all((1, 2))
    return found


def _looks(spec: StageSpec, place: Place, images: np.ndarray) -> np.ndarray:
    """Return the perceptual hash of each image [N, C, H, W] as one whole number."""
    import imagehash

    hashes = np.empty((len(images), 8), np.uint8)
    for part in np.array_split(np.arange(len(images)), REPORTS):
        for number in part:
            hashes[number] = np.packbits(imagehash.phash(_image(images[number]).convert("L")).hash)
        done = int(part[-1]) + 1 if len(part) else 0
        step = min(REPORTS, round(REPORTS * done / len(images)))
        place.emit(Progress(key=spec.key, step=step, total=REPORTS, values={}))
    return hashes.view(np.uint64)[:, 0].copy()


def _image(image_CHW: np.ndarray) -> Image.Image:
    if len(image_CHW) == 1:
        return Image.fromarray(image_CHW[0])
    return Image.fromarray(np.ascontiguousarray(image_CHW.transpose(1, 2, 0)))


def _nearest(
    one: int, kind_N: np.ndarray, there_N: np.ndarray, flat: np.ndarray
) -> tuple[float, int, int]:
    """Return the mean difference of an example from the nearest of its kind, that, and itself."""
    others = np.flatnonzero((kind_N == kind_N[one]) & there_N)
    away = np.abs(flat[others].astype(np.int16) - flat[one].astype(np.int16)).mean(1)
    return float(away.min()), int(others[away.argmin()]), one


def _shown(pair: tuple[float, int, int], dataset: Dataset, members: Members) -> Mapping[str, Json]:
    difference, *both = pair
    return {
        "splits": [SPLITS[members.split[one]] for one in both],
        "classes": [dataset.classes[members.label[one]] for one in both],
        "difference": difference,
        "png": base64.b64encode(_side_by_side([dataset.images[one] for one in both])).decode(),
    }


def _side_by_side(images: list[np.ndarray]) -> bytes:
    """Return images as one PNG, a white gap between them, no larger than THUMBNAIL each."""
    thumbnails = [_image(one) for one in images]
    for one in thumbnails:
        one.thumbnail((THUMBNAIL, THUMBNAIL))
    width, height = thumbnails[0].size
    gap = max(2, width // 14)
    sheet = Image.new("RGB", (2 * width + gap, height), "white")
    for number, one in enumerate(thumbnails):
        sheet.paste(one, (number * (width + gap), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "png")
    return buffer.getvalue()
