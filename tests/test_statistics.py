"""The statistics against independent loops, known values and simulated false positives."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.statistics.interval import (
    Interval,
    crossed_interval,
    one_model_interval,
    paired_difference,
    variances,
)
from bench.statistics.power import detectable_difference
from bench.statistics.verdict import holm, sign_flip, verdict


def draw(rng: np.random.Generator, *, seeds: int, episodes: int) -> np.ndarray:
    """Accuracies [S, E] of one null method: seed SD .008, episode SD .08, residual SD .05."""
    return (
        0.5
        + rng.normal(0, 0.008, (seeds, 1))
        + rng.normal(0, 0.08, (1, episodes))
        + rng.normal(0, 0.05, (seeds, episodes))
    )


def interval(low: float, high: float, *, one_model: bool = False) -> Interval:
    """An interval with these bounds, whatever gave it."""
    mean = (low + high) / 2
    return Interval(mean=mean, low=low, high=high, se=0.1, p=0.01, seeds=5, one_model=one_model)


def naive_squared_se(a_SE: np.ndarray) -> float:
    """max(V_s + V_e - V_r, V_s) by loops and the definitions alone."""
    S, E = a_SE.shape
    rows = [sum(a_SE[s, e] for e in range(E)) / E for s in range(S)]
    columns = [sum(a_SE[s, e] for s in range(S)) / S for e in range(E)]
    grand = sum(rows) / S
    v_s = sum((row - grand) ** 2 for row in rows) / (S - 1) / S
    v_e = sum((column - grand) ** 2 for column in columns) / (E - 1) / E
    squares = 0.0
    for s, e in itertools.product(range(S), range(E)):
        squares += (a_SE[s, e] - rows[s] - columns[e] + grand) ** 2
    v_r = squares / ((S - 1) * (E - 1)) / (S * E)
    return float(max(v_s + v_e - v_r, v_s))


def test_crossed_interval_follows_the_two_way_formula() -> None:
    """Mean, standard error, bounds and p equal those of naive loops."""
    a_SE = draw(np.random.default_rng(0), seeds=4, episodes=30)
    se, mean = math.sqrt(naive_squared_se(a_SE)), a_SE.mean()
    reach = stats.t.ppf(0.975, 3) * se

    actual = crossed_interval(a_SE)

    expected = (mean, mean - reach, mean + reach, se, 2 * stats.t.sf(mean / se, 3))
    assert (actual.mean, actual.low, actual.high, actual.se, actual.p) == pytest.approx(expected)
    assert (actual.seeds, actual.one_model) == (4, False)


def test_seed_variance_is_a_lower_bound() -> None:
    """Where episodes vary less than their noise alone, the standard error is that of seeds."""
    a_SE = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.6]])
    parts = variances(a_SE)

    assert parts.episodes < parts.residual
    assert parts.shared == 0
    assert crossed_interval(a_SE).se == pytest.approx(math.sqrt(parts.seeds))


def test_one_seed_gives_the_episode_interval_and_says_so() -> None:
    """With one seed the interval is the customary one, flagged, and has no p."""
    a_E = np.random.default_rng(1).uniform(size=50)

    actual = crossed_interval(a_E[None, :])

    assert actual == one_model_interval(a_E)
    assert actual.one_model
    assert actual.p is None
    half = 1.959963984540054 * a_E.std(ddof=1) / math.sqrt(50)
    assert actual.high - actual.mean == pytest.approx(half)


@pytest.mark.parametrize(("shift", "p"), [(0.0, 1.0), (0.25, None)])
def test_constant_differences_have_an_interval_of_no_width(shift: float, p: float | None) -> None:
    """Without any variance the interval is a point; p is 1 for the same numbers, else unknown."""
    a_SE = np.full((3, 10), 0.5)

    actual = paired_difference(a_SE + shift, a_SE)

    assert (actual.low, actual.high, actual.se, actual.p) == (shift, shift, 0.0, p)
    assert actual.without_variance
    assert actual.identical == (shift == 0)


@pytest.mark.parametrize("shift", [0.005, 0.02, 0.1, 1 / 3])
def test_a_coincidence_of_seeds_is_no_verdict(shift: float) -> None:
    """Seeds that agree to the last answer judge nothing, also where sums are only rounded."""
    a_SE = np.random.default_rng(6).uniform(size=(2, 7))

    difference = paired_difference(a_SE + shift, a_SE)

    assert difference.p is None
    assert verdict(difference, 1.0, 0.01) == "undecided"
    assert verdict(difference, 0.0, 0.01) == "undecided"


def test_differences_that_cancel_in_each_seed_are_no_verdict() -> None:
    """A mean of exactly 0 with every seed is a coincidence, too, unless all differences are 0."""
    d_SE = np.array([[0.2, -0.2], [-0.2, 0.2]])

    difference = crossed_interval(d_SE)

    assert (difference.mean, difference.se, difference.identical) == (0, 0, False)
    assert verdict(difference, 1.0, 0.01) == "undecided"


def test_the_same_numbers_are_equivalent() -> None:
    """Two rows without any difference, as of one method under two names, are equivalent."""
    a_SE = np.random.default_rng(7).uniform(size=(2, 7))

    assert verdict(paired_difference(a_SE, a_SE), 1.0, 0.01) == "equivalent"
    assert verdict(paired_difference(a_SE[:1], a_SE[:1]), 1.0, 0.01) == "undecided"


def test_one_answer_that_differs_is_no_coincidence() -> None:
    """The smallest standard error that accuracies can have is well above rounding."""
    d_SE = np.zeros((20, 10_000))
    d_SE[3, 5] = 1 / 75

    assert not crossed_interval(d_SE).without_variance


def test_differences_need_equal_shapes() -> None:
    """Accuracies on other seeds or episodes are not paired."""
    with pytest.raises(ValueError, match="not paired"):
        paired_difference(np.zeros((3, 10)), np.zeros((2, 10)))


def test_pairing_removes_what_both_variants_share() -> None:
    """Effects of seeds and episodes that are common to both do not widen the difference."""
    rng = np.random.default_rng(2)
    common_SE = draw(rng, seeds=5, episodes=100)

    actual = paired_difference(common_SE + 0.02 + rng.normal(0, 1e-4, (5, 100)), common_SE)

    assert actual.low == pytest.approx(0.02, abs=1e-4)
    assert actual.high == pytest.approx(0.02, abs=1e-4)


def test_false_positives_stay_near_the_nominal_rate() -> None:
    """Two equal methods on shared episodes differ at .05 about one time in twenty."""
    rng = np.random.default_rng(3)
    called = 0
    for _ in range(400):
        episodes_E = rng.normal(0, 0.08, 60)
        a_SE, b_SE = (
            rng.normal(0, 0.008, (5, 1)) + episodes_E + rng.normal(0, 0.05, (5, 60))
            for _ in range(2)
        )
        difference = paired_difference(a_SE, b_SE)
        called += not difference.low <= 0 <= difference.high
    assert 0.01 <= called / 400 <= 0.08


def test_episodes_of_one_model_call_far_too_many_differences() -> None:
    """The customary test between two single models finds differences where there are none."""
    rng = np.random.default_rng(4)
    called = 0
    for _ in range(200):
        d_E = rng.normal(0, 0.008 * 2**0.5) + rng.normal(0, 0.05 * 2**0.5, 600)
        difference = one_model_interval(d_E)
        called += not difference.low <= 0 <= difference.high
    assert called / 200 > 0.4


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([], []),
        ([0.02], [0.02]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.9, 0.6], [1.0, 1.0, 1.0]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_steps_down(p: list[float], expected: list[float]) -> None:
    """The smallest p is multiplied by the family's size, each next by one less, monotonely."""
    assert holm(p) == pytest.approx(expected)


