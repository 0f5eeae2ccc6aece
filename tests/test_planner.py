"""The planner: its search against slow loops, what it does with a true model, and its repeats.

Shapes: E worlds, P plans, H steps of a plan, T real steps, S numbers of a state, A of an action.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench import planner
from bench.planner import Planner, Runs, imagined, improved, planned_runs, random_runs, searched
from bench.protocol import PLANNER
from bench.seeds import derive
from bench.worlds import WORLDS, Parameters, drawn
from tests.dynamics import TRUE, random_states

FAMILIES = sorted(WORLDS)
DEFAULT = Planner(**PLANNER)
SHORT = Planner(horizon=6, population=16, elites=4, iterations=2, real_steps=12)
USUAL = {
    "pendulum": {"mass": 1.0, "length": 1.0, "gravity": 10.0},
    "cartpole": {"mass": 0.1, "length": 0.5, "gravity": 9.8},
}


def worlds(family: str, count: int) -> list[Parameters]:
    """Draw the parameters of some worlds."""
    return [drawn(WORLDS[family], np.random.Philox(key=number)) for number in range(count)]


def rngs(names: Sequence[int]) -> list[Generator]:
    """Return a generator for each world, by its name."""
    return [torch.Generator().manual_seed(derive("test", name)) for name in names]


def planned(family: str, parameters: Sequence[Parameters], how: Planner = SHORT) -> Runs:
    """Run worlds with the true equations of motion as a model."""
    names = range(len(parameters))
    model = TRUE[family](parameters)
    return planned_runs(
        model, WORLDS[family], parameters, how, resets=list(names), rngs=rngs(names)
    )


def random(family: str, parameters: Sequence[Parameters], steps: int) -> Runs:
    """Run the same worlds from the same states without a plan."""
    names = range(len(parameters))
    return random_runs(
        WORLDS[family], parameters, steps, resets=list(names), rngs=rngs([n + 100 for n in names])
    )


# --- with the true model


def test_a_pendulum_is_swung_up() -> None:
    """By its equations of motion the planner swings gymnasium's own pendulum up and holds it."""
    runs = planned("pendulum", [USUAL["pendulum"]] * 6, DEFAULT)
    at_random = random("pendulum", [USUAL["pendulum"]] * 6, DEFAULT.real_steps)
    assert (runs.states[:, 0] == at_random.states[:, 0]).all()
    assert (runs.states[:, -20:, 0] > 0.95).all()  # the cosine of the angle from upright
    assert runs.returns.mean() > at_random.returns.mean() / 2  # they are below 0
    assert (runs.returns > at_random.returns).all()


def test_a_pole_is_balanced() -> None:
    """By its equations of motion the planner keeps a pole of any kind up, which chance does not."""
    runs = planned("cartpole", [USUAL["cartpole"], *worlds("cartpole", 5)], DEFAULT)
    at_random = random("cartpole", [USUAL["cartpole"], *worlds("cartpole", 5)], 100)
    assert (runs.returns == 100).all()
    assert at_random.returns.mean() < 50


def test_other_pendulums_are_driven_better_than_by_chance() -> None:
    """So are worlds of other masses, lengths and gravities."""
    runs = planned("pendulum", worlds("pendulum", 6), DEFAULT)
    at_random = random("pendulum", worlds("pendulum", 6), DEFAULT.real_steps)
    assert runs.returns.mean() > at_random.returns.mean() / 2


def test_the_model_matters() -> None:
    """A model that is blind to actions does no better than chance."""
    parameters = [USUAL["cartpole"]] * 6
    blind = planned_runs(
        lambda state, action: TRUE["cartpole"](parameters)(state, torch.zeros_like(action)),
        WORLDS["cartpole"], parameters, DEFAULT, resets=range(6), rngs=rngs(range(6)),
    )  # fmt: skip
    assert blind.returns.mean() < 50


