"""What a budget of images buys: as many whole steps as fit, whatever the steps cost."""

import random

import pytest

from bench.budget import Pretraining, steps_for
from bench.catalogue import build
from bench.contract import AbstractPretext
from bench.suite import Budget


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


def test_costs_may_fall_on_any_step() -> None:
    """Whatever the first steps cost, it is what counting them one by one comes to."""
    rng = random.Random(0)
    for _ in range(200):
        costs = [rng.choice((1, 16, 80, 500)) for _ in range(100)]
        once, images = rng.choice((0, 0, 700)), rng.randrange(5_000)

        def passed(steps: int, once: int = once, costs: list[int] = costs) -> int:
            return once + sum(costs[:steps]) + max(0, steps - len(costs))

        counted = 0
        while passed(counted + 1) <= images:
            counted += 1
        assert steps_for(images, 1.0, passed) == counted


@pytest.mark.parametrize("warm_up", [0, 1, 2])
def test_a_warm_up_leaves_the_budget_whole(warm_up: int) -> None:
    """A pass over a validation split, and an episode in the second step, hide no cheap step."""
    members = {"members": ["rotation", "simclr"], "batch_size": 32, "weights": "learned"}
    params = members | {"outer": "clusters", "warm_up": warm_up, "every": 10}
    mixture = build("pretext", "mixture", params, "here")
    assert isinstance(mixture, AbstractPretext)
    budget = Budget(pretrain_examples=60_000)
    given = Pretraining(objective=mixture, budget=budget, held_out=2_000)
    most = 2_000 + mixture.examples(given.steps + 1)
    assert given.examples <= 60_000 < most
