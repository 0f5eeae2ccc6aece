"""Tunes the rows of a suite, all with as many trials: trials as stages, rows side by side.

A trial is the row with other parameters, trained with seeds of tuning's own and tested on the
validation split alone. The first trial is the row as it stands. With a pruner a trial trains a
part of the budget first, as a training of its own, then more, then all.

results/tuning/<suite>.json: a tuning as plans and reports hold it, and the plan of its trials.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean

from bench.cell import Json, StageSpec
from bench.errors import UserError
from bench.execute.protocol import AbstractExecutor
from bench.plan import Plan
from bench.run import Listener, Tally, Walk
from bench.rungs import Rung, kept_as, rung_of, stages_of
from bench.sizes import refuse_impossible
from bench.space import described
from bench.store import Store, write_atomic
from bench.suite import Suite
from bench.tune import ETA, RUNGS, Ended, Journal, State, Study, arguments, journal
from bench.tuned import params_of, record_of, record_path, spaces, study_of, with_params
from bench.variant import Variant

SPLITS = {"train", "val"}  # all that a trial is made of


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a tuning ended. ``record`` is None where it was interrupted."""

    record: Json
    tally: Tally
    plan: Plan


def tune(
    suite: Suite,
    variants: Sequence[Variant],
    store: Store,
    executor: AbstractExecutor,
    listeners: Sequence[Listener],
    *,
    retry: bool = False,
) -> Tuning:
    """Run the trials that rows lack; keep and return what they came to.

    Raises:
        UserError: another process tunes this suite with this results folder.
    """
    assert suite.tune is not None
    kept = record_path(suite.name, store.root.parent)
    with journal(kept.with_suffix(".journal")) as studies:
        tuned = [one for one in variants if spaces(one, suite.tune)]
        rows = _rows(tuned, suite, store, studies, retry=retry)
        driver = _Driver(suite, Walk(store, executor, listeners, retry=retry), listeners)
        driver.drive(list({id(row): row for row in rows}.values()))
        tally = driver.walk.tally
        if tally.interrupted:
            return Tuning(record=None, tally=tally, plan=driver.plan)
        shares = [row.fractions for row in rows]
        found = [row.to_json(one) for row, one in zip(rows, tuned, strict=True)]
        record = record_of(suite, variants, found, shares) | arguments(suite.tune)
        write_atomic(kept, json.dumps(record, indent=1).encode())
    return Tuning(record=record, tally=tally, plan=driver.plan)


def _rows(
    tuned: Sequence[Variant], suite: Suite, store: Store, studies: Journal, *, retry: bool
) -> list["_Row"]:
    """Return what tunes each row: one for those that are trained, and so tried, alike.

    Such differ in the set that they are tested on, which no trial sees.
    """
    assert suite.tune is not None
    found: dict[tuple[str, int], _Row] = {}
    rows = []
    for one in tuned:
        place = (kept_as(one, suite), one.trials or suite.tune.trials)
        if place not in found:
            found[place] = _Row(one, suite, store, studies, retry=retry)
        rows.append(found[place])
    return rows


@dataclass(kw_only=True)
class _Trial:
    """A trial that runs, and the stages of the rung that it is at; ``reason``: why it cannot."""

    number: int
    params: Mapping[str, Json]
    inside: bool
    reason: str = ""
    scores: list[float] = field(default_factory=list)  # of the rungs that it went through
    rung: Rung = field(default_factory=Rung)
    started: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """Its rung, then its number: the order in which trials start and are judged."""
        return len(self.scores), self.number


class _Driver:
    """Lets rows ask, and their trials run, until none asks for more."""

    def __init__(self, suite: Suite, walk: Walk, listeners: Sequence[Listener]) -> None:
        self.walk, self._listeners = walk, listeners
        self.plan = Plan(name=f"{suite.name}-tuning", cells=(), stages={})

    def drive(self, rows: Sequence["_Row"]) -> None:
        """Run everything; an interruption is told in the tally."""
        self._grow([rung for row in rows for rung in row.ended()])
        for listener in self._listeners:
            listener.begin(self.plan, ())
        with self.walk:
            while True:
                waiting = [trial for row in rows for trial in row.advance(self.walk)]
                if waiting:  # breadth-first: the first trial of every row before the next of any
                    self._start(sorted(waiting, key=lambda trial: trial.place))
                elif self.walk.busy:
                    self.walk.step()
                else:
                    return

    def _start(self, trials: Sequence[_Trial]) -> None:
        """Plan the stages of trials, and take them on."""
        stages = stages_of(trial.rung for trial in trials)
        seen = {spec.inputs["data"]["split"] for spec in stages.values()}
        assert seen <= SPLITS, "no trial may see the test split"
        for trial in trials:
            trial.started = True
        self._grow([trial.rung for trial in trials])
        pending = self.walk.add(stages)
        for listener in self._listeners:
            listener.grow(self.plan, pending)

    def _grow(self, rungs: Sequence[Rung]) -> None:
        cells = (*self.plan.cells, *(cell for rung in rungs for cell in rung.cells))
        stages = {**self.plan.stages, **stages_of(rungs)}
        self.plan = replace(self.plan, cells=cells, stages=stages)


