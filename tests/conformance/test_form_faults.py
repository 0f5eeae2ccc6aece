"""Faults of form: each check of ``form`` fails on a class that has the fault it looks for."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest
from pydantic import ConfigDict
from torch import Generator, Tensor

from bench.augment.none import NoAugment
from bench.conformance import augment, form
from bench.conformance.subject import Check
from bench.contract import AbstractAugment, AbstractPlugin
from bench.meta.none import NoMeta
from bench.pretext.rotation import Rotation


@dataclass(frozen=True)
class ByPosition(NoAugment):
    """Takes its parameter by position."""

    degrees: float = 3.0


@dataclass(frozen=True, kw_only=True)
class Unhashable(NoAugment):
    """Has a list for a parameter."""

    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Make a list of it."""
        object.__setattr__(self, "sizes", list(self.sizes))


@dataclass(frozen=True, kw_only=True)
class Untyped(NoAugment):
    """Takes anything."""

    degrees: Any = 3.0


@dataclass(frozen=True, kw_only=True)
class Lenient(NoAugment):
    """Ignores what it does not know."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True)


@dataclass(frozen=True, kw_only=True)
class Unclaimed(AbstractAugment):
    """Names no source."""

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return the batch."""
        return x_BCHW


@dataclass(frozen=True, kw_only=True)
class Claiming(NoMeta):
    """Lets a suite choose what it claims."""

    transductive: bool = False  # type: ignore[misc]  # the fault


@dataclass(frozen=True, kw_only=True)
class Misfit(NoAugment):
    """Has a default that its own annotation refuses."""

    order: Literal[1, 2] = 3  # type: ignore[assignment]  # the fault


@dataclass(frozen=True, kw_only=True)
class Drifting(NoAugment):
    """Changes its parameter while it is made."""

    degrees: float = 3.0

    def __post_init__(self) -> None:
        """Add one."""
        object.__setattr__(self, "degrees", self.degrees + 1)


def remember(self: object, x_BCHW: object, rng: object) -> object:
    """Keep the batch in the plug-in."""
    object.__setattr__(self, "last", x_BCHW)
    return x_BCHW


def count(self: Any, x_BCHW: object, rng: object) -> object:  # noqa: ANN401  # has ``calls``
    """Count calls in the class."""
    self.calls.append(1)
    return x_BCHW


Fails = Callable[..., None]
FAULTS = [
    (form.parameters_are_keywords, NoAugment, ByPosition, "degrees can be given by position"),
    (form.parameters_are_keywords, NoAugment, Unhashable, "cannot be hashed"),
    (form.parameters_are_typed, NoAugment, Untyped, "degrees accepts"),
    (form.parameters_are_typed, NoAugment, Lenient, "does not exist is accepted"),
    (form.parameters_are_annotated, NoAugment, {"degrees": 3.0}, "degrees has no annotation"),
    (form.what_is_asked_for_is_there, NoAugment, Unclaimed, "reference is missing"),
    (form.what_is_asked_for_is_there, NoMeta, Claiming, "transductive is a parameter"),
    (form.defaults_can_be_written_down, NoAugment, Misfit, "cannot be read back"),
    (form.defaults_can_be_written_down, NoAugment, Drifting, "it is another"),
    (form.the_source_is_named, NoAugment, {"reference": "Snell 2017"}, "reference is 'Snell 2017'"),
    (form.the_source_is_named, NoAugment, {"revision": 0}, "its revision is 0"),
    (form.the_summary_is_a_sentence, NoAugment, {"__doc__": None}, "docstring is ''"),
    (form.the_summary_is_a_sentence, NoAugment, {"__doc__": "It,\nthen."}, "docstring is 'It,'"),
    (form.the_optimizer_can_be_set, Rotation, {"optimizer": "lion"}, "its optimizer is 'lion'"),
    (
        form.the_optimizer_can_be_set,
        Rotation,
        {"schedule": lambda self, progress: 0.5 - progress},
        r"schedule\(0.999\) is -0.499",
    ),
    (augment.views_are_like_their_examples, NoAugment, {"__call__": remember}, "last changed"),
    (
        augment.views_are_like_their_examples,
        NoAugment,
        {"__call__": count, "calls": []},
        "calls changed",
    ),
]


@pytest.mark.parametrize(("check", "right", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, right: type[AbstractPlugin], fault: object, told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, right, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _, _ in FAULTS if check.__module__ == form.__name__} == checks_in(
        form
    )
