"""The figure of adaptation: accuracy after each number of test-time steps, with bands."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from bench.report.comparison import Block, Row, is_floor
from bench.report.figures.accuracy import within
from bench.report.figures.setting import Setting, by_accuracy, not_shown, settings
from bench.report.figures.style import (
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
from bench.statistics.interval import crossed_interval

MOST_LEVEL = 12  # rows in all, beyond which level lines are left to the baselines and the floor
MOST_CURVES = 8  # beyond which only the best are drawn, and baselines: more cannot be told apart


def adaptation_figures(results: Results, blocks: Sequence[Block]) -> list[Picture]:
    """Draw a figure for each data set and ways; new tasks and streams have figures of their own."""
    look, shown = looks(results), [one for one in blocks if not (one.held_out or one.stream)]
    with styled():
        drawn = [_picture(one, look) for one in settings(shown)]
    return [one for one in drawn if one]


def _picture(setting: Setting, look: Mapping[str, Look]) -> Picture | None:
    """Curves over test-time steps with bands; methods without steps are dashed level lines."""
    blocks = setting.blocks
    shown, stepping, says = _chosen(blocks)
    if not stepping:
        return None
    note = "; ".join(part for part in (says, not_shown(blocks)) if part)
    axes = panels(len(blocks), 3.1, extra=legend_height(shown, note))
    rows = [[r for r in b.rows if r.accuracy and r.group.variant in shown] for b in blocks]
    steps = sorted({step for own in rows for row in own for step in _steps(row)})
    for axis, block, own in zip(axes, blocks, rows, strict=True):
        for row in own:
            _curve(axis, row, look[row.group.variant], steps[-1])
        axis.set(title=block.amount, xlabel="steps at test time", xticks=steps)
        within(axis, "y", block.headline)
    axes[0].set_ylabel(setting.headline.axis)
    handles = [handle(look[v], level=v not in stepping) for v in shown]
    legend_below(figure_of(axes[0]), handles, shown, note)
    what = f"{setting.headline.noun.capitalize()} after steps at test time"
    alt = f"{what}: {setting.title}; bands: crossed 95 % intervals"
    alt += f"; {says}" if says else ""
    return picture(f"adaptation-{setting.slug}", alt, figure_of(axes[0]))


def _chosen(blocks: Sequence[Block]) -> tuple[list[str], set[str], str]:
    """Return the variants to draw, best first, those that take steps, and what was left out."""
    every = [row for block in blocks for row in block.rows]
    whole = {row.group.variant for row in every if row.accuracy}
    stepping = {row.group.variant for row in every if row.accuracy and len(_steps(row)) > 1}
    marks = {row.group.variant for row in every if row.is_baseline or is_floor(row.group)}
    order = [variant for variant in by_accuracy(blocks) if variant in whole]
    says = []
    if len(order) > MOST_LEVEL:
        left = [variant for variant in order if variant not in stepping | marks]
        order = [variant for variant in order if variant not in left]
        says += [f"{len(left)} rows without steps"] if left else []
    curves = [variant for variant in order if variant in stepping - marks]
    if len(curves) > MOST_CURVES:
        order = [one for one in order if one not in curves[MOST_CURVES:]]
        says.append(f"all but the best {MOST_CURVES} of {len(curves)} rows with steps")
    kept = "left out, but for baselines and floor: " if says else ""
    return order, stepping, kept + " and ".join(says)


def _steps(row: Row) -> tuple[int, ...]:
    return row.group.done[0].steps


def _curve(axis: Axes, row: Row, look: Look, last: int) -> None:
    intervals = [crossed_interval(a_SE) for a_SE in row.group.accuracies()]
    steps, least = _steps(row), row.group.headline.least
    level = len(steps) == 1
    x = [0, last] if level else list(steps)
    mean, low, high = (
        [100 * min(max(getattr(one, name), least), 1.0) for one in intervals] * (2 if level else 1)
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
