"""The UCR archive: 128 sets of time series, each as two files of labelled lines.

Dau et al. (2018), arXiv:1810.07758. Its halves TRAIN and TEST are put together: what few-shot
learning splits is the classes. Every step is in float64 and rounded the same on every machine, so
that a set has one digest: sums are exact (``math.fsum``), and nothing is left to a library's order.

Shapes: N series, T steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from bench.contract import AbstractData, AtLeastTwo, Examples
from bench.dataset import stamp
from bench.errors import UserError, suggest
from bench.splits import by_hash, folder_at, listed

FOLDER = "UCRArchive_2018"
HALVES = ("TRAIN", "TEST")
ADVICE = (
    f"Unpack {FOLDER}.zip of https://www.cs.ucr.edu/~eamonn/time_series_data_2018 to "
    f"FOLDER/{FOLDER}, and give --data FOLDER or set BENCH_DATA=FOLDER."
)
ANEW = "Unpack the archive anew."
LARGEST = float(np.finfo(np.float32).max)  # of what a series is kept as


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One series as it stands in a file: NaN where a value is missing."""

    where: str
    label: int
    values_T: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Ucr(AbstractData):
    """One set of the archive: series float32 [1, T] below ``UCRArchive_2018/<set>``.

    Missing values are filled in linearly between the two around them, as the archive's authors
    do. Sets whose series differ in length mark the end of the shorter ones by missing values; the
    last value is held there (the authors have copies with faint noise in its place). Neither
    counts for the mean and the deviation by which a series is standardised.

    The split: ``splits`` is a folder with train.txt, val.txt and test.txt (a class a line); else
    classes are sorted by the hash of their names, and the first 16 % (at least one) are val, the
    next 20 % test, the rest train. Classes are called by their numbers, ``07``.
    """

    reference: ClassVar[str] = "arXiv:1810.07758"
    modality: ClassVar[str] = "series"
    encoder: ClassVar[str] = "tcn"
    augment: ClassVar[str] = "warp"
    set: str
    least: AtLeastTwo = 20  # series; smaller classes are left out: 5 shots and 15 queries need 20
    splits: str | None = None
    normalise: bool = True  # to mean 0 and deviation 1 each (by T - 1), as most sets come already;
    # Crop and some others do not
    length: Annotated[int, Field(ge=8)] | None = None  # steps to resample to, linearly; None: as is
    called: str | None = None  # what reports call it, in the place of the set's name

    @property
    def title(self) -> str:
        """What reports call it: as the archive does, or as it is ``called``."""
        return self.called or self.set

    def read(self, root: Path | None) -> Examples:
        """Read both halves, fill in and standardise each series, and leave small classes out."""
        lines = self._lines(root)
        whole: dict[str, list[np.ndarray]] = {}
        for name, line in zip(_names([line.label for line in lines]), lines, strict=True):
            whole.setdefault(name, []).append(self._series(line))
        splits, small = self._split(whole, root)
        kept = [name for names in splits.values() for name in names]
        arrays = {name: np.stack(whole[name])[:, None].astype(np.float32) for name in kept}
        return Examples(arrays=arrays, splits=splits, notes=tuple(self._notes(lines, whole, small)))

    def fingerprint(self, root: Path | None) -> str:
        """Return the hash of the names, sizes and times of the files."""
        folders = [self._folder(root)]
        if self.splits is not None:
            folders.append(folder_at(self.splits, root, "ucr"))
        return "-".join(stamp(folder) for folder in folders)

    def _folder(self, root: Path | None) -> Path:
        archive = root / FOLDER if root else None
        if not archive or not archive.is_dir():
            found = f"{FOLDER} is not in {root}" if root else "no root folder is set"
            raise UserError("data ucr", found, ADVICE)
        found_sets = {one.name: one for one in archive.glob("[!.]*") if one.is_dir()}
        if self.set not in found_sets:
            works = suggest(self.set, found_sets)
            raise UserError("data ucr", f"no set {self.set!r} in {archive}", works)
        return found_sets[self.set]

    def _lines(self, root: Path | None) -> list[_Line]:
        """Return the lines of both files, all of one length."""
        folder = self._folder(root)
        lines = [line for half in HALVES for line in _read(folder / f"{self.set}_{half}.tsv")]
        for line in lines:
            if len(line.values_T) != len(lines[0].values_T):
                found = f"{len(line.values_T)} values, but {lines[0].where} has"
                found += f" {len(lines[0].values_T)}"
                works = "All lines of a set have as many columns, with NaN for what is missing."
                raise UserError(line.where, found, works)
        return lines

    def _series(self, line: _Line) -> np.ndarray:
        """Return one series [T], whole, standardised and resampled as is asked for."""
        values_T = line.values_T
        there = np.flatnonzero(~np.isnan(values_T))
        if len(there) < 2:
            found = f"{len(there)} of its {len(values_T)} values are numbers"
            raise UserError(line.where, found, "A series needs two at least: remove the line.")
        known = _standardised(values_T[there]) if self.normalise else values_T[there]
        whole = _between(np.arange(len(values_T)), there, known)
        if self.length is None:
            return whole
        place = np.arange(self.length) * (len(whole) - 1) / (self.length - 1)
        return _between(place, np.arange(len(whole)), whole)

    def _split(
        self, whole: Mapping[str, Sequence[np.ndarray]], root: Path | None
    ) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        """Return the classes of each split, and those that are too small for one."""
        small = [name for name, series in whole.items() if len(series) < self.least]
        large = [name for name in whole if name not in small]
        if self.splits is None:
            if len(large) < 3:
                found = f"{len(large)} of {len(whole)} classes hold {self.least} series or more"
                raise UserError(f"data ucr: {self.set}", found, self._lower(whole))
            return by_hash(large), small
        lists = folder_at(self.splits, root, "ucr")
        splits = {
            split: tuple(name for name in names if name not in small)
            for split, names in listed(whole, lists, "ucr").items()
        }
        for split in (split for split, names in splits.items() if not names):
            found = f"none of its classes holds {self.least} series or more"
            raise UserError(f"data ucr: {lists / split}.txt", found, self._lower(whole))
        return splits, small

    def _lower(self, whole: Mapping[str, Sequence[np.ndarray]]) -> str:
        """Say which ``least`` leaves enough classes, one for each split."""
        sizes = sorted((len(series) for series in whole.values()), reverse=True)
        if len(sizes) < 3 or sizes[2] < 2:
            return (
                "At least three are needed, one for each of train, val and test: take another set."
            )
        return f"At least three are needed, one for each split: least is to be {sizes[2]} or lower."

    def _notes(
        self, lines: Sequence[_Line], whole: Mapping[str, object], small: Sequence[str]
    ) -> Iterator[str]:
        """Say what was left out and filled in."""
        if small:
            yield (
                f"{len(small)} of {len(whole)} classes hold fewer than {self.least}"
                f" series and are left out: {', '.join(sorted(small))}"
            )
        missing = [int(np.isnan(line.values_T).sum()) for line in lines]
        if any(missing):
            yield (
                f"{sum(missing)} values in {np.count_nonzero(missing)} of {len(lines)}"
                " series are missing and are filled in: linearly, at the ends by the nearest value"
            )


