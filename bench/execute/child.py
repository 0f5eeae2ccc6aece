"""The process of one stage: forked from a server that has imported torch, ends with its driver."""

import os
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from bench.cell import Failed, StageSpec
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place, settle
from bench.store import Store

ALIVE = "alive"  # the first word of every process; one that dies before it never began


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a child is told beside its spec; plain values, since they cross processes."""

    results: str
    device: str
    checkpoint_seconds: float


def work(spec: StageSpec, orders: Orders, events: Connection, lifeline: Connection) -> None:
    """Run one stage and send its events; the process's exit code says nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends us
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    device = torch.device(orders.device)
    events.send(ALIVE)
    began = time.monotonic()
    try:
        settle(device)
        place = Place(
            store=Store(Path(orders.results)),
            device=device,
            emit=events.send,
            checkpoint_seconds=orders.checkpoint_seconds,
        )
        perform(spec, place)
    except Exception as error:  # the method's code, not ours: an outcome
        text = traceback.format_exc()
        took = time.monotonic() - began
        events.send(Failed(key=spec.key, reason=_reason(error), traceback=text, seconds=took))
    events.close()


def _end_with(lifeline: Connection) -> None:
    """End this process when the driver has closed its end, or is gone."""
    try:
        lifeline.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _reason(error: Exception) -> str:
    """Say in one line why a stage failed."""
    if isinstance(error, Diverged):
        return f"not finite: {error}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return f"out of memory: {error}"
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return f"out of memory: {error}"
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"
