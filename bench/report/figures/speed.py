"""The figures of held-out pretext tasks: accuracy and query loss by the number of steps."""

from collections.abc import Mapping, Sequence
from math import log

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.comparison import Block, stem
from bench.report.figures.style import (
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
    styled,
)
from bench.report.results import Group, Results
from bench.report.views.speed import MEASURES, of_blocks
from bench.statistics.interval import crossed_interval

AXIS = {"accuracy": "accuracy (%)", "loss": "query loss (nats)"}
SCALE = {"accuracy": 100.0, "loss": 1.0}
BANDS = "bands: crossed 95 % intervals, cut at the panel's edge; dotted: chance"
MARGIN = 0.3  # of the range of the means, above and below it


def speed_figures(results: Results, blocks: Sequence[Block]) -> list[Picture]:
    """Draw curves over the steps: of the mean over new tasks, then of each, a figure a measure."""
    held = [block for block in blocks if block.held_out and _whole(block)]
    look, pictures = looks(results), []
    with styled():
        for block in of_blocks(held):
            what = f"Accuracy and query loss by steps on new {block.held_out}"
            alt = f"{what}: {_where(block)}; {BANDS}"
            pictures.append(picture(f"speed-{block.slug}", alt, _both(block, look)))
        for setting in dict.fromkeys((block.data, block.ways, block.shots) for block in held):
            single = [one for one in held if _setting(one) == setting and not one.is_mean]
            if len(single) > 1:
                pictures += [_each(single, measure, look) for measure in MEASURES]
    return pictures


def _setting(block: Block) -> tuple[str, int, int]:
    return block.data, block.ways, block.shots


def _where(block: Block) -> str:
    return f"{block.data}, {block.ways}-way {block.shots}-shot"


def _whole(block: Block) -> list[Group]:
    return [row.group for row in block.rows if not row.group.trouble]


def _both(block: Block, look: Mapping[str, Look]) -> Figure:
    """Accuracy and loss side by side."""
    names = [group.variant for group in _whole(block)]
    axes = panels(2, 3.6, extra=legend_height(names))
    for axis, measure in zip(axes, MEASURES, strict=True):
        _curves(axis, block, measure, look, shade=0.1)
        axis.set_xlabel("steps on the new task")
        axis.set_ylabel(AXIS[measure])
    return _with_legend(axes, names, look)


def _each(blocks: Sequence[Block], measure: str, look: Mapping[str, Look]) -> Picture:
    """One measure, a panel for each new task on a scale of its own."""
    names = list(dict.fromkeys(g.variant for block in blocks for g in _whole(block)))
    axes = panels(len(blocks), 2.5, extra=legend_height(names))
    for axis, block in zip(axes, blocks, strict=True):
        _curves(axis, block, measure, look, shade=0.05)
        axis.set_title(block.held_out.replace(" (", "\n("))
    columns = columns_of(len(axes))
    for place, axis in enumerate(axes):
        if place % columns == 0:
            axis.set_ylabel(AXIS[measure])
        if place + columns >= len(axes):
            axis.set_xlabel("steps on the new task")
    first = blocks[0]
    data = f"{stem(first.data)}-{first.ways}way-{first.shots}shot"
    return picture(
        f"speed-each-{measure}-{data}",
        f"{AXIS[measure].capitalize()} by steps, for each new task: {_where(first)}; {BANDS}",
        _with_legend(axes, names, look),
    )


def _with_legend(axes: Sequence[Axes], names: Sequence[str], look: Mapping[str, Look]) -> Figure:
    figure = axes[0].figure
    assert isinstance(figure, Figure)
    shown = [name for name in look if name in names]
    legend_below(figure, [handle(look[name]) for name in shown], shown)
    return figure


def _curves(
    axis: Axes, block: Block, measure: str, look: Mapping[str, Look], *, shade: float
) -> None:
    """Mean and crossed interval of each row; a dotted line at chance.

    The panel is as high as the means ask for: few seeds have intervals that would hide them.
    """
    scale, ways = SCALE[measure], block.ways
    chance = 1 / ways if measure == "accuracy" else log(ways)
    axis.axhline(scale * chance, color=QUIET, linestyle=":", linewidth=1, zorder=1)
    means = [scale * chance]
    for group in _whole(block):
        steps, own = group.done[0].steps, look[group.variant]
        curve_TSE = group.measured(measure)
        intervals = [crossed_interval(a_SE) for a_SE in curve_TSE]
        mean, low, high = (
            [scale * getattr(one, name) for one in intervals] for name in ("mean", "low", "high")
        )
        means += mean
        axis.fill_between(steps, low, high, color=own.colour, alpha=shade, linewidth=0)
        axis.plot(
            steps,
            mean,
            color=own.colour,
            linestyle=own.dashes,
            linewidth=1.5,
            marker=own.marker,
            markerfacecolor=own.fill,
            markersize=4.5,
        )
    spare = MARGIN * (max(means) - min(means))
    highest = 101.0 if measure == "accuracy" else float("inf")
    axis.set_ylim(max(min(means) - spare, 0.0), min(max(means) + spare, highest))
    axis.set_xticks(sorted({step for group in _whole(block) for step in group.done[0].steps}))
