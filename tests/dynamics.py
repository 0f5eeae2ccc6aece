"""The equations of motion that gymnasium simulates, written once more, as models for a planner.

Shapes: E worlds, P states of each; S numbers of a state, A of an action.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.planner import Model
from bench.worlds import Parameters


def pendulum(parameters: Sequence[Parameters]) -> Model:
    """Return the motion of rods of these masses and lengths: half a step of gravity and torque."""
    mass, length, gravity = _columns(parameters)

    def moved(state: Tensor, action: Tensor) -> Tensor:
        angle, speed = torch.atan2(state[..., 1], state[..., 0]), state[..., 2]
        pull = 1.5 * gravity / length * angle.sin() + 3 / (mass * length**2) * action[..., 0]
        speed = (speed + 0.05 * pull).clamp(-8, 8)
        angle = angle + 0.05 * speed
        return torch.stack([angle.cos(), angle.sin(), speed], -1)

    return moved


def cartpole(parameters: Sequence[Parameters]) -> Model:
    """Return the motion of carts of 1 kg under a push of 10 N (Florian 2007, without friction)."""
    mass, length, gravity = _columns(parameters)

    def moved(state: Tensor, action: Tensor) -> Tensor:
        _, speed, angle, turn = state.unbind(-1)
        whole, sine, cosine = 1 + mass, angle.sin(), angle.cos()
        push = (10 * action[..., 0] + mass * length * turn**2 * sine) / whole
        turning = (gravity * sine - cosine * push) / (length * (4 / 3 - mass * cosine**2 / whole))
        gain = push - mass * length * turning * cosine / whole
        rates = torch.stack([speed, gain, turn, turning], -1)
        return state + 0.02 * rates

    return moved


TRUE = {"pendulum": pendulum, "cartpole": cartpole}


def random_states(family: str, count: int) -> np.ndarray:
    """Return states [count, S] from all over the space, some of them beyond where runs end."""
    rng = np.random.default_rng(7)
    if family == "pendulum":
        angle, speed = rng.uniform(-3.1, 3.1, count), rng.uniform(-8, 8, count)
        return np.stack([np.cos(angle), np.sin(angle), speed], 1)
    return rng.uniform(-1, 1, (count, 4)) * [3, 3, 0.3, 3]


def _columns(parameters: Sequence[Parameters]) -> tuple[Tensor, Tensor, Tensor]:
    """Return mass, length and gravity [E, 1] of each world."""
    mass, length, gravity = (
        torch.tensor([[one[name]] for one in parameters]) for name in ("mass", "length", "gravity")
    )
    return mass, length, gravity
