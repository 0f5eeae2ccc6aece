"""Walks the graph of stages: what is missing, in which order; tells its listeners."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from bench.cell import Event, Failed, Finished, StageSpec
from bench.execute.protocol import AbstractExecutor
from bench.plan import Plan
from bench.store import Damaged, Store

POLL_SECONDS = 0.5


class Listener(Protocol):
    """What wants to know how a run goes: the display, the MLflow mirror."""

    def begin(self, plan: Plan, pending: Sequence[str]) -> None:
        """Take note of the keys of the stages that will run; nothing runs yet."""

    def grow(self, plan: Plan, pending: Sequence[str]) -> None:
        """Take note that the plan has grown, and of the keys that will run beside the others."""

    def on(self, event: Event) -> None:
        """Take note of an event."""

    def end(self, interrupted: bool) -> None:
        """Take note that nothing runs any more."""


@dataclass
class Tally:
    """How a run ended: keys of stages that ran, and why others failed."""

    ran: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)
    interrupted: bool = False


def missing(stages: Mapping[str, StageSpec], store: Store) -> list[StageSpec]:
    """Return what unfinished cells and audits need and the store lacks, in running order."""
    needed: set[str] = set()
    for key, spec in reversed(list(stages.items())):
        wanted = spec.kind in ("evaluate", "audit") or key in needed
        if wanted and not store.has(spec.kind, key):
            needed |= {key, *spec.needs}
    return [spec for key, spec in stages.items() if key in needed and not store.has(spec.kind, key)]


def run(
    plan: Plan,
    store: Store,
    executor: AbstractExecutor,
    listeners: Sequence[Listener],
    *,
    retry: bool = False,
) -> Tally:
    """Run what is missing; a failure costs its own cells and nothing else.

    A stage that failed before is not run again unless ``retry``. An interruption
    (KeyboardInterrupt) ends the stages that run, and is told in the tally.
    """
    walk = Walk(store, executor, listeners, retry=retry)
    pending = walk.add(plan.stages)
    for listener in listeners:
        listener.begin(plan, pending)
    with walk:
        while walk.busy:
            walk.step()
    return walk.tally


class Walk:
    """Stages that wait or run. As a context it ends them with it, and tells the listeners."""

    def __init__(
        self,
        store: Store,
        executor: AbstractExecutor,
        listeners: Sequence[Listener],
        *,
        retry: bool = False,
    ) -> None:
        """Nothing waits yet."""
        self.tally = Tally()
        self._store, self._executor, self._listeners = store, executor, listeners
        self._retry = retry
        self._stages: dict[str, StageSpec] = {}
        self._waiting: dict[str, StageSpec] = {}
        self._running: set[str] = set()

    def __enter__(self) -> "Walk":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """End what runs; an interruption goes no further."""
        self.tally.interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self._executor.close()
        for listener in self._listeners:
            listener.end(self.tally.interrupted)
        return self.tally.interrupted

    @property
    def busy(self) -> bool:
        """Whether a stage waits or runs."""
        return bool(self._waiting or self._running)

    def add(self, stages: Mapping[str, StageSpec]) -> list[str]:
        """Take on what these stages lack; return the keys of those that will run.

        Finished stages are checked first; those that are damaged are set aside.
        """
        new = {key: spec for key, spec in stages.items() if key not in self._stages}
        self._set_damaged_aside(new)
        self._stages |= new
        known = self._open | self.tally.failed.keys()
        lacking = {spec.key: spec for spec in missing(stages, self._store)}
        fresh = {key: spec for key, spec in lacking.items() if key not in known}
        if not self._retry:
            for key in fresh:
                failures = self._store.failures(key)
                if failures:
                    self.tally.failed[key] = failures[-1]["reason"]
        self._waiting |= {key: one for key, one in fresh.items() if key not in self.tally.failed}
        self._drop_dependents()
        return [key for key in fresh if key in self._waiting]

    def ended(self, key: str) -> bool:
        """Whether a stage that was added neither waits nor runs."""
        return key not in self._waiting and key not in self._running

    def step(self) -> None:
        """Start what is ready as far as there are slots; wait for what happens next."""
        ready = self._ready()[: self._executor.slots - len(self._running)]
        for spec in ready:
            del self._waiting[spec.key]
            self._running.add(spec.key)
            self._executor.submit(spec)
        for event in self._executor.events(POLL_SECONDS):
            if isinstance(event, Finished):
                self._running.remove(event.key)
                self.tally.ran.append(event.key)
            elif isinstance(event, Failed):
                self._running.remove(event.key)
                self._keep_failure(event)
                self._drop_dependents()
            for listener in self._listeners:
                listener.on(event)

    @property
    def _open(self) -> set[str]:
        return self._waiting.keys() | self._running

    def _ready(self) -> list[StageSpec]:
        """Return the waiting stages whose needs are met, in the order they came in."""
        open_keys = self._open
        return [one for one in self._waiting.values() if open_keys.isdisjoint(one.needs)]

    def _set_damaged_aside(self, stages: Mapping[str, StageSpec]) -> None:
        for key, spec in stages.items():
            if self._store.has(spec.kind, key):
                try:
                    self._store.check(spec.kind, key)
                except Damaged as damage:
                    aside = self._store.set_aside(spec.kind, key)
                    self.tally.aside.append(f"{damage}; set aside as {aside}")

    def _drop_dependents(self) -> None:
        for key, spec in list(self._waiting.items()):
            broken = [need for need in spec.needs if need in self.tally.failed]
            if broken:
                reason = self.tally.failed[broken[0]]
                self.tally.failed[key] = f"the stage it needs failed: {reason}"
                del self._waiting[key]

    def _keep_failure(self, event: Failed) -> None:
        spec = self._stages[event.key]
        self.tally.failed[event.key] = event.reason
        self._store.add_failure(
            event.key,
            {
                "kind": spec.kind,
                "reason": event.reason,
                "traceback": event.traceback,
                "seconds": event.seconds,
                "inputs": dict(spec.inputs),
            },
        )
