"""What is tried next of a row, and what is pruned: the only file that knows Optuna.

Trials are asked for in generations and judged in order, each with a sampler of its own seed, so
that what is asked, and what is pruned, follows from the trials before and from nothing else.

Bergstra et al. (2011), "Algorithms for Hyper-Parameter Optimization"; Li et al. (2018), Hyperband,
arXiv:1603.06560; Li et al. (2020), asynchronous successive halving, arXiv:1810.05934.

results/tuning/<suite>.journal is an Optuna journal: a study a row, of trials that have ended.
"""

import itertools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import filelock
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from bench.cell import Json
from bench.errors import UserError
from bench.seeds import derive
from bench.space import OneOf, Space, Whole, points
from bench.store import cut_damage
from bench.suite import Tune

Journal = optuna.storages.BaseStorage
ETA = 3  # of the budget from rung to rung, and of the trials; arXiv:1603.06560, 3.6
RUNGS = 3  # where a pruner is asked
TPE: dict[str, Json] = {  # every argument that Optuna's versions differ in, and those that matter
    "n_startup_trials": 10,  # random, before TPE's first of its own
    "n_ei_candidates": 24,
    "multivariate": True,
    "group": False,
    "constant_liar": True,
}
MOST = ETA ** (RUNGS - 1)
HALVING: dict[str, Json] = dict(min_resource=1, reduction_factor=ETA, min_early_stopping_rate=0)
HYPERBAND: dict[str, Json] = dict(min_resource=1, max_resource=MOST, reduction_factor=ETA)
KEPT = ("scores", "reason", "inside", "seconds")  # of a trial, beside what Optuna knows of it
LEAST_FOR_IMPORTANCES = 4  # finished trials
State = Literal["finished", "pruned", "failed"]
STATES: Mapping[State, TrialState] = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial that has ended: ``scores`` of the rungs that it went through, ``reason`` if failed.

    ``inside``: within the space; only the first may not be. ``seconds``: of each stage, by key.
    """

    number: int
    params: Mapping[str, Json]
    inside: bool
    state: State
    scores: tuple[float, ...]
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


class Study:
    """The trials of one row. Optuna's journal keeps those that have ended, by their numbers."""

    def __init__(
        self,
        name: str,
        kept_as: str,
        space: Mapping[str, Space],
        default: Mapping[str, Json],
        tune: Tune,
        asked: int,
        journal: Journal,
        *,
        retry: bool,
    ) -> None:
        """Take over what an earlier run has come to, whole generations alone.

        Of ``name`` all draws are made, under ``kept_as`` the journal keeps what they came to.
        ``retry``: forget trials from the first that failed on; what follows may depend on it.
        """
        self._name, self._space, self._default, self._tune = name, space, default, tune
        self._kept_as, self._storage = kept_as, journal
        self._journal = _opened(kept_as, journal)
        self._distributions = {key: _distribution(one) for key, one in space.items()}
        pruner = _pruner(tune)
        self._study = optuna.create_study(study_name=name, direction="maximize", pruner=pruner)
        self.wanted = min(asked, 1 + len(self._grid)) if tune.sampler == "grid" else asked
        self.ended: list[Ended] = []
        if retry:
            self._forget_failures()
        known = self._journal.trials
        self._kept = len(known)
        for one in known[: self._whole(len(known))]:
            self._restore(one)

    @property
    def generation(self) -> range:
        """The numbers of the trials that may be asked for once all before have ended."""
        first = len(self.ended)
        size = self.wanted if self._tune.independent else self._tune.parallel
        return range(first, min(first + size, self.wanted))

    def ask(self, number: int) -> tuple[dict[str, Json], bool]:
        """Return the parameters of a trial, and whether they lie within the space."""
        inside = all(self._space[name].holds(value) for name, value in self._default.items())
        if number == 0 and not inside:
            self._study.add_trial(create_trial(state=TrialState.FAIL))  # it keeps the number
            return dict(self._default), False
        seed = derive("trial", self._name, self._tune.seed, number) % 2**32
        self._study.sampler = _sampler(self._tune, seed)
        if number == 0:
            self._study.enqueue_trial(dict(self._default))
        elif self._tune.sampler == "grid":
            self._study.enqueue_trial(dict(zip(self._space, self._grid[number - 1], strict=True)))
        asked = self._study.ask(self._distributions)
        assert asked.number == number
        return asked.params, True

    def is_pruned(self, number: int, scores: Sequence[float]) -> bool:
        """Take the score of a rung, and say whether the trial is to end.

        The first is not: nothing came before it.
        """
        known = self._known(number)
        if known.state.is_finished():
            return False  # the first, outside the space: the study knows nothing of it
        trial = optuna.Trial(self._study, known._trial_id)
        trial.report(scores[-1], ETA ** (len(scores) - 1))
        return trial.should_prune()

    def end(self, one: Ended) -> None:
        """Tell the study; keep the trial once all before it are kept.

        A failure is told as pruned before it showed anything: samplers shun its place.
        """
        if one.inside and one.state == "finished":
            self._study.tell(one.number, one.scores[-1])
        elif one.inside:
            self._study.tell(one.number, state=TrialState.PRUNED)
        self.ended = sorted([*self.ended, one], key=lambda each: each.number)
        for each in self.ended[self._kept :]:
            if each.number == self._kept:
                self._journal.add_trial(self._frozen(each))
                self._kept += 1

    def importances(self) -> dict[str, float] | None:
        """Return each parameter's share of the scores' variance, by fANOVA; None of too few."""
        finished = [one for one in self.ended if one.state == "finished" and one.inside]
        spread = len({one.scores[-1] for one in finished}) > 1
        if len(finished) < LEAST_FOR_IMPORTANCES or len(self._space) < 2 or not spread:
            return None
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            create_trial(
                value=one.scores[-1],
                params=dict(one.params),
                distributions=self._distributions,
            )
            for one in finished
        )
        seed = derive("importances", self._name) % 2**32
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)

    def _known(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _whole(self, count: int) -> int:
        """Return how many of so many trials belong to generations that have ended."""
        most = min(count, self.wanted)
        rest = 0 if self._tune.independent or most == self.wanted else most % self._tune.parallel
        return most - rest

    @cached_property
    def _grid(self) -> list[tuple[Json, ...]]:
        """Every point of the grid but the default, in an order that the seed decides."""
        values = [points(one, self._tune.points) for one in self._space.values()]
        default = tuple(self._default.values())
        found = [one for one in itertools.product(*values) if one != default]
        seed = self._tune.seed
        return sorted(found, key=lambda one: derive("grid", self._name, seed, json.dumps(one)))

    def _frozen(self, one: Ended) -> FrozenTrial:
        """Return a trial as the journal holds it."""
        known, state = self._known(one.number), STATES[one.state]
        return create_trial(
            state=state,
            value=one.scores[-1] if state is TrialState.COMPLETE else None,
            params=dict(one.params),
            distributions={
                name: _reaching(own, one.params[name]) for name, own in self._distributions.items()
            },
            user_attrs={name: getattr(one, name) for name in KEPT},
            system_attrs=known.system_attrs,
            intermediate_values=known.intermediate_values,
        )

    def _restore(self, one: FrozenTrial) -> None:
        """Take over a trial that the journal holds."""
        states = {theirs: own for own, theirs in STATES.items()}
        ended = Ended(
            number=one.number,
            params=one.params,
            inside=one.user_attrs["inside"],
            state=states[one.state],
            scores=tuple(one.user_attrs["scores"]),
            reason=one.user_attrs["reason"],
            seconds=one.user_attrs["seconds"],
        )
        self.ended.append(ended)
        if not ended.inside:
            one = create_trial(state=TrialState.FAIL)
        elif ended.state == "failed":
            one.state = TrialState.PRUNED
        self._study.add_trial(one)

    def _forget_failures(self) -> None:
        known = self._journal.trials
        kept = list(itertools.takewhile(lambda one: one.state is not TrialState.FAIL, known))
        if len(kept) < len(known):
            optuna.delete_study(study_name=self._kept_as, storage=self._storage)
            self._journal = _opened(self._kept_as, self._storage)
            self._journal.add_trials(kept)


@contextmanager
def journal(path: Path) -> Iterator[Journal]:
    """Open the journal of a suite's tuning, up to its first damaged line; own it meanwhile.

    Raises:
        UserError: another process owns it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        found = "another process tunes this suite"
        raise UserError(str(path), found, "Wait for its end, or name other --results.") from error
    try:
        cut_damage(path)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            own = _Owned()
            backend = JournalFileBackend(str(path), own)  # type: ignore[arg-type]  # base not public
            yield optuna.storages.JournalStorage(backend)
    finally:
        lock.release()


class _Owned:
    """No lock: the process owns the journal. Optuna's own would outlive one that is killed."""

    def acquire(self) -> bool:
        """Say that the journal may be written."""
        return True

    def release(self) -> None:
        """Do nothing."""


def _opened(name: str, storage: Journal) -> optuna.Study:
    return optuna.create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True
    )


