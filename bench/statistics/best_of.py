"""What the best of k trials is worth, from n independent ones: its expectation and its spread.

Shapes: n trials, K = n numbers of them (k = 1 ... n). Scores are accuracies; more is better.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

QUANTILES = (0.1, 0.9)
ROUNDING = 1e-9  # relative, of a share of subsets: one that is a tenth exactly is a tenth


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """Of k = 1 ... n trials: the expected best, and its 10 % and 90 % quantiles, each [K].

    The quantiles are the spread of that best over the choice of k trials from these n. They are
    no confidence interval: of how far other n trials would move the curve they say nothing.
    """

    expected_K: np.ndarray
    low_K: np.ndarray
    high_K: np.ndarray


def best_of(scores: Sequence[float]) -> BestOf:
    """Give the best of k trials for k = 1 ... n, n >= 1, over all subsets of k without replacement.

    Of the sorted scores x_1 <= ... <= x_n the i-th is the best of C(i - 1, k - 1) of the C(n, k)
    subsets. Their mean is the U-statistic of "the best of k independent trials", so unbiased
    (Tang et al. 2020, arXiv:2004.13705); drawn with replacement, as Dodge et al. (2019,
    arXiv:1909.03004) do who introduced the curve, the best of k has too few different trials in
    it, and is too low by most where k comes near n.
    """
    sorted_n = np.sort(np.asarray(scores, float))
    assert len(sorted_n), "no trial"
    shares = [_shares(len(sorted_n), k) for k in range(1, len(sorted_n) + 1)]
    low_K, high_K = (
        np.array([sorted_n[np.argmax(below_n >= q * (1 - ROUNDING))] for below_n in shares])
        for q in QUANTILES
    )
    expected_K = np.array([np.diff(below_n, prepend=0.0) @ sorted_n for below_n in shares])
    return BestOf(expected_K=expected_K, low_K=low_K, high_K=high_K)


def _shares(n: int, k: int) -> np.ndarray:
    """Return the share C(i, k) / C(n, k) of subsets whose best is no better than the i-th, [n].

    From the last, which is 1, down: C(i - 1, k) = C(i, k) (i - k) / i. Nothing overflows.
    """
    i = np.arange(n, 1, -1)
    return np.cumprod(np.concatenate([[1.0], np.maximum(i - k, 0) / i]))[::-1]


def best_so_far(scores: Sequence[float]) -> np.ndarray:
    """Give the best of the first 1 ... n trials, in the order in which they were made, [n]."""
    return np.maximum.accumulate(np.asarray(scores, float))


def counted(scores: Sequence[float | None], chance: float) -> list[float]:
    """Return scores in which a trial without one counts as chance (1 / ways).

    It used its part of the budget and gave nothing: left out, it would cost nothing.
    """
    return [chance if score is None else score for score in scores]
