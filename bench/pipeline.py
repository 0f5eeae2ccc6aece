"""The straight line: suite -> plan -> run -> record -> report."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

from bench.catalogue import KINDS, entries
from bench.dataset import Facts, facts, find_root, open_dataset
from bench.errors import UserError
from bench.plan import Plan, make_plan
from bench.run import Listener, Tally
from bench.run import run as walk
from bench.store import Store, write_atomic
from bench.suite import Suite, read_suite, schema, with_options

if TYPE_CHECKING:
    import pandas as pd

    from bench.certify import Certificate
    from bench.contract import AbstractData
    from bench.report.verify import Verification


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run has come to."""

    plan: Plan
    tally: Tally
    report: Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says beside the suite; a notebook may leave all of it out."""

    results: Path = Path("results")
    reports: Path = Path("reports")
    data: Path | None = None
    budget_scale: float | None = None
    seeds: str | None = None
    episodes: int | None = None
    only: str | None = None
    workers: str = "auto"
    device: str = "auto"
    retry: bool = False
    time_limit: float | None = None

    @property
    def store(self) -> Store:
        """The store under the results folder."""
        return Store(self.results)


def read(suite: Path, options: Options) -> Suite:
    """1. Read a suite and apply the options that change it."""
    return with_options(
        read_suite(suite),
        budget_scale=options.budget_scale,
        seeds=options.seeds,
        episodes=options.episodes,
        only=options.only,
    )


def plan(suite: Path, options: Options) -> Plan:
    """2. Resolve a suite into cells and stages; saved where there is a results folder."""
    made = _resolve(suite, options)
    if options.results.is_dir():
        _save(made, options)
    return made


def _resolve(suite: Path, options: Options) -> Plan:
    root = find_root(options.data)

    @cache
    def facts_of(name: str, source: "AbstractData") -> Facts:
        return facts(open_dataset(source, name, root))

    return make_plan(read(suite, options), facts_of)


def _save(made: Plan, options: Options) -> None:
    path = _path(made.name, options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(made.to_json(), indent=1).encode())
    except OSError as error:
        found = f"the plan cannot be written ({error.strerror})"
        raise UserError(str(path), found, "Name --results that you may write to.") from error


def run(suite: Path, options: Options) -> Outcome:
    """3. to 5. Run what a plan lacks, recorded as it goes, and write the report.

    With nothing to do, nothing is written anew but what is out of date.
    """
    from bench import progress, record
    from bench.execute.local import Local, check_time_limit, parse_workers
    from bench.stages.place import pick_device

    workers, device = parse_workers(options.workers), pick_device(options.device)
    check_time_limit(options.time_limit)
    made = _resolve(suite, options)
    options.store.prepare()  # not before: a suite with a mistake leaves nothing behind
    _save(made, options)
    _make_report_folder(made, options)  # now, not when all has run
    executor = Local(
        results=options.results.resolve(),
        device=device,
        workers=workers,
        time_limit=options.time_limit,
    )
    listeners: list[Listener] = [
        record.Recorder(options.store, options.results),
        progress.Display(),
    ]
    tally = walk(made, options.store, executor, listeners, retry=options.retry)
    return Outcome(plan=made, tally=tally, report=_write(made, options))


def report(suite: Path, options: Options) -> Path:
    """5. Write a suite's report from the store; return its index.md."""
    from bench.report.write import write_report

    made = saved(suite, options)
    _make_report_folder(made, options)
    return write_report(made, options.store, options.reports)


def verify(folder: Path, options: Options) -> "Verification":
    """Check a report that was written: files, numbers, and the stages that are at hand."""
    from bench.report.verify import verify

    return verify(folder, options.store)


def certify(suite: Path, options: Options, cells: int) -> "tuple[Certificate, Path]":
    """Compute some cells again from nothing and compare; return this, and the report's path.

    What is computed lies in a folder that is removed again. The report shows the certificate.

    Raises:
        UserError: ``cells`` is not positive, the suite was never run, or no cell is finished.
    """
    from bench import progress
    from bench.certify import certify, chosen
    from bench.execute.local import Local, parse_workers
    from bench.stages.place import pick_device

    if cells < 1:
        raise UserError("--cells", str(cells), "Use a number of cells from 1.")
    workers, device = parse_workers(options.workers), pick_device(options.device)
    made = saved(suite, options)
    _resolve(suite, options)  # opens the data sets
    some = chosen(made, options.store, cells)
    _make_report_folder(made, options)
    with TemporaryDirectory(prefix="bench-verify-") as fresh:
        found = certify(
            made,
            some,
            options.store,
            Store(Path(fresh)),
            Local(results=Path(fresh), device=device, workers=workers),
            [progress.Display()],
        )
    return found, _write(made, options)


