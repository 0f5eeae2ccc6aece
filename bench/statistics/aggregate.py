"""Scores over many data sets as a whole: the interquartile mean and the performance profile.

Shapes: S seeds, which are the runs, and B blocks, which are data sets; score_SB is the mean over a
run's test episodes, in [0, 1]. Episodes never go on the axis of runs: they are no trainings, and
as runs they would give intervals that speak of one model. Both are Agarwal et al. 2021
(arXiv 2108.13264), from eight blocks on, since a quartile of fewer is one data set's. They describe
and give no verdicts: a percentile bootstrap over three seeds is too narrow.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.late import imported
from bench.seeds import derive

FEWEST_BLOCKS = 8
RESAMPLES = 2000  # Agarwal et al. take 50,000; a bound then moves by a hundredth of the width


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """An interquartile mean with its 95 % percentile bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The share of runs (0 to 1) that score above each threshold, with a 95 % band; all [T]."""

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interquartile_mean(score_SB: np.ndarray) -> Aggregate | None:
    """Average the middle half of all S x B scores; None below eight blocks.

    The lowest and the highest quarter are left out, rounded down to whole scores. The interval is
    of seeds on these very data sets.
    """
    if score_SB.shape[1] < FEWEST_BLOCKS:
        return None
    low, high = _bounds(score_SB, "interquartile mean", _middle)
    return Aggregate(value=float(_middle(score_SB[None])[0]), low=float(low), high=float(high))


def performance_profile(score_SB: np.ndarray, thresholds_T: np.ndarray) -> Profile | None:
    """Return which share of the S x B scores lies above each threshold; None below eight blocks.

    The band holds at each threshold by itself, over seeds on these very data sets.
    """
    if score_SB.shape[1] < FEWEST_BLOCKS:
        return None

    def above(score_RSB: np.ndarray) -> np.ndarray:
        flat_RN = score_RSB.reshape(len(score_RSB), -1)
        return np.stack([(flat_RN > threshold).mean(1) for threshold in thresholds_T], axis=1)

    low_T, high_T = _bounds(score_SB, "performance profile", above)
    share_T = above(score_SB[None])[0]
    return Profile(thresholds=thresholds_T, share=share_T, low=low_T, high=high_T)


def _middle(score_RSB: np.ndarray) -> np.ndarray:
    flat_RN = score_RSB.reshape(len(score_RSB), -1)
    return np.asarray(imported("scipy.stats").trim_mean(flat_RN, 0.25, axis=1))


def _bounds(
    score_SB: np.ndarray, name: str, of: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Resample seeds within each block, by a stream that these scores name, and take percentiles.

    So whoever has the scores gets the same interval.
    """
    if not np.isfinite(score_SB).all():
        raise ValueError("a score is missing: an aggregate over the others would be of them alone")
    S, B = score_SB.shape
    exact = np.ascontiguousarray(score_SB, dtype="<f8").tobytes()
    rng = np.random.default_rng(derive(name, S, B, hashlib.sha256(exact).hexdigest()))
    drawn_RSB = rng.integers(S, size=(RESAMPLES, S, B))
    value_R = of(np.take_along_axis(score_SB[None], drawn_RSB, axis=1))
    low, high = np.percentile(value_R, [2.5, 97.5], axis=0)
    return low, high
