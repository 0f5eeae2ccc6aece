"""Families of simulated worlds with hidden parameters: what is drawn, seen, done and rewarded.

Gymnasium's classic control (Towers et al. 2024, arXiv:2407.17032) simulates; mass, length and
gravity differ from world to world of a family, as in Packer et al. (2018, arXiv:1810.12282). The
states are gymnasium's observations. Rewards, ends and bounds are written once more in torch, for
a planner's many imagined steps. Gymnasium is an extra, so it is imported when it is used.

Shapes: S numbers of a state, A of an action, D = S + A; ``...`` is any batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import pi
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.transitions import transition

if TYPE_CHECKING:
    from gymnasium import Env

Parameters = Mapping[str, float]
Numbers = tuple[float, ...]
DIGITS = 4  # of a parameter behind the point: names of worlds stay short, and exact


class AbstractWorld(ABC):
    """A family of worlds: one for every choice of its parameters.

    What a network sees is divided by the scales, so that it is of the order of one.
    """

    ranges: ClassVar[Mapping[str, tuple[float, float]]]  # hidden parameters, drawn uniformly
    states: ClassVar[int]
    actions: ClassVar[int] = 1
    bounds: ClassVar[tuple[float, float]]  # of each number of an action
    state_scale: ClassVar[Numbers]
    action_scale: ClassVar[float]
    change_scale: ClassVar[Numbers]  # of the change of a state in one step
    wide: ClassVar[Mapping[str, float]]  # how a collection of transitions resets: see gymnasium

    @abstractmethod
    def make(self, parameters: Parameters) -> "Env[Any, Any]":
        """Return the world of these parameters, to be reset and stepped."""

    @abstractmethod
    def executed(self, action: Tensor) -> Tensor:
        """Return what is done [..., A] where any number is asked for."""

    @abstractmethod
    def step(self, env: "Env[Any, Any]", action: Numbers) -> tuple[np.ndarray, float, bool]:
        """Do an executed action [A]; return the state [S], the reward, and whether it is over."""

    @abstractmethod
    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Return the reward [...] of executed actions, as gymnasium has it."""

    @abstractmethod
    def over(self, state: Tensor) -> Tensor:
        """Say of states whether a run ends there: no reward is to be had from them."""

    @abstractmethod
    def settle(self, state: Tensor) -> Tensor:
        """Return the possible states [..., S] that are next to predicted ones."""

    def transition(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Return transitions [..., 2, D] in scaled units."""
        change = (next_state - state) / state.new_tensor(self.change_scale)
        scaled = state / state.new_tensor(self.state_scale)
        return transition(scaled, action / self.action_scale, change)

    def asked(self, state: Tensor, action: Tensor) -> Tensor:
        """Return transitions [..., 2, D] in scaled units, of which nothing has come yet."""
        return self.transition(state, action, state)

    def moved(self, state: Tensor, changes: Tensor) -> Tensor:
        """Return the states [..., S] that predicted changes [..., D] in scaled units lead to."""
        scale = state.new_tensor(self.change_scale)
        return self.settle(state + changes[..., : self.states] * scale)


class Pendulum(AbstractWorld):
    """Swing a rod up and hold it: torque at its end, which is too weak to lift it at once."""

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "mass": (0.5, 1.5),  # gymnasium: 1; these two as Packer et al. ("extreme")
        "length": (0.5, 1.5),  # gymnasium: 1
        "gravity": (5.0, 15.0),  # gymnasium: 10; as far to both sides as the other two
    }
    states: ClassVar[int] = 3  # cosine and sine of the angle from upright, speed in 1/s
    bounds: ClassVar[tuple[float, float]] = (-2.0, 2.0)  # N m
    state_scale: ClassVar[Numbers] = (1.0, 1.0, 8.0)  # largest values
    action_scale: ClassVar[float] = 2.0
    change_scale: ClassVar[Numbers] = (0.16, 0.16, 0.65)  # deviations in the set `control`
    wide: ClassVar[Mapping[str, float]] = {"x_init": pi, "y_init": 8.0}  # any angle, any speed
    fastest: ClassVar[float] = 8.0  # 1/s

    def make(self, parameters: Parameters) -> "Env[Any, Any]":
        """Return gymnasium's Pendulum-v1 without a limit of time."""
        from gymnasium.envs.classic_control.pendulum import PendulumEnv

        env = PendulumEnv(g=parameters["gravity"])
        env.m, env.l = parameters["mass"], parameters["length"]
        return env

    def executed(self, action: Tensor) -> Tensor:
        """Return torques within their bounds."""
        return action.clamp(*self.bounds)

    def step(self, env: "Env[Any, Any]", action: Numbers) -> tuple[np.ndarray, float, bool]:
        """Apply a torque; a run never ends."""
        state, reward, *_ = env.step(np.array(action))
        return state, float(reward), False

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Return minus the squared angle and some of the squared speed and torque."""
        cosine, sine, speed = state.unbind(-1)
        angle = torch.atan2(sine, cosine)
        return -(angle**2 + 0.1 * speed**2 + 0.001 * action[..., 0] ** 2)

    def over(self, state: Tensor) -> Tensor:
        """Say that no run ends."""
        return torch.zeros_like(state[..., 0], dtype=torch.bool)

    def settle(self, state: Tensor) -> Tensor:
        """Put cosine and sine back on the circle, and the speed within gymnasium's bounds."""
        around = torch.nn.functional.normalize(state[..., :2], dim=-1)
        speed = state[..., 2:].clamp(-self.fastest, self.fastest)
        return torch.cat([around, speed], -1)


class CartPole(AbstractWorld):
    """Keep a pole on a cart upright by pushing the cart to the left or to the right."""

    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "mass": (0.05, 1.0),  # of the pole; gymnasium: 0.1. Packer et al.: 0.01 to 1
        "length": (0.25, 1.0),  # half the pole's; gymnasium: 0.5. Packer et al.: 0.05 to 1,
        # of which the shortest fall over a few steps after any push
        "gravity": (5.0, 15.0),  # gymnasium: 9.8; as for Pendulum
    }
    states: ClassVar[int] = 4  # place of the cart in m, its speed, the pole's angle, its speed
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)  # below 0: to the left
    state_scale: ClassVar[Numbers] = (0.13, 0.46, 0.12, 0.67)  # deviations in the set `control`
    action_scale: ClassVar[float] = 1.0
    change_scale: ClassVar[Numbers] = (0.0092, 0.18, 0.0135, 0.285)
    wide: ClassVar[Mapping[str, float]] = {"low": -0.2, "high": 0.2}  # runs end at 0.21 rad
    furthest: ClassVar[float] = 2.4  # m, where a run ends
    steepest: ClassVar[float] = 12 * 2 * pi / 360  # rad, where a run ends

    def make(self, parameters: Parameters) -> "Env[Any, Any]":
        """Return gymnasium's CartPole-v1 without a limit of time."""
        from gymnasium.envs.classic_control.cartpole import CartPoleEnv

        env = CartPoleEnv()
        env.masspole, env.length = parameters["mass"], parameters["length"]
        env.gravity = parameters["gravity"]
        env.total_mass = env.masspole + env.masscart  # gymnasium derives both when it is made
        env.polemass_length = env.masspole * env.length
        return env

    def executed(self, action: Tensor) -> Tensor:
        """Return pushes: -1, or 1 from zero on."""
        return torch.where(action < 0, -1.0, 1.0).to(action.dtype)

    def step(self, env: "Env[Any, Any]", action: Numbers) -> tuple[np.ndarray, float, bool]:
        """Push once; a run ends where the pole leans or the cart strays too far."""
        state, reward, over, *_ = env.step(int(action[0] > 0))
        return state, float(reward), over

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Return one for each step that is taken from a state where the run is not over."""
        return (~self.over(state)).to(state.dtype)

    def over(self, state: Tensor) -> Tensor:
        """Say where the pole leans or the cart strays too far, or is at no number."""
        near, upright = state[..., 0].abs() <= self.furthest, state[..., 2].abs() <= self.steepest
        return ~(near & upright)

    def settle(self, state: Tensor) -> Tensor:
        """Keep what is predicted within reach of a run: no speed gets beyond 12 m/s or 1/s."""
        limit = 5 * state.new_tensor([self.furthest, self.furthest, self.steepest, self.furthest])
        return state.clamp(-limit, limit)


WORLDS: Mapping[str, AbstractWorld] = {"pendulum": Pendulum(), "cartpole": CartPole()}


def drawn(world: AbstractWorld, stream: np.random.Philox) -> Parameters:
    """Draw parameters, each uniformly in its range."""
    shares = uniform(stream, len(world.ranges))
    return {
        name: round(low + float(share) * (high - low), DIGITS)
        for (name, (low, high)), share in zip(world.ranges.items(), shares, strict=True)
    }


def uniform(stream: np.random.Philox, count: int) -> np.ndarray:
    """Return numbers [count] in [0, 1) that no version of numpy draws otherwise."""
    return (stream.random_raw(count) >> 11) * 2.0**-53


def called(parameters: Parameters) -> str:
    """Name a world by its parameters in full: ``mass=0.8135,length=1.2,gravity=9.1``."""
    return ",".join(f"{name}={value!r}" for name, value in parameters.items())


def parsed(name: str) -> Parameters:
    """Return the parameters of the world that ``called`` named so."""
    pairs = (part.split("=") for part in name.split(","))
    return {key: float(value) for key, value in pairs}
