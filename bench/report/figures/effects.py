"""Heat maps of a factorial view: mean accuracy, main effects with intervals, interaction.

Shapes: G levels of the first factor, H levels of the second.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report import words
from bench.report.figures.factorial_view import Effect, FactorialView
from bench.report.figures.forest import NO_VERDICT, difference
from bench.report.figures.heat import annotate, heat_map
from bench.report.figures.lines import Lines, beside, rule
from bench.report.figures.style import (
    CONTROL,
    VERDICT_LOOKS,
    WIDTH,
    Picture,
    legend_below,
    legend_height,
    picture,
    styled,
    wrapped,
)

UNFAIR = "no verdict: rows that saw different labels are set against each other"
MOST_WORDS = 10  # columns, beyond which a cell is too narrow for a word
MOST_BESIDE = 5  # columns, beyond which the heat maps stand one above the other
ROW, LABEL, AROUND = 0.32, 20, 0.75  # inches of a row, characters of its name, inches around it


def effects_figures(views: Sequence[FactorialView]) -> list[Picture]:
    """Draw one figure a view, of three panels."""
    with styled():
        return [
            picture(
                f"effects-{view.slug}",
                f"Mean {view.headline.noun}, departure from additivity, and main effects of "
                f"{view.first} and {view.second}: {view.title}",
                _draw(view),
            )
            for view in views
        ]


def _draw(view: FactorialView) -> Figure:
    """Put the heat maps side by side, or one above the other if wide, over the main effects."""
    stacked, lines = len(view.columns) > MOST_BESIDE, _lines(view)
    handles = _handles([*view.main_first, *view.main_second])
    note = UNFAIR if NO_VERDICT in handles else ""
    head = 0.15 * max(wrapped(name, _chars(view)).count("\n") for name in view.columns)
    map_height = AROUND + head + ROW * len(view.rows)
    heights = [map_height] * (2 if stacked else 1) + [AROUND + lines.height]
    extra = legend_height(list(handles), note)
    figure = Figure(figsize=(WIDTH, sum(heights) + extra), dpi=200, layout="constrained")
    grid = figure.add_gridspec(len(heights), 1 if stacked else 2, height_ratios=heights)
    _accuracy(figure.add_subplot(grid[0, 0]), view)
    _departure(figure.add_subplot(grid[1, 0] if stacked else grid[0, 1]), view, named=stacked)
    _main(figure.add_subplot(grid[-1, :]), view, lines)
    legend_below(figure, list(handles.values()), list(handles), note)
    return figure


def _lines(view: FactorialView) -> Lines:
    """One line a level, below a heading for each factor that names its reference level."""
    names: list[str] = []
    headings: dict[str, str] = {}
    for factor, effects in ((view.first, view.main_first), (view.second, view.main_second)):
        reference = next((level for level, effect, _ in effects if effect is None), "the mean")
        others = [f"{factor}: {level}" for level, effect, _ in effects if effect is not None]
        headings |= {others[0]: f"minus {reference}:"} if others else {}
        names += others
    return Lines(names=tuple(names), headings=headings)


def _handles(effects: Sequence[Effect]) -> dict[str, Artist]:
    """Return the legend of the verdicts that occur."""
    seen = {verdict for _, effect, verdict in effects if effect is not None}
    return {
        name: Line2D([], [], color=c, marker=m, markerfacecolor=f, markersize=6, linewidth=1.6)
        for name, (c, m, f) in VERDICT_LOOKS.items()
        if name in seen
    }


def _chars(view: FactorialView) -> int:
    """How many characters fit above a column."""
    share = len(view.columns) * (1 if len(view.columns) > MOST_BESIDE else 2)
    return max(6, int((WIDTH - 1.6) / share / 0.085))


def _accuracy(axis: Axes, view: FactorialView) -> None:
    """Annotate mean accuracies in per cent."""
    value_GH = 100 * view.accuracy_GH
    _map(axis, view, value_GH, centred=False)
    texts = _texts(value_GH, ".1f")
    annotate(axis, value_GH, texts, np.zeros(value_GH.shape, bool), centred=False)
    axis.set_title(f"mean {view.headline.axis}")


def _texts(value_GH: np.ndarray, form: str) -> np.ndarray:
    missing = "incomplete" if value_GH.shape[1] <= MOST_WORDS else "-"
    return np.array(
        [[format(v, form) if v == v else missing for v in row] for row in value_GH], object
    )


def _departure(axis: Axes, view: FactorialView, *, named: bool) -> None:
    """Annotate departures in points; those told from 0, adjusted for all cells, in bold."""
    value_GH = 100 * view.departure_GH
    _map(axis, view, value_GH, centred=True, named=named)
    texts = _texts(np.round(value_GH, 1) + 0.0, "+.1f")  # no "-0.0"
    annotate(axis, value_GH, texts, view.certain_GH, centred=True)
    axis.set_title("departure from additivity (points)\nbold: p (Holm, of all cells) below .05")


def _map(
    axis: Axes, view: FactorialView, value_GH: np.ndarray, *, centred: bool, named: bool = True
) -> None:
    rows = [wrapped(row, LABEL) if named else "" for row in view.rows]
    heat_map(
        axis, value_GH, rows, [wrapped(c, _chars(view)) for c in view.columns], centred=centred
    )
    axis.set_xlabel(view.second)
    axis.set_ylabel(view.first if named else "")


def _main(axis: Axes, view: FactorialView, lines: Lines) -> None:
    """Draw each main effect with its interval, and print it at the right."""
    rule(axis, lines)
    axis.axvline(0, color=CONTROL, linewidth=1, zorder=2)
    texts = {}
    for factor, effects in ((view.first, view.main_first), (view.second, view.main_second)):
        for level, effect, verdict in effects:
            if effect is not None:
                y = lines.place[f"{factor}: {level}"]
                difference(axis, y, effect, verdict, view.headline)
                texts[y] = words.points(effect).removesuffix(words.ONE_MODEL)
    beside([axis], axis, texts)
    axis.set(title="main effects", xlabel="difference from the reference level (points)")
