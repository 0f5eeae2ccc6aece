"""The display says what runs, what is done, what failed, and how long it will take."""

import io
from dataclasses import dataclass, replace

import pytest

from bench.audits import audit_of_row
from bench.cell import Cell, Failed, Finished, Progress, StageSpec, Started
from bench.plan import Plan
from bench.progress import Display, Pace, describe, duration


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@dataclass
class Clock:
    """A clock that goes only when it is told to."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return seconds."""
        return self.now


def pretrain(seed: int) -> StageSpec:
    """Return a pre-training of 1000 examples in 100 steps."""
    inputs = {
        "pretext": {"name": "simclr", "revision": 1, "params": {}},
        "budget": {"steps": 100, "examples": 1000},
        "seed": seed,
        "needs": {},
    }
    return StageSpec(kind="pretrain", inputs=inputs)


def evaluate(seed: int, needs: str) -> StageSpec:
    """Return an evaluation of 50 episodes."""
    inputs = {
        "meta": {"name": "protonet", "revision": 1, "params": {}},
        "tasks": None,
        "episodes": 50,
        "ways": 5,
        "shots": 1,
        "seed": seed,
        "needs": {"pretrain": needs},
    }
    return StageSpec(kind="evaluate", inputs=inputs)


def make_plan() -> Plan:
    """Return two seeds of simclr + protonet: four stages."""
    stages: dict[str, StageSpec] = {}
    cells = []
    for seed in (0, 1):
        first = pretrain(seed)
        second = evaluate(seed, first.key)
        stages |= {first.key: first, second.key: second}
        cells.append(
            Cell(
                variant="simclr + protonet",
                data="glyphs",
                encoder="conv4",
                pretext="simclr",
                init="pretext",
                tasks="none",
                auxiliary="none",
                meta="protonet",
                norm="running",
                labels="none",
                ways=5,
                shots=1,
                seed=seed,
                stages={"pretrain": first.key, "evaluate": second.key},
            )
        )
    return Plan(name="quickstart", cells=tuple(cells), stages=stages)


@pytest.fixture
def clock() -> Clock:
    """A clock at zero."""
    return Clock()


@pytest.fixture
def plan() -> Plan:
    """The plan of two seeds."""
    return make_plan()


def play(display: Display, clock: Clock, key: str, total: int, seconds: float) -> None:
    """Let a stage run to its end."""
    display.on(Started(key=key, step=0, total=total))
    clock.now += seconds
    display.on(Progress(key=key, step=total, total=total, values={"loss": 0.25}))
    display.on(Finished(key=key))


def test_a_stage_is_described_by_what_it_does() -> None:
    """The description names kind, method, task and seed, and leaves out what is not there."""
    spec = pretrain(3)
    assert describe(spec) == "pretrain simclr seed 3"
    assert describe(evaluate(0, spec.key)) == "evaluate protonet 5-way 1-shot seed 0"
    meta = {"meta": {"name": "maml"}, "tasks": {"name": "instances"}, "pretext": None, "seed": 1}
    assert (
        describe(StageSpec(kind="metatrain", inputs=meta)) == "metatrain maml on instances seed 1"
    )
    init = {"init": {"name": "supervised"}, "pretext": None, "seed": 0}
    assert describe(StageSpec(kind="pretrain", inputs=init)) == "pretrain supervised seed 0"
    assert describe(StageSpec(kind="evaluate", inputs={"needs": {}})) == "evaluate"


def test_off_a_terminal_each_end_is_one_plain_line(plan: Plan, clock: Clock) -> None:
    """A finished stage says how long it took, what came out, the counts, and the time left."""
    stream = io.StringIO()
    display = Display(stream, clock)
    display.begin(plan, list(plan.stages))
    first, second, *_ = plan.stages
    play(display, clock, first, total=100, seconds=10)
    play(display, clock, second, total=50, seconds=5)
    display.end(interrupted=True)
    assert stream.getvalue().splitlines() == [
        "quickstart: 4 stages to run, 0 need not run",
        "finished pretrain simclr seed 0 in 10 s, loss 0.25 (pretrain 1/2, evaluate 0/2, "
        "0 failed, 10 s elapsed, estimating time left)",
        "finished evaluate simclr + protonet/glyphs 5-way 1-shot/seed 0 in 5 s, loss 0.25 "
        "(pretrain 1/2, evaluate 1/2, 0 failed, 15 s elapsed, 15 s left)",
        "quickstart: interrupted after 15 s: 2 done, 0 failed, 2 not run",
    ]


def test_a_failure_names_its_reason_and_drops_what_needed_it(plan: Plan, clock: Clock) -> None:
    """After a failure the stages that build on it are no longer waited for."""
    stream = io.StringIO()
    display = Display(stream, clock)
    display.begin(plan, list(plan.stages))
    first, _, third, fourth = plan.stages
    display.on(Started(key=first, step=0, total=100))
    display.on(Failed(key=first, reason="the loss is NaN\nat step 3"))
    play(display, clock, third, total=100, seconds=10)
    play(display, clock, fourth, total=50, seconds=5)
    display.end(interrupted=False)
    lines = stream.getvalue().splitlines()
    assert lines[1].startswith("failed pretrain simclr seed 0: the loss is NaN (pretrain 0/2")
    assert "0 s left" in lines[-2]
    assert lines[-1] == "quickstart: ended after 15 s: 2 done, 1 failed, 1 not run"


