"""Ask a tested row whether a prediction depends on other queries, and whether it follows labels.

Both go through what the row's test goes through (whole examples or features made beforehand, a loop
or vmap), on the first episodes of its bank and at the last read-out, in float64: batching alone
changes the last bits of a score, which are 1e-7 of it in float32 and 1e-16 here.

**Transduction.** A task is adapted to once, and its queries are scored among all, in another
order, with others removed, and among others that are altered (an example, as its modality says; a
feature x that was made beforehand becomes 1 - x). Support and parameters are
the same each time, so what differs is the doing of the other queries.

**Naming.** The support of a shuffled episode calls y the class that the queries call (y + c) mod N,
and support and queries lie in the order of the queries' names, as in every task. Predictions that
follow the names of the support, and know nothing else, are then the same for each shift c, so
that a query is right under exactly one of the N shifts: 1 / N as their mean. That holds to the last
query for a trained head as well, whatever it makes of names. What knows the names of the queries
from their order, from that of the support, or from ``task.query_y`` scores above. A method to
which the order of the support matters, as to minibatches, comes near to 1 / N.

Shapes: E episodes, Q queries, N ways.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from scipy import special  # not scipy.stats: it fails where torch cannot be imported
from torch import Tensor

from bench.catalogue import rebuild
from bench.cell import Json, Progress, StageSpec, Started
from bench.contract import AbstractMeta, Task, Tensors
from bench.dataset import Part
from bench.episodes import Bank
from bench.stages.continual import Scholar
from bench.stages.course import Course
from bench.stages.evaluate import Examiner, bank_of, tested_model
from bench.stages.few_steps import Pupil, fresh_head, new_tasks
from bench.stages.model import Model, doubled
from bench.stages.place import Clock, Diverged, Place, Result, peak_memory, precision
from bench.stages.source import modality_of, read_part
from bench.stages.streams import generator, seed_default

TRANSDUCED = 4  # episodes on which transduction is measured: one would show it
TOLERANCE = 1e-6  # of the scores' spread: rounding came to 1e-14 over our methods (iterative ones
# see the same support each time), batch statistics of the queries to 1e-2 at least
LEAST_SPREAD = 1e-6  # of the largest score: what spreads by less has no spread but rounding's
LEVEL = 0.99  # of the interval of naming; most methods are at 1 / N exactly, see above
LEAST_REACH = 0.02  # of that interval on either side: episodes may agree by chance


class Tested(Protocol):
    """A row as its test has it: ``Examiner``, a ``Pupil`` or a ``Scholar``."""

    at_once: int

    @property
    def passed(self) -> int:
        """Examples passed forward so far."""

    def over(
        self, function: Callable[[Task], tuple[Tensor, ...]], tasks: Sequence[Task]
    ) -> tuple[Tensor, ...]:
        """Apply a function of one task to several."""

    def scores(self, params: Tensors, task: Task) -> Tensor:
        """Return scores [Q, N] under adapted parameters."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row, the tasks it is asked about, and how it adapts to one."""

    spec: StageSpec
    tested: Tested
    adapted: Callable[[Task], Iterator[Tensors]]  # at each read-out
    altered: Callable[[Tensor], Tensor]  # other examples in the place of some
    tasks: Sequence[Task]

    def last(self, task: Task) -> Tensors:
        """Return what the support has made of the parameters at the last read-out."""
        *_, params = self.adapted(task)
        return params

    def seed(self, *coordinates: str | int) -> None:
        """Seed torch's default generator, from which a method may draw."""
        seed_default("audit", self.spec.inputs["seed"], *coordinates)


def audit_row(spec: StageSpec, place: Place) -> Result:
    """Run one ``audit`` stage on a row: ``transduction`` and ``naming`` among its facts.

    Raises:
        Diverged: a score is not finite.
    """
    total, clock = TRANSDUCED + spec.inputs["episodes"], Clock()
    place.emit(Started(key=spec.key, step=0, total=total))

    def tell(step: int, values: dict[str, float]) -> None:
        place.emit(Progress(key=spec.key, step=step, total=total, values=values))

    row_of = {None: _examiner, "few_steps": _pupil, "continual": _scholar}
    with torch.no_grad():
        model, row = row_of[spec.inputs.get("protocol")](spec, place)
        with precision(torch.float64):
            transduction = _transduction(row, lambda done: tell(done, {}))
            naming = _naming(row, lambda done, mean: tell(TRANSDUCED + done, {"naming": mean}))
    found = [transduction[name] for name in ("permuted", "removed", "altered")]
    return Result(
        metrics={"transduction": max(found), "naming_accuracy": naming["accuracy"]},
        curve={"steps": []},
        cost={
            "seconds": clock.seconds(),
            "examples": row.tested.passed,
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": model.num_parameters,
        },
        files={},
        facts={"transduction": transduction, "naming": naming},
    )


