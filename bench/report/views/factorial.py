"""The factorial view: what the start does, what meta-learning does, and whether they add up.

A suite's grid is a split plot: rows of one start and seed share an encoder. So nothing is pooled:
every effect is a contrast of rows, formed seed by seed and episode by episode, and its interval is
the crossed interval of that contrast.

Shapes: G starts, H ways of meta-learning, S seeds, E episodes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from bench.cell import Cell, digest
from bench.plan import Plan
from bench.report.audit.finding import failed
from bench.report.comparison import Block, Comparison, judge
from bench.report.results import Group
from bench.report.trials import trials_of
from bench.statistics.contrast import departure, interaction, main_effect
from bench.statistics.interval import Interval, crossed_interval
from bench.statistics.verdict import holm

START = ("pretext.", "init.", "pretrain.")
LEARNING = (
    *("meta.", "tasks.", "task.", "auxiliary.", "metatrain.", "selection", "norm."),
    "strategy.",  # along a stream
)
START_SET = ("pretext.", "init.", "pretrain.budget")
LEARNING_SET = (
    *("meta.", "tasks.", "auxiliary.", "metatrain.budget", "selection", "norm."),
    "strategy.",
)
Naming = Callable[[Cell], str]
SPENT = "metatrain."  # how much of it: a pre-trained row may have spent a part of the same total


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A contrast of rows, in accuracy: ``level`` instead of what ``compared`` names as reference.

    It has no verdict where rows that saw different labels are set against each other. ``marked``:
    an audit of one of its rows failed, or those of the level have other marks than the others.
    """

    level: str
    compared: Comparison
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Factorial:
    """The largest complete grid that two starts of a block span, and its effects.

    With a ``trouble`` there are none.

    ``accuracy_GH`` are means; ``departures`` [G][H] say how far each row is from what start and
    meta-learning would add up to.
    """

    block: Block
    starts: tuple[str, ...]
    learnings: tuple[str, ...]
    reference: tuple[int, int]
    trouble: str = ""
    accuracy_GH: np.ndarray | None = None
    of_start: tuple[Effect, ...] = ()
    of_learning: tuple[Effect, ...] = ()
    interactions: tuple[Effect, ...] = ()
    departures: tuple[tuple[Interval, ...], ...] = ()

    @property
    def departed(self) -> list[tuple[str, str, Interval, float]]:
        """Each row's start, way of learning, departure, and its p adjusted over all of them."""
        every = [one for row in self.departures for one in row]
        places = [(start, learning) for start in self.starts for learning in self.learnings]
        adjusted = holm([1.0 if one.p is None else one.p for one in every])
        found = zip(places, every, adjusted, strict=False)  # none of them with a trouble
        return [(start, learning, one, p) for (start, learning), one, p in found]


def factorial(block: Block, plan: Plan) -> Factorial | None:
    """Return the effects within a block's grid; None where no grid of 2 x 2 rows is complete."""
    order = {cell.variant: place for place, cell in reversed(list(enumerate(plan.cells)))}
    groups = [row.group for row in block.rows]
    groups.sort(key=lambda group: order[group.variant])
    asked = {group.variant: _asked(group.first, plan) for group in groups}
    spent = tuple(name for name in LEARNING if name != SPENT)
    grid = _grid(groups, asked, LEARNING) or _grid(groups, asked, spent)
    if grid is None:
        return None
    starts = _names([asked[row[0].variant] for row in grid], [_start_name], START_SET)
    ways = [_learning_name, _on_tasks, _beside]
    learnings = _names([asked[group.variant] for group in grid[0]], ways, LEARNING_SET)
    named = Factorial(
        block=block,
        starts=tuple(starts),
        learnings=tuple(learnings),
        reference=_reference(grid, block),
    )
    trouble = _trouble(grid)
    if trouble:
        return replace(named, trouble=trouble)
    return _with_effects(named, grid, float(plan.settings["margin"]))


