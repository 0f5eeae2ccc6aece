"""The display of a run on standard error: what runs now, what is done, failures, time left.

On a terminal a table that is redrawn; elsewhere one plain line a finished or failed stage, and
one every half minute while nothing ends.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from bench.cell import Event, Failed, Finished, Progress, StageSpec, Started
from bench.mirror import describe
from bench.plan import Plan

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

__all__ = ["Display", "Pace", "describe", "duration"]

HEARTBEAT_SECONDS = 30.0


@dataclass
class Pace:
    """Seconds a unit of work (an example, an episode), learned while stages run."""

    seconds: dict[Hashable, float] = field(default_factory=dict)
    units: dict[Hashable, float] = field(default_factory=dict)

    def learn(self, spec: StageSpec, share: float, seconds: float) -> None:
        """Take note that ``share`` of a stage took so long."""
        for group in (_kind(spec), _group(spec)):
            self.seconds[group] = self.seconds.get(group, 0.0) + seconds
            self.units[group] = self.units.get(group, 0.0) + share * _units(spec)

    def expect(self, spec: StageSpec, share: float = 1.0) -> float | None:
        """Return the seconds that ``share`` of a stage will take; None while nothing tells."""
        for group in (_group(spec), _kind(spec)):
            if self.units.get(group, 0.0) > 0:
                return self.seconds[group] / self.units[group] * share * _units(spec)
        return None


@dataclass
class _Running:
    """A stage that runs: where it began, where it is, and its last values."""

    spec: StageSpec
    start: int
    total: int
    began: float
    step: int
    values: Mapping[str, float] = field(default_factory=dict)

    def share(self) -> float:
        """Return the part of the stage done since it began, in [0, 1]."""
        return (self.step - self.start) / max(1, self.total)

    def numbers(self, now: float) -> str:
        """Say step, last values and speed."""
        speed = (self.step - self.start) / max(now - self.began, 1e-9)
        values = [f"{name} {value:.4g}" for name, value in self.values.items()]
        return ", ".join([f"{self.step}/{self.total}", *values, f"{speed:.3g} it/s"])


class Display:
    """Listener: shows how a run goes."""

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Show on a stream, by default standard error."""
        self._stream, self._clock = stream, clock
        self._live: Live | None = None

    def begin(self, plan: Plan, pending: Sequence[str]) -> None:
        """Say how much there is to do."""
        self._plan, self._began = plan, self._clock()
        self._spoke = self._began
        self._names = {cell.stages["evaluate"]: f"evaluate {cell.id}" for cell in plan.cells}
        self._names |= {one.key: f"audit {one.title}" for one in plan.audits}
        self._waiting = dict.fromkeys(pending)
        self._running: dict[str, _Running] = {}
        self._total = Counter(plan.stages[key].kind for key in pending)
        self._done: Counter[str] = Counter()
        self._failures: list[str] = []
        self._pace, self._slots = Pace(), 1
        if pending:
            cached = len(plan.stages) - len(pending)
            self._say(f"{plan.name}: {len(pending)} stages to run, {cached} need not run")
            self._live = self._start()

    def grow(self, plan: Plan, pending: Sequence[str]) -> None:
        """Take note of more to do."""
        self._plan = plan
        self._names |= {cell.stages["evaluate"]: f"evaluate {cell.id}" for cell in plan.cells}
        self._waiting |= dict.fromkeys(pending)
        self._total.update(plan.stages[key].kind for key in pending)

    def on(self, event: Event) -> None:
        """Take note of an event, and show it."""
        match event:
            case Started():
                self._on_started(event)
            case Progress():
                self._on_progress(event)
            case Finished():
                self._on_finished(event)
            case Failed():
                self._on_failed(event)

    def end(self, interrupted: bool) -> None:
        """Take the table away and leave a line that sums up."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._total:
            rest = self._total.total() - self._done.total() - len(self._failures)
            parts = [f"{self._done.total()} done", f"{len(self._failures)} failed"]
            parts += [f"{rest} not run"] if rest else []
            how = "interrupted" if interrupted else "ended"
            took = duration(self._clock() - self._began)
            self._say(f"{self._plan.name}: {how} after {took}: {', '.join(parts)}")

    def _on_started(self, event: Started) -> None:
        self._waiting.pop(event.key, None)
        spec, now = self._plan.stages[event.key], self._clock()
        self._running[event.key] = _Running(spec, event.step, event.total, now, event.step)
        self._slots = max(self._slots, len(self._running))

    def _on_progress(self, event: Progress) -> None:
        run = self._running.get(event.key)
        if run is None:
            return
        run.step, run.values = event.step, event.values
        if self._live is None and self._clock() - self._spoke >= HEARTBEAT_SECONDS:
            self._say(f"running {self._name(event.key)}: {run.numbers(self._clock())}", more=True)

    def _on_finished(self, event: Finished) -> None:
        self._waiting.pop(event.key, None)
        run = self._running.pop(event.key, None)
        self._done[self._plan.stages[event.key].kind] += 1
        took = ""
        if run is not None:
            seconds = self._clock() - run.began
            self._pace.learn(run.spec, 1 - run.start / max(1, run.total), seconds)
            values = "".join(f", {name} {value:.4g}" for name, value in run.values.items())
            took = f" in {duration(seconds)}{values}"
        if self._live is None:
            self._say(f"finished {self._name(event.key)}{took}", more=True)

    def _on_failed(self, event: Failed) -> None:
        self._running.pop(event.key, None)
        self._waiting.pop(event.key, None)
        lost = {event.key}
        for key in list(self._waiting):
            if not lost.isdisjoint(self._plan.stages[key].needs):
                lost.add(key)
                del self._waiting[key]
        reason = (event.reason.splitlines() or ["no reason is known"])[0]
        self._failures.append(f"{self._name(event.key)}: {reason}")
        self._say(f"failed {self._failures[-1]}", more=self._live is None)

    def _name(self, key: str) -> str:
        return self._names.get(key) or describe(self._plan.stages[key])

    def _counts(self) -> str:
        """Say how many are done of each kind, how many failed, and the time left."""
        counts = [f"{kind} {self._done[kind]}/{total}" for kind, total in self._total.items()]
        left = self._left()
        time_left = "estimating time left" if left is None else f"{duration(left)} left"
        elapsed = f"{duration(self._clock() - self._began)} elapsed"
        return ", ".join([*counts, f"{len(self._failures)} failed", elapsed, time_left])

    def _left(self) -> float | None:
        """Return the seconds left; None until every kind that waits has shown its pace.

        But for audits, which are few and short: one that has not shown it counts nothing.
        """
        now, pace = self._clock(), Pace(self._pace.seconds.copy(), self._pace.units.copy())
        running = list(self._running.values())
        for run in running:
            if run.step > run.start:
                pace.learn(run.spec, run.share(), now - run.began)
        rest = [(run.spec, 1 - run.step / max(1, run.total)) for run in running]
        rest += [(self._plan.stages[key], 1.0) for key in list(self._waiting)]
        expected = [
            seconds
            for spec, share in rest
            for seconds in (pace.expect(spec, share),)
            if spec.kind != "audit" or seconds is not None
        ]
        known = [seconds for seconds in expected if seconds is not None]
        return sum(known) / self._slots if len(known) == len(expected) else None

    def _say(self, line: str, more: bool = False) -> None:
        """Write a line, and the counts with it if ``more``; above the table if there is one."""
        self._spoke = self._clock()
        line = f"{line} ({self._counts()})" if more else line
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._stream or sys.stderr, flush=True)

    def _start(self) -> "Live | None":
        """Start the table where there is a terminal that can redraw."""
        stream = self._stream or sys.stderr
        if not stream.isatty():
            return None
        from rich.console import Console
        from rich.live import Live

        console = Console(file=stream)
        if not console.is_terminal or console.is_dumb_terminal:
            return None
        live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
        )
        live.start()
        return live

    def _render(self) -> "Group":
        """Return the table of what runs, and the counts."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for key, run in list(self._running.items()):
            table.add_row(Text(self._name(key)), Text(run.numbers(self._clock())))
        return Group(table, Text(self._counts()))


def duration(seconds: float) -> str:
    """Write a time as people do: ``41 s``, ``3 min``, ``1 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _kind(spec: StageSpec) -> Hashable:
    return (spec.kind, spec.inputs.get("subject"))


def _group(spec: StageSpec) -> Hashable:
    """Return what stages of about equal cost an example have in common."""
    names = (spec.inputs.get(role) for role in ("pretext", "meta", "tasks", "encoder", "data"))
    shots = spec.inputs.get("shots")
    return (_kind(spec), shots, *(plugin and plugin["name"] for plugin in names))


def _units(spec: StageSpec) -> float:
    """Return how much work a stage is: examples in training, episodes in evaluation."""
    inputs = spec.inputs
    if "budget" in inputs:
        return float(inputs["budget"]["examples"])
    return float(inputs.get("episodes", 1))  # the audit of a set is one