class _Row:
    """A row: its study, the trials that run, and what they are made of."""

    def __init__(
        self,
        variant: Variant,
        suite: Suite,
        store: Store,
        studies: Journal,
        *,
        retry: bool,
    ) -> None:
        assert suite.tune is not None
        self._variant, self._suite, self._tune, self._store = variant, suite, suite.tune, store
        self._space = spaces(variant, suite.tune)
        self._id, name = kept_as(variant, suite), _named(variant)
        self._asked = variant.trials or suite.tune.trials
        self._active: list[_Trial] = []
        self._study = Study(
            f"{name} {study_of(variant, suite)}",
            f"{name} {self._id}",
            self._space,
            params_of(variant, list(self._space)),
            suite.tune,
            self._asked,
            studies,
            retry=retry,
        )

    @cached_property
    def fractions(self) -> tuple[float, ...]:
        """The shares of the budget at the rungs; one where nothing is pruned, or trained."""
        if self._tune.pruner == "none" or not self._variant.phases:
            return (1.0,)
        return tuple(1 / ETA ** (RUNGS - 1 - rung) for rung in range(RUNGS))

    def advance(self, walk: Walk) -> list[_Trial]:
        """Judge what has ended, in order; return the trials whose next stages are to start."""
        while True:
            if not self._active:
                self._active = [self._ask(number) for number in self._study.generation]
            if not self._active:
                return []
            first = min(self._active, key=lambda trial: trial.place)
            if not first.reason and not (first.started and all(map(walk.ended, first.rung.stages))):
                return [one for one in self._active if not one.started and not one.reason]
            self._judge(first, walk.tally)

    def _ask(self, number: int) -> _Trial:
        params, inside = self._study.ask(number)
        return self._prepared(_Trial(number=number, params=params, inside=inside))

    def _prepared(self, trial: _Trial) -> _Trial:
        """Plan the next rung of a trial; one that the data or a plug-in refuses cannot run."""
        try:
            trial.rung, trial.started = self._planned(trial, len(trial.scores)), False
        except UserError as error:
            trial.reason = str(error)
        return trial

    def _planned(self, trial: _Trial | Ended, rung: int) -> Rung:
        """Return what a trial runs at a rung.

        Raises:
            UserError: the data or a plug-in refuses its parameters.
        """
        share = self.fractions[rung]
        own = with_params(self._variant, trial.params)
        own = replace(own, budget=replace(own.budget, scale=own.budget.scale * share))
        refuse_impossible(own, self._suite)
        part = "" if share == 1 else f" at 1/{round(1 / share)}"
        return rung_of(own, self._suite, f"{trial.number}{part}")

    def _judge(self, trial: _Trial, tally: Tally) -> None:
        """Take the score of a rung; end the trial, or prepare its next rung."""
        broken = [tally.failed[key] for key in trial.rung.stages if key in tally.failed]
        if trial.reason or broken:
            self._end(trial, "failed", trial.reason or broken[0])
            return
        manifests = [self._store.manifest("evaluate", key) for key in trial.rung.exams]
        trial.scores.append(fmean(one["metrics"]["accuracy"] for one in manifests))
        pruned = len(self.fractions) > 1 and self._study.is_pruned(trial.number, trial.scores)
        if len(trial.scores) == len(self.fractions):
            self._end(trial, "finished")
        elif pruned:
            self._end(trial, "pruned")
        else:
            self._prepared(trial)

    def _end(self, trial: _Trial, state: State, reason: str = "") -> None:
        self._active.remove(trial)
        ended = Ended(
            number=trial.number,
            params=trial.params,
            inside=trial.inside,
            state=state,
            scores=tuple(trial.scores),
            reason=reason,
        )
        seconds = self._seconds(stages_of(self._rungs_of(ended)))
        self._study.end(replace(ended, seconds=seconds))

    def to_json(self, variant: Variant) -> dict[str, Json]:
        """Return what a record holds of a row that is tuned by this."""
        finished = [one for one in self._study.ended if one.state == "finished"]
        best = max(finished, key=lambda one: (one.scores[-1], -one.number), default=None)
        return {
            "variant": variant.label,
            "data": variant.data,
            "ways": variant.ways,
            "labels": variant.labels,
            "score": variant.tuned_on,
            "asked": self._asked,
            "study": self._id,
            "space": {name: described(one) for name, one in self._space.items()},
            "trials": list(self._trials()),
            "winner": best.number if best else None,
            "importances": self._study.importances(),
        }

    def _trials(self) -> Iterator[dict[str, Json]]:
        counted: set[str] = set()
        for one in self._study.ended:
            rungs = list(self._rungs_of(one))
            new = [seconds for key, seconds in one.seconds.items() if key not in counted]
            counted.update(one.seconds)
            yield {
                "number": one.number,
                "params": dict(one.params),
                "state": one.state,
                "score": one.scores[-1] if one.state == "finished" else None,
                "rungs": [list(pair) for pair in zip(self.fractions, one.scores, strict=False)],
                "seconds": sum(new, 0.0),
                "reason": one.reason,
                "inside": one.inside,
                "exams": list(rungs[-1].exams) if rungs and one.state != "failed" else [],
            }

    def ended(self) -> list[Rung]:
        """Return all that the trials ran that have ended."""
        return [rung for one in self._study.ended for rung in self._rungs_of(one)]

    def _rungs_of(self, trial: Ended) -> Iterator[Rung]:
        """Yield what a trial ran; of one that failed, also the rung where it did."""
        for rung in range(len(trial.scores) + (trial.state == "failed")):
            try:
                yield self._planned(trial, rung)
            except UserError:  # it failed for this, and ran nothing
                return

    def _seconds(self, stages: Mapping[str, StageSpec]) -> dict[str, float]:
        """Return what each of some stages took, the attempts that failed included."""
        failed = {
            key: sum(float(one.get("seconds", 0.0)) for one in self._store.failures(key))
            for key in stages
        }
        done = {
            key: float(self._store.manifest(one.kind, key)["cost"]["seconds"])
            for key, one in stages.items()
            if self._store.has(one.kind, key)
        }
        return {
            key: done.get(key, 0.0) + failed[key] for key in stages if key in done or failed[key]
        }


def _named(variant: Variant) -> str:
    return f"{variant.label} ({variant.names['data']}, {variant.ways}-way)"
