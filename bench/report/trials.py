"""What a plan records of the tuning of its rows: trials, scores, seconds, and the winner.

``plan.settings["tuning"]`` holds it; plans of suites without tuning lack it. Nothing in it was
measured on test data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.cell import Json
from bench.plan import Plan
from bench.statistics.best_of import counted

STATES = ("finished", "pruned", "failed")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a row: what was tried, how it ended, and what it cost.

    ``score`` is an accuracy in [0, 1], None unless finished; ``seconds`` are those of the stages
    that it added; ``exams`` the keys of the evaluations that its score is the mean of.
    """

    number: int
    params: Mapping[str, Json]
    state: str
    score: float | None
    seconds: float
    reason: str
    exams: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TunedRow:
    """The tuning of one row; ``scored_by`` is label_val or pseudo_val, ``winner`` a number."""

    variant: str
    data: str
    ways: int
    scored_by: str
    asked: int
    space: Mapping[str, Mapping[str, Json]]
    trials: tuple[Trial, ...]
    winner: int | None
    importances: Mapping[str, float] | None

    @property
    def place(self) -> tuple[str, str, int]:
        """What tells tuned rows apart, whatever their shots."""
        return self.variant, self.data, self.ways

    @property
    def seconds(self) -> float:
        """All trials together."""
        return sum(one.seconds for one in self.trials)

    @property
    def chance(self) -> float:
        """The score of guessing."""
        return 1 / self.ways

    @property
    def default(self) -> Trial | None:
        """The row as the suite has it: trial 0, if it is there."""
        return self._numbered(0)

    @property
    def best(self) -> Trial | None:
        """The trial whose parameters the row has now; None where none finished."""
        return None if self.winner is None else self._numbered(self.winner)

    @property
    def kept_default(self) -> bool:
        """Whether the best trial is the row as the suite has it, by number or by parameters."""
        best, default = self.best, self.default
        return best is not None and default is not None and best.params == default.params

    @property
    def drawn(self) -> tuple[Trial, ...]:
        """The trials but the default, which nobody drew."""
        return tuple(one for one in self.trials if one.number)

    def in_state(self, state: str) -> tuple[Trial, ...]:
        """Return the trials that ended so: finished, pruned or failed."""
        return tuple(one for one in self.trials if one.state == state)

    def scores(self, trials: Sequence[Trial]) -> list[float]:
        """Return their scores, chance for a trial that gave none."""
        return counted([one.score for one in trials], self.chance)

    def _numbered(self, number: int) -> Trial | None:
        return next((one for one in self.trials if one.number == number), None)


@dataclass(frozen=True, kw_only=True)
class Untuned:
    """A row that nothing was tuned of, and why; ``trained`` where it could have been."""

    variant: str
    data: str
    ways: int
    trained: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The whole record. ``fractions`` are the shares of the budget at which trials are pruned."""

    record: Mapping[str, Json]
    rows: tuple[TunedRow, ...]
    untuned: tuple[Untuned, ...]

    @property
    def sampler(self) -> str:
        """Which sampler drew the trials: tpe, random or grid."""
        return str(self.record["sampler"])

    @property
    def pruner(self) -> str:
        """Which pruner stopped trials early: none, halving or hyperband."""
        return str(self.record["pruner"])

    @property
    def asked(self) -> int:
        """How many trials each row was to get."""
        return int(self.record["trials"])

    @property
    def independent(self) -> bool:
        """Whether trials are independent draws, all trained to the end: what best of k takes."""
        return self.sampler == "random" and self.pruner == "none"

    @cached_property
    def by_place(self) -> Mapping[tuple[str, str, int], TunedRow]:
        """The tuned rows by variant, data and ways."""
        return {row.place: row for row in self.rows}

    def of(self, variant: str, data: str, ways: int) -> TunedRow | None:
        """Return the tuning of a row, None where it was not tuned."""
        return self.by_place.get((variant, data, ways))


def trials_of(plan: Plan) -> Trials | None:
    """Read what a plan records of tuning; None where nothing was tuned."""
    record = plan.settings.get("tuning")
    if not record or not record["rows"]:
        return None
    return Trials(
        record=record,
        rows=tuple(_row(one) for one in record["rows"]),
        untuned=tuple(
            Untuned(
                variant=one["variant"],
                data=one["data"],
                ways=int(one["ways"]),
                trained=bool(one["trained"]),
                why=one["why"],
            )
            for one in record["untuned"]
        ),
    )


def _row(value: Mapping[str, Json]) -> TunedRow:
    return TunedRow(
        variant=value["variant"],
        data=value["data"],
        ways=int(value["ways"]),
        scored_by=value["score"],
        asked=int(value["asked"]),
        space=value["space"],
        trials=tuple(_trial(one) for one in value["trials"]),
        winner=value["winner"],
        importances=value["importances"],
    )


def _trial(value: Mapping[str, Json]) -> Trial:
    score = value["score"]
    return Trial(
        number=int(value["number"]),
        params=value["params"],
        state=value["state"],
        score=None if score is None else float(score),
        seconds=float(value["seconds"]),
        reason=value["reason"],
        exams=tuple(value["exams"]),
    )
