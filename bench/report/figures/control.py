"""The figures of unseen environments: error by the number of steps, and what a planner earned."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.report.comparison import Block
from bench.report.figures.accuracy import one_model
from bench.report.figures.lines import Lines, line_panels, say
from bench.report.figures.setting import Setting, by_accuracy, not_shown, settings
from bench.report.figures.style import (
    CONTROL,
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
from bench.report.results import Results
from bench.report.views.control import Control, Controlled, control, is_control
from bench.statistics.interval import Interval

APART = 0.16  # lines, by which what was before any step stands above what was after
LEAST = 1e-3  # of a mean: where its band ends at least, as no logarithm reaches 0
COARSE, FINE = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # ticks of a decade
FEW = 8.0  # between the ends of an axis: below, coarse ticks are too few
SPARE = 0.3  # of the range of the means, above and below it
BAND = "#eeeeee"
BEFORE, AFTER, RANDOM = "before any step", "after all steps", "random policy"


def control_figures(results: Results, blocks: Sequence[Block]) -> list[Picture]:
    """Draw two figures for each data set, one panel a number of transitions."""
    if not is_control(results.plan):
        return []
    look, pictures = looks(results), []
    with styled():
        for one in settings(blocks):
            found = [control(block) for block in one.blocks]
            if any(each.steps for each in found):
                pictures += [_errors(one, found, look), _returns(one, found, look)]
    return pictures


def _errors(setting: Setting, found: Sequence[Control], look: Mapping[str, Look]) -> Picture:
    """Curves over the steps on a logarithmic axis, with bands."""
    names = [
        name
        for name in by_accuracy(setting.blocks)
        if any(row.errors and row.row.group.variant == name for one in found for row in one.rows)
    ]
    note = not_shown(setting.blocks)
    axes = panels(len(found), 3.4, extra=legend_height(names, note))
    for axis, one in zip(axes, found, strict=True):
        for row in one.rows:
            if row.errors:
                _curve(axis, row, look[row.row.group.variant])
        axis.set(title=one.block.amount, xlabel="steps at test time", xticks=one.steps)
        _logarithmic(axis, [error.mean for row in one.rows for error in row.errors])
    axes[0].set_ylabel("mean squared error")
    legend_below(figure_of(axes[0]), [handle(look[name]) for name in names], names, note)
    alt = f"Prediction error by steps in unseen environments: {setting.title}; bands: crossed 95 % "
    alt += "intervals, cut at the panel's edge"
    return picture(f"errors-{setting.slug}", alt, figure_of(axes[0]))


def _logarithmic(axis: Axes, means: Sequence[float]) -> None:
    """Make a panel as high as the means ask for: few seeds have bands that would hide them."""
    axis.set_yscale("log")
    if means:
        spare = max((max(means) / min(means)) ** SPARE, 1.2)
        axis.set_ylim(min(means) / spare, max(means) * spare)
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=FINE if high / low < FEW else COARSE))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def _curve(axis: Axes, row: Controlled, look: Look) -> None:
    mean = [one.mean for one in row.errors]
    low = [max(one.low, LEAST * one.mean) for one in row.errors]
    high = [one.high for one in row.errors]
    axis.fill_between(row.steps, low, high, color=look.colour, alpha=0.1, linewidth=0)
    axis.plot(
        row.steps,
        mean,
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.6,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=4.5,
    )


def _returns(setting: Setting, found: Sequence[Control], look: Mapping[str, Look]) -> Picture:
    """One line a row: what the planner earned before any step and after the last."""
    lines = Lines(names=tuple(by_accuracy(setting.blocks)), headings={})
    entries, place = _entries(found), lines.place
    note = one_model(setting.blocks).removeprefix("; ")
    titles = [one.block.amount for one in found]
    extra = legend_height(list(entries), note)
    axes = line_panels(lines, titles, "return of the planner", extra=extra)
    for axis, one in zip(axes, found, strict=True):
        if one.random is not None:
            axis.axvspan(one.random.low, one.random.high, color=BAND, linewidth=0, zorder=0.5)
            axis.axvline(one.random.mean, color=QUIET, linestyle=":", linewidth=1.2, zorder=1)
        for row in one.rows:
            name = row.row.group.variant
            _pair(axis, place[name], row, look[name])
    legend_below(figure_of(axes[0]), list(entries.values()), list(entries), note)
    alt = f"Return of a planner with the model before any step and after the last: {setting.title}"
    return picture(f"returns-{setting.slug}", alt, figure_of(axes[0]))


def _entries(found: Sequence[Control]) -> dict[str, Line2D]:
    entries = {
        BEFORE: Line2D([], [], color=CONTROL, marker="o", markerfacecolor="white", linewidth=1),
        AFTER: Line2D([], [], color=CONTROL, marker="o", linewidth=1.8),
    }
    if any(one.random for one in found):
        entries[RANDOM] = Line2D([], [], color=QUIET, linestyle=":", linewidth=1.2)
    return entries


def _pair(axis: Axes, y: float, row: Controlled, look: Look) -> None:
    """Draw both returns of a row, that before any step above and hollow."""
    if row.planned.before is None or row.planned.after is None:
        say(axis, y, row.row.group.trouble)
        return
    _bar(axis, y - APART, row.planned.before, look, filled=False)
    _bar(axis, y + APART, row.planned.after, look, filled=True)


def _bar(axis: Axes, y: float, one: Interval, look: Look, *, filled: bool) -> None:
    axis.errorbar(
        one.mean,
        y,
        xerr=[[one.mean - one.low], [one.high - one.mean]],
        color=look.colour,
        marker=look.marker,
        markerfacecolor=look.colour if filled else "white",
        markersize=5,
        linewidth=1.7 if filled else 1.0,
        zorder=3,
    )
