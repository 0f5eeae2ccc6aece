"""All pairs of variants: the matrix of differences, and the critical-difference diagram.

Shapes: V variants.
"""

from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report import words
from bench.report.figures.heat import annotate, heat_map
from bench.report.figures.style import (
    CONTROL,
    WIDTH,
    Picture,
    figure_of,
    legend_below,
    legend_height,
    panels,
    picture,
    styled,
    wrapped,
)

MOST_ANNOTATED = 14  # variants, beyond which the cells have colours and signs alone
SIGNS = {"better": "+", "worse": "_", "equivalent": "o"}  # verdict -> marker
NUMBERS = (
    "row minus column, in points; bold: better or worse; (=): equivalent; others: undecided; "
    "grey: not compared"
)
COLOURS = (
    "row minus column; blue: more accurate, red: less; +: better, -: worse, o: equivalent; "
    "no sign: undecided; grey: not compared"
)
TITLE = "mean rank, 1 the most accurate; a bar joins those that are not told apart"
BAR = "#0072B2"
LEVEL = 0.2  # inches between two names of the diagram


def pairs_picture(
    name: str,
    alt: str,
    labels: Sequence[str],
    difference_VV: np.ndarray,
    verdict_VV: Sequence[Sequence[str]],
) -> Picture:
    """Draw the matrix of paired differences in points, row minus column, with their verdicts.

    A difference that is NaN was not compared; the diagonal is left empty.
    """
    with styled():
        return picture(name, alt, _matrix(labels, difference_VV, np.array(verdict_VV, object)))


def _matrix(labels: Sequence[str], difference_VV: np.ndarray, verdict_VV: np.ndarray) -> Figure:
    V = len(labels)
    large = V > MOST_ANNOTATED
    note = COLOURS if large else NUMBERS
    value_VV = np.array(difference_VV, float)
    np.fill_diagonal(value_VV, np.nan)
    numbers = [str(place + 1) for place in range(V)]
    texts = [
        shorten(label, 42, placeholder=" ...") if large else wrapped(label) for label in labels
    ]
    height = 0.6 + V * (0.175 if large else 0.34 if any("\n" in one for one in texts) else 0.27)
    (axis,) = panels(1, height, extra=legend_height([], note))
    rows = [f"{text}  {number}" for text, number in zip(texts, numbers, strict=True)]
    few = [one if V <= 20 or int(one) % 5 == 0 else "" for one in numbers]
    heat_map(axis, value_VV, rows, few, centred=True)
    (_signs if large else _numbers)(axis, value_VV, verdict_VV)
    axis.xaxis.tick_top()
    legend_below(figure_of(axis), [], [], note)
    return figure_of(axis)


def _signs(axis: Axes, value_VV: np.ndarray, verdict_VV: np.ndarray) -> None:
    """Mark the verdicts, few bytes each, where there is no room for numbers."""
    for verdict, marker in SIGNS.items():
        place_2N = np.argwhere((verdict_VV == verdict) & ~np.isnan(value_VV)).T
        fill = (
            {"color": "#111111"} if marker != "o" else {"facecolor": "none", "edgecolor": "#111111"}
        )
        drawn: dict[str, Any] = {"s": 18, "linewidth": 1.1, "marker": marker, **fill}
        axis.scatter(place_2N[1] + 0.5, place_2N[0] + 0.5, **drawn)


def _numbers(axis: Axes, value_VV: np.ndarray, verdict_VV: np.ndarray) -> None:
    texts = np.array(
        [
            [_number(*pair) for pair in zip(*both, strict=True)]
            for both in zip(value_VV, verdict_VV, strict=True)
        ]
    )
    annotate(axis, value_VV, texts, np.isin(verdict_VV, ("better", "worse")), centred=True)


def _number(difference: float, verdict: str) -> str:
    if difference != difference:
        return ""
    return words.signed(difference) + (" (=)" if verdict == "equivalent" else "")


def ranks_picture(
    name: str,
    alt: str,
    labels: Sequence[str],
    ranks: Sequence[float],
    cliques: Sequence[Sequence[int]],
) -> Picture:
    """Draw a critical-difference diagram: mean ranks, 1 the best, and who cannot be told apart.

    A clique holds the places of its members among the labels (Demsar 2006, JMLR 7:1-30, figure 1).
    """
    with styled():
        return picture(name, alt, _diagram(labels, ranks, [c for c in cliques if len(c) > 1]))


def _diagram(
    labels: Sequence[str], ranks: Sequence[float], cliques: Sequence[Sequence[int]]
) -> Figure:
    order = sorted(range(len(labels)), key=lambda place: (ranks[place], labels[place]))
    half = -(-len(order) // 2)
    bars = 0.5 * len(cliques) + 0.6
    texts = [wrapped(label, 30) for label in labels]
    step = 1.0 if all("\n" not in text for text in texts) else 1.7
    depth = bars + step * half
    figure = Figure(figsize=(WIDTH, 0.55 + LEVEL * depth), dpi=200, layout="constrained")
    axis = figure.add_subplot()
    axis.set_ylim(depth, 0)
    axis.set_xlim(1 - 0.02 * len(labels), 1.02 * len(labels))
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    axis.spines["top"].set_visible(True)
    axis.xaxis.tick_top()
    axis.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axis.tick_params(axis="x", length=4, top=True, bottom=False)
    axis.set_yticks([])
    axis.grid(visible=False)
    axis.set_title(TITLE, fontsize=9)
    for number, place in enumerate(order):
        left = number < half
        level = number if left else len(order) - 1 - number
        _leader(axis, ranks[place], bars + step * (level + 0.5), texts[place], left=left)
    for number, clique in enumerate(sorted(cliques, key=lambda c: min(ranks[p] for p in c))):
        _bar(axis, [ranks[place] for place in clique], 0.55 + 0.5 * number)
    return figure


def _leader(axis: Axes, rank: float, y: float, text: str, *, left: bool) -> None:
    """Lead from a rank on the axis down to its name at the side."""
    end = axis.get_xlim()[0 if left else 1]
    axis.plot([rank, rank, end], [0, y, y], color=CONTROL, linewidth=0.9, zorder=2)
    axis.text(
        -0.01 if left else 1.01,
        y,
        f"{text}  {rank:.2f}" if left else f"{rank:.2f}  {text}",
        ha="right" if left else "left",
        va="center",
        fontsize=8.5,
        transform=axis.get_yaxis_transform(),
    )


def _bar(axis: Axes, ranks: Sequence[float], y: float) -> None:
    low, high = axis.get_xlim()
    spare = 0.006 * (high - low)
    x = [min(ranks) - spare, max(ranks) + spare]
    axis.plot(x, [y, y], color=BAR, linewidth=4, solid_capstyle="butt", zorder=3)
