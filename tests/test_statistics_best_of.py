"""The best of k trials: against every subset, at its edges, with ties and failures."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from bench.statistics.best_of import best_of, best_so_far, counted

TIED = [0.5, 0.7, 0.7, 0.2, 0.9, 0.2]
SPREAD = [0.31, 0.44, 0.98, 0.65, 0.66, 0.2, 0.83, 0.71, 0.12, 0.5]  # a tenth of ten is one


def quantile(values: list[float], tenths: int) -> float:
    """Return the least value that at least so many tenths of all values do not exceed."""
    ordered = sorted(values)
    return next(v for i, v in enumerate(ordered, 1) if 10 * i >= tenths * len(ordered))


@pytest.mark.parametrize("scores", [[0.4], [0.6, 0.4], TIED, SPREAD])
def test_it_is_the_mean_and_the_spread_over_all_subsets(scores: list[float]) -> None:
    """For each k: mean and exact quantiles of the best of every subset of k trials."""
    found = best_of(scores)

    for k in range(1, len(scores) + 1):
        best = [max(subset) for subset in combinations(scores, k)]
        assert found.expected_K[k - 1] == pytest.approx(np.mean(best), rel=1e-12)
        assert found.low_K[k - 1] == quantile(best, 1)
        assert found.high_K[k - 1] == quantile(best, 9)


def test_one_trial_is_the_mean_and_all_are_the_best() -> None:
    """The curve begins at the mean, never falls, and ends at the best, without any spread."""
    found = best_of(SPREAD)

    assert found.expected_K[0] == pytest.approx(np.mean(SPREAD))
    assert np.all(np.diff(found.expected_K) >= 0)
    assert (found.expected_K[-1], found.low_K[-1], found.high_K[-1]) == (0.98, 0.98, 0.98)


def test_the_estimate_is_unbiased() -> None:
    """Averaged over draws of six trials it is the expected best of k uniform ones: k / (k + 1).

    With replacement, as first proposed, the best of six of six would be too low by 0.06.
    """
    draws = np.random.default_rng(0).random((10_000, 6))
    mean_K = np.mean([best_of(draw.tolist()).expected_K for draw in draws], axis=0)

    assert mean_K == pytest.approx([k / (k + 1) for k in range(1, 7)], abs=0.006)
    weights = np.diff(np.arange(7) ** 6) / 6**6
    assert np.mean(np.sort(draws) @ weights) == pytest.approx(6 / 7 - 0.063, abs=0.005)


def test_thousands_of_trials_are_exact() -> None:
    """Of 2,000 evenly spaced scores the expected best of k is k (n + 1) / (k + 1) by rank."""
    n = 2000
    found = best_of(list(range(1, n + 1)))

    k_K = np.arange(1, n + 1)
    assert found.expected_K == pytest.approx(k_K * (n + 1) / (k_K + 1), rel=1e-11)
    for k in (1, 2, 700, 1999):
        low, high = int(found.low_K[k - 1]), int(found.high_K[k - 1])
        assert 10 * comb(low - 1, k) < comb(n, k) <= 10 * comb(low, k)
        assert 10 * comb(high - 1, k) < 9 * comb(n, k) <= 10 * comb(high, k)


def test_a_failure_counts_as_chance() -> None:
    """A trial without a score used its budget: it is a trial at chance, not none."""
    scores = counted([0.8, None, 0.6], 0.2)

    assert scores == [0.8, 0.2, 0.6]
    assert best_of(scores).expected_K == pytest.approx([1.6 / 3, (0.8 + 0.8 + 0.6) / 3, 0.8])
    assert best_of(counted([None, None], 0.2)).expected_K.tolist() == [0.2, 0.2]


def test_the_best_so_far_follows_the_order() -> None:
    """It is the running maximum of a sequence."""
    assert best_so_far([0.4, 0.2, 0.7, 0.7, 0.5]).tolist() == [0.4, 0.4, 0.7, 0.7, 0.7]