def test_holm_is_that_of_statsmodels() -> None:
    """Families of any size, with ties, have the same adjusted p."""
    rng = np.random.default_rng(8)
    for size in (1, 2, 8, 16):
        p = rng.uniform(0, 0.2, size).round(2).tolist()
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.011, 0.03, 0.01, "better"),
        (0.001, 0.03, 0.01, "better"),
        (0.001, 0.03, 0.06, "undecided"),
        (-0.03, -0.001, 0.01, "worse"),
        (-0.03, -0.001, 0.05, "undecided"),
        (-0.01, 0.01, 0.9, "equivalent"),
        (0.001, 0.009, 0.001, "equivalent"),
        (-0.011, 0.005, 0.5, "undecided"),
        (-0.02, 0.03, 0.01, "undecided"),
    ],
)
def test_verdict_follows_interval_p_and_margin(
    low: float, high: float, p: float, expected: str
) -> None:
    """Equivalence comes first, then the sign with Holm's p; the rest is undecided."""
    assert verdict(interval(low, high), p, 0.01) == expected


def test_one_model_is_never_a_verdict() -> None:
    """With one seed every comparison is undecided, however narrow its interval."""
    assert verdict(interval(0.1, 0.2, one_model=True), 0.0, 0.01) == "undecided"
    assert verdict(interval(0.1, 0.2), None, 0.01) == "undecided"


def test_sign_flip_counts_all_changes_of_sign() -> None:
    """The exact p is the share of sign changes whose sum is at least as far from zero."""
    d_S = np.array([0.3, 0.1, -0.2, 0.4, 0.15, 0.05, 0.2])
    sums = [abs(np.dot(signs, d_S)) for signs in itertools.product((1, -1), repeat=7)]
    expected = sum(total >= abs(d_S.sum()) - 1e-12 for total in sums) / 2**7

    assert sign_flip(d_S) == expected


def test_sign_flip_is_not_attainable_below_six_seeds() -> None:
    """Five seeds can never reach .05; six that agree give 2 / 64."""
    assert sign_flip(np.full(5, 0.1)) is None
    assert sign_flip(np.full(6, 0.1)) == 2 / 64
    assert sign_flip(np.zeros(6)) == 1.0


def test_detectable_difference_has_the_promised_power() -> None:
    """At the difference it names, a simulated paired t finds the effect in 80 % of draws."""
    effect = detectable_difference(0.01, 5)
    assert effect is not None
    d_RS = np.random.default_rng(5).normal(effect, 0.01, (20_000, 5))
    t_R = d_RS.mean(1) / (d_RS.std(1, ddof=1) / math.sqrt(5))

    assert (abs(t_R) > stats.t.ppf(0.975, 4)).mean() == pytest.approx(0.8, abs=0.01)


def test_detectable_difference_shrinks_with_seeds_down_to_what_they_share() -> None:
    """More seeds detect less, one detects nothing, and a shared variance is a floor."""
    found = [detectable_difference(0.01, seeds) for seeds in (2, 3, 5, 20)]
    numbers = [one for one in found if one is not None]

    assert len(numbers) == 4
    assert numbers == sorted(numbers, reverse=True)
    assert detectable_difference(0.01, 1) is None
    shared = detectable_difference(0.0, 1000, shared=1e-4)
    assert shared == pytest.approx(0.01 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)), rel=0.01)
