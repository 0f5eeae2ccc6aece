"""The straight line: suite -> plan -> run -> record -> report."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NoReturn

from bench.catalogue import KINDS, entries
from bench.errors import UserError
from bench.options import Options as Options
from bench.plan import Plan, make_plan
from bench.rows import rows_of
from bench.run import Tally
from bench.run import run as walk
from bench.rungs import first_trials, found_before
from bench.store import Store, write_atomic
from bench.suite import Suite, read_suite, schema, with_options
from bench.variant import Variant

if TYPE_CHECKING:
    import pandas as pd

    from bench.certify import Certificate
    from bench.report.verify import Verification
    from bench.tuner import Tuning


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run has come to."""

    plan: Plan
    tally: Tally
    report: Path | None  # None: the tuning that goes before was interrupted


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
    asked, facts_of = read(suite, options), options.facts_of()
    variants = rows_of(asked, facts_of).variants
    tuning = found_before(asked, variants, options.results) if asked.tune else None
    made = make_plan(asked, facts_of, tuning)
    if options.results.is_dir() and (tuning or not asked.tune):
        _save(made, options)
    return made


def _save(made: Plan, options: Options) -> None:
    path = _path(made.name, options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(made.to_json(), indent=1).encode())
    except OSError as error:
        found = f"the plan cannot be written ({error.strerror})"
        raise UserError(str(path), found, "Name --results that you may write to.") from error


def run(suite: Path, options: Options) -> Outcome:
    """3. to 5. Tune if the suite asks for it, run what the plan lacks, and write the report.

    With nothing to do, nothing is written anew but what is out of date.
    """
    executor = options.executor()  # first: a mistake in an option costs nothing
    asked, facts_of = read(suite, options), options.facts_of()
    made = make_plan(asked, facts_of)
    options.store.prepare()  # not before: a suite with a mistake leaves nothing behind
    _make_report_folder(made, options)  # now, not when all has run
    tuning = None
    if asked.tune:
        tuning = _tune(asked, rows_of(asked, facts_of).variants, options)
        if tuning.record is None:
            return Outcome(plan=tuning.plan, tally=tuning.tally, report=None)
        made = make_plan(asked, facts_of, tuning.record)
        executor = options.executor()
    _save(made, options)
    tally = walk(made, options.store, executor, options.listeners(), retry=options.retry)
    tally.aside += tuning.tally.aside if tuning else []
    return Outcome(plan=made, tally=tally, report=_write(made, options))


def tune(suite: Path, options: Options, write: Path | None = None) -> "Tuning":
    """Run the trials that the rows of a suite lack; ``write``: a suite of what they found.

    Raises:
        UserError: the suite has no ``tune``, or the file cannot be written.
    """
    from bench.written import refuse_file, write_tuned

    asked, facts_of = read(suite, options), options.facts_of()
    if asked.tune is None:
        raise UserError(str(suite), "no tune", "Write tune: {trials: 20}, for instance.")
    variants = rows_of(asked, facts_of).variants
    if write:
        refuse_file(write, asked)  # now, not when all trials have run
    options.store.prepare()
    done = _tune(asked, variants, options)
    if write and done.record is not None:
        write_tuned(write, asked, rows_of(asked, facts_of, done.record), done.record)
    return done


def _tune(suite: Suite, variants: Sequence[Variant], options: Options) -> "Tuning":
    from bench.tuner import tune

    executor, listeners = options.executor(), options.listeners()
    done = tune(suite, variants, options.store, executor, listeners, retry=options.retry)
    _save(done.plan, options)
    return done


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
    rows_of(read(suite, options), options.facts_of())  # opens the data sets
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
    return _plan_at(path, f"bench plan {suite}")


def _plan_at(path: Path, writer: str) -> Plan:
    try:
        return Plan.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"this plan cannot be read ({type(error).__name__})"
        raise UserError(str(path), found, f"Write it again: `{writer}`.") from error


def plan_json(suite: Path, options: Options) -> str:
    """Return a plan for machines: cells, stages with ``cached``, what was dropped and why."""
    made = plan(suite, options)
    value = made.to_json()
    for stage in value["stages"]:
        stage["cached"] = options.store.has(stage["kind"], stage["key"])
    return json.dumps(value, indent=1)


def plan_text(suite: Path, options: Options) -> str:
    """Return a plan for people; with what a tuning costs that has not ended."""
    from bench.report.preview import plan_text, trials_text

    asked, made = read(suite, options), plan(suite, options)
    text = plan_text(made, options.store)
    if asked.tune is None or "tuning" in made.settings:
        return text
    rows = rows_of(asked, options.facts_of()).variants
    return f"{text}\n{trials_text(first_trials(asked, rows), made, options.store)}"


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

    plans = [saved(suite, options)]
    trials = _path(f"{plans[0].name}-tuning", options)
    plans += [_plan_at(trials, f"bench tune {suite}")] if trials.is_file() else []
    return sum(record.sync(one, options.store, options.results) for one in plans)


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