# --- the row, in float64 -----------------------------------------------------------------------


def _examiner(spec: StageSpec, place: Place) -> tuple[Model, _Row]:
    """Return a row that is tested on classes, with the weights of its test."""
    meta = rebuild("meta", spec.inputs["meta"])
    assert isinstance(meta, AbstractMeta)
    part = read_part(spec.inputs["data"])
    model = tested_model(spec, place, meta, part)  # in float32: fresh weights are drawn in it
    with precision(torch.float64):
        used = _used(part, bank_of(spec, part))
        examiner = Examiner(spec, place, meta, model.doubled, *used)
        tasks = [examiner.task(episode) for episode in range(spec.inputs["episodes"])]
    return model, _Row(
        spec=spec,
        tested=examiner,
        adapted=examiner.adapted,
        altered=examiner.altered,
        tasks=tasks,
    )


def _used(part: Part, bank: Bank) -> tuple[Part, Bank]:
    """Leave out the examples that no episode shows, so that none is embedded in vain."""
    shown = np.unique(np.concatenate([bank.support_ENK.ravel(), bank.query_ENQ.ravel()]))
    labels, counts = part.labels[shown], np.bincount(part.labels[shown], minlength=len(part.counts))
    return (
        replace(part, examples=part.examples[shown], labels=labels, counts=tuple(counts.tolist())),
        replace(
            bank,
            support_ENK=np.searchsorted(shown, bank.support_ENK),
            query_ENQ=np.searchsorted(shown, bank.query_ENQ),
        ),
    )


def _pupil(spec: StageSpec, place: Place) -> tuple[Model, _Row]:
    """Return a row that is tested on a held-out task; at the smallest rate, as none is chosen."""
    inputs = spec.inputs
    part = read_part(inputs["data"])
    model = fresh_head(inputs, place, part)
    pupil, rate = Pupil(spec, place, model.doubled), min(inputs["rates"])
    split, episodes = inputs["data"]["split"], inputs["episodes"]
    _, task_of = new_tasks(inputs, place, inputs["member"], split, episodes)
    shown = [task_of(episode) for episode in range(episodes)]  # in float32, as in the test
    tasks = [
        replace(one, support_x=doubled(one.support_x), query_x=doubled(one.query_x))
        for one in shown
    ]
    modality = modality_of(part.form)
    return model, _Row(
        spec=spec,
        tested=pupil,
        adapted=lambda task: pupil.adapted(task, rate),
        altered=lambda x: modality.altered(x, part.form),
        tasks=tasks,
    )


def _scholar(spec: StageSpec, place: Place) -> tuple[Model, _Row]:
    """Return a row that is tested along streams: the first group of each, at the smallest rate."""
    inputs = spec.inputs
    form = read_part(inputs["data"]).form
    scholar = Scholar(inputs, place, form).doubled
    episodes, modality = inputs["episodes"], modality_of(form)
    courses = scholar.courses(inputs["data"], episodes)
    return scholar.model, _Row(
        spec=spec,
        tested=scholar,
        adapted=scholar.adapted,
        altered=lambda x: 1 - x if scholar.still else modality.altered(x, form),
        tasks=[_first_group(courses(episode), inputs["ways"]) for episode in range(episodes)],
    )


def _first_group(course: Course, ways: int) -> Task:
    """Return the first group of a stream as a task, in float64; its classes are 0 to ways - 1."""
    return Task(
        support_x=doubled(course.support_x[0]),
        support_y=course.support_y[0],
        query_x=doubled(course.query_x[0]),
        query_y=course.query_y[0],
        ways=ways,
    )


# --- transduction ------------------------------------------------------------------------------


