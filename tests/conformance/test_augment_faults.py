"""Faults of augmentations: each check fails on a policy that has the fault it looks for."""

import random
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench.augment.affine import Affine
from bench.conformance import augment
from bench.conformance.subject import Check


def calls(change: Callable[[Tensor, Generator], Tensor]) -> dict[str, object]:
    """Return a policy's call that changes a batch so."""
    return {"__call__": lambda self, x_BCHW, rng: change(x_BCHW, rng)}


def one_draw(x_BCHW: Tensor, rng: Generator) -> Tensor:
    """Draw once for the whole batch."""
    return x_BCHW * torch.rand(1, generator=rng).to(x_BCHW.dtype)


Fails = Callable[..., None]
FAULTS = [
    (augment.views_are_like_their_examples, calls(lambda x, rng: x[..., 1:]), "it makes"),
    (augment.views_are_like_their_examples, calls(lambda x, rng: x.double()), "it makes"),
    (
        augment.views_are_like_their_examples,
        calls(lambda x, rng: x * 2),
        "its views are no image data",
    ),
    (augment.examples_are_left_as_they_are, calls(lambda x, rng: x.mul_(0.5)), "given: x"),
    (
        augment.draws_come_from_the_generator,
        calls(lambda x, rng: x * np.random.default_rng().random()),
        "differs between two runs",
    ),
    (
        augment.draws_come_from_the_generator,
        calls(lambda x, rng: x * random.random()),
        "Python's global generator",
    ),
    (augment.each_example_has_its_own_draws, calls(one_draw), "became 1 different views"),
]


@pytest.mark.parametrize(("check", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, Affine, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(augment)
