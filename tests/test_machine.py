"""What a run asks of the machine: workers, seconds and a device, checked before it starts."""

import os
from pathlib import Path

import pytest
import torch

from bench.errors import UserError
from bench.execute.local import Local, check_time_limit, parse_workers
from bench.stages.place import pick_device

CPU = torch.device("cpu")


@pytest.mark.parametrize("asked", ["0", "-1", "1.5", "two", "", "1025", "9" * 30, "٣", " 2"])
def test_workers_that_cannot_be(asked: str) -> None:
    """Anything but auto and 1 to 1024 is refused."""
    with pytest.raises(UserError, match="Use auto, or a number from 1 to 1024"):
        parse_workers(asked)


def test_workers_and_slots() -> None:
    """A number is taken as it is; auto is one for each core."""
    assert [parse_workers(asked) for asked in ("auto", "1", "1024")] == [None, 1, 1024]
    cores = len(os.sched_getaffinity(0))
    assert Local(results=Path(), device=CPU, workers=None).slots == cores
    assert Local(results=Path(), device=CPU, workers=7).slots == 7


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_that_cannot_be(seconds: float) -> None:
    """A limit is a positive number of seconds."""
    with pytest.raises(UserError, match="--time-limit"):
        check_time_limit(seconds)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("cuda", "'cuda' was asked for, but torch sees 0 GPUs"),
        ("cuda:0", "'cuda:0' was asked for, but torch sees 0 GPUs"),
        ("cuda:7", "'cuda:7' was asked for, but torch sees 0 GPUs"),
        ("gpu", "'gpu' is no device"),
        ("", "'' is no device"),
        ("cuda:x", "'cuda:x' is no device"),
        ("cuda:-1", "'cuda:-1' is no device"),
        ("cuda:99999999999999999999", "is no device"),
        ("meta", "'meta' is not supported"),
    ],
)
def test_a_device_that_cannot_be(monkeypatch: pytest.MonkeyPatch, asked: str, says: str) -> None:
    """A GPU that is not there, or a word that names no device, is one clear error."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as caught:
        pick_device(asked)
    assert says in str(caught.value)


def test_devices_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU, auto is the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [pick_device(asked) for asked in ("auto", "cpu")] == [CPU, CPU]