def _make_report_folder(made: Plan, options: Options) -> None:
    folder = options.reports / made.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        found = f"{folder} cannot be written ({error.strerror})"
        works = "Name a folder that you may write to."
        raise UserError(f"--reports {options.reports}", found, works) from error


def _write(made: Plan, options: Options) -> Path:
    """Write a report, unless the one that is there says the same."""
    from bench.report.write import is_current, write_report

    if is_current(made, options.store, options.reports):
        return options.reports / made.name / "index.md"
    return write_report(made, options.store, options.reports)


def saved(suite: Path, options: Options) -> Plan:
    """Return the plan of a suite's last run or plan; needs neither torch nor a plug-in.

    Raises:
        UserError: there is none, or none that can be read.
    """
    name = read(suite, options).name
    path = _path(name, options)
    if not path.is_file():
        raise UserError(
            str(path),
            f"{name} was never run with this results folder",
            f"Run `bench run {suite}` first, with the same options.",
        )
    try:
        return Plan.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"this plan cannot be read ({type(error).__name__})"
        raise UserError(str(path), found, f"Write it again: `bench plan {suite}`.") from error


def plan_json(suite: Path, options: Options) -> str:
    """Return a plan for machines: cells, stages with ``cached``, what was dropped and why."""
    made = plan(suite, options)
    value = made.to_json()
    for stage in value["stages"]:
        stage["cached"] = options.store.has(stage["kind"], stage["key"])
    return json.dumps(value, indent=1)


def plan_text(suite: Path, options: Options) -> str:
    """Return a plan for people."""
    from bench.report.preview import plan_text

    return plan_text(plan(suite, options), options.store)


def export(suite: Path, options: Options, out: Path) -> int:
    """Write one row a cell to a .csv or .parquet file; return how many."""
    from bench.report.frame import cell_frame, write_export

    frame = cell_frame(saved(suite, options), options.store)
    write_export(frame, out)
    return len(frame)


def export_model(suite: Path, options: Options, cell: str, out: Path) -> str:
    """Write the encoder that a cell was tested with to a safetensors file; return its sha256.

    Raises:
        UserError: there is no such cell, it trains nothing, or it has not run.
    """
    from bench.report.model import export_model
    from bench.report.why import find_cell

    made = saved(suite, options)
    return export_model(made, options.store, find_cell(made, cell), out)


def why(suite: Path, options: Options, cell: str | None) -> str:
    """Say why a cell's stages are cached or not; without a cell, which cells there are."""
    from bench.report.why import find_cell, why_text

    made = saved(suite, options)
    if cell is None:
        return "\n".join(one.id for one in made.cells)
    return why_text(made, options.store, find_cell(made, cell))


def sync(suite: Path, options: Options) -> int:
    """Bring the MLflow mirror up to date with the store; return the runs written."""
    from bench import record

    return record.sync(saved(suite, options), options.store, options.results)


def serve_ui(results: Path, port: int) -> NoReturn:
    """Become the MLflow server of a results folder, on 127.0.0.1, until it is ended."""
    from bench import record

    command = record.ui_command(results, port)
    os.execv(command[0], command)


def schema_json() -> str:
    """Return the JSON schema of suites; editors offer the plug-ins that are installed."""
    known = schema()
    for form in (known, *known["$defs"].values()):
        for kind in KINDS:
            if kind in form.get("properties", {}):
                names = {*entries(kind)} | ({"none"} if kind == "pretext" else set())
                form["properties"][kind]["examples"] = sorted(names)
    return json.dumps(known, indent=1)


def load(suite: str | Path, **options: object) -> "pd.DataFrame":
    """Return a suite's results, one row a cell, for a notebook.

    Args:
        suite: the YAML file.
        **options: fields of ``Options``, such as ``results=Path("elsewhere")``.

    Raises:
        UserError: the suite cannot be read, or was never run.
    """
    from bench.report.frame import cell_frame

    paths = {name: Path(str(options[name])) for name in {"results", "data"} & options.keys()}
    chosen = Options(**options | paths)  # type: ignore[arg-type]  # checked by the dataclass's use
    return cell_frame(saved(Path(suite), chosen), chosen.store)


def _path(name: str, options: Options) -> Path:
    return options.results / "plans" / f"{name}.json"