def _asked(cell: Cell, plan: Plan) -> Cell:
    """Return a cell with the parameters that the suite gives its row, where tuning found others.

    Levels are what a suite compares; each row of one has the parameters of its own tuning.
    """
    trials = trials_of(plan)
    tuned = trials.of(cell.variant, cell.data, cell.ways) if trials else None
    default = tuned.default if tuned else None
    return replace(cell, params={**cell.params, **default.params}) if default else cell


def _grid(
    groups: Sequence[Group], asked: Mapping[str, Cell], learning_by: tuple[str, ...]
) -> list[list[Group]] | None:
    """Return rows as [G][H]: of all complete grids of starts and ways of learning the largest.

    Candidates are the ways of learning that two starts share, and the starts that have them all.
    Of rows that are one way of learning after one start, as by another budget, the suite's first.
    """
    placed: dict[str, dict[str, Group]] = {}
    for group in groups:
        cell = asked[group.variant]
        start, learning = _level(cell, START), _level(cell, learning_by)
        placed.setdefault(start, {}).setdefault(learning, group)
    best: list[list[Group]] = []
    for one, other in combinations(placed.values(), 2):
        shared = [learning for learning in one if learning in other]
        rows = [found for found in placed.values() if found.keys() >= set(shared)]
        if len(shared) > 1 and len(rows) * len(shared) > sum(map(len, best)):
            best = [[found[learning] for learning in shared] for found in rows]
    return best or None


def _level(cell: Cell, names: tuple[str, ...]) -> str:
    """Return what tells a level of a factor from another: its axes, and all their parameters."""
    params = {name: value for name, value in cell.params.items() if name.startswith(names)}
    axes = (
        (cell.init, cell.pretext)
        if names == START
        else (cell.meta, cell.tasks, cell.auxiliary, cell.norm, cell.strategy)
    )
    return digest([*axes, params, cell.encoder])


def _names(cells: Sequence[Cell], called: Sequence[Naming], params: tuple[str, ...]) -> list[str]:
    """Name levels by the first way that tells each from the others, else by their parameters too.

    ``params`` begin the names of those that somebody sets; what follows from them is left out.
    """
    names = [called[0](cell) for cell in cells]
    for way in called[1:]:
        alone = [names.count(name) == 1 for name in names]
        names = [n if one else way(c) for n, one, c in zip(names, alone, cells, strict=True)]
    return [
        f"{name} ({shown})" if (shown := _differing(cell, name, names, cells, params)) else name
        for cell, name in zip(cells, names, strict=True)
    ]


def _differing(
    cell: Cell, name: str, names: Sequence[str], cells: Sequence[Cell], params: tuple[str, ...]
) -> str:
    """Write the parameters in which a cell differs from others of its name."""
    alike = [other for other, its in zip(cells, names, strict=True) if its == name]
    return ", ".join(
        f"{key.partition('.')[2] or key}={value}"
        for key, value in cell.params.items()
        if key.startswith(params) and any(one.params.get(key) != value for one in alike)
    )


def _start_name(cell: Cell) -> str:
    return cell.pretext if cell.pretext != "none" or cell.init == "scratch" else cell.init


def _learning_name(cell: Cell) -> str:
    return f"{cell.meta} ({cell.strategy})" if cell.strategy else cell.meta


def _on_tasks(cell: Cell) -> str:
    name = _learning_name(cell)
    return name if cell.tasks == "none" else f"{name} on {cell.tasks}"


def _beside(cell: Cell) -> str:
    auxiliary = "" if cell.auxiliary == "none" else f" beside {cell.auxiliary}"
    return f"{_on_tasks(cell)}{auxiliary}"


def _reference(grid: Sequence[Sequence[Group]], block: Block) -> tuple[int, int]:
    """Return the place of a baseline: of those in the grid that of the most rows; else the first.

    Of classes of labels with as many rows, the one that saw labels in training comes first.
    """
    places = {group.variant: (g, h) for g, row in enumerate(grid) for h, group in enumerate(row)}
    labels = [group.first.labels for row in grid for group in row]
    classes = sorted(set(labels), key=lambda one: (-labels.count(one), one != "train"))
    found = [places.get(block.baselines.get(one, "")) for one in classes]
    return next((place for place in found if place), (0, 0))


