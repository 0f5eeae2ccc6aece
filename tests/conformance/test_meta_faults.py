"""Faults at test time: each check fails on a meta-algorithm that has the fault it looks for."""

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.conformance import meta
from bench.conformance.subject import Check
from bench.contract import AbstractPlugin, Task, Tensors
from bench.meta.maml import Maml
from bench.meta.none import NoMeta


def yields(steps: Callable[[Tensors], Iterator[Tensors]]) -> dict[str, object]:
    """Return an adaptation that yields so, from the parameters it is given."""
    return {"adapt": lambda self, learner, params, x, y: steps(params)}


def scores_become(change: Callable[[Tensor, Task], Tensor]) -> dict[str, object]:
    """Return the predictions of prototypes, with a change."""
    return {"predict": lambda self, *given: change(NoMeta.predict(self, *given), given[2])}


def eager(params: Tensors) -> Iterator[Tensors]:
    """Take a step before the first."""
    yield {name: value * 0.9 for name, value in params.items()}


def in_place(params: Tensors) -> Iterator[Tensors]:
    """Take a step where the parameters are."""
    yield params
    for value in params.values():
        value.mul_(0.9)
    yield params


def head_alone(params: Tensors) -> Iterator[Tensors]:
    """Forget the encoder."""
    yield params
    yield {name: value for name, value in params.items() if name.startswith("head.")}


def exploding(params: Tensors) -> Iterator[Tensors]:
    """Divide by zero."""
    yield params
    yield {name: value / 0 for name, value in params.items()}


def peek(scores: Tensor, task: Task) -> Tensor:
    """Read the labels of the queries."""
    return scores + F.one_hot(task.query_y, task.ways)


def by_place(scores: Tensor, task: Task) -> Tensor:
    """Know that queries are sorted by label."""
    return scores + F.one_hot(torch.arange(len(scores)) % task.ways, task.ways)


def masked(self: Maml, *given: Any) -> Tensor:  # noqa: ANN401  # learner, params, task
    """Index by a mask."""
    assert len(given[2].support_x[given[2].support_y == 0])
    return Maml.predict(self, *given)


Fails = Callable[..., None]
FAULTS = [
    (meta.adaptation_starts_where_it_is_told, Maml, yields(eager), "is not the parameters"),
    (meta.adaptation_starts_where_it_is_told, NoMeta, yields(lambda p: iter(())), "yields nothing"),
    (meta.adaptation_is_pure, Maml, yields(in_place), "was given: encoder"),
    (meta.adaptation_is_pure, Maml, yields(head_alone), "without some that it was given"),
    (meta.adaptation_is_pure, Maml, yields(exploding), "that are not finite"),
    (
        meta.predictions_repeat,
        NoMeta,
        scores_become(lambda s, task: s + float(np.random.default_rng().random())),
        "differs between two runs",
    ),
    (
        meta.scores_have_their_shape,
        NoMeta,
        scores_become(lambda s, task: s.T),
        r"scores are \[3, 9\]",
    ),
    (
        meta.scores_have_their_shape,
        NoMeta,
        scores_become(lambda s, task: s / 0),
        "scores are not finite",
    ),
    (
        meta.every_kind_of_data_will_do,
        NoMeta,
        scores_become(lambda s, task: s + task.query_x.mean()),
        "fails on text data",
    ),
    (meta.query_labels_are_not_read, NoMeta, scores_become(peek), "reads the labels"),
    (meta.the_order_of_queries_says_nothing, NoMeta, scores_become(by_place), "on its place"),
    (
        meta.other_queries_are_ignored,
        NoMeta,
        scores_become(lambda s, task: s - s.mean(0)),
        "other queries are removed or altered",
    ),
    (
        meta.the_encoder_is_frozen_as_claimed,
        Maml,
        {"frozen_encoder": True},
        "lead to other predictions",
    ),
    (
        meta.the_encoder_is_frozen_as_claimed,
        NoMeta,
        scores_become(lambda s, task: s * task.query_x.mean()),
        "lead to other predictions",
    ),
    (
        meta.labels_are_only_names,
        NoMeta,
        scores_become(lambda s, task: s.index_fill(1, torch.tensor([0]), -1e9)),
        "after 0 steps its accuracy",
    ),
    (meta.tests_can_be_batched, Maml, {"predict": masked}, "fails under torch.func.vmap"),
]


@pytest.mark.parametrize(("check", "right", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, right: type[AbstractPlugin], fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, right, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _, _ in FAULTS} == checks_in(meta)
