"""Checks what a plan records of tuning: each winner is the best, each score that of its exams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from bench.cell import Cell
from bench.plan import Plan
from bench.report.difference import TOLERANCE
from bench.report.trials import Trial, TunedRow, trials_of
from bench.store import Damaged, Store

EXAM = "evaluate"  # the kind of stage that an exam is


@dataclass(kw_only=True)
class Examined:
    """What was checked, in lines, and every difference that was found."""

    lines: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


def check_record(plan: Plan) -> list[str]:
    """Return where a record contradicts itself or the plan's cells; nothing without tuning."""
    trials = trials_of(plan)
    rows = trials.rows if trials else ()
    return [one for row in rows for one in (*_winner(row), *_cells(row, plan.cells))]


def _winner(row: TunedRow) -> Iterator[str]:
    """Hold the winner against the finished trials: the best, ties to the lower number."""
    known = [(one.score, -one.number) for one in row.in_state("finished") if one.score is not None]
    best = -max(known)[1] if known else None
    if row.winner != best:
        yield f"tuning of {row.variant}: winner stated {row.winner}, by the scores {best}"
    for one in row.trials:
        if (one.state == "finished") != (one.score is not None):
            yield f"tuning of {row.variant}: trial {one.number} is {one.state}, score {one.score}"


def _cells(row: TunedRow, cells: Sequence[Cell]) -> Iterator[str]:
    """Hold parameters of the row's cells against the winner's, of its default's against trial 0."""
    for trial, own in (
        (row.best, [one for one in cells if one.variant == row.variant and not one.default_of]),
        (row.default, [one for one in cells if one.default_of == row.variant]),
    ):
        same = [one for one in own if (one.data, one.ways) == (row.data, row.ways)]
        names = {
            name
            for cell in same
            for name, value in (trial.params.items() if trial else ())
            if name in cell.params and cell.params[name] != value
        }
        for name in sorted(names):
            number = trial.number if trial else None
            yield f"tuning of {row.variant}: {name} of its cells is not that of trial {number}"


def check_exams(plan: Plan, store: Store) -> Examined:
    """Compare the scores of finished trials with the exams that this store holds."""
    found, trials = Examined(), trials_of(plan)
    finished = [
        (row, one)
        for row in (trials.rows if trials else ())
        for one in row.in_state("finished")
        if one.exams
    ]
    held = [(row, one) for row, one in finished if all(store.has(EXAM, k) for k in one.exams)]
    for row, one in held:
        found.differences += _score(row, one, store)
    if finished:
        found.lines.append(
            f"tuning: scores of {len(held)} of {len(finished)} finished trials compared with the "
            "exams in this results folder"
        )
    return found


def _score(row: TunedRow, trial: Trial, store: Store) -> Iterator[str]:
    name = f"tuning of {row.variant}, trial {trial.number}"
    try:
        manifests = [store.manifest(EXAM, key) for key in trial.exams]
    except Damaged as damage:
        yield f"{name}: an exam is damaged: {damage}"
        return
    mean = fmean(float(one["metrics"]["accuracy"]) for one in manifests)
    if trial.score is None or not abs(trial.score - mean) <= TOLERANCE * abs(mean) + 1e-12:
        yield f"{name}: score stated {trial.score}, of its exams {mean}"
    if any(one["inputs"]["data"].get("split") == "test" for one in manifests):
        yield f"{name}: an exam was on the test split"
