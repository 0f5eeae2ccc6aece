"""The figures of streams: accuracy matrices, curves along the stream, forgetting by row.

Shapes: T groups of a stream.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.report import words
from bench.report.comparison import Comparison, is_floor
from bench.report.figures.forest import NO_VERDICT, difference
from bench.report.figures.heat import annotate, heat_map
from bench.report.figures.lines import Lines, beside, line_panels, say
from bench.report.figures.style import (
    COLOURS,
    CONTROL,
    DASHES,
    MARKERS,
    QUIET,
    VERDICT_LOOKS,
    Entry,
    Look,
    Picture,
    columns_of,
    figure_of,
    handle,
    legend_below,
    legend_height,
    panels,
    picture,
    styled,
    wrapped,
)
from bench.report.results import Group
from bench.report.views.continual import Along, Stream
from bench.statistics.interval import crossed_interval

MOST = 12  # rows with a matrix or a curve: more cannot be told apart
MOST_NUMBERED = 10  # groups, beyond which a cell has no room for its number
CELL, AROUND = 0.28, 0.95  # inches of a row of a matrix, and around it
BANDS = "bands: crossed 95 % intervals, cut at the panel's edge; dotted: chance"
LABELS = "no verdict: the two rows saw different labels"
ONE_MODEL = "one seed: intervals over the streams of one model"
MATRICES = (
    "row: groups learned so far; column: the group tested; grey: not yet met; mean over seeds and "
    "streams in %, all panels on one scale"
)


def continual_figures(found: Sequence[Stream]) -> list[Picture]:
    """Draw three figures a setting, if any of its rows has a mean."""
    pictures = []
    with styled():
        for stream in found:
            rows, says = _chosen(stream)
            if rows:
                looks = _looks(stream)
                pictures += [
                    _matrices(stream, rows, says),
                    _curves(stream, rows, looks, says),
                    _forgetting(stream, looks),
                ]
    return pictures


def _chosen(stream: Stream) -> tuple[list[Along], str]:
    """Return the rows to draw, best first, and what was left out."""
    whole = [one for one in stream.rows if one.metrics]
    whole.sort(key=lambda one: -one.metrics["accuracy"].mean)
    kept = [one for one in whole if one.row.is_baseline or is_floor(one.row.group)]
    others = [one for one in whole if one not in kept]
    shown = [*kept, *others][:MOST]
    if len(shown) == len(whole):
        return whole, ""
    left = f"{len(whole) - len(shown)} of {len(whole)} rows left out: drawn are baselines, floors"
    return [one for one in whole if one in shown], f"{left}, and the highest average accuracies"


def _one_model(stream: Stream) -> str:
    every = [one for row in stream.rows for one in row.metrics.values()]
    return ONE_MODEL if any(one.one_model for one in every) else ""


def _looks(stream: Stream) -> dict[str, Look]:
    """Give each row the colour of its strategy, the line and the marker of its start."""
    found = {}
    for one in stream.rows:
        colour = COLOURS[stream.strategies.index(one.strategy) % len(COLOURS)]
        start = stream.starts.index(one.start)
        found[one.row.group.variant] = Look(
            colour=colour,
            marker=MARKERS[start % len(MARKERS)],
            dashes=DASHES[start % len(DASHES)],
            fill=colour if one.row.group.first.labels != "train" else "white",
        )
    return found


def _matrices(stream: Stream, rows: Sequence[Along], says: str) -> Picture:
    note = "; ".join(part for part in (MATRICES, says) if part)
    names = [wrapped(_name(one)) for one in rows]
    height = AROUND + CELL * stream.groups + 0.15 * max(name.count("\n") for name in names)
    axes = panels(len(rows), height, extra=legend_height([], note))
    among = np.stack([100 * one.matrix_TT for one in rows])
    columns = columns_of(len(axes))
    for place, (axis, one, name) in enumerate(zip(axes, rows, names, strict=True)):
        _matrix(axis, 100 * one.matrix_TT, among)
        axis.set_title(name)
        axis.set_ylabel("groups learned" if place % columns == 0 else "")
        axis.set_xlabel("group tested" if place + columns >= len(axes) else "")
    legend_below(figure_of(axes[0]), [], [], note)
    alt = f"Accuracy matrices along the stream: {stream.block.title}"
    return picture(f"stream-matrices-{stream.block.slug}", alt, figure_of(axes[0]))


def _name(one: Along) -> str:
    """Name a row, and say so where no learner of a stream could do what it does."""
    variant = one.row.group.variant
    return f"{variant} (oracle)" if one.oracle else variant


def _matrix(axis: Axes, value_TT: np.ndarray, among: np.ndarray) -> None:
    count = len(value_TT)
    names = [str(number) for number in range(1, count + 1)]
    heat_map(axis, value_TT, names, names, centred=False, among=among)
    if count <= MOST_NUMBERED:
        texts = np.array([[f"{v:.0f}" if v == v else "" for v in row] for row in value_TT], object)
        annotate(axis, value_TT, texts, np.zeros((count, count), bool), centred=False, among=among)


def _curves(stream: Stream, rows: Sequence[Along], looks: Mapping[str, Look], says: str) -> Picture:
    """Average accuracy over the groups met, and accuracy on the first group alone."""
    parts = ("colour: strategy; line and marker: start", says, _one_model(stream))
    note = "; ".join(part for part in parts if part)
    legend = _legend(stream, rows, looks)
    axes = panels(2, 3.6, extra=legend_height(list(legend), note))
    chance, groups = _chance(stream), range(1, stream.groups + 1)
    drawn = list(chance)
    for axis, measure in zip(axes, ("accuracy", "on_1"), strict=True):
        for one in rows:
            drawn += _curve(axis, one.row.group, measure, looks)
        axis.plot(groups, chance, color=QUIET, linestyle=":", linewidth=1, zorder=1)
        axis.set(xticks=list(groups), xlabel="groups met")
    spare = 0.15 * (max(drawn) - min(drawn)) or 1.0
    for axis in axes:
        axis.set_ylim(max(min(drawn) - spare, -1.0), min(max(drawn) + spare, 101.0))
    axes[0].set(title="all groups met so far", ylabel="average accuracy (%)")
    axes[1].set(title="the first group", ylabel="accuracy (%)")
    legend_below(figure_of(axes[0]), list(legend.values()), list(legend), note)
    alt = f"Average accuracy over the groups met, and on the first: {stream.block.title}; {BANDS}"
    return picture(f"stream-curves-{stream.block.slug}", alt, figure_of(axes[0]))


def _curve(axis: Axes, group: Group, measure: str, looks: Mapping[str, Look]) -> list[float]:
    """Draw one row with its band; return its means."""
    look, steps = looks[group.variant], group.done[0].steps
    intervals = [crossed_interval(a_SE) for a_SE in group.measured(measure)]
    mean, low, high = (
        [100 * getattr(one, name) for one in intervals] for name in ("mean", "low", "high")
    )
    axis.fill_between(steps, low, high, color=look.colour, alpha=0.08, linewidth=0)
    axis.plot(
        steps,
        mean,
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.5,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=4.5,
    )
    return mean


def _chance(stream: Stream) -> list[float]:
    """Return the accuracy (%) of a guess after each group: among all classes met, if not told."""
    ways, groups = stream.block.ways, range(1, stream.groups + 1)
    return [100 / (ways * (t if stream.scenario == "class" else 1)) for t in groups]


def _legend(stream: Stream, rows: Sequence[Along], looks: Mapping[str, Look]) -> dict[str, Entry]:
    """Name the strategies by their colours, the starts by their lines."""
    entries: dict[str, Entry] = {}
    for strategy in stream.strategies:
        own = [one for one in rows if one.strategy == strategy]
        if own:
            colour = looks[own[0].row.group.variant].colour
            name = f"{strategy} (oracle)" if own[0].oracle else strategy
            entries[name] = Line2D([], [], color=colour, linewidth=4)
    for start in stream.starts:
        own = [one for one in rows if one.start == start]
        if own:
            look = looks[own[0].row.group.variant]
            entries[start] = handle(
                Look(colour=CONTROL, marker=look.marker, dashes=look.dashes, fill=CONTROL)
            )
    return entries


def _forgetting(stream: Stream, looks: Mapping[str, Look]) -> Picture:
    """Forgetting of every row, and beside it what is paired: that of naive taken away."""
    rows = [one for start in stream.starts for one in _of_start(stream, start)]
    first = {start: _of_start(stream, start)[0] for start in stream.starts}
    lines = Lines(
        names=tuple(_name(one) for one in rows),
        headings={_name(one): f"{start}:" for start, one in first.items()},
    )
    compared = [one.naive for one in rows if one.naive]
    legend = _verdicts(compared) if compared else {}
    titles = ["forgetting", *(["forgetting minus naive"] * bool(compared))]
    parts = (LABELS * (NO_VERDICT in legend), _one_model(stream))
    note = "; ".join(part for part in parts if part)
    extra = legend_height(list(legend), note)
    axes = line_panels(lines, titles, "points, less is better", extra=extra)
    texts: list[dict[float, str]] = [{} for _ in axes]
    for one in rows:
        y = lines.place[_name(one)]
        _lost(axes[0], y, one, looks[one.row.group.variant])
        if one.metrics:
            texts[0][y] = _said(words.points(one.metrics["forgetting"]))
        if one.naive and one.naive.difference:
            difference(axes[1], y, one.naive.difference, one.naive.verdict or NO_VERDICT)
            texts[1][y] = _said(words.points(one.naive.difference))
        elif one.naive:
            say(axes[1], y, one.naive.trouble)
    for axis, own in zip(axes, texts, strict=True):
        axis.axvline(0, color=CONTROL, linewidth=1, zorder=2)
        beside(axes, axis, own)
    legend_below(figure_of(axes[0]), list(legend.values()), list(legend), note)
    alt = "Forgetting with crossed 95 % intervals, and its paired difference from naive"
    name = f"stream-forgetting-{stream.block.slug}"
    return picture(name, f"{alt}: {stream.block.title}", figure_of(axes[0]))


def _of_start(stream: Stream, start: str) -> list[Along]:
    """Return the rows of a start, naive first."""
    own = [one for one in stream.rows if one.start == start]
    return sorted(own, key=lambda one: stream.strategies.index(one.strategy))


def _lost(axis: Axes, y: float, one: Along, look: Look) -> None:
    if not one.metrics:
        say(axis, y, one.row.group.trouble)
        return
    lost = one.metrics["forgetting"]
    mean, low, high = (100 * v for v in (lost.mean, max(lost.low, -1.0), min(lost.high, 1.0)))
    axis.errorbar(
        mean,
        y,
        xerr=[[mean - low], [high - mean]],
        color=look.colour,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=5.5,
        linewidth=1.6,
        zorder=3,
    )


def _said(text: str) -> str:
    return text.removesuffix(words.ONE_MODEL)


def _verdicts(compared: Sequence[Comparison]) -> dict[str, Entry]:
    """Return the legend of the verdicts that occur, in the words of forgetting."""
    called = {"better": "forgets less", "worse": "forgets more"}
    seen = {one.verdict or NO_VERDICT for one in compared if one.difference}
    return {
        called.get(name, name): Line2D(
            [], [], color=c, marker=m, markerfacecolor=f, markersize=6, linewidth=1.6
        )
        for name, (c, m, f) in VERDICT_LOOKS.items()
        if name in seen
    }
