"""Across data sets: what holds on more than one, with data sets as blocks.

A block is a test set, which counts once: rows that were trained on the set of their test are
looked at together, and so are those that were trained on one and the same other set.
Shots of one model are not independent, so they are no blocks: each number of ways and shots is
looked at by itself. A row that lacks a data set, or is incomplete on one, has no mean.

Shapes: V rows, S seeds, B data sets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from bench.plan import Plan
from bench.report.comparison import Block, Comparison, Row, stem
from bench.report.views.across_domains import roles_of
from bench.statistics.across import (
    BlockMean,
    CriticalDifference,
    Tally,
    critical_difference,
    mean_difference,
    win_tie_loss,
)
from bench.statistics.aggregate import FEWEST_BLOCKS, Profile, performance_profile

THRESHOLDS = np.linspace(0, 1, 101)  # of accuracy, for performance profiles


@dataclass(frozen=True, kw_only=True)
class Everywhere:
    """A row against one reference on every data set, in the order of the blocks.

    ``mean`` and ``tally`` are None where it is not whole on each of them, the tally also where no
    verdict is due, since the two saw other labels. ``marked``: the row has marks on some set.
    """

    variant: str
    labels: str
    reference: str
    compared: tuple[Comparison | None, ...]
    mean: BlockMean | None
    tally: Tally | None
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class DataSets:
    """One number of ways and shots over all its data sets; ``source``: what was trained on.

    It is empty where each set was trained on itself.

    ``scores`` maps each row that is whole on every one to its accuracies [S, B], the best first;
    ``labels`` names the class of labels of each of these.
    """

    ways: int
    shots: int
    blocks: tuple[Block, ...]
    rows: tuple[Everywhere, ...]
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    @property
    def title(self) -> str:
        """Name the setting in words."""
        own = f", trained on {self.source}" if self.source else ""
        setting = self.blocks[0].headline.sizes(self.ways, self.shots)
        return f"{setting} over {len(self.blocks)} data sets{own}"

    @property
    def slug(self) -> str:
        """Name the setting in a file's name."""
        own = f"-from-{stem(self.source)}" if self.source else ""
        return f"{self.blocks[0].headline.sizes_stem(self.ways, self.shots)}{own}"

    @property
    def has_aggregates(self) -> bool:
        """Whether there are enough data sets for interquartile means and profiles."""
        return len(self.blocks) >= FEWEST_BLOCKS and bool(self.scores)

    @cached_property
    def profiles(self) -> Mapping[str, Profile]:
        """The performance profile of each row; none where data sets are too few."""
        found = {name: performance_profile(one, THRESHOLDS) for name, one in self.scores.items()}
        return {name: one for name, one in found.items() if one is not None}

    @cached_property
    def rankings(self) -> tuple["Ranking", ...]:
        """Ranks of each class of labels: to tell rows apart is a verdict, due within one alone."""
        classes: dict[str, list[str]] = {}
        for variant in self.scores:
            classes.setdefault(self.labels[variant], []).append(variant)
        return tuple(
            Ranking(
                labels=labels,
                variants=tuple(rows),
                found=critical_difference(np.stack([self.scores[one].mean(0) for one in rows])),
            )
            for labels, rows in classes.items()
            if len(rows) > 1
        )


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Rows of one class of labels over data sets; None where no difference is attainable."""

    labels: str
    variants: tuple[str, ...]
    found: CriticalDifference | None


def data_sets(blocks: Sequence[Block], plan: Plan) -> tuple[DataSets, ...]:
    """Gather the blocks of each number of ways and shots that has more than one data set.

    Rows that were trained on another set than that of their test are a setting of their own: a
    test set that stood twice in a mean would be no two blocks.
    """
    found: dict[tuple[int, int, str], list[Block]] = {}
    for block in blocks:
        if not block.held_out:
            roles = roles_of(plan, block.data)
            source = "" if roles.at_home else roles.source
            found.setdefault((block.ways, block.shots, source), []).append(block)
    return tuple(
        DataSets(
            ways=ways,
            shots=shots,
            source=source,
            blocks=tuple(own),
            rows=(*_rows(own, _baseline), *_rows(own, _floor)),
            scores=(scores := _scores(own)),
            labels={name: _by_variant(own[0])[name].group.first.labels for name in scores},
        )
        for (ways, shots, source), own in found.items()
        if len(own) > 1
    )


def _baseline(row: Row) -> Comparison | None:
    return row.baseline


def _floor(row: Row) -> Comparison | None:
    return row.floor


def _by_variant(block: Block) -> dict[str, Row]:
    return {row.group.variant: row for row in block.rows}


def _rows(
    blocks: Sequence[Block], of: Callable[[Row], Comparison | None]
) -> tuple[Everywhere, ...]:
    """Return every row that is judged by one reference on some data set."""
    rows: dict[tuple[str, str], str] = {}
    for block in blocks:
        for row in block.rows:
            one = of(row)
            if one is not None and one.reference != row.group.variant:
                rows.setdefault((row.group.variant, one.reference), row.group.first.labels)
    named = [_by_variant(block) for block in blocks]
    return tuple(
        replace(
            _everywhere(variant, labels, reference, [_compared(one, variant, of) for one in named]),
            marked=any(variant in one and one[variant].marks for one in named),
        )
        for (variant, reference), labels in rows.items()
        if not (of is _floor and _is_baseline(blocks, reference, labels))
    )


def _is_baseline(blocks: Sequence[Block], reference: str, labels: str) -> bool:
    """Whether the floor is the class's baseline, against which the row was listed already."""
    return all(block.baselines.get(labels) == reference for block in blocks)


def _compared(
    rows: Mapping[str, Row], variant: str, of: Callable[[Row], Comparison | None]
) -> Comparison | None:
    row = rows.get(variant)
    return of(row) if row is not None else None


def _everywhere(
    variant: str, labels: str, reference: str, compared: Sequence[Comparison | None]
) -> Everywhere:
    whole = [
        one
        for one in compared
        if one is not None and one.reference == reference and one.difference is not None
    ]
    is_whole = len(whole) == len(compared)
    verdicts = [one.verdict for one in whole if one.verdict]
    means = np.array([one.difference.mean for one in whole if one.difference])
    return Everywhere(
        variant=variant,
        labels=labels,
        reference=reference,
        compared=tuple(compared),
        mean=mean_difference(means) if is_whole else None,
        tally=win_tie_loss(verdicts) if is_whole and len(verdicts) == len(whole) else None,
    )


def _scores(blocks: Sequence[Block]) -> dict[str, np.ndarray]:
    """Return accuracies [S, B] of the rows that are whole on every set, with the same seeds."""
    named = [_by_variant(block) for block in blocks]
    found = {}
    for variant in named[0]:
        rows = [one.get(variant) for one in named]
        groups = [row.group for row in rows if row is not None and row.accuracy]
        if len(groups) == len(blocks) and len({group.seeds() for group in groups}) == 1:
            found[variant] = np.stack([group.accuracy().mean(1) for group in groups], axis=1)
    return dict(sorted(found.items(), key=lambda item: -float(item[1].mean())))
