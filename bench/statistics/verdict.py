"""From an interval to a verdict: adjusted p-values, the margin, and the exact check over seeds."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bench.statistics.interval import Interval

Verdict = Literal["better", "equivalent", "worse", "undecided"]


def holm(p: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family so that any false verdict at all has the nominal rate.

    Step-down: the i-th smallest (from 0) of m times (m - i), never below an earlier one, at most
    1 (Holm 1979, doi:10.2307/4615733).
    """
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, position in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[position]))
        adjusted[position] = highest
    return adjusted


def verdict(
    difference: Interval, p_adjusted: float | None, margin: float, level: float = 0.05
) -> Verdict:
    """Judge a paired difference; ``margin`` in [0, 1] is what counts as practically equal.

    Equivalent if the interval lies within +- margin, which is two one-sided tests at 2.5 %
    (Schuirmann 1987, doi:10.1007/BF01068419); else better or worse if it excludes 0 and the
    adjusted p is below ``level``; else undecided, as is every comparison of one seed. A standard
    error of 0 judges nothing, unless both rows are the same numbers, which are equivalent: of two
    seeds, 4 episodes and 15 queries each, 7 % agree by coincidence. Two seeds are judged like
    more: t(1) is so wide that they keep every error rate (``benchmarks/simulation.py``).
    """
    if difference.one_model or p_adjusted is None:
        return "undecided"
    if difference.without_variance:
        return "equivalent" if difference.identical else "undecided"
    if -margin <= difference.low and difference.high <= margin:
        return "equivalent"
    if p_adjusted < level and difference.low > 0:
        return "better"
    return "worse" if p_adjusted < level and difference.high < 0 else "undecided"


def sign_flip(d_S: np.ndarray) -> float | None:
    """Exact two-sided p of per-seed mean differences under all 2^S changes of their signs.

    None ("not attainable") below six seeds: the smallest p there is, 2^(1 - S), exceeds .05.
    """
    return None if len(d_S) < 6 else flipped(d_S)


def flipped(d_S: np.ndarray) -> float:
    """Give the share of all 2^S changes of sign whose sum is at least as far from 0.

    Both halves' signed sums are listed and met in the middle, so that S = 30 takes no time.
    """
    S = len(d_S)
    left, right = _signed_sums(d_S[: S // 2]), np.sort(_signed_sums(d_S[S // 2 :]))
    observed = abs(float(d_S.sum())) * (1 - 1e-12) - 1e-15  # a tie is as extreme, whatever rounds
    above = len(right) - np.searchsorted(right, observed - left, side="left")
    below = np.searchsorted(right, -observed - left, side="right")
    return min(1.0, float((above + below).sum()) / 2.0**S)


def _signed_sums(d_S: np.ndarray) -> np.ndarray:
    sums = np.zeros(1)
    for d in d_S:
        sums = np.concatenate([sums + d, sums - d])
    return sums
