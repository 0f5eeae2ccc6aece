"""What a trial runs with one share of the budget, and whether a tuning is of these very trials."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.cell import Cell, Json, StageSpec, digest
from bench.errors import UserError
from bench.graph import trial_of
from bench.suite import Suite
from bench.tuned import place_of, record_path, spaces, study_of, winners
from bench.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What a trial runs with one share of the budget; ``exams`` are the stages that score it."""

    cells: Sequence[Cell] = ()
    stages: Mapping[str, StageSpec] = field(default_factory=dict)
    exams: Sequence[str] = ()


def rung_of(own: Variant, suite: Suite, trial: str) -> Rung:
    """Return what a row runs as a trial of this name, with each seed and number of shots."""
    assert suite.tune is not None
    cells: list[Cell] = []
    stages: dict[str, StageSpec] = {}
    exams: list[str] = []
    for seed in suite.tune.seeds:
        for shots in suite.shots:
            cell, path = trial_of(own, shots, seed, suite.evaluate, suite.tune)
            cells.append(replace(cell, trial=trial))
            stages |= {spec.key: spec for spec in path}
            exams.append(path[-1].key)
    return Rung(cells=cells, stages=stages, exams=exams)


def stages_of(rungs: Iterable[Rung]) -> dict[str, StageSpec]:
    """Return the stages of several rungs, each once."""
    return {key: spec for rung in rungs for key, spec in rung.stages.items()}


def kept_as(variant: Variant, suite: Suite) -> str:
    """Hash what the trials of a row are kept under: what is tried, and what the first is made of.

    Data that have changed, or a stage's code on purpose, make other trials of the same parameters.
    """
    return digest([study_of(variant, suite), list(rung_of(variant, suite, "0").exams)])


def first_trials(
    suite: Suite, variants: Sequence[Variant]
) -> list[tuple[str, int, dict[str, StageSpec]]]:
    """Return for each row that is tuned its label, its trials, and the stages of the first."""
    assert suite.tune is not None
    return [
        (one.label, one.trials or suite.tune.trials, dict(rung_of(one, suite, "0").stages))
        for one in variants
        if spaces(one, suite.tune)
    ]


def is_whole(record: Json, suite: Suite, variants: Sequence[Variant]) -> bool:
    """Whether a tuning is of these very rows, and has all their trials."""
    assert suite.tune is not None
    tune = suite.tune
    wanted = {place_of(one): one for one in variants if spaces(one, tune)}
    found = {(row["variant"], row["data"], row["ways"]): row for row in record["rows"]}
    return wanted.keys() == found.keys() and all(
        row["study"] == kept_as(wanted[place], suite)
        and row["asked"] == (wanted[place].trials or tune.trials)
        for place, row in found.items()
    )


def found_before(suite: Suite, variants: Sequence[Variant], results: Path) -> Json:
    """Return what these rows' tuning has found; None where it has not ended, or was of others.

    Raises:
        UserError: the file cannot be read.
    """
    path = record_path(suite.name, results)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_bytes())
        winners(record)
        return record if is_whole(record, suite, variants) else None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        found = f"this tuning cannot be read ({type(error).__name__})"
        works = f"Write it again: `bench tune {suite.file}`, which runs no trial twice."
        raise UserError(str(path), found, works) from error
