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

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy import special  # not scipy.stats: it fails where torch cannot be imported
from torch import Tensor

from bench.cell import Json, Progress, StageSpec, Started
from bench.contract import Task
from bench.stages.audited_row import Row, row_of
from bench.stages.place import Clock, Diverged, Place, Result, peak_memory, precision
from bench.stages.streams import generator

TRANSDUCED = 4  # episodes on which transduction is measured: one would show it
TOLERANCE = 1e-6  # of the scores' spread: rounding came to 1e-14 over our methods (iterative ones
# see the same support each time), batch statistics of the queries to 1e-2 at least
LEAST_SPREAD = 1e-6  # of the largest score: what spreads by less has no spread but rounding's
LEVEL = 0.99  # of the interval of naming; most methods are at 1 / N exactly, see above
LEAST_REACH = 0.02  # of that interval on either side: episodes may agree by chance


def audit_row(spec: StageSpec, place: Place) -> Result:
    """Run one ``audit`` stage on a row: ``transduction`` and ``naming`` among its facts.

    Numbers that are predicted have no names: the latter is then left out.

    Raises:
        Diverged: a score is not finite.
    """
    protocol = spec.inputs.get("protocol")
    named = protocol != "control"
    total, clock = TRANSDUCED + (spec.inputs["episodes"] if named else 0), Clock()
    place.emit(Started(key=spec.key, step=0, total=total))

    def tell(step: int, values: dict[str, float]) -> None:
        place.emit(Progress(key=spec.key, step=step, total=total, values=values))

    with torch.no_grad():
        model, row = row_of(spec, place)
        with precision(torch.float64):
            transduction = _transduction(row, lambda done: tell(done, {}))
            facts: dict[str, Json] = {"transduction": transduction}
            if named:
                facts["naming"] = _naming(
                    row, lambda done, mean: tell(TRANSDUCED + done, {"naming": mean})
                )
    found = [transduction[name] for name in ("permuted", "removed", "altered")]
    return Result(
        metrics={"transduction": max(found)}
        | ({"naming_accuracy": facts["naming"]["accuracy"]} if named else {}),
        curve={"steps": []},
        cost={
            "seconds": clock.seconds(),
            "examples": row.tested.passed,
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": model.num_parameters,
        },
        files={},
        facts=facts,
    )


# --- transduction ------------------------------------------------------------------------------


def _transduction(row: Row, tell: Callable[[int], None]) -> dict[str, Json]:
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


def _variants(row: Row, task: Task, episode: int) -> tuple[Tensor, ...]:
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


def _naming(row: Row, tell: Callable[[int, float], None]) -> dict[str, Json]:
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


def _shuffled(row: Row, task: Task, episode: int) -> float:
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
