"""Metrics of a stream against Avalanche's own metric classes, on the same accuracy matrices.

Avalanche's plug-in metrics are driven as its training loop drives them: a training on group t,
then an evaluation over the whole stream, in which each group's queries are answered. Answers are
such that their share of right ones is the entry of the matrix.
"""

import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench.statistics.continual import (
    average_accuracy,
    backward_transfer,
    forgetting,
    learning_accuracy,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a solver of another of its algorithms is not installed
    from avalanche.evaluation import metrics

QUERIES = 40
SLACK = 1e-12  # absolute: sums are taken in another order
SHAPES = [(groups, seed) for groups in (1, 2, 3, 5, 10) for seed in range(4)]


def drawn(groups: int, seed: int) -> np.ndarray:
    """Return right answers [T, T] of ``QUERIES``, groups that have not come yet included."""
    return np.random.default_rng(seed).integers(0, QUERIES + 1, (groups, groups))


def along_the_stream(right_TT: np.ndarray, plugin: object) -> Iterator[float]:
    """Drive one plug-in metric as Avalanche's loop does, and yield what it says after each group.

    An evaluation meets the groups in their order, those that have not come yet too.
    """
    for trained, right_T in enumerate(right_TT):
        _call(plugin, "before_training_exp", trained)
        _call(plugin, "before_eval", trained)
        for met, right in enumerate(right_T):
            _call(plugin, "before_eval_exp", met)
            for answers in _batches(int(right)):
                _call(plugin, "after_eval_iteration", met, answers)
            _call(plugin, "after_eval_exp", met)
        yield _call(plugin, "after_eval", len(right_T) - 1)[0].value


def _call(plugin: object, hook: str, group: int, right: torch.Tensor | None = None) -> Any:  # noqa: ANN401  # a metric's values, or none
    """Call a hook with what metrics read of a training."""
    experience = SimpleNamespace(
        current_experience=group, task_labels=[0], origin_stream=SimpleNamespace(name="test")
    )
    at = SimpleNamespace(
        experience=experience, is_eval=True, clock=SimpleNamespace(train_iterations=0)
    )
    if right is not None:
        at.mb_y = torch.ones(len(right), dtype=torch.long)
        at.mb_output = torch.nn.functional.one_hot(right.long(), 3).double()
    return getattr(plugin, hook)(at)


def _batches(right: int) -> Iterator[torch.Tensor]:
    """Yield, in batches of unequal size, which of a group's queries are answered rightly."""
    yield from torch.split(torch.arange(QUERIES) < right, 16)


@pytest.mark.parametrize(("groups", "seed"), SHAPES)
@pytest.mark.parametrize(
    ("theirs", "ours"), [("StreamForgetting", forgetting), ("StreamBWT", backward_transfer)]
)
def test_streams_are_as_avalanches(
    groups: int, seed: int, theirs: str, ours: Callable[[np.ndarray], np.ndarray]
) -> None:
    """After every group of a stream, forgetting and backward transfer are Avalanche's."""
    right_TT = drawn(groups, seed)
    M = right_TT / QUERIES

    expected = list(along_the_stream(right_TT, getattr(metrics, theirs)()))

    actual = [float(ours(M[:t, :t])) for t in range(1, groups + 1)]
    assert actual == pytest.approx(expected, rel=0, abs=SLACK)


@pytest.mark.parametrize(("groups", "seed"), SHAPES)
def test_single_groups_are_as_avalanches(groups: int, seed: int) -> None:
    """The mean over its standalone Forgetting and BWT, by group and fed by hand, is ours."""
    M = drawn(groups, seed) / QUERIES
    for theirs, ours in ((metrics.Forgetting(), forgetting), (metrics.BWT(), backward_transfer)):
        for t in range(groups):
            theirs.reset_last()
            for j in range(t + 1):
                theirs.update(j, M[t, j], initial=t == j)
        found = theirs.result()
        assert sorted(found) == list(range(groups - 1))
        expected = np.mean(list(found.values())) if found else 0.0
        assert float(ours(M)) == pytest.approx(expected, rel=0, abs=SLACK)


@pytest.mark.parametrize(("groups", "seed"), SHAPES)
def test_accuracies_are_as_avalanches(groups: int, seed: int) -> None:
    """Its StreamAccuracy over the groups met, which are of one size, is the average accuracy."""
    right_TT = drawn(groups, seed)
    M = right_TT / QUERIES
    for t in range(1, groups + 1):
        *_, expected = along_the_stream(right_TT[:t, :t], metrics.StreamAccuracy())
        assert float(average_accuracy(M)[t - 1]) == pytest.approx(expected, rel=0, abs=SLACK)


def test_learning_is_as_avalanches() -> None:
    """The mean over its Accuracy of each group, just after it was learned, is ours."""
    right_TT = drawn(6, 0)
    found = []
    for right in right_TT.diagonal():
        accuracy = metrics.Accuracy()
        for answers in _batches(int(right)):
            accuracy.update(answers.long(), torch.ones(len(answers), dtype=torch.long))
        found.append(accuracy.result())
    assert float(learning_accuracy(right_TT / QUERIES)) == pytest.approx(
        np.mean(found), rel=0, abs=SLACK
    )