# --- repeats


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_draws_give_the_same_trajectories(family: str) -> None:
    """States, actions and rewards repeat to the last bit; other draws act otherwise."""
    one, again = (planned(family, worlds(family, 3)) for _ in range(2))
    for part in ("states", "actions", "rewards"):
        assert (getattr(one, part) == getattr(again, part)).all()
    other = planned_runs(
        TRUE[family](worlds(family, 3)), WORLDS[family], worlds(family, 3), SHORT,
        resets=range(3), rngs=rngs([7, 8, 9]),
    )  # fmt: skip
    assert (other.states[:, 0] == one.states[:, 0]).all()
    assert (other.actions != one.actions).any()
    chance, once_more = (random(family, worlds(family, 3), 9) for _ in range(2))
    assert (chance.actions == once_more.actions).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_world_is_driven_alike_in_any_company(family: str) -> None:
    """What a world draws and does is its own, whichever others run beside it."""
    parameters = worlds(family, 4)
    together = planned(family, parameters)
    model = TRUE[family]([parameters[2]])
    alone = planned_runs(model, WORLDS[family], [parameters[2]], SHORT, resets=[2], rngs=rngs([2]))
    np.testing.assert_allclose(alone.states[0], together.states[2], atol=1e-4)
    np.testing.assert_allclose(alone.actions[0], together.actions[2], atol=1e-4)
    chance = random(family, parameters, 9)
    by_itself = random_runs(WORLDS[family], [parameters[2]], 9, resets=[2], rngs=rngs([102]))
    assert (by_itself.actions[0] == chance.actions[2]).all()


# --- the search, against slow loops


def test_the_elites_update_is_that_of_loops() -> None:
    """Mean and deviation are those of the plans with the highest scores, world by world."""
    rng = np.random.default_rng(0)
    plans_EPHA, scores_EP = rng.normal(size=(3, 10, 4, 2)), rng.normal(size=(3, 10))
    mean, deviation = improved(torch.from_numpy(plans_EPHA), torch.from_numpy(scores_EP), 3)
    for world in range(3):
        best = sorted(range(10), key=lambda plan: -scores_EP[world, plan])[:3]
        for step in range(4):
            for number in range(2):
                values = [plans_EPHA[world, plan, step, number] for plan in best]
                middle = sum(values) / 3
                spread = (sum((value - middle) ** 2 for value in values) / 3) ** 0.5
                assert mean[world, step, number] == pytest.approx(middle)
                assert deviation[world, step, number] == pytest.approx(spread)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_imagined_is_what_gymnasium_pays(family: str) -> None:
    """With the true model, the score of a plan is the sum of rewards of a run that follows it."""
    world, parameters = WORLDS[family], worlds(family, 2)
    plans_EPHA = torch.rand(2, 5, 30, 1, generator=torch.Generator().manual_seed(0)) * 6 - 3
    starts = [world.make(one).reset(seed=n)[0] for n, one in enumerate(parameters)]
    scores = imagined(TRUE[family](parameters), world, torch.tensor(np.stack(starts)), plans_EPHA)
    executed = world.executed(plans_EPHA)
    for number, one in enumerate(parameters):
        for plan in range(5):
            env, total, over = world.make(one), 0.0, False
            env.reset(seed=number)
            for action in executed[number, plan].tolist():
                if not over:
                    _, reward, over = world.step(env, tuple(action))
                    total += reward
            assert scores[number, plan].item() == pytest.approx(total, rel=1e-3)
    assert family == "pendulum" or scores.min() < 30  # some poles fell