def _read(file: Path) -> list[_Line]:
    """Return the lines of one half."""
    if not file.is_file():
        raise UserError(f"data ucr: {file}", "there is no such file", ANEW)
    text = file.read_text(encoding="utf-8", errors="replace")
    rows = [(number, row) for number, row in enumerate(text.splitlines(), start=1) if row.strip()]
    if not rows:
        raise UserError(f"data ucr: {file}", "it is empty", ANEW)
    return [_line(f"data ucr: {file}:{number}", row) for number, row in rows]


def _line(where: str, row: str) -> _Line:
    """Return one line: a whole number as label, then values, with tabs between."""
    first, *rest = row.split("\t")
    label, *values = [_number(where, column, one) for column, one in enumerate((first, *rest), 1)]
    if not label.is_integer():
        found = f"the label is {first!r}"
        raise UserError(where, found, "A line begins with its class, a whole number.")
    if len(values) < 2:
        works = "A line is a class and two values or more, with tabs between."
        raise UserError(where, f"{len(values)} values", works)
    return _Line(where=where, label=int(label), values_T=np.array(values))


def _number(where: str, column: int, text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        works = "Write a number, or NaN for a value that is missing."
        raise UserError(f"{where}, column {column}", f"{text!r} is no number", works) from error
    if abs(number) > LARGEST:
        works = "Write a finite number, or NaN for a value that is missing."
        raise UserError(f"{where}, column {column}", f"{text!r} is too large", works)
    return number


def _names(labels: Sequence[int]) -> list[str]:
    """Return labels as text of one width, so that they sort as numbers."""
    width = max(len(str(label)) for label in labels)
    return [f"{label:0{width}d}" for label in labels]


def _standardised(values_T: np.ndarray) -> np.ndarray:
    """Return values of mean 0 and deviation 1 (by T - 1); equal ones are 0."""
    if values_T.min() == values_T.max():
        return np.zeros_like(values_T)
    centred = values_T - fsum(values_T) / len(values_T)
    return centred / sqrt(fsum(centred * centred) / (len(values_T) - 1))


def _between(place_K: np.ndarray, known_M: np.ndarray, values_M: np.ndarray) -> np.ndarray:
    """Return values at places: linearly between the known ones, at the ends the nearest.

    As ``np.interp``, whose last bit depends on how numpy was built.
    """
    after = np.clip(np.searchsorted(known_M, place_K), 1, len(known_M) - 1)
    before = after - 1
    share = (place_K - known_M[before]) / (known_M[after] - known_M[before])
    rise = values_M[after] - values_M[before]
    inside = values_M[before] + share * rise
    return np.where(share <= 0, values_M[before], np.where(share >= 1, values_M[after], inside))
