"""Stages on this machine: a process each, as many at once as there are cores or GPUs."""

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import torch

from bench.cell import Event, Failed, Finished, StageSpec, Started
from bench.errors import UserError
from bench.execute.child import ALIVE, Orders, work
from bench.execute.protocol import AbstractExecutor

# In this order. The last is imported by optimizers, which would cost each process 2 to 3 seconds.
PRELOADED = ["bench.execute.threads", "bench.execute.child", "torch._inductor"]
ATTEMPTS = 2  # of a stage whose process dies: a machine under pressure gets one more chance


@dataclass(frozen=True, kw_only=True)
class _Running:
    """A stage's process, and the driver's ends of its two pipes."""

    spec: StageSpec
    attempt: int
    slot: int
    process: ForkServerProcess
    events: Connection
    lifeline: Connection
    deadline: float


class Local(AbstractExecutor):
    """Runs stages in processes of their own, forked from a server that has imported torch."""

    def __init__(
        self,
        *,
        results: Path,
        device: torch.device,
        workers: int | None,
        time_limit: float | None = None,
        checkpoint_seconds: float = 20.0,
    ) -> None:
        """Prepare; ``workers`` None: one a core, or one a GPU. ``time_limit``: seconds a stage."""
        self.slots = workers or _slots(device)
        self._devices = _devices(device, self.slots)
        self._limit = time_limit or float("inf")
        self._orders = Orders(
            results=str(results),
            device="",
            checkpoint_seconds=checkpoint_seconds,
        )
        self._running: dict[str, _Running] = {}
        self._begun: set[str] = set()  # stages whose process has said that it lives
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)

    def submit(self, spec: StageSpec) -> None:
        """Start a stage's process."""
        self._start(spec, attempt=1)

    def events(self, timeout: float) -> Sequence[Event]:
        """Collect what the processes say; one that died is started again, once."""
        sources = [one.events for one in self._running.values()]
        nearest = min((one.deadline for one in self._running.values()), default=float("inf"))
        wait(sources, max(0.0, min(timeout, nearest - time.monotonic())))
        found: list[Event] = []
        for one in list(self._running.values()):
            found += self._collect(one)
        return found

    def close(self) -> None:
        """End every process by closing its lifeline, and by force if that is not enough."""
        for one in self._running.values():
            one.lifeline.close()
        for one in self._running.values():
            one.process.join(5)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.events.close()
        self._running.clear()

    def _start(self, spec: StageSpec, attempt: int) -> None:
        _start_server()
        taken = {one.slot for one in self._running.values()}
        slot = next(number for number in range(self.slots) if number not in taken)
        events, child_events = self._context.Pipe(duplex=False)
        child_lifeline, lifeline = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=work,
            args=(
                spec,
                replace(self._orders, device=self._devices[slot]),
                child_events,
                child_lifeline,
            ),
            daemon=True,
        )
        process.start()
        child_events.close()
        child_lifeline.close()
        self._running[spec.key] = _Running(
            spec=spec,
            attempt=attempt,
            slot=slot,
            process=process,
            events=events,
            lifeline=lifeline,
            deadline=float("inf"),
        )

    def _collect(self, one: _Running) -> list[Event]:
        """Return a process's events; see to its end when its last word, or none, has come."""
        found: list[Event] = []
        try:
            while one.events.poll():
                word = one.events.recv()
                if word == ALIVE:
                    self._begun.add(one.spec.key)
                    continue
                found.append(word)
                if isinstance(word, Started):  # the wait for another driver's lock is not counted
                    self._running[one.spec.key] = one = replace(
                        one, deadline=time.monotonic() + self._limit
                    )
                if isinstance(found[-1], Finished | Failed):
                    self._forget(one)
                    return found
        except (EOFError, OSError):
            return found + self._died(one)
        if time.monotonic() > one.deadline:
            one.process.kill()
            self._forget(one)
            reason = f"time-out after {self._limit:g} s"
            found.append(Failed(key=one.spec.key, reason=reason, seconds=self._limit))
        return found

    def _died(self, one: _Running) -> list[Event]:
        """Start a stage again whose process ended without a last word; or say that it failed."""
        self._forget(one)
        if one.attempt < ATTEMPTS:
            self._start(one.spec, one.attempt + 1)
            return []
        if one.spec.key not in self._begun:
            raise UserError(
                "the program that started this run",
                "its worker processes end before they begin",
                'Guard what a script does by `if __name__ == "__main__":`.',
            )
        code = one.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return [
            Failed(key=one.spec.key, reason=f"its process died {ATTEMPTS} times, last by {how}")
        ]

    def _forget(self, one: _Running) -> None:
        del self._running[one.spec.key]
        one.lifeline.close()
        one.events.close()
        one.process.join()


def _start_server() -> None:
    """Start the server that processes are forked from, deaf to Ctrl-C.

    It would otherwise hear it while it imports, and print a traceback. Here it is only delayed.
    """
    resource_tracker.ensure_running()  # it would end the block below
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def parse_workers(asked: str) -> int | None:
    """Turn ``--workers`` into a number; None is ``auto``.

    Raises:
        UserError: anything else than auto or a positive whole number.
    """
    if asked == "auto":
        return None
    if asked.isascii() and asked.isdigit() and 1 <= int(asked) <= 1024:
        return int(asked)
    raise UserError("--workers", f"{asked!r}", "Use auto, or a number from 1 to 1024.")


def check_time_limit(seconds: float | None) -> None:
    """Refuse a ``--time-limit`` that no stage could meet, or that is no number (UserError)."""
    if seconds is not None and not 0 < seconds < float("inf"):
        raise UserError("--time-limit", f"{seconds:g}", "Use a number of seconds above 0.")


def _slots(device: torch.device) -> int:
    if device.type == "cuda" and device.index is None:
        return torch.cuda.device_count()
    if device.type == "cuda":
        return 1
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _devices(device: torch.device, slots: int) -> list[str]:
    """Return the device of each slot: GPUs in turn, unless one is named."""
    if device.type == "cuda" and device.index is None:
        count = torch.cuda.device_count()
        return [f"cuda:{slot % count}" for slot in range(slots)]
    return [str(device)] * slots
