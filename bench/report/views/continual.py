"""Learning along a stream: what is kept of each group, and which strategy and start keep more.

Forgetting is judged with its sign turned, so that more is better, and shown as it is.

Shapes: S seeds, E streams (the test episodes), T groups of a stream; M[s, e, t, j] is the accuracy
on group j after group t, NaN where j has not come yet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.cell import Cell, Json
from bench.plan import Plan
from bench.report.comparison import (
    FURTHER,
    Block,
    Comparison,
    Row,
    compare,
    floor_of,
    is_floor,
    judge,
)
from bench.report.marks import oracles
from bench.report.results import Group
from bench.report.streams import is_stream
from bench.report.views.speed import turned
from bench.statistics.continual import (
    average_accuracy,
    backward_transfer,
    forgetting,
    learning_accuracy,
)
from bench.statistics.interval import Interval, crossed_interval

Kind = Literal["strategy", "start", "further"]
KINDS: tuple[Kind, ...] = ("strategy", "start", "further")
NAIVE = "naive"  # the strategy that others are compared with
METRICS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {  # of [..., T, T]
    "accuracy": lambda M: np.asarray(average_accuracy(M)[..., -1]),
    "learning": learning_accuracy,
    "forgetting": forgetting,
    "backward_transfer": backward_transfer,
}
MEASURES = ("accuracy", "forgetting")  # that pairs are compared in


@dataclass(frozen=True, kw_only=True)
class Along:
    """One row of a stream: its metrics with intervals, and its mean accuracy matrix [T, T].

    Both are empty where the row has no mean. ``naive`` is its forgetting minus that of the naive
    row of its start, None for a naive row and without one. ``edge``: a rate that was chosen lies
    at an edge of the grid.
    """

    row: Row
    start: str
    strategy: str
    oracle: bool
    rates: tuple[float, ...]
    edge: bool
    metrics: Mapping[str, Interval]
    matrix_TT: np.ndarray
    naive: Comparison | None = None

    @property
    def shown(self) -> str:
        """Name the strategy, and say what it keeps."""
        if self.oracle:
            return f"{self.strategy} (oracle)"
        kept = self.row.group.first.params.get("strategy.kept")
        return f"{self.strategy}, keeps {kept}" if kept else self.strategy


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two rows that differ in one thing, by ``kind``; ``compared``: a measure to the difference.

    ``strategy``: from one start, and the reference is naive; ``start``: learned by one strategy,
    and the reference is the random-init floor; ``further``: pre-training goes on, or does not.
    """

    kind: Kind
    start: str
    strategy: str
    oracle: bool
    group: Group
    reference: Group
    compared: Mapping[str, Comparison]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A setting whose episodes are streams: its rows, and all pairs that differ in one thing.

    ``rows`` are in the block's order; pairs, starts and strategies in the plan's.
    """

    block: Block
    groups: int
    scenario: str
    rows: tuple[Along, ...]
    pairs: tuple[Pair, ...]
    starts: tuple[str, ...]
    strategies: tuple[str, ...]

    def of_kind(self, kind: Kind) -> list[Pair]:
        """Return the pairs of one kind."""
        return [one for one in self.pairs if one.kind == kind]


def streams(blocks: Sequence[Block], plan: Plan) -> tuple[Stream, ...]:
    """Return what each setting says of learning along a stream; nothing for other protocols."""
    return tuple(_stream(block, plan) for block in blocks) if is_stream(plan) else ()


def matrices(group: Group, seeds: frozenset[int] | None = None) -> np.ndarray:
    """Return the accuracy matrices M [S, E, T, T] of a row that is done."""
    groups = range(1, len(group.done[0].steps) + 1)
    columns_JTSE = np.stack([group.measured(f"on_{j}", seeds) for j in groups])
    return columns_JTSE.transpose(2, 3, 1, 0)


def _stream(block: Block, plan: Plan) -> Stream:
    place = {cell.variant: number for number, cell in reversed(list(enumerate(plan.cells)))}
    groups = sorted((row.group for row in block.rows), key=lambda one: place[one.variant])
    names = _Names.of([group.first for group in groups])
    floors = {row.group.variant: row.floor for row in block.rows}
    pairs = _judged(list(_pairs(groups, plan, names)), floors, float(plan.settings["margin"]))
    naive: dict[str, Comparison] = {}
    for one in pairs:
        if one.kind == "strategy":
            naive.setdefault(one.group.variant, one.compared["forgetting"])
    return Stream(
        block=block,
        groups=int(plan.settings["groups"]),
        scenario=str(plan.settings["scenario"]),
        rows=tuple(_along(row, plan, names, naive) for row in block.rows),
        pairs=tuple(pairs),
        starts=tuple(names.starts.values()),
        strategies=tuple(names.strategies.values()),
    )


def _along(row: Row, plan: Plan, names: "_Names", naive: Mapping[str, Comparison]) -> Along:
    group = row.group
    M = None if group.trouble else matrices(group)
    rates, grid = group.rates, plan.settings["rates"]
    return Along(
        row=row,
        start=names.starts[_start(group.first)],
        strategy=names.strategies[_strategy(group.first)],
        oracle=group.first.strategy in oracles(plan),
        rates=rates,
        edge=bool(rates) and len(grid) > 1 and (rates[0] == min(grid) or rates[-1] == max(grid)),
        metrics={}
        if M is None
        else {name: crossed_interval(metric(M)) for name, metric in METRICS.items()},
        matrix_TT=np.empty((0, 0)) if M is None else M.mean((0, 1)),
        naive=naive.get(group.variant),
    )


def _start(cell: Cell) -> str:
    """Return what tells a start from another: every axis and parameter but the strategy's."""
    own = {name: v for name, v in cell.params.items() if not name.startswith("strategy.")}
    axes = (cell.control, cell.init, cell.pretext, cell.encoder, cell.norm)
    return repr((*axes, cell.tasks, cell.auxiliary, cell.meta, sorted(own.items())))


