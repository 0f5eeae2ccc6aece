"""Going through a bank once a rate is chosen: checkpoint, resume, and what is told on the way.

Shapes: E episodes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Protocol

import numpy as np
import torch

from bench.cell import Json, Progress, StageSpec, Started
from bench.stages.checkpoint import read_checkpoint, write_checkpoint
from bench.stages.place import Clock, Diverged, Place, made_by

REPORTS = 20  # progress events of one evaluation

Tell = Callable[[int, Mapping[str, float]], None]
"""(steps of the stage that are done, values) -> None."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The rate that was chosen, and for each rate of the grid the value by which it was."""

    rate: float
    found: Mapping[float, float]

    @property
    def described(self) -> list[Json]:
        """Pairs of rate and value; None for a value that was not finite."""
        return [[rate, value if isfinite(value) else None] for rate, value in self.found.items()]


def choose(
    inputs: Mapping[str, Json],
    value: Callable[[float], float],
    tell: Tell,
    *,
    name: str,
    highest: bool,
    failing: str,
) -> Choice:
    """Choose the rate of the least value, or of the highest one; of equal ones the smaller wins.

    A value that is not finite is never the best. ``name`` is what values are told as,
    ``failing`` what then is not finite.

    Raises:
        Diverged: no rate of the grid has a finite value.
    """
    found: dict[float, float] = {}
    for number, rate in enumerate(sorted(inputs["rates"])):
        found[rate] = value(rate)
        finite = isfinite(found[rate])
        tell((number + 1) * inputs["rate_tasks"], {name: found[rate]} if finite else {})
    finite_ones = {rate: one for rate, one in found.items() if isfinite(one)}
    if not finite_ones:
        raise Diverged(f"{failing}, under every rate of the grid")
    pick = max if highest else min
    return Choice(rate=pick(finite_ones, key=finite_ones.__getitem__), found=found)


class Examined(Protocol):
    """A start that answers the episodes of a bank."""

    at_once: int
    passed: int  # examples passed forward so far


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What an examination has come to: answers [E, ...], the rate, seconds of work."""

    answers: np.ndarray
    chosen: Choice
    seconds: float


def examine(
    spec: StageSpec,
    place: Place,
    examined: Examined,
    *,
    before: int,
    choice: Callable[[Tell], Choice],
    answer: Callable[[int, int, float], np.ndarray],
    values: Callable[[np.ndarray], Mapping[str, float]],
) -> Answers:
    """Choose the rate, go through the bank; from the checkpoint where there is one.

    ``before``: steps of the stage that the choice counts for; ``answer``: answers to the episodes
    from one number to another (excluded) under a rate; ``values``: what is told of those so far.
    """
    episodes: int = spec.inputs["episodes"]
    path, made = place.store.partial(spec.key) / "checkpoint.safetensors", made_by(place.device)
    found = read_checkpoint(path, made)
    done = [found[0]["answers"].numpy()] if found else []
    count = len(done[0]) if found else 0
    clock = Clock(found[1]["seconds"] if found else 0.0)
    examined.passed = found[1]["passed"] if found else examined.passed
    total = before + episodes
    place.emit(Started(key=spec.key, step=before + count if found else 0, total=total))

    def tell(step: int, values: Mapping[str, float]) -> None:
        place.emit(Progress(key=spec.key, step=step, total=total, values=values))

    with torch.no_grad():
        chosen = _chosen_before(found[1]) if found else choice(tell)
        written, told = clock.seconds(), count
        while count < episodes:
            last = min(count + examined.at_once, episodes)
            done.append(answer(count, last, chosen.rate))
            count = last
            if count - told >= episodes / REPORTS or count == episodes:
                told = count
                tell(before + count, values(np.concatenate(done)))
            if clock.seconds() - written > place.checkpoint_seconds:
                written = clock.seconds()
                note = {"made": made, "seconds": written, "passed": examined.passed}
                note |= {"rate": chosen.rate, "losses": chosen.described}
                write_checkpoint(path, {"answers": torch.from_numpy(np.concatenate(done))}, note)
    return Answers(answers=np.concatenate(done), chosen=chosen, seconds=clock.seconds())


def _chosen_before(note: Mapping[str, Json]) -> Choice:
    """Return the choice that a checkpoint's note holds."""
    found = {rate: inf if value is None else value for rate, value in note["losses"]}
    return Choice(rate=note["rate"], found=found)
