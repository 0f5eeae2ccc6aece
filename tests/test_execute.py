"""Stages in processes of their own: same bits, and one that dies costs itself and nothing else."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest
import torch

from bench.cell import Event, Failed, Finished, Progress, StageSpec, Started
from bench.dataset import Dataset, facts
from bench.execute.local import Local
from bench.pipeline import Options, saved
from bench.plan import Plan, make_plan
from bench.report.frame import cell_frame
from bench.run import run
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.store import Store
from bench.suite import read_suite

pytestmark = pytest.mark.usefixtures("no_main")
LONG = """
name: long
encoder: {name: conv4, width: 4}
pretext: {name: rotation, batch_size: 8}
shots: 1
seeds: 1
budget: {pretrain_steps: STEPS}
evaluate: {episodes: 2, queries: 1, test_steps: 1}
"""
CPU = torch.device("cpu")
Made = Callable[..., Local]


class TinyRun(Protocol):
    """The fixture ``finished``."""

    suite: Path
    results: Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(tmp_path / "results")
    made.prepare()
    return made


@pytest.fixture
def local(store: Store) -> Iterator[Made]:
    """Return a function that makes executors, which are closed in the end."""
    made = []

    def make(**options: object) -> Local:
        given = {"results": store.root.parent, "device": CPU, "workers": 1, **options}
        made.append(Local(**given))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def training(tmp_path: Path, glyphs: Dataset) -> Callable[[int], StageSpec]:
    """Return a function from a number of steps to a pre-training that takes a while."""

    def make(steps: int) -> StageSpec:
        (tmp_path / "long.yaml").write_text(LONG.replace("STEPS", str(steps)))
        plan = make_plan(read_suite(tmp_path / "long.yaml"), lambda name, source: facts(glyphs))
        return next(spec for spec in plan.stages.values() if spec.kind == "pretrain")

    return make


def until(executor: Local, wanted: Callable[[Event], bool], seconds: float = 90) -> list[Event]:
    """Collect events until one is wanted."""
    events: list[Event] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for event in executor.events(0.2):
            events.append(event)
            if wanted(event):
                return events
    raise AssertionError(f"it did not come: {events}")


def is_last(event: Event) -> bool:
    """Whether a stage has ended."""
    return isinstance(event, Finished | Failed)


def pid_of(executor: Local, key: str) -> int:
    """Return the process of a running stage."""
    pid = executor._running[key].process.pid
    assert pid is not None
    return pid


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def plan_of(finished: TinyRun) -> Plan:
    """Return the plan of the suite that was run on two workers."""
    return saved(finished.suite, Options(results=finished.results))


def results_of(plan: Plan, store: Store) -> tuple[bytes, dict[str, bytes]]:
    """Return a plan's export without cost and provenance, and the sums of its stages' files.

    Audits have no file but the manifest, which holds the time they took.
    """
    frame = cell_frame(plan, store)
    kept = [name for name in frame.columns if not name.startswith(("cost.", "provenance."))]
    sums = {
        key: b"\n".join(line for line in _sums(store, spec) if b"manifest" not in line)
        for key, spec in plan.stages.items()
        if spec.kind != "audit"
    }
    return frame[kept].to_csv(index=False).encode(), sums


def _sums(store: Store, spec: StageSpec) -> Sequence[bytes]:
    return (store.folder(spec.kind, spec.key) / "SHA256SUMS").read_bytes().splitlines()


def test_the_number_of_workers_changes_no_result(
    finished: TinyRun, store: Store, local: Made
) -> None:
    """One worker, in another folder, gives the export and the files that two workers gave."""
    plan = plan_of(finished)
    tally = run(plan, store, local(workers=1), [])
    assert tally.failed == {}
    assert len(tally.ran) == len(plan.stages)
    export, sums = results_of(plan, store)
    assert (export, sums) == results_of(plan, Store(finished.results))
    assert b"done" in export
    assert all(sums.values())


def test_ctrl_c_ends_cleanly_and_the_next_run_goes_on(
    finished: TinyRun, store: Store, local: Made
) -> None:
    """Interrupted in the middle, nothing runs on; the next run takes what is whole as it is."""
    plan = plan_of(finished)
    executor = local(workers=2)
    pids: list[int] = []

    class Presses:
        """A listener that presses Ctrl-C when three stages are finished."""

        count = 0

        def begin(self, plan: Plan, pending: Sequence[str]) -> None:
            """Note nothing."""

        def grow(self, plan: Plan, pending: Sequence[str]) -> None:
            """Note nothing."""

        def on(self, event: Event) -> None:
            """Count."""
            pids.extend(pid_of(executor, key) for key in executor._running)
            self.count += isinstance(event, Finished)
            if self.count == 3:
                signal.raise_signal(signal.SIGINT)

        def end(self, interrupted: bool) -> None:
            """Note nothing."""

    tally = run(plan, store, executor, [Presses()])
    assert tally.interrupted
    assert tally.failed == {}
    assert pids
    assert not any(is_alive(pid) for pid in pids)
    done = {key for key, spec in plan.stages.items() if store.has(spec.kind, spec.key)}
    assert 3 <= len(done) < len(plan.stages)
    again = run(plan, store, local(workers=2), [])
    assert {*again.ran, *done} == set(plan.stages)
    assert not done & set(again.ran)
    assert results_of(plan, store) == results_of(plan, Store(finished.results))


def test_a_killed_process_is_started_again_once(
    store: Store, local: Made, training: Callable[[int], StageSpec], tmp_path: Path
) -> None:
    """A stage whose process is killed goes on from its checkpoint, to the very same bytes."""
    spec = training(200)
    executor = local(checkpoint_seconds=0)
    executor.submit(spec)
    until(executor, lambda event: isinstance(event, Progress) and event.step >= 20)
    first = pid_of(executor, spec.key)
    os.kill(first, signal.SIGKILL)
    events = until(executor, is_last)
    assert events[-1] == Finished(key=spec.key)
    (restarted,) = [event for event in events if isinstance(event, Started)]
    assert 10 <= restarted.step < 200
    assert not is_alive(first)
    other = Store(tmp_path / "other")
    other.prepare()
    perform(spec, Place(store=other, device=CPU, emit=lambda event: None))
    assert _sums(store, spec)[-1] == _sums(other, spec)[-1]
    assert b"weights" in _sums(store, spec)[-1]


def test_a_process_killed_twice_is_a_failure(
    store: Store, local: Made, training: Callable[[int], StageSpec]
) -> None:
    """The second death of a stage's process is its failed outcome, with the signal."""
    spec = training(20_000)
    executor = local()
    executor.submit(spec)
    for _ in range(2):
        until(executor, lambda event: isinstance(event, Progress))
        os.kill(pid_of(executor, spec.key), signal.SIGKILL)
    reason = "its process died 2 times, last by signal 9"
    assert until(executor, is_last)[-1] == Failed(key=spec.key, reason=reason)
    assert not store.has("pretrain", spec.key)


