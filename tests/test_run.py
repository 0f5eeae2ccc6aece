"""The walk over the graph of stages: order, failures, retries, interruptions, damage."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.cell import Event, Failed, Finished, Progress, StageSpec, Started
from bench.execute.protocol import AbstractExecutor
from bench.plan import Plan
from bench.run import Tally, missing, run
from bench.store import Store


class _Fake(AbstractExecutor):
    """Finishes the oldest running stage at each call, or fails it, or is interrupted there."""

    def __init__(
        self,
        store: Store,
        *,
        slots: int = 1,
        failing: Sequence[str] = (),
        interrupted_at: str | None = None,
    ) -> None:
        self.slots = slots
        self.submitted: list[str] = []
        self.most = 0
        self.closed = False
        self._store, self._failing, self._interrupted_at = store, failing, interrupted_at
        self._running: list[StageSpec] = []

    def submit(self, spec: StageSpec) -> None:
        for kind, key in spec.inputs["needs"].items():
            assert self._store.has(kind, key)
        self._running.append(spec)
        self.submitted.append(spec.inputs["name"])
        self.most = max(self.most, len(self._running))
        assert len(self._running) <= self.slots

    def events(self, timeout: float) -> Sequence[Event]:
        spec = self._running.pop(0)
        if spec.inputs["name"] == self._interrupted_at:
            raise KeyboardInterrupt
        started = Started(key=spec.key, step=0, total=2)
        if spec.inputs["name"] in self._failing:
            return [started, Failed(key=spec.key, reason="ValueError: no", traceback="where")]
        with self._store.writing(spec.key):
            self._store.commit(spec, {"name": spec.inputs["name"]}, {})
        half = Progress(key=spec.key, step=1, total=2, values={"loss": 0.5})
        return [started, half, Finished(key=spec.key)]

    def close(self) -> None:
        self.closed = True
        self._running.clear()


class _Diary:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.pending: list[str] = []
        self.events: list[Event] = []
        self.ended: list[bool] = []

    def begin(self, plan: Plan, pending: Sequence[str]) -> None:
        self.pending = list(pending)

    def grow(self, plan: Plan, pending: Sequence[str]) -> None:
        raise AssertionError("a suite's plan does not grow")

    def on(self, event: Event) -> None:
        self.events.append(event)

    def end(self, interrupted: bool) -> None:
        self.ended.append(interrupted)


def spec(kind: str, name: str, **needs: StageSpec) -> StageSpec:
    """Return a stage with a name, and what it needs."""
    keys = {role: one.key for role, one in needs.items()}
    return StageSpec(kind=kind, inputs={"name": name, "needs": keys})  # type: ignore[arg-type]


A = spec("pretrain", "a")
B = spec("pretrain", "b")
AM = spec("metatrain", "am", pretrain=A)
BM = spec("metatrain", "bm", pretrain=B)
AE = spec("evaluate", "ae", metatrain=AM)
AE2 = spec("evaluate", "ae2", metatrain=AM)
BE = spec("evaluate", "be", metatrain=BM)
E = spec("evaluate", "e")
ALL = (E, A, AM, AE, AE2, B, BM, BE)


@pytest.fixture
def plan() -> Plan:
    """Return a plan of two paths and a stage that stands alone."""
    return Plan(name="fake", cells=(), stages={one.key: one for one in ALL})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(tmp_path)
    made.prepare()
    return made


def walk(
    plan: Plan, store: Store, executor: _Fake, *listeners: _Diary, retry: bool = False
) -> Tally:
    """Run a plan, and see that the executor is closed."""
    tally = run(plan, store, executor, listeners, retry=retry)
    assert executor.closed
    return tally


def test_order(plan: Plan, store: Store) -> None:
    """With one slot, stages run in the plan's order, each after what it needs."""
    executor = _Fake(store)
    tally = walk(plan, store, executor)
    assert executor.submitted == ["e", "a", "am", "ae", "ae2", "b", "bm", "be"]
    assert tally == Tally(ran=[one.key for one in ALL])
    assert all(store.has(one.kind, one.key) for one in ALL)


@pytest.mark.parametrize("slots", [2, 3, 50])
def test_slots_are_filled(plan: Plan, store: Store, slots: int) -> None:
    """With more slots, what is ready runs beside, in the plan's order, never beyond the slots."""
    executor = _Fake(store, slots=slots)
    walk(plan, store, executor)
    assert sorted(executor.submitted) == sorted(one.inputs["name"] for one in ALL)
    assert executor.submitted[:3] == ["e", "a", "b"]
    assert executor.most == min(slots, 3)


def test_nothing_is_run_twice(plan: Plan, store: Store) -> None:
    """A second run submits nothing."""
    walk(plan, store, _Fake(store))
    executor, diary = _Fake(store), _Diary()
    assert walk(plan, store, executor, diary) == Tally()
    assert executor.submitted == []
    assert (diary.pending, diary.events, diary.ended) == ([], [], [False])


