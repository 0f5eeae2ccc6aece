"""Walks the graph of stages: what is missing, in which order; tells its listeners."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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


def missing(plan: Plan, store: Store) -> list[StageSpec]:
    """Return what unfinished cells and audits need and the store lacks, in running order."""
    needed: set[str] = set()
    for key, spec in reversed(list(plan.stages.items())):
        wanted = spec.kind in ("evaluate", "audit") or key in needed
        if wanted and not store.has(spec.kind, key):
            needed |= {key, *spec.needs}
    return [
        spec for key, spec in plan.stages.items() if key in needed and not store.has(spec.kind, key)
    ]


def set_damaged_aside(plan: Plan, store: Store) -> list[str]:
    """Check every finished stage of a plan; move those that fail aside, and say so."""
    notes = []
    for key, spec in plan.stages.items():
        if store.has(spec.kind, key):
            try:
                store.check(spec.kind, key)
            except Damaged as damage:
                notes.append(f"{damage}; set aside as {store.set_aside(spec.kind, key)}")
    return notes


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
    tally = Tally(aside=set_damaged_aside(plan, store))
    waiting = {spec.key: spec for spec in missing(plan, store)}
    if not retry:
        _fail_again(waiting, store, tally)
    for listener in listeners:
        listener.begin(plan, list(waiting))
    try:
        _walk(plan, waiting, store, executor, listeners, tally)
    except KeyboardInterrupt:
        tally.interrupted = True
    finally:
        executor.close()
        for listener in listeners:
            listener.end(tally.interrupted)
    return tally


def _fail_again(waiting: dict[str, StageSpec], store: Store, tally: Tally) -> None:
    """Take failures of an earlier run as they are, with all that builds on them."""
    for key in list(waiting):
        failures = store.failures(key)
        if failures:
            tally.failed[key] = failures[-1]["reason"]
            del waiting[key]
    _drop_dependents(waiting, tally)


def _drop_dependents(waiting: dict[str, StageSpec], tally: Tally) -> None:
    for key, spec in list(waiting.items()):
        broken = [need for need in spec.needs if need in tally.failed]
        if broken:
            tally.failed[key] = f"the stage it needs failed: {tally.failed[broken[0]]}"
            del waiting[key]


def _walk(
    plan: Plan,
    waiting: dict[str, StageSpec],
    store: Store,
    executor: AbstractExecutor,
    listeners: Sequence[Listener],
    tally: Tally,
) -> None:
    running: set[str] = set()
    while waiting or running:
        for spec in _ready(waiting, running)[: executor.slots - len(running)]:
            del waiting[spec.key]
            running.add(spec.key)
            executor.submit(spec)
        for event in executor.events(POLL_SECONDS):
            if isinstance(event, Finished):
                running.remove(event.key)
                tally.ran.append(event.key)
            elif isinstance(event, Failed):
                running.remove(event.key)
                _keep_failure(event, plan.stages[event.key], store, tally)
                _drop_dependents(waiting, tally)
            for listener in listeners:
                listener.on(event)


def _ready(waiting: dict[str, StageSpec], running: set[str]) -> list[StageSpec]:
    """Return the waiting stages whose needs are met, in the plan's order."""
    open_keys = waiting.keys() | running
    return [spec for spec in waiting.values() if open_keys.isdisjoint(spec.needs)]


def _keep_failure(event: Failed, spec: StageSpec, store: Store, tally: Tally) -> None:
    tally.failed[event.key] = event.reason
    store.add_failure(
        event.key,
        {
            "kind": spec.kind,
            "reason": event.reason,
            "traceback": event.traceback,
            "inputs": dict(spec.inputs),
        },
    )
