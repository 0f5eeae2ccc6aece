"""Transitions of simulated worlds with hidden parameters: a world is a class.

What is asked of a learner, to predict an unseen world after a few of its transitions, is that of
Nagabandi et al. (2019, arXiv:1803.11347) and, for few-shot regression, of Finn et al. (2017).

Shapes: N transitions, S numbers of a state, A of an action, D = S + A.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from bench.contract import AbstractData, AtLeastTwo, Examples
from bench.seeds import Coordinate, derive
from bench.worlds import WORLDS, AbstractWorld, Parameters, called, drawn, uniform

GRAIN = 2.0**16  # stored values are whole multiples of its inverse, 0.000015: see ``_stored``


@dataclass(frozen=True, kw_only=True)
class Control(AbstractData):
    """Pendulums or cart-poles of different mass, length and gravity: float32 [2, D] transitions.

    A random policy runs through each world, in short runs from random states all over the space.
    Worlds of all splits are draws of the same ranges, each its own. A class's name holds its
    world's parameters; ``bench.worlds`` reads it.
    """

    reference: ClassVar[str] = "arXiv:2407.17032"
    extra: ClassVar[str | None] = "control"
    brings: ClassVar[str | None] = "gymnasium"
    modality: ClassVar[str] = "transition"
    encoder: ClassVar[str] = "mlp"
    family: Literal["pendulum", "cartpole"] = "pendulum"
    train: AtLeastTwo = 40  # worlds
    val: AtLeastTwo = 10
    test: AtLeastTwo = 20
    transitions: AtLeastTwo = 400  # of each world
    run: PositiveInt = 20  # steps until a world is reset, or fewer where it ends
    seed: NonNegativeInt = 0

    @property
    def title(self) -> str:
        """What reports call it: the family."""
        return self.family

    def read(self, root: Path | None) -> Examples:
        """Collect every world's transitions; ``root`` is not used."""
        world = WORLDS[self.family]
        arrays, splits = {}, {}
        for split, count in {"train": self.train, "val": self.val, "test": self.test}.items():
            names = []
            for number in range(count):
                stream = np.random.Philox(key=self._derived(split, number, "world"))
                parameters = drawn(world, stream)
                names.append(called(parameters))
                arrays[names[-1]] = self._collected(world, parameters, (split, number))
            splits[split] = tuple(names)
        return Examples(arrays=arrays, splits=splits)

    def fingerprint(self, root: Path | None) -> str:
        """Return what simulates the worlds; ``root`` is not used."""
        return f"gymnasium {version('gymnasium')}"

    def _derived(self, *coordinates: Coordinate) -> int:
        return derive("control", self.family, self.seed, *coordinates)

    def _collected(
        self, world: AbstractWorld, parameters: Parameters, place: tuple[str, int]
    ) -> np.ndarray:
        """Return the transitions [N, 2, D] of one world, as they are stored."""
        stream = np.random.Philox(key=self._derived(*place, "policy"))
        low, high = world.bounds
        random = low + (high - low) * uniform(stream, self.transitions * world.actions)
        asked = torch.from_numpy(random.reshape(-1, world.actions))
        actions = world.executed(asked)
        env = world.make(parameters)
        state, _ = env.reset(seed=self._derived(*place, "resets"), options=dict(world.wide))
        before, after, steps = [], [], 0
        for action in actions.tolist():
            before.append(state)
            state, _, over = world.step(env, tuple(action))
            after.append(state)
            steps += 1
            if over or steps == self.run:
                state, _ = env.reset(options=dict(world.wide))
                steps = 0
        seen = [torch.from_numpy(np.stack(one).astype(np.float64)) for one in (before, after)]
        return _stored(world.transition(seen[0], actions, seen[1]).numpy())


def _stored(transitions: np.ndarray) -> np.ndarray:
    """Return values without their last bits, in which one machine's sine differs from another's."""
    return (np.round(transitions * GRAIN) / GRAIN).astype(np.float32)