def test_only_what_unfinished_cells_need_is_missing(plan: Plan, store: Store) -> None:
    """A training whose tests are all finished is not run again, though it is not there."""
    walk(plan, store, _Fake(store))
    store.set_aside("pretrain", A.key)
    assert missing(plan.stages, store) == []
    store.set_aside("metatrain", BM.key)
    assert missing(plan.stages, store) == []
    store.set_aside("evaluate", BE.key)
    assert missing(plan.stages, store) == [BM, BE]
    store.set_aside("evaluate", AE.key)
    assert missing(plan.stages, store) == [AE, BM, BE]


def test_a_failure_costs_its_dependents_alone(plan: Plan, store: Store) -> None:
    """What builds on a failed stage fails with its reason; all the rest is done."""
    executor, diary = _Fake(store, slots=2, failing=["am"]), _Diary()
    tally = walk(plan, store, executor, diary)
    reason = "the stage it needs failed: ValueError: no"
    assert tally.failed == {AM.key: "ValueError: no", AE.key: reason, AE2.key: reason}
    assert not {"ae", "ae2"} & set(executor.submitted)
    assert store.has("evaluate", BE.key)
    assert not store.has("metatrain", AM.key)
    (failure,) = store.failures(AM.key)
    assert failure == {
        "kind": "metatrain",
        "reason": "ValueError: no",
        "traceback": "where",
        "inputs": dict(AM.inputs),
        "seconds": 0.0,
    }
    assert store.failures(AE.key) == []
    assert Failed(key=AM.key, reason="ValueError: no", traceback="where") in diary.events


def test_a_failure_at_the_bottom_costs_the_whole_path(plan: Plan, store: Store) -> None:
    """Failures go up the whole path, through stages that were never started."""
    executor = _Fake(store, failing=["a"])
    tally = walk(plan, store, executor)
    assert set(tally.failed) == {A.key, AM.key, AE.key, AE2.key}
    assert executor.submitted == ["e", "a", "b", "bm", "be"]
    assert json.dumps(tally.failed)  # told as text


def test_a_failure_is_not_run_again_unless_asked(plan: Plan, store: Store) -> None:
    """The next run takes a failure as it is; with retry it runs again, and may succeed."""
    walk(plan, store, _Fake(store, failing=["am"]))
    executor = _Fake(store)
    tally = walk(plan, store, executor)
    assert executor.submitted == []
    assert set(tally.failed) == {AM.key, AE.key, AE2.key}
    executor = _Fake(store, failing=["am"])
    assert set(walk(plan, store, executor, retry=True).failed) == set(tally.failed)
    assert executor.submitted == ["am"]
    assert len(store.failures(AM.key)) == 2
    executor = _Fake(store)
    assert walk(plan, store, executor, retry=True).failed == {}
    assert executor.submitted == ["am", "ae", "ae2"]
    assert walk(plan, store, _Fake(store)) == Tally()


def test_an_interruption_ends_cleanly_and_goes_on(plan: Plan, store: Store) -> None:
    """Interrupted, the run says so to all; the next run does the rest and nothing twice."""
    diary = _Diary()
    tally = walk(plan, store, _Fake(store, slots=2, interrupted_at="am"), diary)
    assert tally.interrupted
    assert tally.failed == {}
    assert diary.ended == [True]
    done = {one.inputs["name"] for one in ALL if store.has(one.kind, one.key)}
    executor = _Fake(store)
    assert not walk(plan, store, executor).interrupted
    assert sorted([*done, *executor.submitted]) == sorted(one.inputs["name"] for one in ALL)
    assert store.failures(AM.key) == []


def test_listeners_hear_everything(plan: Plan, store: Store) -> None:
    """Each listener is told what will run, every event in order, and the end."""
    diaries = _Diary(), _Diary()
    walk(plan, store, _Fake(store), *diaries)
    for diary in diaries:
        assert diary.pending == [one.key for one in ALL]
        assert [type(event) for event in diary.events] == [Started, Progress, Finished] * len(ALL)
        assert diary.ended == [False]


def test_an_error_in_a_listener_ends_the_stages(plan: Plan, store: Store) -> None:
    """A bug in a listener is not hidden, and no stage is left running."""

    class Broken(_Diary):
        def on(self, event: Event) -> None:
            raise ZeroDivisionError

    executor = _Fake(store)
    with pytest.raises(ZeroDivisionError):
        run(plan, store, executor, [Broken()])
    assert executor.closed


def test_a_damaged_stage_is_set_aside_and_run_again(plan: Plan, store: Store) -> None:
    """A finished stage that fails its sums is moved, told, and computed again where needed."""
    walk(plan, store, _Fake(store))
    for one in (A, AE):
        (store.folder(one.kind, one.key) / "manifest.json").write_text("{}")
    executor = _Fake(store)
    tally = walk(plan, store, executor)
    assert executor.submitted == ["ae"]  # nothing that is missing needs a
    assert [note.rpartition(" as ")[2] for note in tally.aside] == [
        str(store.root / "aside" / f"{one.key}-0") for one in (A, AE)
    ]
    assert all("does not match its SHA256SUMS" in note for note in tally.aside)
    store.check("evaluate", AE.key)
