"""Where a stage works: store, device, clock, and a way to say how it goes."""

import ctypes
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils import deterministic

from bench.cell import Event, Json
from bench.errors import UserError
from bench.provenance import versions
from bench.store import Store

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class Diverged(Exception):
    """A loss, a parameter or a prediction is not finite."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a stage function gets beside its spec; nothing here may decide a result."""

    store: Store
    device: torch.device
    emit: Callable[[Event], None]
    checkpoint_seconds: float = 20.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a stage function returns; ``files`` go beside the manifest."""

    metrics: Mapping[str, float]
    curve: Mapping[str, list[float] | list[int] | list[float | None]]
    cost: Mapping[str, float | int]
    files: Mapping[str, bytes]
    facts: Mapping[str, Json] = field(default_factory=dict)


class Clock:
    """Seconds of work on a stage, those before an interruption included."""

    def __init__(self, already: float = 0.0) -> None:
        """Start; ``already`` seconds were spent before."""
        self._start = time.perf_counter() - already

    def seconds(self) -> float:
        """Return the seconds spent so far."""
        return time.perf_counter() - self._start


def pick_device(asked: str) -> torch.device:
    """Turn ``--device`` into a device: ``auto`` is a GPU where there is one.

    Raises:
        UserError: a device that torch does not know, or a GPU that is not there.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise UserError(
            "--device", f"{asked!r} is no device", "Use auto, cpu, cuda or cuda:0."
        ) from error
    if device.type not in ("cpu", "cuda"):
        raise UserError("--device", f"{asked!r} is not supported", "Use auto, cpu, cuda or cuda:0.")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count <= (device.index or 0):
            raise UserError(
                "--device",
                f"{asked!r} was asked for, but torch sees {count} GPUs",
                "Use --device cpu, or install torch for your GPU.",
            )
    return device


def settle(device: torch.device) -> None:
    """Make this process compute the same bits every time: one thread, deterministic kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN takes a third of the time; torch adds the switch at run time.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_memory()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Make ``dtype`` torch's default for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _keep_memory() -> None:
    """Let glibc keep freed memory: fresh pages at every step double the time of a large batch.

    Measured by ``benchmarks/allocator.py``; where the C library is another, nothing changes.
    """
    if platform.libc_ver()[0] == "glibc":
        c_library = ctypes.CDLL(None)
        c_library.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        c_library.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def peak_memory(device: torch.device) -> int:
    """Return the most bytes this process has held, on the GPU where it works on one."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def made_by(device: torch.device) -> dict[str, Json]:
    """Describe what a checkpoint must have been written by, for its bits to go on as they were."""
    return versions() | {"device": device.type}


def provenance(device: torch.device) -> dict[str, Json]:
    """Describe the hardware, the versions and the time of this process."""
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return versions() | {
        "hardware": hardware,
        "device": device.type,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    """Name the processor with what tells its kinds apart: ``AMD EPYC, family 26 model 2, AVX512``.

    Under one name clouds have several, which round otherwise; training makes points of that.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = dict(reversed([_field(line) for line in lines if ":" in line]))  # of the first core
    name = told.get("model name") or platform.processor() or platform.machine()
    kind = " ".join(f"{key} {told[f]}" for key, f in _KINDS if f in told)
    return ", ".join(part for part in (name, kind, torch.backends.cpu.get_cpu_capability()) if part)


_KINDS = (("family", "cpu family"), ("model", "model"))  # and their names in /proc/cpuinfo


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
