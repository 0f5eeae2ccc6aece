"""Faults of data sources: each check fails on a source that has the fault it looks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from bench.conformance import data
from bench.conformance.subject import Check
from bench.contract import AbstractData, Examples


@dataclass(frozen=True, kw_only=True)
class Toy(AbstractData):
    """Six small classes."""

    reference: ClassVar[str] = "doi:10.1126/science.aab3050"
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"

    def read(self, root: Path | None) -> Examples:
        """Return three examples a class."""
        return examples(3)

    def fingerprint(self, root: Path | None) -> str:
        """Return the name: each class here reads something else."""
        return type(self).__name__ + str(sorted(vars(type(self))))


def examples(each: int, dtype: type = np.uint8) -> Examples:
    """Return two classes a split."""
    arrays: dict[str, np.ndarray] = {
        key: np.full((each, 1, 4, 4), ord(key), dtype) for key in "abcdef"
    }
    splits = {"train": ("a", "b"), "val": ("c", "d"), "test": ("e", "f")}
    return Examples(arrays=arrays, splits=splits)


def draw(self: object, root: Path | None) -> str:
    """Return another fingerprint every time."""
    return str(np.random.default_rng().integers(10**12))


Fails = Callable[..., None]
FAULTS = [
    (data.its_policy_exists, {"augment": "afine"}, "its augmentation is 'afine'"),
    (data.the_fingerprint_is_stable, {"fingerprint": draw}, "its fingerprint is"),
    (
        data.examples_keep_the_contract,
        {"read": lambda self, root: examples(3, np.float64)},
        "is float64",
    ),
    (data.examples_keep_the_contract, {"digest": "0" * 64}, "expected 0000"),
    (data.known_duplicates_are_examples, {"known_duplicates": ("0A",)}, "holds '0A'"),
    (data.known_duplicates_are_examples, {"known_duplicates": ("0" * 64,)}, "no example has"),
    (data.a_task_can_be_drawn, {"read": lambda self, root: examples(1)}, "with one example"),
]


@pytest.mark.parametrize(("check", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, Toy, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(data)