def _trouble(grid: Sequence[Sequence[Group]]) -> str:
    """Say why there are no effects: an aggregate with a missing cell is missing."""
    every = [group for row in grid for group in row]
    for group in every:
        if group.trouble:
            return f"{group.variant} is {group.trouble}"
    if len({group.banks for group in every}) > 1:
        return "withheld (rows met different test episodes)"
    if len({group.seeds() for group in every}) > 1:
        return "withheld (rows have different seeds)"
    return ""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A row in its place in the grid, with its marks."""

    group: Group
    marks: tuple[str, ...]

    @property
    def labels(self) -> str:
        return self.group.first.labels


def _with_effects(named: Factorial, grid: Sequence[Sequence[Group]], margin: float) -> Factorial:
    a_GHSE = np.array([[group.accuracy() for group in row] for row in grid])
    marks = {row.group.variant: row.marks for row in named.block.rows}
    places = [[_Place(group=one, marks=marks[one.variant]) for one in row] for row in grid]
    turned = [list(column) for column in zip(*places, strict=True)]
    g, h = named.reference
    return replace(
        named,
        accuracy_GH=a_GHSE.mean((2, 3)),
        of_start=_mains(a_GHSE, named.starts, g, places, margin),
        of_learning=_mains(a_GHSE.swapaxes(0, 1), named.learnings, h, turned, margin),
        interactions=_judged(list(_interactions(a_GHSE, named, places)), margin),
        departures=tuple(
            tuple(crossed_interval(c_SE) for c_SE in row) for row in departure(a_GHSE)
        ),
    )


def _mains(
    a_GHSE: np.ndarray,
    names: Sequence[str],
    reference: int,
    places: Sequence[Sequence[_Place]],
    margin: float,
) -> tuple[Effect, ...]:
    """Return the mean difference of each level from the reference, over the other factor."""
    found = [
        (
            _effect(
                (name, names[reference]),
                main_effect(a_GHSE, level, reference),
                (places[level], places[reference]),
            ),
            _fair(places[level], places[reference]),
        )
        for level, name in enumerate(names)
        if level != reference
    ]
    return _judged(found, margin)


def _fair(own: Sequence[_Place], others: Sequence[_Place]) -> bool:
    return [one.labels for one in own] == [one.labels for one in others]


def _effect(
    names: tuple[str, str],
    c_SE: np.ndarray,
    sides: tuple[Sequence[_Place], Sequence[_Place]],
) -> Effect:
    """Return a contrast of a level and the reference; ``sides`` are their rows, in one order."""
    (level, reference), (own, others) = names, sides
    every = [*own, *others]
    unlike = [one.marks for one in own] != [one.marks for one in others]
    compared = Comparison(
        reference=reference,
        difference=crossed_interval(c_SE),
        looked_at=next((one.group.looked_at for one in every if one.group.looked_at), ""),
    )
    marked = unlike or any(failed(one.marks) for one in every)
    return Effect(level=level, compared=compared, marked=marked)


def _interactions(
    a_GHSE: np.ndarray, named: Factorial, places: Sequence[Sequence[_Place]]
) -> Iterator[tuple[Effect, bool]]:
    """Yield what a start gains with each way of learning, minus what it gains with the reference.

    It is fair where each of the two gains is between rows that saw the same labels.
    """
    g, h = named.reference
    for start, name in enumerate(named.starts):
        for learning, way in enumerate(named.learnings):
            if start != g and learning != h:
                c_SE = interaction(a_GHSE, (start, g), (learning, h))
                names = f"{name} before {way}", f"{name} before {named.learnings[h]}"
                own, others = ([places[at][to] for to in (learning, h)] for at in (start, g))
                yield _effect(names, c_SE, (own, others)), _fair(own, others)


def _judged(found: Sequence[tuple[Effect, bool]], margin: float) -> tuple[Effect, ...]:
    """Give verdicts to the effects that are fair, as one family."""
    family = iter(judge([effect.compared for effect, fair in found if fair], margin))
    return tuple(
        replace(effect, compared=next(family)) if fair else effect for effect, fair in found
    )