def _distribution(space: Space) -> BaseDistribution:
    if isinstance(space, OneOf):
        return CategoricalDistribution(space.values)
    if isinstance(space, Whole):
        return IntDistribution(space.low, space.high, log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)


def _reaching(one: BaseDistribution, value: Json) -> BaseDistribution:
    """Return a distribution that reaches a default outside it, as the journal asks for."""
    if isinstance(one, CategoricalDistribution):
        return one if value in one.choices else CategoricalDistribution((*one.choices, value))
    assert isinstance(one, IntDistribution | FloatDistribution)
    kinds = [int] if isinstance(one, IntDistribution) else [int, float]
    if type(value) not in kinds:  # None, or 0.1 where whole numbers are tried
        return CategoricalDistribution((value,))
    low, high = min(one.low, value), max(one.high, value)
    return type(one)(low, high, log=one.log and low > 0)


def _sampler(tune: Tune, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one trial."""
    if tune.sampler != "tpe":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, **TPE)


def _pruner(tune: Tune) -> optuna.pruners.BasePruner:
    if tune.pruner == "none":
        return optuna.pruners.NopPruner()
    if tune.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(**HALVING)
    return optuna.pruners.HyperbandPruner(**HYPERBAND)


def arguments(tune: Tune) -> dict[str, Json]:
    """Return what Optuna was asked to do, and which Optuna."""
    sampler = {"tpe": TPE}.get(tune.sampler, {})
    pruner = {"halving": HALVING, "hyperband": HYPERBAND}.get(tune.pruner, {})
    return {
        "optuna": optuna.__version__,
        "sampler_arguments": dict(sampler),
        "pruner_arguments": dict(pruner),
    }