def test_a_long_stage_gives_a_sign_of_life_every_half_minute(plan: Plan, clock: Clock) -> None:
    """Off a terminal, progress is told at most every 30 seconds."""
    stream = io.StringIO()
    display = Display(stream, clock)
    display.begin(plan, list(plan.stages))
    key = next(iter(plan.stages))
    display.on(Started(key=key, step=40, total=100))
    for second in range(1, 61):
        clock.now = second
        display.on(Progress(key=key, step=40 + second, total=160, values={"loss": 1 / 3}))
    signs = [line for line in stream.getvalue().splitlines() if line.startswith("running")]
    assert [sign.partition(" (")[0] for sign in signs] == [
        "running pretrain simclr seed 0: 70/100, loss 0.3333, 1 it/s",
        "running pretrain simclr seed 0: 100/100, loss 0.3333, 1 it/s",
    ]


def test_time_left_counts_stages_at_once_and_what_a_running_one_has_done(
    plan: Plan, clock: Clock
) -> None:
    """Two stages at once take half as long, and a half-finished one counts half."""
    stream = io.StringIO()
    display = Display(stream, clock)
    first, second, third, _ = plan.stages
    display.begin(plan, list(plan.stages))
    play(display, clock, first, total=100, seconds=10)
    display.on(Started(key=second, step=0, total=50))
    display.on(Started(key=third, step=0, total=100))
    clock.now += 4
    display.on(Progress(key=second, step=25, total=50, values={}))
    assert display._left() == pytest.approx((4 + 10 + 8) / 2)
    display.on(Progress(key=third, step=50, total=100, values={}))
    assert display._left() == pytest.approx((4 + 14 / 1500 * 500 + 8) / 2)


def test_audits_are_named_and_keep_no_estimate_waiting(plan: Plan, clock: Clock) -> None:
    """Audits that nothing is known of count no time; a row's is named by its row."""
    stream = io.StringIO()
    display = Display(stream, clock)
    first, second, *_ = plan.stages
    audit, spec = audit_of_row(plan.cells[0], plan.stages[second])
    audited = replace(plan, stages={**plan.stages, spec.key: spec}, audits=(audit,))
    display.begin(audited, [first, second, spec.key])
    play(display, clock, first, total=100, seconds=10)
    assert display._left() is None
    play(display, clock, second, total=50, seconds=4)
    assert display._left() == 0
    play(display, clock, spec.key, total=12, seconds=6)
    assert f"finished audit {audit.title} in 6 s" in stream.getvalue()


def test_pace_is_of_the_method_first_and_of_the_kind_next() -> None:
    """A stage is expected to take what its like took, else what its kind took."""
    pace, simclr = Pace(), pretrain(0)
    other = StageSpec(kind="pretrain", inputs=dict(simclr.inputs) | {"pretext": None})
    assert pace.expect(simclr) is None
    pace.learn(simclr, 0.5, 10.0)
    assert (pace.expect(simclr), pace.expect(other)) == (20.0, 20.0)
    pace.learn(other, 1.0, 2.0)
    assert (pace.expect(simclr), pace.expect(other, 0.5)) == (20.0, 1.0)


def test_on_a_terminal_a_table_shows_what_runs(
    plan: Plan, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table names each running stage with step, loss and speed; failures stay above it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    display = Display(stream, clock)
    display.begin(plan, list(plan.stages))
    first, _, third, _ = plan.stages
    display.on(Started(key=first, step=0, total=100))
    clock.now = 5.0
    display.on(Progress(key=first, step=50, total=100, values={"loss": 0.5}))
    display.on(Started(key=third, step=0, total=100))
    display.on(Failed(key=third, reason="out of memory [3 GiB]"))
    assert display._live is not None
    display._live.refresh()
    display.end(interrupted=False)
    shown = stream.getvalue()
    assert "pretrain simclr seed 0  50/100, loss 0.5, 10 it/s" in shown
    assert "failed pretrain simclr seed 1: out of memory [3 GiB]" in shown
    assert "pretrain 0/2, evaluate 0/2, 1 failed, 5 s elapsed, estimating time left" in shown
    assert shown.endswith("quickstart: ended after 5 s: 0 done, 1 failed, 3 not run\n")


def test_a_dumb_terminal_gets_plain_lines(
    plan: Plan, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that cannot redraw is written to line by line."""
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    display = Display(stream, clock)
    display.begin(plan, list(plan.stages))
    play(display, clock, next(iter(plan.stages)), total=100, seconds=10)
    assert stream.getvalue().splitlines()[1].startswith("finished pretrain simclr seed 0 in 10 s")


def test_nothing_to_do_shows_nothing(plan: Plan, clock: Clock) -> None:
    """A run that has nothing to run is silent."""
    stream = io.StringIO()
    display = Display(stream, clock)
    display.begin(plan, [])
    display.end(interrupted=False)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (7500, "2 h 05 min")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    """Seconds up to a minute and a half, minutes up to an hour and a half, then hours."""
    assert duration(seconds) == text
