"""Aggregates over data sets against scipy, and against loops."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.statistics.across import (
    Tally,
    critical_difference,
    mean_difference,
    mean_ranks,
    signed_rank,
    win_tie_loss,
)
from bench.statistics.aggregate import interquartile_mean, performance_profile


def test_whatever_is_neither_better_nor_worse_is_a_tie() -> None:
    """Equivalent and undecided blocks are ties, none of them a win or a loss."""
    actual = win_tie_loss(["better", "equivalent", "worse", "undecided", "better"])

    assert actual == Tally(win=2, tie=2, loss=1)


def test_a_mean_over_blocks_has_the_interval_of_a_t() -> None:
    """Mean, bounds and p are those of a one-sample t test over data sets."""
    d_B = np.random.default_rng(0).normal(0.01, 0.02, 6)
    expected = stats.ttest_1samp(d_B, 0)

    actual = mean_difference(d_B)

    bounds = expected.confidence_interval(0.95)
    assert (actual.low, actual.high) == pytest.approx((bounds.low, bounds.high))
    assert actual.p == pytest.approx(expected.pvalue)
    assert actual.mean == pytest.approx(d_B.mean())
    assert actual.blocks == 6


@pytest.mark.parametrize("d_B", [[0.02], [0.02, 0.02, 0.02]])
def test_blocks_that_do_not_scatter_give_no_interval(d_B: list[float]) -> None:
    """One data set says nothing of others, nor do some that agree to the last digit."""
    actual = mean_difference(np.array(d_B))

    assert actual.mean == pytest.approx(0.02)
    assert (actual.low, actual.high, actual.p) == (None, None, None)


def test_mean_ranks_share_ties() -> None:
    """The highest has rank 1; equal methods have the mean of the ranks they take."""
    a_MB = np.array([[0.9, 0.5], [0.5, 0.5], [0.5, 0.7], [0.1, 0.1]])
    naive = [
        sum(1 + sum(other > own for other in column) + (list(column).count(own) - 1) / 2
            for column, own in zip(a_MB.T, row, strict=True)) / 2
        for row in a_MB
    ]  # fmt: skip

    assert list(mean_ranks(a_MB)) == naive == [1.75, 2.5, 1.75, 4.0]


def test_a_signed_rank_p_is_exact() -> None:
    """Without ties it is scipy's exact p."""
    rng = np.random.default_rng(1)
    for size in (1, 2, 5, 8, 13):
        d_B = rng.normal(0.3, 1, size)
        assert signed_rank(d_B) == pytest.approx(stats.wilcoxon(d_B, method="exact").pvalue)


def test_a_signed_rank_p_is_exact_with_ties() -> None:
    """With equal sizes and zeros it is the share of sign changes that are as extreme."""
    d_B = np.array([0.1, 0.1, -0.2, 0.0, 0.3, 0.2, 0.4])
    ranks = stats.rankdata(abs(d_B[d_B != 0]))
    observed = abs(sum(np.sign(d_B[d_B != 0]) * ranks))
    sums = [abs(np.dot(signs, ranks)) for signs in itertools.product((1, -1), repeat=6)]

    assert signed_rank(d_B) == sum(total >= observed for total in sums) / 2**6
    assert signed_rank(np.zeros(5)) == 1


def test_a_critical_difference_needs_seven_data_sets_for_three_methods() -> None:
    """Below, no p of a pair could reach .05 after Holm; one method has nothing to compare."""
    a_MB = np.random.default_rng(2).uniform(size=(4, 9))

    assert critical_difference(a_MB[:3, :6]) is None
    assert critical_difference(a_MB[:3, :7]) is not None
    assert critical_difference(a_MB[:2, :5]) is None
    assert critical_difference(a_MB[:2, :6]) is not None
    assert critical_difference(a_MB[:, :7]) is None
    assert critical_difference(a_MB[:, :8]) is not None
    assert critical_difference(a_MB[:1]) is None


def test_a_critical_difference_joins_whom_no_test_tells_apart() -> None:
    """Pairs have statsmodels' Holm of scipy's p; who differs from nobody beside is one clique."""
    rng = np.random.default_rng(3)
    level = np.array([0.5, 0.9, 0.52, 0.1])[:, None]
    a_MB = level + rng.normal(0, 0.05, (4, 10))
    pairs = list(itertools.combinations(range(4), 2))
    p = [stats.wilcoxon(a_MB[i], a_MB[j], method="exact").pvalue for i, j in pairs]

    actual = critical_difference(a_MB)

    assert actual is not None
    assert list(actual.p_holm) == pairs
    assert list(actual.p_holm.values()) == pytest.approx(multipletests(p, method="holm")[1])
    assert [set(clique) for clique in actual.cliques] == [{0, 2}]
    assert actual.ranks == tuple(mean_ranks(a_MB))


