"""One experiment in MLflow and its runs: the only file that knows MLflow.

A child's run carries a digest tag of the store content it mirrors. One whose digest differs is
deleted and written anew, never appended to, so that no (metric, step) is there twice.
"""

import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from bench.errors import UserError
from bench.mirror import (
    Child,
    Content,
    Points,
    Texts,
    children,
    content,
    content_digest,
    identity,
    stage_child,
)
from bench.plan import Plan
from bench.store import Damaged, Store

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 500  # metrics in one call; MLflow takes 1000
SOME = 100  # params, and tags, in one call: MLflow takes no more
PARENT = "mlflow.parentRunId"
QUIET = {  # each unless the user has set it
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # with the default of 7 a run stalls for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, of no use here
}


@dataclass(kw_only=True)
class Run:
    """A run that stands in MLflow. While it is live: the points sent, and those that wait."""

    id: str
    status: str
    tags: Texts
    sent: Points = field(default_factory=dict)
    waiting: Points = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it was written whole; the digest is written last but for the status."""
        return "digest" in self.tags and self.status in ("FINISHED", "FAILED")


class Experiment:
    """The experiment of a plan as it stands, and the writing of it."""

    def __init__(self, plan: Plan, store: Store, results: Path) -> None:
        """Open MLflow, create what is not there, and read what is."""
        self.plan, self.store = plan, store
        self.client = _connect(results)
        self.experiment = _experiment(self.client, plan.name, results)
        self._parent = ""
        self.load()

    def load(self) -> None:
        """Read which runs stand; of two of one child the older is surplus."""
        self.runs: dict[str, Run] = {}
        self.parents: dict[str, Run] = {}
        self.surplus: list[Run] = []
        for run in self._search():
            if run.tags.get("kind") == "invocation":
                self.parents[run.id] = run
            elif "key" in run.tags and self.runs.setdefault(identity(run.tags), run) is not run:
                self.surplus.append(run)

    def _search(self) -> Iterator[Run]:
        """Every run of the experiment, newest first."""
        token: str | None = None
        while token != "":
            page = self.client.search_runs([self.experiment], page_token=token)
            for run in page:
                yield Run(id=run.info.run_id, status=run.info.status, tags=run.data.tags)
            token = page.token or ""

    def parent(self) -> str:
        """Return the id of this invocation's run, created when it is first needed."""
        if not self._parent:
            tags = {"kind": "invocation", "host": platform.node(), "pid": str(os.getpid())}
            name = f"{self.plan.name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
            run = self.client.create_run(self.experiment, run_name=name, tags=tags)
            self._parent = run.info.run_id
        return self._parent

    def end_parent(self, status: str) -> None:
        """End this invocation's run, if it needed one."""
        if self._parent:
            self.client.set_terminated(self._parent, status)

    def dead(self) -> list[Run]:
        """Runs that stand as RUNNING although their driver is gone."""
        alive = {id for id, run in self.parents.items() if _is_alive(run)}
        return [
            run
            for run in (*self.parents.values(), *self.runs.values(), *self.surplus)
            if run.status == "RUNNING" and run.tags.get(PARENT, run.id) not in alive
        ]

    def close_dead(self) -> None:
        """End the dead runs; a stage that goes on opens its own again."""
        for run in self.dead():
            self.end(run, "KILLED")

    def end(self, run: Run, status: str) -> None:
        """End a run."""
        self.client.set_terminated(run.id, status)
        run.status = status

    def open(self, child: Child) -> Run:
        """Return the live run of a stage: the one a killed driver left, or a new one."""
        known = self.runs.get(child.identity)
        if known is None or "digest" in known.tags:
            new = self._create(child)
            self._log(new.id, {}, child.params, {})
            return new
        self.client.update_run(known.id, status="RUNNING")
        self.client.set_tag(known.id, PARENT, self.parent())
        for name in self.client.get_run(known.id).data.metrics:
            history = self.client.get_metric_history(known.id, name)
            known.sent |= {(name, point.step): point.value for point in history}
        return known

    def send(self, run: Run) -> None:
        """Log what waits."""
        self._log(run.id, run.waiting, {}, {})
        run.sent |= run.waiting
        run.waiting = {}

    def update_all(self) -> int:
        """Write every stale child and delete surplus runs; return how many of both."""
        for run in self.surplus:
            self.client.delete_run(run.id)
        return len(self.surplus) + sum(self.update(child) for child in children(self.plan))

    def update_cell(self, child: Child) -> None:
        """Write a cell's run if it is stale, and first those of its stages, which it names."""
        if self.stale(child):
            for key in list(child.stages.values())[:-1]:
                self.update(stage_child(self.plan.stages[key]))
            self.update(child)

    def stale(self, child: Child) -> bool:
        """Whether the child's run is not what the store holds."""
        known, total = self.runs.get(child.identity), content_digest(self.store, child)
        if known is None or not total:
            return bool(total) or (known is not None and known.ended)
        wanted = self._links(child) | {"digest": total}
        return not known.ended or not wanted.items() <= known.tags.items()

    def update(self, child: Child, live: Run | None = None) -> bool:
        """Make the child's run what the store holds; return whether that changed anything."""
        if not self.stale(child):
            return False
        try:
            held = content(self.store, child)
        except Damaged as error:
            print(f"bench: not mirrored: {error}", file=sys.stderr)
            return False
        if held is None:
            self._delete(child)
        elif live is not None and held.continues(live.sent):
            self._write(live, child, held)
        else:
            self._write(self._create(child, held.seconds), child, held)
        return True

    def _create(self, child: Child, seconds: float = 0.0) -> Run:
        """Create the child's run, which began ``seconds`` ago, in place of any other."""
        self._delete(child)
        run = self.client.create_run(
            self.experiment,
            start_time=_milliseconds() - round(1000 * seconds),
            run_name=child.name,
            tags={**child.tags, PARENT: self.parent()},
        )
        new = Run(id=run.info.run_id, status="RUNNING", tags=run.data.tags)
        self.runs[child.identity] = new
        return new

    def _delete(self, child: Child) -> None:
        known = self.runs.pop(child.identity, None)
        parent = self.parents.get(known.tags.get(PARENT, "")) if known else None
        if known and not (known.status == "RUNNING" and parent and _is_alive(parent)):
            self.client.delete_run(known.id)  # else another invocation is writing it

    def _write(self, run: Run, child: Child, held: Content) -> None:
        """Fill a run with what it lacks, and end it."""
        if held.file is not None:
            self.client.log_artifact(run.id, str(held.file))
        if held.traceback:
            self.client.log_text(run.id, held.traceback, "traceback.txt")
        tags = {**held.tags, **self._links(child)}
        tags["digest"] = content_digest(self.store, child)
        missing = {at: value for at, value in held.points.items() if at not in run.sent}
        self._log(run.id, missing, child.params, tags)
        run.tags = {**run.tags, **tags}
        self.end(run, held.status)

    def _links(self, child: Child) -> dict[str, str]:
        """Name the runs of a cell's trained stages."""
        below = list(child.stages.items())[:-1]
        return {f"run.{role}": self.runs[key].id for role, key in below if key in self.runs}

    def _log(self, run_id: str, points: Points, params: Texts, tags: Texts) -> None:
        """Write metrics, params and tags, in as few calls (10 ms each) as MLflow's limits allow."""
        from mlflow.entities import Metric, Param, RunTag

        now = _milliseconds()
        metrics = [Metric(name, value, now, step) for (name, step), value in points.items()]
        texts = [Param(*param) for param in params.items()]
        marks = [RunTag(*tag) for tag in tags.items()]
        while metrics or texts or marks:
            self.client.log_batch(run_id, metrics[:BATCH], texts[:SOME], marks[:SOME])
            metrics, texts, marks = metrics[BATCH:], texts[SOME:], marks[SOME:]


