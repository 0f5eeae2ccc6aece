"""The figures of tuning: the best by trials, the best by seconds, and importances of parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.report import words
from bench.report.figures.style import (
    CONTROL,
    QUIET,
    WIDTH,
    Entry,
    Look,
    Picture,
    columns_of,
    figure_of,
    handle,
    legend_below,
    legend_height,
    looks,
    panels,
    picture,
    styled,
    wrapped,
)
from bench.report.figures.ticks import seconds_ticks
from bench.report.results import Results
from bench.report.trials import TunedRow
from bench.report.views.tuning import Curve, Tuning, by_seconds, cheapest

Place = tuple[str, int, str]  # of a panel: data, ways, and what scores are of
WIDE = 8.0  # times the least seconds, beyond which their axis is logarithmic
MOST_SHADED = 4  # rows, beyond which bands are paler
TITLE_CHARS = 38
BAR, HEADING = 0.21, 0.3  # inches of a parameter's line and of a row's name above its own
MOST_LINES = 14  # parameters, beyond which they stand in two columns
NAME_CHARS = (80, 32)  # of a row's name, in one column or in two
MOST_BESIDE = 0.85  # of an importance whose number stands behind its bar


def tuning_figures(results: Results, found: Tuning) -> list[Picture]:
    """Draw what there is to draw: curves by trials, by seconds, importances where there are any."""
    look = looks(results)
    weighed = [row for row in found.trials.rows if row.importances]
    with styled():
        drawn = [_by_trials(found, look), _by_seconds(found, look)]
        drawn += [_importances(weighed, found, look)] if weighed else []
    return [one for one in drawn if one]


def _by_place(rows: Sequence[TunedRow]) -> dict[Place, list[TunedRow]]:
    """Return the rows of each panel: scores of other tasks are never in one."""
    found: dict[Place, list[TunedRow]] = {}
    for row in rows:
        found.setdefault((row.data, row.ways, row.scored_by), []).append(row)
    return found


def _titles(places: Sequence[Place]) -> list[str]:
    """Name the panels by what they differ in, and by what scores are of."""
    several = len({place[:2] for place in places}) > 1
    return [
        wrapped(f"{scored}: {data}, {ways}-way" if several else scored, TITLE_CHARS)
        for data, ways, scored in places
    ]


def _by_trials(found: Tuning, look: Mapping[str, Look]) -> Picture | None:
    """Draw the expected best of k independent trials, or the best so far of others."""
    curves = {curve.row.place: curve for curve in found.curves}
    if not curves:
        return None
    independent = found.trials.independent
    if independent:
        name, what = "expected-best", "Expected best of k trials drawn at random"
        what += "; band: from the 10 % to the 90 % quantile of the best of k of these trials"
        what += ", no confidence interval; at 0 the default, which is no draw"
    else:
        name, what = "best-so-far", "Best score so far by the number of trials, the default first"
        what += "; an expected best of k would take independent draws, all trained to the end"
    axis_label = "k, number of trials" if independent else "number of trials"

    def draw(axis: Axes, rows: Sequence[TunedRow]) -> None:
        for row in rows:
            if row.place in curves:
                shade = 0.13 if len(rows) <= MOST_SHADED else 0.06
                _curve(axis, curves[row.place], look[row.variant], shade=shade)
            if independent and row.default and row.default.score is not None:
                _mark(axis, 0, row.default.score, look[row.variant])
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.set_xlim(left=-0.5 if independent else 0.5)
        if independent:
            named = FuncFormatter(lambda k, _: f"{k:.0f}" if k else "default")
            axis.xaxis.set_major_formatter(named)

    return picture(name, f"{what}; on validation data", _panels(found, look, draw, axis_label))


def _curve(axis: Axes, curve: Curve, look: Look, *, shade: float) -> None:
    k_K = np.arange(1, len(curve.best_K) + 1)
    if curve.low_K is not None and curve.high_K is not None:
        low_K, high_K = 100 * curve.low_K, 100 * curve.high_K
        axis.fill_between(k_K, low_K, high_K, color=look.colour, alpha=shade, linewidth=0)
        axis.plot(k_K, 100 * curve.best_K, **_line(look), markevery=[0, -1])
    else:
        axis.step(k_K, 100 * curve.best_K, where="post", **_line(look), markevery=[0, -1])


def _line(look: Look) -> dict[str, Any]:
    return {
        "color": look.colour,
        "linestyle": look.dashes,
        "linewidth": 1.5,
        "marker": look.marker,
        "markerfacecolor": look.fill,
        "markersize": 4.5,
    }


def _mark(axis: Axes, x: float, score: float, look: Look) -> None:
    own = _line(look) | {"linestyle": "", "markersize": 6.0}
    axis.plot([x], [100 * score], **own, zorder=4)


def _by_seconds(found: Tuning, look: Mapping[str, Look]) -> Picture | None:
    """Draw the best so far by seconds, and where the row that took the fewest had ended."""
    rows, limits = found.trials.rows, cheapest(found.trials)
    if not any(row.trials for row in rows):
        return None

    def draw(axis: Axes, own: Sequence[TunedRow]) -> None:
        ends = []
        for row in (one for one in own if one.trials):
            seconds_n, best_n = by_seconds(row)
            ends += [end for end in seconds_n if end > 0]
            line = _line(look[row.variant])
            axis.step(seconds_n, 100 * best_n, where="post", **line, markevery=[0, -1])
        limit = limits[own[0].data, own[0].ways]
        axis.axvline(limit, color=CONTROL, linestyle=":", linewidth=1.2, zorder=1)
        _seconds_axis(axis, [*ends, *([limit] if limit > 0 else [])])

    alt = (
        "A second, separate view, of equal seconds instead of equal trials: best score so far by "
        "the seconds of all trials until then; dotted: where the row that took the fewest had "
        "ended; on validation data"
    )
    line = Line2D([], [], color=CONTROL, linestyle=":", linewidth=1.2)
    more: tuple[Entry, str] = (line, "where the cheapest row had ended")
    figure = _panels(found, look, draw, "seconds of all trials so far", more)
    return picture("tuning-seconds", alt, figure)


def _seconds_axis(axis: Axes, ends: Sequence[float]) -> None:
    """Make the axis logarithmic where it spans much, with ticks that one would say."""
    if ends and max(ends) > WIDE * min(ends):
        low, high = min(ends) / 1.3, max(ends) * 1.3
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        ticks = seconds_ticks(low, high)
        axis.set_xticks([value for value, _ in ticks], [name for _, name in ticks])
        axis.set_xticks([], minor=True)
    else:
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.duration(value)))


def _panels(
    found: Tuning,
    look: Mapping[str, Look],
    draw: Callable[[Axes, Sequence[TunedRow]], None],
    label: str,
    more: tuple[Entry, str] | None = None,
) -> Figure:
    """Lay out a panel for each kind of score, data set and ways, with one legend below."""
    places = _by_place(found.trials.rows)
    names = [name for name in look if name in {row.variant for row in found.trials.rows}]
    entries = [*names, *([more[1]] if more else [])]
    axes = panels(len(places), 3.0, extra=legend_height(entries))
    columns = columns_of(len(axes))
    shown = zip(axes, _titles(list(places)), places.values(), strict=True)
    for place, (axis, title, rows) in enumerate(shown):
        draw(axis, rows)
        axis.set_title(title)
        axis.margins(y=0.08)
        if place % columns == 0:
            axis.set_ylabel("score on validation (%)")
        if place + columns >= len(axes):
            axis.set_xlabel(label)
    handles: list[Entry] = [handle(look[name]) for name in names]
    legend_below(figure_of(axes[0]), [*handles, *([more[0]] if more else [])], entries)
    return figure_of(axes[0])


def _importances(rows: Sequence[TunedRow], found: Tuning, look: Mapping[str, Look]) -> Picture:
    """Draw a bar a parameter, below the name of its row; in two columns where there are many."""
    several = len(cheapest(found.trials)) > 1
    count = 1 + (len(rows) > 1 and sum(len(row.importances or {}) for row in rows) > MOST_LINES)
    groups = [_group(row, look, chars=NAME_CHARS[count - 1], several=several) for row in rows]
    columns = _in_columns(groups) if count > 1 else [groups]
    height = max(sum(one.height for one in column) for column in columns)
    figure = Figure(figsize=(WIDTH, height + 0.6), dpi=200, layout="constrained")
    for place, column in enumerate(columns, 1):
        axis = figure.add_subplot(1, count, place)
        _bars(axis, column)
        axis.set(xlim=(0, 1), ylim=(height, 0.0), xlabel="importance")
    alt = (
        "Importances of tuned parameters (fANOVA): the share of the variance of a row's scores, "
        "from few trials, and so rough"
    )
    return picture("tuning-importances", alt, figure)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The bars of one row: its name as it is written above them, and the largest first."""

    name: str
    colour: str
    bars: tuple[tuple[str, float], ...]

    @property
    def head(self) -> float:
        """Inches that the name takes."""
        return HEADING + 0.15 * self.name.count("\n")

    @property
    def height(self) -> float:
        """Inches in all."""
        return self.head + BAR * len(self.bars)


