"""Effects of a factorial grid as contrasts of its cells, each judged by its own interval.

Shapes: G levels of one factor, H of the other, S seeds, E test episodes; a_GHSE are accuracies in
[0, 1] of complete grids, where every cell meets the same episodes with every seed.

Cells of one (pretext, seed) may share an encoder, so that the grid is a split plot. An effect, main
or interaction, is a contrast c[s, e] of cells, in which whatever they share by seed or episode is
kept; its interval is ``crossed_interval(c_SE)``. No residual is pooled: an analysis of variance
with seeds as blocks calls a null effect of the shared factor real most of the time.
"""

from typing import Literal

import numpy as np


def main_effect(
    a_GHSE: np.ndarray, level: int, reference: int, *, factor: Literal[0, 1] = 0
) -> np.ndarray:
    """Return c_SE: ``level`` minus ``reference`` of a factor, the mean over the other's levels.

    ``factor`` is the axis that the two are indices of, 0 for G and 1 for H.
    """
    difference = a_GHSE.take(level, factor) - a_GHSE.take(reference, factor)
    return np.asarray(difference.mean(0))


def interaction(a_GHSE: np.ndarray, of_G: tuple[int, int], of_H: tuple[int, int]) -> np.ndarray:
    """Return c_SE: how much the gain of (level, reference) in G differs between two levels of H.

    (a[g, h] - a[g0, h]) - (a[g, h0] - a[g0, h0]) with of_G = (g, g0) and of_H = (h, h0).
    """
    (g, g0), (h, h0) = of_G, of_H
    return np.asarray((a_GHSE[g, h] - a_GHSE[g0, h]) - (a_GHSE[g, h0] - a_GHSE[g0, h0]))


def departure(a_GHSE: np.ndarray) -> np.ndarray:
    """Return c_GHSE: how far each cell lies from the additive fit of its seed and episode.

    a[g, h] - mean over H - mean over G + grand mean; it sums to 0 over G and over H, and is 0
    everywhere where the two factors only add up. ``crossed_interval(c_GHSE[g, h])`` judges a cell.
    """
    rows, columns = a_GHSE.mean(1, keepdims=True), a_GHSE.mean(0, keepdims=True)
    return np.asarray(a_GHSE - rows - columns + a_GHSE.mean((0, 1), keepdims=True))