def tracking_uri(results: Path) -> str:
    """Where the mirror is: ``$MLFLOW_TRACKING_URI``, or a database in the results folder."""
    default = f"sqlite:///{results.resolve() / 'mlflow.db'}"
    return os.environ.get("MLFLOW_TRACKING_URI") or default


def _connect(results: Path) -> "MlflowClient":
    """Open MLflow; of processes that open a fresh database at once, all but one would crash."""
    be_quiet()
    results.mkdir(parents=True, exist_ok=True)
    with FileLock(results / "mlflow.lock"), warnings.catch_warnings():
        # MLflow's own tables use a loader that SQLAlchemy 2.1 calls deprecated.
        warnings.filterwarnings("ignore", "The ``noload`` loader", DeprecationWarning)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=tracking_uri(results))


def _experiment(client: "MlflowClient", name: str, results: Path) -> str:
    """Return the id of an experiment, made if need be; one deleted by hand comes back."""
    found = client.get_experiment_by_name(name)
    if found is None:
        root = None if is_remote(tracking_uri(results)) else artifacts(results)
        kind = {"mlflow.experimentKind": "custom_model_development"}  # opens as training, not chat
        return client.create_experiment(name, artifact_location=root, tags=kind)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def be_quiet() -> None:
    """Set what silences MLflow and bounds its patience, where the user has not."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())


@contextmanager
def reaching(results: Path) -> Iterator[None]:
    """Turn what MLflow raises into an error that the user can act upon."""
    try:
        yield
    except _troubles() as error:
        works = "Start that server, or unset MLFLOW_TRACKING_URI to use the results folder."
        raise UserError(tracking_uri(results), brief(error), works) from error


def _troubles() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def _is_alive(parent: Run) -> bool:
    """Whether an invocation still runs; on another machine it is taken for dead."""
    pid = int(parent.tags["pid"])
    if (parent.status, parent.tags["host"]) != ("RUNNING", platform.node()) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # another user's
    return True


def is_remote(uri: str) -> bool:
    """Whether a tracking URI is a server's."""
    return uri.startswith(("http:", "https:", "databricks"))


def artifacts(results: Path) -> str:
    """Where runs keep files, as a URI."""
    return (results.resolve() / "mlartifacts").as_uri()


def brief(error: Exception) -> str:
    """Name an error in one line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
