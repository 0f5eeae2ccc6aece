"""An invented tuning: a plan whose rows were tuned, its default cells, and the record of trials."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.cell import Json
from bench.plan import Plan
from bench.store import Store
from tests.report.conftest import METHODS, Method

Make = Callable[..., Any]
SUFFIX = ", default"
FLOOR, PROTONET, MAML, SIMCLR = METHODS
BEFORE = (  # what two of the rows were before: one much worse, one the same but for noise
    replace(PROTONET, label=PROTONET.label + SUFFIX, mean=0.55, params={"meta.rate": 0.1}),
    replace(MAML, label=MAML.label + SUFFIX, mean=0.7395, params={"meta.order": 2}),
)
SPACES: Mapping[str, Mapping[str, Mapping[str, Json]]] = {
    PROTONET.label: {
        "meta.rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "meta.shots": {"low": 1, "high": 10, "log": False, "whole": True},
    },
    MAML.label: {"meta.order": {"values": [1, 2]}},
    SIMCLR.label: {"pretext.temperature": {"low": 0.1, "high": 1.1, "log": False}},
}

BEFORE_PARAMS: Mapping[str, Mapping[str, Json]] = {
    one.label.removesuffix(SUFFIX): one.params for one in BEFORE
}
AFTER_PARAMS: Mapping[str, Mapping[str, Json]] = {one.label: one.params for one in METHODS}


def trial(number: int, params: Mapping[str, Json], score: float | None, **more: Json) -> Json:
    """Return a trial as plans record it."""
    usual = {
        "number": number,
        "params": dict(params),
        "state": "failed" if score is None else "finished",
        "score": score,
        "rungs": [] if score is None else [[1.0, score]],
        "seconds": 10.0,
        "reason": "NaN in the loss" if score is None else "",
        "inside": True,
        "exams": [],
    }
    return usual | more


def row(variant: str, scores: Sequence[float | None], **more: Json) -> Json:
    """Return the tuning of a row: parameters drawn at random, the winner the best score."""
    space = SPACES[variant]
    rng = np.random.default_rng(len(variant))
    trials = [
        trial(number, {name: _drawn(one, rng) for name, one in space.items()}, score)
        for number, score in enumerate(scores)
    ]
    known = [score for score in scores if score is not None]
    winner = scores.index(max(known)) if known else None
    for number, params in ((0, BEFORE_PARAMS), (winner, AFTER_PARAMS)):
        if number is not None and variant in params:  # what the cells have
            trials[number]["params"] |= params[variant]
    usual = {
        "variant": variant,
        "data": "glyphs",
        "ways": 5,
        "labels": "train",
        "score": "label_val",
        "asked": len(scores),
        "space": {name: dict(one) for name, one in space.items()},
        "trials": trials,
        "winner": winner,
        "importances": {name: 1 / len(space) for name in space} if len(known) > 3 else None,
    }
    return usual | more


def _drawn(space: Mapping[str, Json], rng: np.random.Generator) -> Json:
    if "values" in space:
        return space["values"][int(rng.integers(len(space["values"])))]
    if space.get("whole"):
        return int(rng.integers(space["low"], space["high"] + 1))
    low, high = (np.log(space[end]) if space["log"] else space[end] for end in ("low", "high"))
    value = float(rng.uniform(low, high))
    return float(np.exp(value)) if space["log"] else value


ROWS = (
    row(PROTONET.label, [0.5, 0.62, None, 0.71, 0.66, 0.58]),
    row(MAML.label, [0.7, 0.69, 0.72, 0.5, 0.31, 0.6]),
    row(SIMCLR.label, [0.6, 0.55, 0.6, 0.2, 0.41, None], labels="none", score="pseudo_val"),
)


def record(rows: Sequence[Json] = ROWS, **more: Json) -> dict[str, Json]:
    """Return the record of a tuning by random search; keywords change what it says."""
    score = {"rule": "auto", "episodes": 100, "shots": [1, 5], "queries": 15, "test_steps": 5}
    usual: dict[str, Json] = {
        **{"revision": 1, "optuna": "5.0.0", "sampler": "random", "pruner": "none"},
        **{"trials": 6, "parallel": 1, "seed": 0, "seeds": [1000], "fractions": [1.0]},
        "score": score | {"cluster_size": 60},
        "rows": list(rows),
        "untuned": [
            {
                "variant": FLOOR.label,
                "data": "glyphs",
                "ways": 5,
                "trained": False,
                "why": "none of its plug-ins declares anything to tune",
            }
        ],
    }
    return usual | more


def tuned(
    make: Make,
    found: Mapping[str, Json] | None = None,
    before: Sequence[Method] = BEFORE,
    **changes: object,
) -> tuple[Plan, Store]:
    """Build a suite whose rows were tuned, with the defaults that ``before`` invents."""
    plan, store = make(methods=(*METHODS, *before), **changes).build()
    cells = tuple(
        replace(cell, default_of=cell.variant.removesuffix(SUFFIX))
        if cell.variant.endswith(SUFFIX)
        else cell
        for cell in plan.cells
    )
    settings = plan.settings | {"tuning": dict(record() if found is None else found)}
    return replace(plan, cells=cells, settings=settings), store