def test_cliques_overlap_but_none_lies_within_another() -> None:
    """Runs of neighbours are as long as they can be; equal methods are one run."""
    from bench.statistics.across import _cliques

    p = dict.fromkeys(itertools.combinations(range(4), 2), 1.0)

    assert _cliques([3, 1, 0, 2], p, 0.05) == ((3, 1, 0, 2),)
    assert _cliques([3, 1, 0, 2], p | {(2, 3): 0.01}, 0.05) == ((3, 1, 0), (1, 0, 2))
    assert _cliques([3, 1, 0, 2], dict.fromkeys(p, 0.01), 0.05) == ()
    assert _cliques([3, 1, 0, 2], p | {(0, 1): 0.01}, 0.05) == ((3, 1), (0, 2))


def test_a_missing_block_has_no_aggregate() -> None:
    """Nothing is averaged over the data sets that happen to be there."""
    missing = np.array([0.1, np.nan, 0.2])
    with pytest.raises(ValueError, match="missing"):
        mean_difference(missing)
    with pytest.raises(ValueError, match="missing"):
        mean_ranks(np.stack([missing, missing]))
    with pytest.raises(ValueError, match="missing"):
        signed_rank(missing)
    with pytest.raises(ValueError, match="missing"):
        interquartile_mean(np.full((3, 8), np.nan))


def test_an_interquartile_mean_needs_eight_data_sets() -> None:
    """From eight on it is scipy's trimmed mean of all scores; below there is none."""
    score_SB = np.random.default_rng(4).uniform(size=(5, 8))

    actual = interquartile_mean(score_SB)

    assert actual is not None
    assert actual.value == pytest.approx(stats.trim_mean(score_SB.ravel(), 0.25))
    flat = sorted(score_SB.ravel())
    assert actual.value == pytest.approx(sum(flat[10:30]) / 20)
    assert actual.low < actual.value < actual.high
    assert interquartile_mean(score_SB[:, :7]) is None
    assert performance_profile(score_SB[:, :7], np.array([0.5])) is None


def test_a_bootstrap_resamples_seeds_within_each_data_set() -> None:
    """Seeds that agree give no width, however data sets differ; the interval is scipy's size."""
    same_SB = np.broadcast_to(np.linspace(0, 1, 8), (4, 8))
    actual = interquartile_mean(same_SB)
    assert actual is not None
    assert actual.low == pytest.approx(actual.value)
    assert actual.high == pytest.approx(actual.value)

    score_SB = same_SB + np.random.default_rng(5).normal(0, 0.02, (4, 8))
    drawn = interquartile_mean(score_SB)
    reference = stats.bootstrap(  # each data set is a sample of its own
        tuple(score_SB.T),
        lambda *blocks, axis: stats.trim_mean(
            np.concatenate(np.broadcast_arrays(*blocks), axis=axis), 0.25, axis=axis
        ),
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(6),
    ).confidence_interval
    assert drawn is not None
    assert (drawn.low, drawn.high) == pytest.approx((reference.low, reference.high), abs=2e-3)


def test_two_readers_get_the_same_interval() -> None:
    """The stream is that of the scores, whatever their layout; other scores have another."""
    score_SB = np.random.default_rng(7).uniform(size=(3, 8))
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np;"
        "from bench.statistics.aggregate import interquartile_mean;"
        "print(repr(interquartile_mean(np.random.default_rng(7).uniform(size=(3, 8))).low))"
    )

    actual = interquartile_mean(score_SB)
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert actual == interquartile_mean(np.asfortranarray(score_SB))
    assert actual is not None
    assert float(other.stdout.strip().removeprefix("np.float64(").removesuffix(")")) == actual.low


def test_a_profile_is_the_share_of_runs_above_each_threshold() -> None:
    """Naive counts give the same curve, which falls from 1 to 0 within its band."""
    score_SB = np.random.default_rng(8).uniform(size=(3, 8))
    thresholds_T = np.linspace(-0.01, 1.01, 7)

    actual = performance_profile(score_SB, thresholds_T)

    assert actual is not None
    naive = [sum(score > t for score in score_SB.ravel()) / 24 for t in thresholds_T]
    assert list(actual.share) == naive
    assert (naive[0], naive[-1]) == (1.0, 0.0)
    assert (actual.low <= actual.share).all()
    assert (actual.share <= actual.high).all()
    assert math.isclose(actual.low[0], 1)
