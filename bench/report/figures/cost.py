"""The figure of cost: accuracy against seconds, examples and memory, with the Pareto front."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report.comparison import Block, Row, is_floor
from bench.report.figures.accuracy import reach, within
from bench.report.figures.setting import Setting, by_accuracy, not_shown, settings
from bench.report.figures.style import (
    QUIET,
    Look,
    Picture,
    figure_of,
    handle,
    legend_below,
    legend_height,
    looks,
    panels,
    picture,
    styled,
)
from bench.report.figures.ticks import byte_ticks, count_ticks, seconds_ticks
from bench.report.results import CellResult, Results

MOST_NAMED = 16  # rows, beyond which only fronts, baselines and floor are named
PALE = "#bdbdbd"
FRONT = "front: no other row costs less and"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What an accuracy costs: the words of its axis, a cell's amount, and the axis's ticks."""

    label: str
    of: Callable[[CellResult], float]
    ticks: Callable[[float, float], list[tuple[float, str]]]


MEASURES = (
    Measure(label="seconds per seed", of=lambda one: one.seconds, ticks=seconds_ticks),
    Measure(label="training examples per seed", of=lambda one: one.examples, ticks=count_ticks),
    Measure(label="peak memory", of=lambda one: one.peak_memory, ticks=byte_ticks),
)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A row with what it costs on the mean over its seeds; NaN where that is not stored."""

    row: Row
    cost: float
    accuracy: float


def cost_figures(results: Results, blocks: Sequence[Block]) -> list[Picture]:
    """Draw a figure for each data set and ways: a row of panels a number of shots."""
    look = looks(results)
    with styled():
        drawn = [_picture(one, look) for one in settings(blocks)]
    return [one for one in drawn if one]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the places of the (cost, accuracy) that none dominates, from cheap to dear.

    One is dominated by another that costs no more and is no less accurate, and that differs.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    kept: list[int] = []
    for i in order:
        best = points[kept[-1]] if kept else (0.0, float("-inf"))
        if points[i][1] > best[1] or (kept and points[i] == best):
            kept.append(i)
    return kept


def _picture(setting: Setting, look: Mapping[str, Look]) -> Picture | None:
    blocks = setting.blocks
    of = setting.headline
    grid = [[_points(block, measure) for measure in MEASURES] for block in blocks]
    known = [one for one in by_accuracy(blocks) if any(_has(block, one) for block in blocks)]
    if not known:
        return None
    fronts = [[_front(points) for points in row] for row in grid]
    leading = {variant for row in fronts for own in row for variant in own}
    named = _named(blocks, known, leading)
    number = {v: str(place + 1) for place, v in enumerate(v for v in named if v in leading)}
    pale = len(known) - len(named)
    note = _note(blocks, grid, pale)
    entries = [f"{number[one]}  {one}" if one in number else one for one in named]
    entries.append(f"{FRONT} {setting.headline.equalled}")
    named_looks = {one: look[one] for one in named}
    axes = panels(len(blocks) * 3, 2.6, extra=legend_height(entries, note), columns=3)
    for place, axis in enumerate(axes):
        shots, column = divmod(place, 3)
        place_of = _axis(axis, [one.cost for one in grid[shots][column]], MEASURES[column])
        _panel(axis, grid[shots][column], named_looks, place_of)
        _front_line(axis, grid[shots][column], fronts[shots][column], number, place_of)
        if column == 0:
            axis.set_ylabel(f"{blocks[shots].amount}{of.joint}{of.axis}")
        if shots == len(blocks) - 1:
            axis.set_xlabel(MEASURES[column].label)
    line = Line2D([], [], color=QUIET, linewidth=1.2)
    legend_below(figure_of(axes[0]), [*(handle(look[v]) for v in named), line], entries, note)
    against = "against seconds, training examples and memory, and their fronts"
    alt = f"{setting.headline.noun.capitalize()} {against}: {setting.title}"
    return picture(f"cost-{setting.slug}", alt, figure_of(axes[0]))


def _has(block: Block, variant: str) -> bool:
    return any(row.group.variant == variant and row.accuracy for row in block.rows)


def _points(block: Block, measure: Measure) -> list[Point]:
    return [
        Point(
            row=row,
            cost=fmean(measure.of(one) for one in row.group.done),
            accuracy=row.accuracy.mean,
        )
        for row in block.rows
        if row.accuracy
    ]


def _front(points: Sequence[Point]) -> list[str]:
    known = [one for one in points if one.cost == one.cost]
    places = front([(one.cost, one.accuracy) for one in known])
    return [known[place].row.group.variant for place in places]


def _named(blocks: Sequence[Block], known: Sequence[str], fronts: set[str]) -> list[str]:
    """Return whom the legend names, best first: all, or whom a reader of many looks for."""
    if len(known) <= MOST_NAMED:
        return list(known)
    rows = [row for block in blocks for row in block.rows]
    marks = {row.group.variant for row in rows if row.is_baseline or is_floor(row.group)}
    return [one for one in known if one in fronts | marks]


def _note(blocks: Sequence[Block], grid: Sequence[Sequence[Sequence[Point]]], pale: int) -> str:
    unknown = {
        one.row.group.variant
        for row in grid
        for points in row
        for one in points
        if one.cost != one.cost
    }
    parts = [
        "each seed's cost with nothing shared",
        "numbered: on the front",
        f"grey: {pale} other rows" if pale else "",
        f"cost of {len(unknown)} {'row' if len(unknown) == 1 else 'rows'} not stored"
        if unknown
        else "",
        not_shown(blocks),
    ]
    return "; ".join(part for part in parts if part)


def _panel(
    axis: Axes, points: Sequence[Point], named: Mapping[str, Look], place: Callable[[float], float]
) -> None:
    """Draw rows with a name in their looks, and the others as pale dots."""
    known = [one for one in points if one.cost == one.cost]
    others = [one for one in known if one.row.group.variant not in named]
    x, y = [place(one.cost) for one in others], [100 * one.accuracy for one in others]
    axis.plot(x, y, linestyle="", marker="o", markersize=4, color=PALE, zorder=1.5)
    for one in known:
        if one.row.group.variant in named:
            _point(axis, one, place(one.cost), named[one.row.group.variant])
    axis.margins(y=0.1)
    if points:
        within(axis, "y", points[0].row.group.headline)


def _point(axis: Axes, point: Point, x: float, look: Look) -> None:
    assert point.row.accuracy is not None
    axis.errorbar(
        x,
        100 * point.accuracy,
        yerr=reach(point.row.accuracy, point.row.group.headline),
        color=look.colour,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=5.5,
        linewidth=1.3,
        zorder=3,
    )


def _front_line(
    axis: Axes,
    points: Sequence[Point],
    best: Sequence[str],
    number: Mapping[str, str],
    place: Callable[[float], float],
) -> None:
    """Draw what accuracy each cost can buy, to the right edge; number its rows."""
    named = {one.row.group.variant: one for one in points}
    x = [place(named[variant].cost) for variant in best]
    y = [100 * named[variant].accuracy for variant in best]
    if best:
        axis.step(
            [*x, axis.get_xlim()[1]],
            [*y, y[-1]],
            where="post",
            color=QUIET,
            linewidth=1.2,
            zorder=2,
        )
    for right, up, shown in _joined(axis, x, y, [number[variant] for variant in best]):
        _numbered(axis, right, up, shown)


def _joined(
    axis: Axes, x: Sequence[float], y: Sequence[float], numbers: Sequence[str]
) -> list[tuple[float, float, str]]:
    """Print the numbers of rows that lie beside each other as one, at the first of them."""
    found: list[tuple[float, float, str]] = []
    for right, up, number in zip(x, y, numbers, strict=True):
        if found and _near(axis, found[-1], (right, up)):
            found[-1] = (*found[-1][:2], f"{found[-1][2]}, {number}")
        else:
            found.append((right, up, number))
    return found


def _near(axis: Axes, one: tuple[float, float, str], other: tuple[float, float]) -> bool:
    """Whether two numbers would overlap, by their places in the panel."""
    (left, low), (right, high) = (
        axis.transAxes.inverted().transform(axis.transData.transform(place))
        for place in (one[:2], other)
    )
    return bool(abs(right - left) < 0.13 and abs(high - low) < 0.09)


def _numbered(axis: Axes, x: float, y: float, number: str) -> None:
    axis.annotate(
        number,
        (x, y),
        xytext=(-5, 5),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8.5,
        weight="bold",
        zorder=5,
        path_effects=[patheffects.withStroke(linewidth=2, foreground="white")],
    )


def _axis(axis: Axes, costs: Sequence[float], measure: Measure) -> Callable[[float], float]:
    """Make a logarithmic axis of at least a factor of ten; return where a cost stands on it.

    Rows that cost nothing stand at its left end, behind a line, under a tick of their own.
    """
    some = [cost for cost in costs if cost > 0] or [1.0]  # nor NaN
    middle = float(np.sqrt(min(some) * max(some)))
    half = max(10**0.5, 1.35 * (max(some) / min(some)) ** 0.5)
    low, high = middle / half**1.12, middle * half  # at the left there is a number to print
    ticks, free = measure.ticks(low, high), any(cost == 0 for cost in costs)
    nothing = low / (high / low) ** 0.14
    axis.set_xscale("log")
    axis.set_xlim(low / (high / low) ** 0.28 if free else low, high)
    if free:
        axis.axvline(low, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ticks = [(nothing, "none"), *ticks]
    axis.set_xticks([value for value, _ in ticks], [name for _, name in ticks])
    axis.set_xticks([], minor=True)
    return lambda cost: cost if cost > 0 else nothing
