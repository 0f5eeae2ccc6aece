"""The figures of accuracy: crossed intervals, and every single seed, one line a variant."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.comparison import Block, Row, is_floor
from bench.report.figures.lines import Lines, line_panels, say
from bench.report.figures.setting import by_accuracy, settings
from bench.report.figures.style import (
    QUIET,
    Look,
    Picture,
    figure_of,
    legend_below,
    legend_height,
    looks,
    picture,
    styled,
)
from bench.report.headline import Headline
from bench.report.results import Results
from bench.statistics.interval import Interval

FILLED = "filled: saw no labels; hollow: saw labels; dotted: random-init floor"
SEEDS = "one mark a seed; bar: their mean; dotted: random-init floor"


def accuracy_figures(results: Results, blocks: Sequence[Block]) -> list[Picture]:
    """Draw two figures for each data set and ways, one panel a number of shots."""
    look, pictures = looks(results), []
    with styled():
        for one in settings(blocks):
            noun = one.headline.noun.capitalize()
            pictures += [
                picture(
                    f"{one.headline.name}-{one.slug}",
                    f"{noun} with crossed 95 % intervals: {one.title}",
                    _rows(one.blocks, _interval, look, FILLED + one_model(one.blocks)),
                ),
                picture(
                    f"seeds-{one.slug}",
                    f"{noun} of every single seed: {one.title}",
                    _rows(one.blocks, _strip, look, SEEDS),
                ),
            ]
    return pictures


def _rows(
    blocks: Sequence[Block],
    draw: Callable[[Axes, float, Row, Look], None],
    look: Mapping[str, Look],
    note: str,
) -> Figure:
    """One line a variant, sorted alike in every panel; the floor is a dotted line."""
    lines = Lines(names=tuple(by_accuracy(blocks)), headings={})
    titles, place = [block.amount for block in blocks], lines.place
    axes = line_panels(lines, titles, blocks[0].headline.axis, extra=legend_height([], note))
    for axis, block in zip(axes, blocks, strict=True):
        for row in block.rows:
            draw(axis, place[row.group.variant], row, look[row.group.variant])
        floor_lines(axis, block)
        within(axis, "x", block.headline)
    legend_below(figure_of(axes[0]), [], [], note)
    return figure_of(axes[0])


def one_model(blocks: Sequence[Block]) -> str:
    """Say of one seed what its intervals are over."""
    rows = [row for block in blocks for row in block.rows]
    single = any(row.accuracy and row.accuracy.one_model for row in rows)
    return f"; one seed: intervals over the {blocks[0].headline.episodes} of one model" * single


def within(axis: Axes, direction: str, headline: Headline) -> None:
    """Let an axis end where its measure does: no value lies beyond, whatever a bound."""
    low, high = axis.get_xlim() if direction == "x" else axis.get_ylim()
    drawn = axis.dataLim.intervalx if direction == "x" else axis.dataLim.intervaly
    if drawn[0] > drawn[1]:  # nothing
        low, high = 0.0, 100.0
    axis.set(**{f"{direction}lim": (max(low, 100 * headline.least - 1.0), min(high, 101.0))})


def floor_lines(axis: Axes, block: Block) -> None:
    """Draw the accuracy of each random-init control as a dotted line."""
    for row in block.rows:
        if is_floor(row.group) and row.accuracy:
            mean = 100 * row.accuracy.mean
            axis.axvline(mean, color=QUIET, linestyle=":", linewidth=1, zorder=1)


def _interval(axis: Axes, y: float, row: Row, look: Look) -> None:
    if row.accuracy is None:
        say(axis, y, row.group.trouble)
        return
    axis.errorbar(
        100 * row.accuracy.mean,
        y,
        xerr=reach(row.accuracy, row.group.headline),
        color=look.colour,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=5.5,
        linewidth=1.6,
        zorder=3,
    )


def reach(interval: Interval, headline: Headline) -> list[list[float]]:
    """Return how far an interval reaches down and up, in points, cut where no value lies."""
    low, high = max(interval.low, headline.least), min(interval.high, 1.0)
    return [[100 * (interval.mean - low)], [100 * (high - interval.mean)]]


def _strip(axis: Axes, y: float, row: Row, look: Look) -> None:
    x = [100 * float(one.accuracy_TE[-1].mean()) for one in row.group.done]
    if not x:
        say(axis, y, row.group.trouble)
        return
    axis.scatter(
        x,
        [y] * len(x),
        s=25,
        marker=look.marker,
        facecolor=look.fill,
        edgecolor="white" if look.fill == look.colour else look.colour,  # apart where they overlap
        linewidth=0.7 if look.fill == look.colour else 1.0,
        zorder=3,
    )
    if row.accuracy:
        mean = fmean(x)
        axis.vlines(mean, y - 0.45, y + 0.45, colors=look.colour, linewidth=1.6, zorder=2)
    else:
        say(axis, y, row.group.trouble)