def test_a_stage_beyond_its_time_is_ended(
    store: Store, local: Made, training: Callable[[int], StageSpec]
) -> None:
    """A stage that takes longer than the limit is killed and fails, with the limit as reason."""
    spec = training(20_000)
    executor = local(time_limit=3.0)
    executor.submit(spec)
    pid = pid_of(executor, spec.key)
    started = time.monotonic()
    failed = Failed(key=spec.key, reason="time-out after 3 s", seconds=3.0)
    assert until(executor, is_last)[-1] == failed
    assert 2 < time.monotonic() - started < 10
    assert not is_alive(pid)


def test_close_ends_every_process(
    store: Store, local: Made, training: Callable[[int], StageSpec]
) -> None:
    """After close nothing runs, and nothing of what ran is in the store."""
    executor = local(workers=2)
    specs = [training(20_000), training(20_001)]
    for spec in specs:
        executor.submit(spec)
    pids = [pid_of(executor, spec.key) for spec in specs]
    until(executor, lambda event: isinstance(event, Progress))
    executor.close()
    assert not any(is_alive(pid) for pid in pids)
    assert not any(store.has(spec.kind, spec.key) for spec in specs)
    executor.close()  # again is no harm


def test_a_stage_that_raises_is_a_failure_with_its_traceback(store: Store, local: Made) -> None:
    """What a stage raises comes back as text, with the place, and costs no second attempt."""
    spec = StageSpec(kind="pretrain", inputs={"needs": {}, "pretext": {"name": "nothing"}})
    executor = local()
    executor.submit(spec)
    (failed,) = until(executor, is_last)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("KeyError: ")
    assert "bench/stages/pretrain.py" in failed.traceback


def test_an_interrupt_is_heard_after_the_server_has_started(
    store: Store, local: Made, training: Callable[[int], StageSpec]
) -> None:
    """Starting a stage leaves the driver's own answer to Ctrl-C as it was."""
    before = signal.getsignal(signal.SIGINT)
    executor = local()
    executor.submit(training(20_000))
    assert signal.getsignal(signal.SIGINT) is before
    elsewhere = threading.Thread(target=lambda: local().submit(training(20_001)))
    elsewhere.start()  # only the main thread may set handlers: elsewhere none is set
    elsewhere.join(30)
    assert not elsewhere.is_alive()
