"""Distributions over test episodes: each one's accuracy, and its difference from the baseline.

Shapes: S seeds, E test episodes. An episode's value is its mean over the seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from bench.report.comparison import Block, Row
from bench.report.figures.accuracy import floor_lines, within
from bench.report.figures.lines import Lines, beside, line_panels, say, under_references
from bench.report.figures.setting import from_best, settings
from bench.report.figures.style import (
    CONTROL,
    Look,
    Picture,
    figure_of,
    legend_below,
    legend_height,
    looks,
    picture,
    styled,
)
from bench.report.results import Group, Results
from bench.report.streams import episode_of

Values = Mapping[
    str, np.ndarray | str
]  # variant -> [E] in per cent or points, or why there is none


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """One of the two figures: what its axis and its note say, and whether it is of differences."""

    xlabel: str
    note: str
    paired: bool


VALUE = (
    "each test {episode}'s mean over seeds; white: median and middle half; "
    "dotted: random-init floor"
)
DIFFERENCE = (
    "each test {episode}'s difference, mean over seeds; white: median and middle half; "
    "at the right: {episode}s won, ties as halves"
)


def episode_figures(results: Results, blocks: Sequence[Block]) -> list[Picture]:
    """Draw two figures for each data set and ways, one panel a number of shots."""
    look, tested, pictures = looks(results), episode_of(results.plan), []
    with styled():
        for one in settings(blocks):
            of, accuracy = one.headline, [_accuracies(block) for block in one.blocks]
            alt = f"Distribution of {of.noun} over test {tested}s: {one.title}"
            value = _Kind(xlabel=of.axis, note=VALUE.format(episode=tested), paired=False)
            figure = _draw(one.blocks, accuracy, look, value)
            pictures.append(picture(f"episodes-{one.slug}", alt, figure))
            if any(differences := [_differences(block) for block in one.blocks]):
                alt = f"Distribution of paired differences over test {tested}s: {one.title}"
                own = _Kind(
                    xlabel="paired difference (points)",
                    note=DIFFERENCE.format(episode=tested),
                    paired=True,
                )
                figure = _draw(one.blocks, differences, look, own)
                pictures.append(picture(f"episodes-paired-{one.slug}", alt, figure))
    return pictures


def _accuracies(block: Block) -> Values:
    return {
        row.group.variant: row.group.trouble or 100 * row.group.accuracy().mean(0)
        for row in block.rows
    }


def _differences(block: Block) -> Values:
    """Return, for each row with a baseline, the differences on the seeds planned for both."""
    named = {row.group.variant: row.group for row in block.rows}
    return {
        row.group.variant: _paired(row, named[row.baseline.reference])
        for row in block.rows
        if row.baseline
    }


def _paired(row: Row, reference: Group) -> np.ndarray | str:
    assert row.baseline is not None
    if row.baseline.trouble:
        return row.baseline.trouble
    seeds = row.group.seeds() & reference.seeds()
    return np.asarray(100 * (row.group.accuracy(seeds) - reference.accuracy(seeds)).mean(0))


def _draw(
    blocks: Sequence[Block], panels: Sequence[Values], look: Mapping[str, Look], kind: _Kind
) -> Figure:
    lines = _lines(blocks, panels, kind)
    titles, place = [block.amount for block in blocks], lines.place
    axes = line_panels(lines, titles, kind.xlabel, extra=legend_height([], kind.note))
    for axis, block, values in zip(axes, blocks, panels, strict=True):
        drawn = {name: v for name, v in values.items() if not isinstance(v, str)}
        _violins(axis, {place[name]: (value, look[name]) for name, value in drawn.items()})
        axis.set_ylim(lines.length, 0.0)
        for name, value in values.items():
            if isinstance(value, str):
                say(axis, place[name], value)
        if kind.paired:
            axis.axvline(0, color=CONTROL, linewidth=1, zorder=1.5)
            beside(axes, axis, {place[name]: _share(value) for name, value in drawn.items()})
        else:
            floor_lines(axis, block)
            within(axis, "x", block.headline)
    legend_below(figure_of(axes[0]), [], [], kind.note)
    return figure_of(axes[0])


def _lines(blocks: Sequence[Block], panels: Sequence[Values], kind: _Kind) -> Lines:
    means = {
        (number, name): None if isinstance(value, str) else float(value.mean())
        for number, values in enumerate(panels)
        for name, value in values.items()
    }
    order = from_best(means, len(panels))
    if not kind.paired:
        return Lines(names=tuple(order), headings={})
    rows = [row for block in blocks for row in block.rows]
    return under_references(
        order, {row.group.variant: row.baseline.reference for row in rows if row.baseline}
    )


def _violins(axis: Axes, found: Mapping[float, tuple[np.ndarray, Look]]) -> None:
    """Draw each density, and in it the median and the middle half."""
    if not found:
        return
    drawn = axis.violinplot(
        [value_E for value_E, _ in found.values()],
        list(found),
        orientation="horizontal",
        widths=0.95,
        points=40,
        showextrema=False,
    )
    bodies = cast(Sequence[PolyCollection], drawn["bodies"])
    for body, (_, own) in zip(bodies, found.values(), strict=True):
        body.set(facecolor=own.colour, alpha=0.85, linewidth=0)
    y = list(found)
    quartiles_3L = np.stack([np.percentile(v, (25, 50, 75)) for v, _ in found.values()], axis=1)
    axis.hlines(y, quartiles_3L[0], quartiles_3L[2], colors="white", linewidth=1.4, zorder=3)
    axis.plot(quartiles_3L[1], y, "o", color="white", markersize=4, zorder=3)


def _share(value_E: np.ndarray) -> str:
    return f"{100 * float((value_E > 0).mean() + (value_E == 0).mean() / 2):.0f} %"