def _starts(cells: Sequence[Cell]) -> dict[str, str]:
    """Name each start in few words, or where these are another's too by its first row."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(_start(cell), cell)
    short = {key: _short(cell) for key, cell in first.items()}
    alone = {name for name in short.values() if list(short.values()).count(name) == 1}
    return {k: name if name in alone else first[k].variant for k, name in short.items()}


def _strategies(cells: Sequence[Cell]) -> dict[str, str]:
    """Name each strategy, with parameters in which others of its name differ."""
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(_strategy(cell), cell)
    found = {}
    for key, cell in first.items():
        alike = [one.params for one in first.values() if one.strategy == cell.strategy]
        shown = [
            f"{name.removeprefix('strategy.')}={value}"
            for name, value in _own(cell).items()
            if any(other.get(name) != value for other in alike)
        ]
        found[key] = f"{cell.strategy} ({', '.join(shown)})" if shown else cell.strategy
    return found


def _strategy(cell: Cell) -> str:
    return repr((cell.strategy, sorted(_own(cell).items())))


def _own(cell: Cell) -> dict[str, Json]:
    return {name: value for name, value in cell.params.items() if name.startswith("strategy.")}


@dataclass(frozen=True, kw_only=True)
class _Names:
    """What each start and each strategy of a setting is called, in the plan's order."""

    starts: Mapping[str, str]
    strategies: Mapping[str, str]

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> "_Names":
        return cls(starts=_starts(cells), strategies=_strategies(cells))


def _short(cell: Cell) -> str:
    before = cell.pretext if cell.init in {"pretext", "scratch"} else cell.init
    return cell.control or f"{before} + {cell.meta}"


def _pairs(groups: Sequence[Group], plan: Plan, names: "_Names") -> Iterator[Pair]:
    """Yield every pair with its differences, not yet judged."""
    for kind in KINDS:
        for group in groups:
            for reference in _references(kind, group, groups):
                yield Pair(
                    kind=kind,
                    start=names.starts[_start(group.first)],
                    strategy=names.strategies[_strategy(group.first)],
                    oracle=group.first.strategy in oracles(plan),
                    group=group,
                    reference=reference,
                    compared={one: compare(group, reference, GAINS[one]) for one in MEASURES},
                )


def _references(kind: Kind, group: Group, groups: Sequence[Group]) -> list[Group]:
    """Return what a row is compared with, of one kind."""
    own = group.first
    others = [one for one in groups if one.variant != group.variant]
    if kind == "start":
        floor = None if is_floor(group) else floor_of(group, groups)
        return [floor] if floor and _learner(floor.first) == _learner(own) else []
    others = [one for one in others if _start(one.first) == _start(own)]
    if kind == "further":
        still = [one for one in others if not _goes_on(one.first)]
        like = [one for one in still if _learner(one.first) == _learner(own)]
        return like if _goes_on(own) else []
    naive = [one for one in others if one.first.strategy == NAIVE]
    alike = [one for one in naive if _goes_on(one.first) == _goes_on(own)]
    return [] if own.strategy == NAIVE else alike or naive


def _goes_on(cell: Cell) -> int:
    return int(cell.params.get(FURTHER, 0))


def _learner(cell: Cell) -> str:
    """Return the network and the strategy, but for whether pre-training goes on."""
    begin = ("encoder.", "strategy.")
    own = {k: v for k, v in cell.params.items() if k.startswith(begin) and k != FURTHER}
    return repr((cell.encoder, cell.norm, cell.strategy, sorted(own.items())))


def _forgets_less(group: Group, seeds: frozenset[int]) -> np.ndarray:
    return backward_transfer(matrices(group, seeds))


GAINS: Mapping[str, Callable[[Group, frozenset[int]], np.ndarray]] = {
    "accuracy": lambda group, seeds: group.accuracy(seeds),
    "forgetting": _forgets_less,
}


def _judged(
    pairs: Sequence[Pair], floors: Mapping[str, Comparison | None], margin: float
) -> list[Pair]:
    """Give verdicts where both rows saw the same labels, or the reference is the floor.

    A family is all pairs of a kind in one measure, of starts those with one floor. The accuracy of
    a start was judged against its floor before: one difference has one verdict.
    """
    families: dict[tuple[str, str], list[int]] = {}
    for number, one in enumerate(pairs):
        alike = one.group.first.labels == one.reference.first.labels
        if one.kind == "start" or alike:
            of = one.reference.variant if one.kind == "start" else ""
            families.setdefault((one.kind, of), []).append(number)
    compared = [dict(one.compared) for one in pairs]
    for numbers in families.values():
        for measure in MEASURES:
            family = judge([pairs[number].compared[measure] for number in numbers], margin)
            for number, decided in zip(numbers, family, strict=True):
                compared[number][measure] = decided
    for one, own in zip(pairs, compared, strict=True):
        before = floors[one.group.variant] if one.kind == "start" else None
        own["accuracy"] = before or own["accuracy"]
    return [_shown(*both) for both in zip(pairs, compared, strict=True)]


def _shown(pair: Pair, compared: Mapping[str, Comparison]) -> Pair:
    """Return a pair with its comparisons, forgetting as it is: less is better."""
    lost = turned(compared["forgetting"])
    assert lost is not None
    return replace(pair, compared={"accuracy": compared["accuracy"], "forgetting": lost})
