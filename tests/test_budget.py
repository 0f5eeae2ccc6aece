"""What a budget of images buys: as many whole steps as fit, whatever the steps cost."""

import pytest

from bench.budget import steps_for


@pytest.mark.parametrize("scale", [1.0, 0.29, 0.002, 1 / 3])
@pytest.mark.parametrize("passed", [1, 7, 64, 512])
def test_steps_of_one_cost_are_a_quotient(scale: float, passed: int) -> None:
    """Where all steps pass as much, it is the quotient; a scale's rounding takes no step away."""
    for images in (0, 100, 999, 20_000, 123_457):
        expected = int(images / passed * scale + 1e-9)
        assert steps_for(images, scale, lambda steps: steps * passed) == expected


@pytest.mark.parametrize(("every", "warm_up"), [(1, 0), (3, 0), (10, 25)])
def test_steps_that_cost_more_at_times_fit(every: int, warm_up: int) -> None:
    """No step more would fit, and none fewer is taken."""

    def passed(steps: int) -> int:
        return 16 * steps + 80 * -(-max(0, steps - warm_up) // every)

    for images in (200, 1_000, 5_555):
        steps = steps_for(images, 1.0, passed)
        assert passed(steps) <= images < passed(steps + 1)
