"""Simulated worlds: what hidden parameters change, and that torch says what gymnasium says.

Shapes: N states or actions; S numbers of a state, A of an action.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.transitions import blanked, changes
from bench.worlds import WORLDS, AbstractWorld, called, drawn, parsed, uniform
from tests.dynamics import TRUE, random_states

if TYPE_CHECKING:
    from gymnasium import Env

FAMILIES = sorted(WORLDS)
COUNT = 300


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """Compare with gymnasium's float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def stream(number: int) -> np.random.Philox:
    """Return the draws of one world."""
    return np.random.Philox(key=number)


def put(env: "Env[Any, Any]", family: str, state: np.ndarray) -> None:
    """Place a world in a state [S], as it is observed."""
    env.reset(seed=0)
    seen = state if family == "cartpole" else [np.arctan2(state[1], state[0]), state[2]]
    env.unwrapped.state = np.array(seen, np.float64)  # type: ignore[attr-defined]  # both families have it


def stepped(family: str, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Step one drawn world from random states; return them, actions, next ones, rewards, ends."""
    world = WORLDS[family]
    env = world.make(drawn(world, stream(number)))
    states = random_states(family, COUNT)
    asked = np.random.default_rng(number).uniform(-3, 3, (COUNT, 1))
    actions = world.executed(torch.from_numpy(asked))
    found = []
    for state, action in zip(states, actions.tolist(), strict=True):
        put(env, family, state)
        found.append(world.step(env, tuple(action)))
    after, rewards, ends = zip(*found, strict=True)
    following = torch.from_numpy(np.stack(after).astype(np.float64))
    return torch.from_numpy(states), actions, following, torch.tensor(rewards), torch.tensor(ends)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_world_moves_by_its_own_parameters(family: str, number: int) -> None:
    """A step is that of the equations of motion with the mass, length and gravity of the world."""
    states, actions, following, _, _ = stepped(family, number)
    truth = TRUE[family]([drawn(WORLDS[family], stream(number))])
    torch.testing.assert_close(truth(states[None], actions[None])[0], following, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["mass", "length", "gravity"])
def test_every_parameter_matters(family: str, name: str) -> None:
    """From one state, the lowest and the highest value of each parameter lead apart."""
    world = WORLDS[family]
    usual = {key: sum(ends) / 2 for key, ends in world.ranges.items()}
    state = np.array([0.6, 0.8, 1.0]) if family == "pendulum" else np.array([0, 0.2, 0.1, 1.0])
    speeds = []
    for value in world.ranges[name]:
        env = world.make({**usual, name: value})
        put(env, family, state)
        speeds.append(world.step(env, (1.0,))[0][-1])
    apart = abs(float(speeds[0]) - float(speeds[1])) / world.change_scale[-1]
    assert apart > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_are_gymnasiums(family: str) -> None:
    """From random states where a run is not over, torch says the reward that gymnasium gives."""
    world = WORLDS[family]
    states, actions, following, rewards, _ = stepped(family, 3)
    alive = ~world.over(states)
    said = world.reward(states, actions, following)
    assert alive.sum() > 100
    torch.testing.assert_close(said[alive], rewards[alive], atol=1e-6, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*already returned terminated")
def test_a_fallen_pole_earns_nothing() -> None:
    """The step into the fall is rewarded, those after it are not: in gymnasium as in torch."""
    world = WORLDS["cartpole"]
    env = world.make(drawn(world, stream(0)))
    state, _ = env.reset(seed=1)
    states, rewards = [state], []
    for _ in range(40):
        state, reward, _ = world.step(env, (1.0,))
        states.append(state)
        rewards.append(reward)
    before = torch.from_numpy(np.stack(states[:-1]))
    action = torch.ones(40, 1)
    assert world.reward(before, action, before).tolist() == rewards
    assert 0.0 in rewards
    assert 1.0 in rewards


@pytest.mark.parametrize("family", FAMILIES)
def test_ends_are_gymnasiums(family: str) -> None:
    """A run is over where gymnasium says so, and where place or angle are no number."""
    world = WORLDS[family]
    _, _, following, _, ends = stepped(family, 4)
    assert world.over(following).tolist() == ends.tolist()
    assert ends.any() == (family == "cartpole")
    nowhere = torch.zeros(4, 4).fill_diagonal_(torch.nan)[:, : world.states]
    ends_there = [family == "cartpole" and number in (0, 2) for number in range(4)]
    assert world.over(nowhere).tolist() == ends_there


def test_what_is_done_is_within_the_bounds() -> None:
    """Torques are cut, pushes are left or right: nothing else is asked of gymnasium."""
    asked = torch.tensor([[-9.0], [-0.3], [0.0], [0.3], [9.0]])
    torques = WORLDS["pendulum"].executed(asked)
    assert torques[:, 0].tolist() == [-2.0, -0.3, 0.0, 0.3, 2.0]
    assert WORLDS["cartpole"].executed(asked)[:, 0].tolist() == [-1.0, -1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("family", FAMILIES)
def test_predicted_states_are_put_where_there_are_such(family: str) -> None:
    """A possible state stays; a wild one becomes possible."""
    world = WORLDS[family]
    states = torch.from_numpy(random_states(family, 20))
    torch.testing.assert_close(world.settle(states), states)
    wild = world.settle(100 * states + 1)
    if family == "pendulum":
        torch.testing.assert_close(wild[:, :2].norm(dim=1), torch.ones(20))
        assert wild[:, 2].abs().max() == 8
    else:
        assert wild.abs().max(0).values.tolist() == pytest.approx([12, 12, 1.0472, 12], rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_transition_leads_where_the_world_went(family: str) -> None:
    """Its second row, added in true units to the state, is the next state."""
    world = WORLDS[family]
    states, actions, following, _, _ = stepped(family, 5)
    pairs = world.transition(states, actions, following)
    assert pairs.shape == (COUNT, 2, world.states + world.actions)
    torch.testing.assert_close(world.moved(states, changes(pairs)), world.settle(following))
    assert not changes(pairs)[:, world.states :].any()
    torch.testing.assert_close(world.asked(states, actions), blanked(pairs))


def test_what_is_predicted_from_tells_nothing_of_what_came() -> None:
    """A blanked transition is the same whatever came, and leaves the original as it was."""
    pairs = torch.rand(5, 2, 4)
    other, kept = pairs.clone(), pairs.clone()
    other[:, 1] += 1
    torch.testing.assert_close(blanked(pairs), blanked(other))
    torch.testing.assert_close(blanked(pairs)[:, 0], pairs[:, 0])
    assert not blanked(pairs)[:, 1].any()
    assert (pairs == kept).all()
    assert (changes(other) == other[:, 1]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_name_holds_a_world_in_full(family: str) -> None:
    """What is read back from a name is what was named, to the last bit."""
    world = WORLDS[family]
    for number in range(200):
        parameters = drawn(world, stream(number))
        assert parsed(called(parameters)) == parameters
    odd = {"mass": 0.1 + 0.2, "length": 1e-7, "gravity": 9.0}
    assert parsed(called(odd)) == odd
    assert called({"mass": 0.8135, "gravity": 9.0}) == "mass=0.8135,gravity=9.0"


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_parameters_are_spread_over_their_ranges(world: AbstractWorld) -> None:
    """Draws are within the ranges, near both ends, and half of them below the middle."""
    many = [drawn(world, stream(number)) for number in range(1000)]
    for name, (low, high) in world.ranges.items():
        values = np.array([one[name] for one in many])
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
        assert abs((values < (low + high) / 2).mean() - 0.5) < 0.06


def test_numbers_are_uniform() -> None:
    """Numbers lie in [0, 1), with the mean and the variance of uniform ones."""
    numbers = uniform(stream(3), 10_000)
    assert 0 <= numbers.min() < numbers.max() < 1
    assert numbers.mean() == pytest.approx(1 / 2, abs=0.01)
    assert numbers.var() == pytest.approx(1 / 12, abs=0.002)
