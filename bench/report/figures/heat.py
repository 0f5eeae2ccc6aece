"""A heat map with words in its cells.

Shapes: G rows, H columns.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from bench.report.figures.style import CONTROL, seaborn

SEQUENTIAL, DIVERGING = "cividis", "RdBu"  # the colour-blind tell both apart
LARGE = 400  # cells
EMPTY = "#eeeeee"  # of a cell without a number


def heat_map(
    axis: Axes,
    value_GH: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    centred: bool,
    among: np.ndarray | None = None,
) -> None:
    """Colour the cells: from 0 both ways if ``centred``, else from the lowest to the highest.

    ``among``: the values of all maps that are coloured alike, in the place of this one's.
    NaN, where a number is missing, stays grey. A large map is rasterised in the SVG, for its size.
    """
    norm = _norm(value_GH if among is None else among, centred=centred)
    seaborn().heatmap(
        value_GH,
        mask=np.isnan(value_GH),
        ax=axis,
        cmap=DIVERGING if centred else SEQUENTIAL,
        vmin=norm.vmin,
        vmax=norm.vmax,
        cbar=False,
        linewidths=0.8 if value_GH.size < LARGE else 0.2,
        linecolor="white",
        xticklabels=list(columns),
        yticklabels=list(rows),
    )
    axis.set_facecolor(EMPTY)
    axis.grid(visible=False)
    axis.tick_params(axis="both", length=0, labelrotation=0)
    axis.collections[0].set_rasterized(value_GH.size >= LARGE)


def annotate(
    axis: Axes,
    value_GH: np.ndarray,
    texts: np.ndarray,
    bold_GH: np.ndarray,
    *,
    centred: bool,
    among: np.ndarray | None = None,
) -> None:
    """Write into each cell, in black or white, whichever is legible there."""
    norm, colours = (
        _norm(value_GH if among is None else among, centred=centred),
        colormaps[DIVERGING if centred else SEQUENTIAL],
    )
    for row, column in np.ndindex(*value_GH.shape):
        missing = bool(np.isnan(value_GH[row, column]))
        red, green, blue, _ = colours(0.5 if missing else float(norm(value_GH[row, column])))
        light = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2  # as a screen shows
        axis.text(
            column + 0.5,
            row + 0.5,
            str(texts[row, column]),
            ha="center",
            va="center",
            fontsize=8.5,
            weight="bold" if bold_GH[row, column] else "normal",
            color=CONTROL if missing else "#111111" if light > 0.18 else "white",  # alike at .18
        ).set_in_layout(False)


def _norm(value_GH: np.ndarray, *, centred: bool) -> Normalize:
    known = value_GH[~np.isnan(value_GH)]
    if not known.size:
        return Normalize(0.0, 1.0)
    most = 1.25 * max(float(np.abs(known).max()), 1e-9)  # the darkest ends hide black signs
    low, high = (-most, most) if centred else (float(known.min()), float(known.max()))
    return Normalize(low, high if high > low else low + 1e-9)
