"""What a trial runs with one share of the budget: cells, stages, and those that score it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.cell import Cell, StageSpec
from bench.graph import trial_of
from bench.suite import Suite
from bench.tuned import spaces
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
