"""Faults of kinds of data: each check fails on a modality that has the fault it looks for."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.conformance import modality
from bench.conformance.subject import Check
from bench.contract import Form
from bench.modality.image import Image


class Right(Image):
    """Images, under the name by which the fixture plants a plug-in."""

    forms: ClassVar[tuple[Form, ...]] = (Form(shape=(3, 20, 20), modality="planted"),)


Fails = Callable[..., None]
OWN, VALID, READ = (
    modality.its_forms_are_its_own,
    modality.made_up_examples_are_valid,
    modality.stored_examples_are_read,
)
OTHER, ALIKE, SHOWN = (
    modality.altered_examples_are_others,
    modality.equal_examples_look_alike,
    modality.examples_can_be_shown,
)
FAULTS = [
    (OWN, {"forms": ()}, "forms are of nothing"),
    (OWN, {"forms": (Form(shape=(4,), modality="other"),)}, "forms are of other"),
    (VALID, {"made": lambda s, form, n, rng: torch.rand(n, 2, generator=rng)}, "it makes"),
    (VALID, {"made": lambda s, form, n, rng: torch.zeros(n, *form.shape)}, "twice the same"),
    (
        VALID,
        {"made": lambda s, form, n, rng: 2 + torch.rand(n, *form.shape, generator=rng).double()},
        "it makes|could not be real",
    ),
    (
        VALID,
        {
            "made": lambda s, form, n, rng: torch.tensor(
                np.random.default_rng().random((n, *form.shape))
            ).to(torch.get_default_dtype())
        },
        "differs between two runs",
    ),
    (READ, {"inputs": lambda s, stored: stored}, "becomes torch.uint8"),
    (
        READ,
        {"inputs": lambda s, stored: stored.to(torch.get_default_dtype()) / 510},
        "come back as others",
    ),
    (OTHER, {"altered": lambda s, x, form: x}, "the same as before"),
    (OTHER, {"altered": lambda s, x, form: x + 1}, "values reach from"),
    (OTHER, {"altered": lambda s, x, form: x[:1]}, "of another shape"),
    (ALIKE, {"looks": lambda s, x: np.arange(len(x), dtype=np.uint64)}, "differ for equal"),
    (ALIKE, {"looks": lambda s, x: x.sum((1, 2, 3)).astype(np.int64)}, "its hashes are int64"),
    (ALIKE, {"apart": lambda s, one, others: np.ones(len(others))}, "finds the distances"),
    (ALIKE, {"blank": lambda s, x: np.ones(len(x), bool)}, "calls an example blank"),
    (SHOWN, {"sheet": lambda s, x, form: b"GIF89a"}, "begins with b'GIF8'"),
]


@pytest.mark.parametrize(("check", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, Right, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(modality)