def _transduction(row: _Row, tell: Callable[[int], None]) -> dict[str, Json]:
    """Return by how much scores change with the other queries, in units of their spread."""
    among, changes = [], []
    for episode, task in enumerate(row.tasks[:TRANSDUCED]):
        scores_QN, *found = _variants(row, task, episode)
        if not all(one.isfinite().all() for one in (scores_QN, *found)):
            raise Diverged(f"a prediction of test episode {episode}, or of a part of it")
        among.append(scores_QN)
        changes.append([float(one.abs().max()) for one in found])
        tell(episode + 1)
    scores = torch.cat(among)
    spread = max(float(scores.std()), LEAST_SPREAD * float(scores.abs().max())) or 1.0
    permuted, removed, altered = (max(one) / spread for one in zip(*changes, strict=True))
    return {
        "episodes": len(among),
        "permuted": permuted,
        "removed": removed,
        "altered": altered,
        "tolerance": TOLERANCE,
        "dependent": max(permuted, removed, altered) > TOLERANCE,
    }


def _variants(row: _Row, task: Task, episode: int) -> tuple[Tensor, ...]:
    """Return the scores [Q, N] of a task, and what permuting, removing, altering adds to them."""
    count = len(task.query_y)
    rng = generator(torch.device("cpu"), "audit", "order of queries", episode, count)
    order = torch.randperm(count, generator=rng).to(task.query_y.device)
    left = min(task.ways, max(1, count // 2))  # the first query of each class, where some remain

    def one(task: Task) -> tuple[Tensor, ...]:
        params = row.last(task)

        def scores(query_x: Tensor, query_y: Tensor) -> Tensor:
            row.seed("predict", episode)
            return row.tested.scores(params, replace(task, query_x=query_x, query_y=query_y))

        x, y = task.query_x, task.query_y
        among = scores(x, y)
        permuted = scores(x[order], y[order]) - among[order]
        removed = scores(x[:left], y[:left]) - among[:left]
        altered = scores(torch.cat([x[:1], row.altered(x[1:])]), y)[:1] - among[:1]
        return among, permuted, removed, altered

    row.seed("adapt", episode)
    return tuple(found.squeeze(0) for found in row.tested.over(one, [task]))


# --- naming ------------------------------------------------------------------------------------


def _naming(row: _Row, tell: Callable[[int, float], None]) -> dict[str, Json]:
    """Return the accuracy of shuffled episodes, with its interval over episodes."""
    accuracies: list[float] = []
    for episode, task in enumerate(row.tasks):
        accuracies.append(_shuffled(row, task, episode))
        tell(episode + 1, float(np.mean(accuracies)))
    ways = row.tasks[0].ways
    low, high = _interval(np.array(accuracies))
    return {
        "episodes": len(accuracies),
        "namings": ways,
        "accuracy": float(np.mean(accuracies)),
        "low": low,
        "high": high,
        "chance": 1 / ways,
        "passed": low <= 1 / ways <= high,
    }


def _shuffled(row: _Row, task: Task, episode: int) -> float:
    """Return the mean accuracy of a task over the shifts of the queries' names."""
    shifted = [_shift(task, shift) for shift in range(task.ways)]
    size = row.tested.at_once
    scores: list[Tensor] = []
    for first in range(0, len(shifted), size):
        row.seed("naming", episode)
        scores += row.tested.over(
            lambda one: (row.tested.scores(row.last(one), one),), shifted[first : first + size]
        )
    scores_RQN = torch.cat(scores)
    if not scores_RQN.isfinite().all():
        raise Diverged(f"a prediction of test episode {episode}, its classes renamed")
    return float((scores_RQN.argmax(2) == task.query_y).double().mean())


def _shift(task: Task, shift: int) -> Task:
    """Call class y of the queries (y + shift) mod N, and put all classes in that order.

    A task's examples lie in rounds of one for each class, in the order of the queries' names.
    """

    def order(count: int) -> Tensor:
        place = torch.arange(count, device=task.query_y.device).view(-1, task.ways)
        return place.roll(shift, dims=1).flatten()

    support, queries = order(len(task.support_y)), order(len(task.query_y))
    return replace(
        task,
        support_x=task.support_x[support],
        support_y=task.support_y[support],
        query_x=task.query_x[queries],
    )


def _interval(accuracy_E: np.ndarray) -> tuple[float, float]:
    """Return mean -+ max(t(E - 1) sd / sqrt(E), the least reach), at 99 %."""
    mean, size = float(accuracy_E.mean()), len(accuracy_E)
    factor = float(special.stdtrit(size - 1, (1 + LEVEL) / 2))
    reach = max(factor * float(accuracy_E.std(ddof=1)) / size**0.5, LEAST_REACH)
    return mean - reach, mean + reach