def test_a_run_that_is_over_earns_no_more() -> None:
    """A model that leads out of bounds and back again imagines nothing after the end."""
    world = WORLDS["cartpole"]

    def away_and_back(state: Tensor, action: Tensor) -> Tensor:
        return torch.cat([3.0 - state[..., :1], state[..., 1:]], -1)

    scores = imagined(away_and_back, world, torch.zeros(1, 4), torch.ones(1, 2, 9, 1))
    assert scores.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_fails_is_no_temptation(family: str) -> None:
    """A plan that is imagined to lead to no number counts as worse than any other."""
    world = WORLDS[family]

    def fails(state: Tensor, action: Tensor) -> Tensor:
        return torch.where(action > 0, torch.nan, state)

    start = torch.from_numpy(random_states("pendulum", 1)).float()
    start = start if family == "pendulum" else torch.zeros(1, 4)
    plans = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1).expand(1, 2, 5, 1)
    scores = imagined(fails, world, start, plans)
    assert scores[0, 0] < scores[0, 1]
    assert scores.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_actions_stay_within_bounds(family: str) -> None:
    """What the model is asked, and what is done, are executed actions within their bounds."""
    world, parameters = WORLDS[family], worlds(family, 2)
    asked = []

    def watched(state: Tensor, action: Tensor) -> Tensor:
        assert state.shape[:2] == action.shape[:2] == (2, SHORT.population)
        asked.append(action)
        return TRUE[family](parameters)(state, action)

    runs = planned_runs(watched, world, parameters, SHORT, resets=[0, 1], rngs=rngs([0, 1]))
    low, high = world.bounds
    every = torch.cat(asked)
    assert low <= every.min() < every.max() <= high
    assert (world.executed(every) == every).all()
    assert low <= runs.actions.min() <= runs.actions.max() <= high
    chance = random(family, parameters, 30)
    assert low <= chance.actions.min() < 0 < chance.actions.max() <= high


@pytest.mark.parametrize("family", FAMILIES)
def test_plans_stay_within_bounds(family: str) -> None:
    """A search that begins at the highest action does not leave for higher ones."""
    world, parameters = WORLDS[family], worlds(family, 8)
    start = torch.from_numpy(random_states(family, 8)).float()
    highest = torch.full((8, SHORT.horizon, 1), world.bounds[1])
    mean = searched(TRUE[family](parameters), world, start, highest, SHORT, rngs(range(8)))
    assert world.bounds[0] <= mean.min() < mean.max() <= world.bounds[1]


def test_a_search_goes_on_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that was found moves up by one step, and its last step is no action."""
    begun = []

    def searched(*arguments: object) -> Tensor:
        mean = arguments[3]
        assert isinstance(mean, Tensor)
        begun.append(mean.flatten().tolist())
        return mean + torch.arange(1.0, SHORT.horizon + 1).reshape(1, -1, 1) / 10

    monkeypatch.setattr(planner, "searched", searched)
    runs = planned("pendulum", [USUAL["pendulum"]])
    assert begun[0] == [0] * 6
    assert begun[1] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0])
    assert begun[2] == pytest.approx([0.5, 0.7, 0.9, 1.1, 0.6, 0])
    assert runs.actions[0, :2, 0] == pytest.approx([0.1, 0.3])


# --- runs


def test_a_fallen_pole_stays_down() -> None:
    """After its end a run has zeros, and the others go on."""
    runs = random("cartpole", [USUAL["cartpole"]] * 5, 60)
    assert runs.states.shape == (5, 61, 4)
    lengths = runs.returns.astype(int)
    assert len(set(lengths)) > 1
    for states, actions, rewards, length in zip(
        runs.states, runs.actions, runs.rewards, lengths, strict=True
    ):
        assert rewards.tolist() == [1.0] * length + [0.0] * (60 - length)
        assert not states[length + 1 :].any()
        assert not actions[length:].any()
        assert actions[:length].all()


def test_a_run_is_what_the_worlds_did() -> None:
    """States lead to one another by the actions, with the rewards that torch says they have."""
    parameters = worlds("pendulum", 3)
    runs = random("pendulum", parameters, 20)
    states, actions = (torch.from_numpy(one) for one in (runs.states, runs.actions))
    following = TRUE["pendulum"](parameters)(states[:, :-1], actions)
    torch.testing.assert_close(following, states[:, 1:], atol=1e-4, rtol=0)
    said = WORLDS["pendulum"].reward(states[:, :-1], actions, following)
    np.testing.assert_allclose(said, runs.rewards, atol=1e-4)
    np.testing.assert_allclose(runs.returns, runs.rewards.sum(1))
