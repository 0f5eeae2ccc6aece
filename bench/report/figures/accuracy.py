"""The figures of accuracy: intervals, single seeds, adaptation at test time, and cost."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.report import words
from bench.report.comparison import Block, Row, is_floor, slug
from bench.report.figures.style import (
    CONTROL,
    QUIET,
    Look,
    Picture,
    columns_of,
    handle,
    legend_below,
    legend_height,
    looks,
    panels,
    picture,
    seaborn,
    styled,
    wrapped,
)
from bench.report.results import Results
from bench.report.speed import of_blocks
from bench.statistics.interval import Interval, crossed_interval

MOST_LEVEL = 12  # rows in all, beyond which the figure of adaptation leaves most level lines out
FILLED = "filled: saw no labels; hollow: saw labels"


def accuracy_figures(results: Results, blocks: Sequence[Block]) -> list[Picture]:
    """Draw four figures for each data set and ways, one panel a number of shots.

    Where tasks are held out, of their mean alone, and not by steps, which have own figures.
    """
    look, pictures = looks(results), []
    drawn = [block for block in blocks if not block.held_out] + of_blocks(blocks)
    settings = dict.fromkeys((block.data, block.ways, block.held_out) for block in drawn)
    with styled():
        for data, ways, new in settings:
            chosen = [
                one for one in drawn if (one.data, one.ways, one.held_out) == (data, ways, new)
            ]
            draw: dict[str, tuple[str, Figure | None]] = {
                "accuracy": ("Accuracy with crossed 95 % intervals", _intervals(chosen, look)),
                "seeds": ("Accuracy of every single seed", _strips(chosen, look)),
                "adaptation": (
                    "Accuracy after steps at test time",
                    None if new else _adaptation(chosen, look),
                ),
                "cost": ("Accuracy against seconds", _cost(chosen, look)),
            }
            pictures += [
                picture(
                    f"{name}-{data}-{ways}way{f'-new-{slug(new)}' if new else ''}",
                    f"{alt}: {data}, {ways}-way{f', new {new}' if new else ''}",
                    figure,
                )
                for name, (alt, figure) in draw.items()
                if figure is not None
            ]
    return pictures


def _order(blocks: Sequence[Block]) -> list[str]:
    """Variants from the best down, by mean accuracy over the panels; incomplete ones last."""
    means: dict[str, list[float]] = {}
    for block in blocks:
        for row in block.rows:
            means.setdefault(row.group.variant, [])
            if row.accuracy:
                means[row.group.variant].append(row.accuracy.mean)
    ranked = {v: -fmean(m) if len(m) == len(blocks) else 1.0 for v, m in means.items()}
    return sorted(ranked, key=lambda variant: (ranked[variant], variant))


def _rows(
    blocks: Sequence[Block],
    draw: Callable[[Axes, float, Row, Look], None],
    look: Mapping[str, Look],
) -> Figure:
    """One line a variant, sorted alike in every panel; the floor is a dotted line."""
    order = _order(blocks)
    labels = [wrapped(variant) for variant in order]
    num_lines = sum(1 + label.count("\n") for label in labels)
    axes = panels(len(blocks), 0.9 + 0.21 * max(num_lines, len(order) * 1.25))
    for index, (axis, block) in enumerate(zip(axes, blocks, strict=True)):
        for row in block.rows:
            draw(axis, float(order.index(row.group.variant)), row, look[row.group.variant])
        _floor_line(axis, block)
        axis.set(title=f"{block.shots}-shot", xlabel="accuracy (%)")
        axis.set_yticks(
            range(len(order)), labels if index % columns_of(len(blocks)) == 0 else [""] * len(order)
        )
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        low, high = axis.get_xlim() if axis.has_data() else (0.0, 100.0)
        axis.set_xlim(max(low, -1.0), min(high, 101.0))  # no accuracy lies beyond, whatever a bound
    return _figure(axes)


def _figure(axes: Sequence[Axes]) -> Figure:
    figure = axes[0].figure
    assert isinstance(figure, Figure)
    return figure


def _floor_line(axis: Axes, block: Block) -> None:
    floors = [row for row in block.rows if is_floor(row.group) and row.accuracy]
    for row in floors:
        assert row.accuracy is not None
        axis.axvline(100 * row.accuracy.mean, color=QUIET, linestyle=":", linewidth=1, zorder=1)


def _intervals(blocks: Sequence[Block], look: Mapping[str, Look]) -> Figure:
    figure = _rows(blocks, _interval, look)
    figure.supxlabel(f"{FILLED}; dotted: random-init floor", fontsize=8, color="#555555")
    return figure


def _interval(axis: Axes, y: float, row: Row, look: Look) -> None:
    if row.accuracy is None:
        _incomplete(axis, y, row)
        return
    _point(axis, 100 * row.accuracy.mean, y, look, x_interval=row.accuracy)


def _incomplete(axis: Axes, y: float, row: Row) -> None:
    axis.text(
        0.02,
        y,
        row.group.trouble,
        va="center",
        fontsize=8,
        color=CONTROL,
        style="italic",
        transform=axis.get_yaxis_transform(),
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        zorder=4,
    )


def _point(
    axis: Axes,
    x: float,
    y: float,
    look: Look,
    x_interval: Interval | None = None,
    y_interval: Interval | None = None,
) -> None:
    axis.errorbar(
        x,
        y,
        xerr=_reach(x_interval) if x_interval else None,
        yerr=_reach(y_interval) if y_interval else None,
        color=look.colour,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=5.5,
        linewidth=1.6,
        zorder=3,
    )


def _reach(interval: Interval) -> list[list[float]]:
    return [[100 * (interval.mean - interval.low)], [100 * (interval.high - interval.mean)]]


def _strips(blocks: Sequence[Block], look: Mapping[str, Look]) -> Figure:
    figure = _rows(blocks, _strip, look)
    words_below = "one mark a seed; bar: their mean; dotted: random-init floor"
    figure.supxlabel(words_below, fontsize=8, color="#555555")
    return figure


def _strip(axis: Axes, y: float, row: Row, look: Look) -> None:
    x = [100 * float(one.accuracy_TE[-1].mean()) for one in row.group.done]
    if not x:
        _incomplete(axis, y, row)
        return
    seaborn().stripplot(
        x=x,
        y=[y] * len(x),
        orient="h",
        native_scale=True,
        jitter=False,
        size=5,
        marker=look.marker,
        facecolor=look.fill,
        edgecolor=look.colour,
        linewidth=1,
        ax=axis,
        zorder=3,
    )
    if row.accuracy:
        axis.vlines(fmean(x), y - 0.3, y + 0.3, colors=look.colour, linewidth=1.6, zorder=2)


def _adaptation(blocks: Sequence[Block], look: Mapping[str, Look]) -> Figure | None:
    """Curves over test-time steps with bands; methods without steps are dashed level lines.

    Where there are many rows, those lines are left to the baselines and the floor.
    """
    stepping = {r.group.variant for b in blocks for r in b.rows if r.accuracy and _steps(r)[1:]}
    if not stepping:
        return None
    whole = [v for v in _order(blocks) if any(_has(block, v) for block in blocks)]
    if len(whole) > MOST_LEVEL:
        every = [row for block in blocks for row in block.rows]
        marks = {r.group.variant for r in every if r.is_baseline or is_floor(r.group)}
        whole = [variant for variant in whole if variant in stepping | marks]
    axes = panels(len(blocks), 3.1, extra=legend_height(whole))
    shown = [(b, [r for r in b.rows if r.accuracy and r.group.variant in whole]) for b in blocks]
    steps = {step for _, rows in shown for row in rows for step in _steps(row)}
    for axis, (block, rows) in zip(axes, shown, strict=True):
        for row in rows:
            _adaptation_curve(axis, row, look[row.group.variant], max(steps))
        axis.set(title=f"{block.shots}-shot", xlabel="steps at test time", xticks=sorted(steps))
        _accuracy_axis(axis)
    axes[0].set_ylabel("accuracy (%)")
    handles = [handle(look[v], level=v not in stepping) for v in whole]
    legend_below(_figure(axes), handles, whole)
    return _figure(axes)


def _accuracy_axis(axis: Axes) -> None:
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, -1.0), min(high, 101.0))  # as for the other direction


def _has(block: Block, variant: str) -> bool:
    return any(row.group.variant == variant and row.accuracy for row in block.rows)


def _steps(row: Row) -> tuple[int, ...]:
    return row.group.done[0].steps


def _adaptation_curve(axis: Axes, row: Row, look: Look, last: int) -> None:
    intervals = [crossed_interval(a_SE) for a_SE in row.group.curve()]
    steps = _steps(row)
    level = len(steps) == 1
    x = [0, last] if level else list(steps)
    mean, low, high = (
        [100 * getattr(one, name) for one in intervals] * (2 if level else 1)
        for name in ("mean", "low", "high")
    )
    if not level:
        axis.fill_between(x, low, high, color=look.colour, alpha=0.13, linewidth=0)
    axis.plot(
        x,
        mean,
        color=look.colour,
        linestyle="--" if level else look.dashes,
        linewidth=1.2 if level else 1.7,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=4.5,
    )


def _cost(blocks: Sequence[Block], look: Mapping[str, Look]) -> Figure | None:
    """Accuracy with intervals against seconds of training and test, on a logarithmic axis."""
    known = [v for v in _order(blocks) if any(_has(block, v) for block in blocks)]
    if not known:
        return None
    axes = panels(len(blocks), 3.1, extra=legend_height(known))
    for axis, block in zip(axes, blocks, strict=True):
        seconds = [_cost_point(axis, row, look[row.group.variant]) for row in block.rows]
        axis.set(title=f"{block.shots}-shot", xlabel="seconds per seed, nothing shared")
        _seconds_axis(axis, [one for one in seconds if one > 0])
        _accuracy_axis(axis)
    axes[0].set_ylabel("accuracy (%)")
    legend_below(_figure(axes), [handle(look[v]) for v in known], known)
    return _figure(axes)


def _cost_point(axis: Axes, row: Row, look: Look) -> float:
    if row.accuracy is None:
        return float("nan")
    seconds = fmean(one.seconds for one in row.group.done)
    _point(axis, seconds, 100 * row.accuracy.mean, look, y_interval=row.accuracy)
    return seconds


def _seconds_axis(axis: Axes, seconds: Sequence[float]) -> None:
    axis.set_xscale("log")
    if seconds:  # at least a factor of ten wide, so that ticks fit and near costs look near
        middle = float(np.sqrt(min(seconds) * max(seconds)))
        reach = max(10**0.5, 1.35 * (max(seconds) / min(seconds)) ** 0.5)
        axis.set_xlim(middle / reach, middle * reach)
    wide = bool(seconds) and max(seconds) / min(seconds) > 50
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 3.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.duration(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
