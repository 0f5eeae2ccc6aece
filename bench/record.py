"""The mirror in MLflow: live while stages run, and rebuilt from the store at any time.

One experiment a suite, one parent run an invocation, one child a trained stage and a cell: what
they hold is in bench.mirror, and how it is written in bench.tracking.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.cell import TRAINED, Event, Failed, Finished, Progress, Started
from bench.errors import UserError
from bench.mirror import cell_child, children, stage_child
from bench.plan import Plan
from bench.store import Store
from bench.tracking import (
    BATCH,
    Experiment,
    Run,
    artifacts,
    be_quiet,
    brief,
    is_remote,
    reaching,
    tracking_uri,
)

FLUSH_SECONDS = 1.0


class Recorder:
    """Listener: events -> MLflow. When MLflow fails it warns once, and the work goes on."""

    def __init__(self, store: Store, results: Path) -> None:
        """Nothing is opened before ``begin``."""
        self._store, self._results = store, results
        self._mirror: Experiment | None = None
        self._live: dict[str, Run] = {}
        self._flushed = 0.0

    def begin(self, plan: Plan, pending: Sequence[str]) -> None:
        """Create database, experiment and parent run, and end what a killed driver left."""
        self._live = {}
        with self._forgiving():
            mirror = Experiment(plan, self._store, self._results)
            mirror.close_dead()
            if pending:
                mirror.parent()
            self._mirror = mirror

    def grow(self, plan: Plan, pending: Sequence[str]) -> None:
        """Take note of the plan as it is now."""
        if self._mirror is not None:
            self._mirror.plan = plan

    def on(self, event: Event) -> None:
        """Log live points, buffered; write a run whole when its stage or cell has ended."""
        if self._mirror is None:
            return
        with self._forgiving():
            match event:
                case Started():
                    self._open(self._mirror, event.key)
                case Progress():
                    self._keep(self._mirror, event)
                case Finished() | Failed():
                    self._close(self._mirror, event.key)
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._flush(self._mirror)

    def end(self, interrupted: bool) -> None:
        """End what is open and the parent run; mirror what the store holds beyond the events."""
        if self._mirror is None:
            return
        with self._forgiving():
            self._flush(self._mirror)
            for run in self._live.values():
                self._mirror.end(run, "KILLED")
            if not interrupted:
                self._mirror.load()
                self._mirror.update_all()
            self._mirror.end_parent("KILLED" if interrupted else "FINISHED")

    def _open(self, mirror: Experiment, key: str) -> None:
        spec = mirror.plan.stages[key]
        if spec.kind in TRAINED and key not in self._live:
            self._live[key] = mirror.open(stage_child(spec))

    def _keep(self, mirror: Experiment, event: Progress) -> None:
        run, kind = self._live.get(event.key), mirror.plan.stages[event.key].kind
        if run is None:
            return
        new = {(f"{kind}/{name}", event.step): value for name, value in event.values.items()}
        run.waiting |= {at: value for at, value in new.items() if at not in run.sent}
        if sum(len(run.waiting) for run in self._live.values()) >= BATCH:
            self._flush(mirror)

    def _flush(self, mirror: Experiment) -> None:
        for run in self._live.values():
            mirror.send(run)
        self._flushed = time.monotonic()

    def _close(self, mirror: Experiment, key: str) -> None:
        run = self._live.pop(key, None)
        if run is not None:
            mirror.send(run)
            if not mirror.update(stage_child(mirror.plan.stages[key]), run):
                mirror.end(run, "KILLED")  # the store holds no end of it: it may go on some day
        for cell in mirror.plan.cells:
            if key in cell.stages.values():
                mirror.update_cell(cell_child(cell))

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Turn whatever MLflow, its database or the network raise into the one warning."""
        try:
            yield
        except Exception as error:
            self._mirror = None
            print(
                f"bench: MLflow failed, the work goes on without it ({brief(error)}). "
                "`bench sync` brings it up to date from the store.",
                file=sys.stderr,
            )


def sync(plan: Plan, store: Store, results: Path) -> int:
    """Bring the mirror of a plan up to date; return how many runs were written or deleted.

    Raises:
        UserError: MLflow cannot be reached, or refuses.
    """
    with reaching(results):
        mirror = Experiment(plan, store, results)
        mirror.close_dead()
        written = mirror.update_all()
        mirror.end_parent("FINISHED")
    return written


def needs_sync(plan: Plan, store: Store, results: Path) -> bool:
    """Whether ``sync`` would do anything; raises what it raises."""
    with reaching(results):
        mirror = Experiment(plan, store, results)
        return bool(mirror.dead() or mirror.surplus) or any(map(mirror.stale, children(plan)))


def ui_command(results: Path, port: int, host: str = "127.0.0.1") -> list[str]:
    """Return the command that serves the mirror; its quiet defaults go to ``os.environ``.

    Raises:
        UserError: the mirror is on a server, which has its own address, or there is none yet.
    """
    uri = tracking_uri(results)
    if is_remote(uri):
        works = "Open it in a browser, or unset the variable."
        raise UserError("MLFLOW_TRACKING_URI", f"the mirror is served at {uri}", works)
    file = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not file.is_file():
        raise UserError(str(file), "no mirror is there yet", "Run a suite with these results.")
    be_quiet()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--backend-store-uri", uri, "--default-artifact-root", artifacts(results)]
    return [*command, "--host", host, "--port", str(port)]
