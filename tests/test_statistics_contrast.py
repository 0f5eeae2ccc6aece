"""Factorial effects against loops over cells and against least squares."""

import itertools

import numpy as np
import pytest

from bench.statistics.contrast import departure, interaction, main_effect
from bench.statistics.interval import crossed_interval


@pytest.fixture(name="a_GHSE")
def grid() -> np.ndarray:
    """Accuracies of a grid of 3 x 4 cells, 5 seeds, 6 episodes."""
    return np.random.default_rng(0).uniform(size=(3, 4, 5, 6))


def test_a_main_effect_is_a_mean_over_the_other_factor(a_GHSE: np.ndarray) -> None:
    """For each seed and episode it is the mean difference of cells, on either factor."""
    of_G, of_H = main_effect(a_GHSE, 2, 1), main_effect(a_GHSE, 3, 0, factor=1)

    for s, e in itertools.product(range(5), range(6)):
        expected = sum(a_GHSE[2, h, s, e] - a_GHSE[1, h, s, e] for h in range(4)) / 4
        assert of_G[s, e] == pytest.approx(expected)
        expected = sum(a_GHSE[g, 3, s, e] - a_GHSE[g, 0, s, e] for g in range(3)) / 3
        assert of_H[s, e] == pytest.approx(expected)


def test_an_interaction_is_a_difference_of_differences(a_GHSE: np.ndarray) -> None:
    """How much one gain depends on the other factor, and 0 where the two only add up."""
    actual = interaction(a_GHSE, (2, 0), (3, 1))

    for s, e in itertools.product(range(5), range(6)):
        with_h = a_GHSE[2, 3, s, e] - a_GHSE[0, 3, s, e]
        without = a_GHSE[2, 1, s, e] - a_GHSE[0, 1, s, e]
        assert actual[s, e] == pytest.approx(with_h - without)
    additive = a_GHSE[:, :1] + a_GHSE[:1]
    assert interaction(additive, (2, 0), (3, 1)) == pytest.approx(np.zeros((5, 6)))


def test_departures_are_the_residuals_of_an_additive_fit(a_GHSE: np.ndarray) -> None:
    """They equal the residuals of least squares on indicators of both factors' levels."""
    cells = list(itertools.product(range(3), range(4)))
    design = np.array([[*np.eye(3)[g], *np.eye(4)[h]] for g, h in cells])

    actual = departure(a_GHSE)

    for s, e in itertools.product(range(5), range(6)):
        y = a_GHSE[:, :, s, e].ravel()
        fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
        assert actual[:, :, s, e].ravel() == pytest.approx(y - fitted)


def test_what_an_encoder_shares_stays_in_the_interval_of_its_effect() -> None:
    """An encoder that is lucky with one seed widens the effect of its pretext, not of a meta."""
    rng = np.random.default_rng(1)
    a_GHSE = rng.normal(0, 1e-4, (2, 3, 4, 50)) + rng.normal(0, 0.01, (2, 1, 4, 1))

    assert crossed_interval(main_effect(a_GHSE, 1, 0)).se > 1e-3
    assert crossed_interval(main_effect(a_GHSE, 1, 0, factor=1)).se < 1e-4
    assert crossed_interval(interaction(a_GHSE, (1, 0), (1, 0))).se < 1e-4
