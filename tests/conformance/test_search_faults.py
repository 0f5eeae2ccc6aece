"""Faults of searches: each check fails on a search that has the fault it looks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import pytest
from torch import Generator

from bench.conformance import search
from bench.conformance.subject import Check
from bench.contract import AbstractPretext
from bench.pretext.best_of import BestOf
from bench.pretext.mixture import Mixture
from bench.pretext.rotation import Rotation

ROTATIONS = (Rotation(batch_size=8), Rotation(batch_size=16))


@dataclass(frozen=True, kw_only=True)
class Both(BestOf):
    """Try two batch sizes."""

    candidates: tuple[AbstractPretext, ...] = field(default=ROTATIONS)


def choices(count: Callable[[Generator], int]) -> dict[str, object]:
    """Return a search over rotations, of a batch size that is drawn."""

    def found(self: BestOf, rng: Generator) -> tuple[AbstractPretext, ...]:
        return (*ROTATIONS, Rotation(batch_size=count(rng)))

    return {"choices": found}


def entropic(rng: Generator) -> int:
    """Draw from elsewhere."""
    return int(np.random.default_rng().integers(20, 2**30))


LEARNED = Mixture(members=ROTATIONS, weights="learned")
Fails = Callable[..., None]
FAULTS = [
    (search.candidates_follow_from_the_generator, choices(entropic), "between two generators"),
    (search.candidates_follow_from_the_generator, choices(lambda rng: 8), "3 .* of which 2 differ"),
    (
        search.candidates_follow_from_the_generator,
        {"choices": lambda self, rng: ROTATIONS[:1]},
        "it has 1 candidates",
    ),
    (search.costs_are_not_drawn, choices(lambda rng: rng.initial_seed() % 999), "ten steps of its"),
    (
        search.candidates_do_not_validate,
        {"choices": lambda self, rng: (*ROTATIONS, LEARNED)},
        "1 of its candidates ask for validation",
    ),
]


@pytest.mark.parametrize(("check", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, Both, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(search)