def _group(row: TunedRow, look: Mapping[str, Look], *, chars: int, several: bool) -> Group:
    name = f"{row.variant} ({row.data}, {row.ways}-way)" if several else row.variant
    bars = sorted((row.importances or {}).items(), key=lambda one: -one[1])
    return Group(name=wrapped(name, chars), colour=look[row.variant].colour, bars=tuple(bars))


def _in_columns(groups: Sequence[Group]) -> list[Sequence[Group]]:
    """Part groups into two columns about as high as each other."""
    tops = list(accumulate(one.height for one in groups))
    first = min(range(1, len(groups)), key=lambda number: abs(2 * tops[number - 1] - tops[-1]))
    return [groups[:first], groups[first:]]


def _bars(axis: Axes, groups: Sequence[Group]) -> None:
    top, labels = 0.0, {}
    for one in groups:
        y = top + one.head / 2
        axis.text(0.0, y, one.name, fontsize=8.5, weight="bold", va="center").set_in_layout(False)
        top += one.head
        for parameter, share in one.bars:
            labels[top + BAR / 2] = parameter
            _bar(axis, top + BAR / 2, share, one.colour)
            top += BAR
    axis.set_yticks(list(labels), list(labels.values()))
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_color(QUIET)


def _bar(axis: Axes, y: float, share: float, colour: str) -> None:
    """Draw a bar, and its number behind its end or, where there is no room, within it."""
    inside = share > MOST_BESIDE
    axis.barh(y, share, height=0.7 * BAR, color=colour, linewidth=0, zorder=2)
    axis.text(
        share - 0.012 if inside else share + 0.012,
        y,
        f"{share:.2f}",
        va="center",
        ha="right" if inside else "left",
        fontsize=8,
        color="white" if inside else CONTROL,
    ).set_in_layout(False)
