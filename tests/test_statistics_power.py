"""Power and variance components against statsmodels, and against arrays drawn from known ones."""

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from bench.statistics.interval import Variances, crossed_interval, variances
from bench.statistics.power import (
    Components,
    components,
    detectable_difference,
    power_of,
    predicted_se,
    seeds_needed,
    share_of_episodes,
)


def draw(rng: np.random.Generator, seeds: int, episodes: int) -> np.ndarray:
    """Differences of seed SD .01, episode SD .06, residual SD .07."""
    return np.asarray(
        rng.normal(0, 0.01, (seeds, 1))
        + rng.normal(0, 0.06, episodes)
        + rng.normal(0, 0.07, (seeds, episodes))
    )


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("effect", [0.3, 1.0, 1.5])
def test_power_is_that_of_a_paired_t(seeds: int, effect: float) -> None:
    """With differences of one standard deviation, statsmodels gives the same power."""
    expected = TTestPower().power(effect, seeds, 0.05, alternative="two-sided")

    assert power_of(effect, 1 / math.sqrt(seeds), seeds) == pytest.approx(expected, abs=1e-6)
    assert power_of(-effect, 1 / math.sqrt(seeds), seeds) == pytest.approx(expected, abs=1e-6)


def test_power_has_no_holes_at_large_effects() -> None:
    """It rises to 1 and stays there, where scipy's tails are not numbers."""
    for seeds in (2, 3, 5, 10, 20, 50, 100):
        powers = np.array([power_of(effect / 2, 1.0, seeds) for effect in range(400)])
        assert (np.diff(powers) > -1e-7).all()  # which a nan is not
        assert powers[-1] == pytest.approx(1)
    assert power_of(0.1, 0.0, 5) == 1
    assert power_of(0.0, 0.0, 5) == 0


def test_a_detectable_difference_is_what_statsmodels_solves_for() -> None:
    """It has the promised power by an independent solver."""
    expected = TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8, alternative="two-sided")

    assert detectable_difference(0.012, 5) == pytest.approx(0.012 * expected, rel=1e-4)


def test_components_are_those_that_were_drawn() -> None:
    """Over many arrays each estimate is right on average, though means mix all three."""
    rng = np.random.default_rng(0)
    found = [components(variances(draw(rng, 6, 200)), 6, 200) for _ in range(2000)]

    assert np.mean([one.seed for one in found]) == pytest.approx(0.01**2, rel=0.05)
    assert np.mean([one.episode for one in found]) == pytest.approx(0.06**2, rel=0.03)
    assert np.mean([one.residual for one in found]) == pytest.approx(0.07**2, rel=0.03)


def test_components_are_never_negative() -> None:
    """Where means vary less than noise alone would make them, seeds and episodes add nothing."""
    found = components(Variances(seeds=0.1, episodes=0.2, residual=0.5), 3, 10)

    assert (found.seed, found.episode, found.residual) == (0, 0, 15)


def test_the_predicted_error_of_the_run_itself_is_its_own() -> None:
    """At the seeds and episodes that were run it is the crossed interval's standard error."""
    a_SE = draw(np.random.default_rng(1), 5, 80)
    found = components(variances(a_SE), 5, 80)

    assert predicted_se(found, 5, 80) == pytest.approx(crossed_interval(a_SE).se)


def test_a_predicted_error_is_how_far_means_of_other_numbers_scatter() -> None:
    """From components it foretells the standard deviation of means over other numbers."""
    rng = np.random.default_rng(2)
    means = [draw(rng, 7, 30).mean() for _ in range(4000)]
    known = Components(seed=0.01**2, episode=0.06**2, residual=0.07**2)

    assert np.std(means) == pytest.approx(predicted_se(known, 7, 30), rel=0.03)


def test_seeds_needed_is_the_least_number_with_that_power() -> None:
    """Without anything shared it is statsmodels' sample size, rounded up."""
    known = Components(seed=0.01**2, episode=0.0, residual=0.0)
    for difference in (0.005, 0.01, 0.02):
        least = TTestPower().solve_power(difference / 0.01, alpha=0.05, power=0.8)
        assert seeds_needed(difference, known, 600) == math.ceil(least)


def test_no_number_of_seeds_removes_what_they_share() -> None:
    """Where episodes alone hide the difference there is no answer, nor beyond the most asked."""
    shared = Components(seed=0.01**2, episode=0.06**2, residual=0.07**2)

    assert seeds_needed(0.002, shared, 600) is None
    assert seeds_needed(0.02, shared, 600) == 5
    assert seeds_needed(0.02, shared, 600, most=5) == 5
    assert seeds_needed(0.02, shared, 600, most=4) is None
    assert seeds_needed(0.5, shared, 600) == 2
    assert seeds_needed(0.0, shared, 600) is None


def test_the_share_of_episodes_is_what_infinitely_many_would_remove() -> None:
    """It compares the variance with that over a great many episodes; nothing at all is 0."""
    known = Components(seed=0.01**2, episode=0.06**2, residual=0.07**2)
    now, later = predicted_se(known, 5, 600) ** 2, predicted_se(known, 5, 10**12) ** 2

    assert share_of_episodes(known, 5, 600) == pytest.approx(1 - later / now)
    assert share_of_episodes(Components(seed=1.0, episode=0.0, residual=0.0), 5, 600) == 0
    assert share_of_episodes(Components(seed=0.0, episode=0.0, residual=0.0), 5, 600) == 0
