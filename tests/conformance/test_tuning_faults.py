"""Faults in what may be tuned: each check of ``tuning`` fails on a space that has the fault."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, Literal

import pytest
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from bench.augment.none import NoAugment
from bench.conformance import tuning
from bench.conformance.subject import Check
from bench.contract import AbstractPlugin, OneOf, Reals, Space, Whole


@dataclass(frozen=True, kw_only=True)
class Right(NoAugment):
    """Blurs more or less."""

    width: PositiveFloat = 2.0
    times: NonNegativeInt = 1
    edges: Literal["kept", "cut"] = "kept"
    space: ClassVar[Mapping[str, Space]] = {
        "width": Reals(low=0.1, high=10.0, log=True),
        "times": Whole(low=0, high=4),
        "edges": OneOf(values=("kept", "cut")),
    }


@dataclass(frozen=True, kw_only=True)
class Together(Right):
    """Refuses some of its widths together with some of its times."""

    def __post_init__(self) -> None:
        """Refuse to blur widely and often."""
        if self.width * self.times > 20:
            raise ValueError("it would blur all there is")


@dataclass(frozen=True, kw_only=True)
class Deciding(Right):
    """Lets a parameter be tuned on which its space depends."""

    @property
    def space(self) -> Mapping[str, Space]:  # type: ignore[override]  # follows from the times
        """A width that is not used is not tuned."""
        times: dict[str, Space] = {"times": Whole(low=0, high=4)}
        return times | ({"width": Reals(low=0.1, high=10.0)} if self.times else {})


@dataclass(frozen=True, kw_only=True)
class Rounding(Right):
    """Keeps another value than it was given."""

    def __post_init__(self) -> None:
        """Round the width."""
        object.__setattr__(self, "width", float(round(self.width)))


@dataclass(frozen=True, kw_only=True)
class Narrow(Right):
    """Is handed a whole number where it has a real one, and the other way about."""

    times: PositiveInt = 1


Fails = Callable[..., None]
OWN, BUILT = tuning.what_is_tuned_is_a_parameter, tuning.what_is_tuned_builds
FAULTS = [
    (OWN, {"space": {"widht": Reals(low=1, high=2)}}, "names widht, .*\nDid you mean width"),
    (OWN, {"space": {"width": (0.1, 10.0)}}, r"space says \(0.1, 10.0\) of width"),
    (OWN, {"space": ["width"]}, r"its space is \['width'\]"),
    (
        OWN,
        {"space": {"width": Reals(low=3.0, high=9.0)}},
        "default of width, 2.0, is not within 3 to 9",
    ),
    (OWN, {"space": {"width": Whole(low=1, high=9)}}, "default of width, 2.0, is not within 1 to"),
    (OWN, {"space": {"edges": OneOf(values=("cut", "torn"))}}, "'kept', is not within cut or torn"),
    (BUILT, {"space": {"width": Reals(low=0.0, high=9.0)}}, '{"width": 0.0} be tried, .* width: 0'),
    (BUILT, {"space": {"times": Reals(low=0, high=3)}}, '{"times": 1.5} be tried, which cannot'),
    (BUILT, {"space": {"edges": OneOf(values=("kept", "torn"))}}, '{"edges": "torn"} be tried'),
    (BUILT, {"space": {"widht": Reals(low=1, high=2)}}, "no parameter 'widht'"),
    (BUILT, Together, '"times": 4, .* cannot be built: .*it would blur all there is'),
    (BUILT, Narrow, '"times": 0, .* cannot be built'),
    (BUILT, Rounding, r'built at {"width": 0.1, .* it is Rounding\(width=0.0'),
    (BUILT, Deciding, r'built at {"times": 0, .* to be tuned within {\'times\''),
]


@pytest.mark.parametrize(("check", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, fault: Mapping[str, object] | type[AbstractPlugin], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, Right, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(tuning)
