"""Faults of task sources: each check fails on a source that has the fault it looks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest
import torch
from pydantic import PositiveInt
from torch import Generator

from bench.conformance import tasks
from bench.conformance.subject import Check
from bench.contract import AbstractSource, PretextOrNone, Task, TaskShape
from bench.groups import draw_from
from bench.tasks.clusters import Clusters
from bench.tasks.labels import Labels


def task_becomes(change: Callable[[Task], Task]) -> dict[str, object]:
    """Return labelled tasks with a change."""
    return {"sample": lambda self, *given: change(Labels.sample(self, *given))}


def sort_classes(task: Task) -> Task:
    """Number the classes in their order."""
    order = task.support_x[: task.ways].flatten(1)[:, 0].argsort()
    support, query = (
        (torch.arange(len(x) // task.ways)[:, None] * task.ways + order).flatten()
        for x in (task.support_x, task.query_x)
    )
    return replace(task, support_x=task.support_x[support], query_x=task.query_x[query])


def stuck(self: Labels, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
    """Draw one task every time."""
    return Labels.sample(self, source, shape, Generator().manual_seed(0))


def numpys(self: Labels, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
    """Draw from numpy's global generator."""
    seed = np.random.randint(1000)  # noqa: NPY002  # the fault
    return Labels.sample(self, source, shape, rng.manual_seed(seed))


def erase(self: Labels, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
    """Erase an example of the source."""
    source._x[5] = 0  # type: ignore[attr-defined]  # the engine's source has it
    return Labels.sample(self, source, shape, rng)


Fails = Callable[..., None]
FAULTS = [
    (
        tasks.tasks_have_the_asked_shape,
        task_becomes(lambda t: replace(t, support_x=t.support_x[1:])),
        "support_x is",
    ),
    (
        tasks.tasks_have_the_asked_shape,
        task_becomes(lambda t: replace(t, query_x=t.query_x * 255)),
        "query_x holds no image data",
    ),
    (tasks.tasks_have_the_asked_shape, task_becomes(lambda t: replace(t, ways=3)), "ways is 3"),
    (tasks.tasks_have_the_asked_shape, {"uses_labels": False}, "says that it uses no labels"),
    (
        tasks.labels_are_in_order,
        task_becomes(lambda t: replace(t, support_y=t.support_y.sort().values)),
        "support_y is",
    ),
    (tasks.tasks_follow_from_the_generator, {"sample": stuck}, "one and the same task"),
    (tasks.tasks_follow_from_the_generator, {"sample": numpys}, "numpy's or Python's global"),
    (tasks.the_source_is_left_as_it_is, {"sample": erase}, "writes into the examples"),
    (
        tasks.support_and_queries_are_different_examples,
        task_becomes(lambda t: replace(t, query_x=t.support_x[t.query_y])),
        "is twice in one task",
    ),
    (
        tasks.support_and_queries_are_different_examples,
        task_becomes(lambda t: replace(t, query_x=t.query_x.roll(1, 0))),
        "stands for several classes",
    ),
    (tasks.fixed_classes_are_said, {"fixed_classes": False}, "fixed_classes is False, but"),
    (
        tasks.fixed_classes_are_said,
        task_becomes(lambda t: replace(t, rivals=None)),
        "fixed_classes is True, but",
    ),
    (tasks.fixed_classes_are_said, {"num_classes": lambda self, source: 2}, "are the classes"),
    (
        tasks.fixed_classes_are_said,
        task_becomes(lambda t: replace(t, classes=torch.zeros_like(t.support_y[: t.ways]))),
        r"are the classes \[0, 0, 0\]",
    ),
    (
        tasks.fixed_classes_are_said,
        task_becomes(lambda t: replace(t, rivals=torch.ones(3, dtype=torch.bool))),
        r"rivals is torch.bool \[3\]",
    ),
    (
        tasks.fixed_classes_are_said,
        task_becomes(lambda t: replace(t, rivals=torch.zeros(10, dtype=torch.bool))),
        "a class that could be none",
    ),
    (tasks.labels_say_nothing_of_classes, task_becomes(sort_classes), "always in the order"),
]


@pytest.mark.parametrize(("check", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, Labels, fault, told)


@dataclass(frozen=True, kw_only=True)
class TwoPartitions(Clusters):
    """Clusters of two partitions of an untrained encoder, so that nothing need be given."""

    pretext: PretextOrNone = None
    partitions: PositiveInt = 2


def mixed(self: Clusters, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
    """Draw the support from one partition, and the queries from another."""
    one, other = (
        draw_from(members, source, shape, Generator().manual_seed(rng.initial_seed()))
        for members, _ in source.clusters()
    )
    return replace(one, query_x=other.query_x)


def whole(self: Clusters, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
    """Draw examples as they come, whatever their cluster."""
    everyone = torch.arange(source.num_examples)[None].expand(shape.ways, -1)
    return draw_from(everyone, source, shape, rng)


CLUSTERED = [
    ({"sample": mixed}, "stands for several classes"),
    ({"sample": whole}, "is twice in one task|stands for several classes"),
]


@pytest.mark.parametrize(("fault", "told"), CLUSTERED)
def test_a_fault_of_clusters_is_told(fails: Fails, fault: Mapping[str, object], told: str) -> None:
    """A task that is not of the clusters of one partition is told."""
    fails(tasks.support_and_queries_are_different_examples, TwoPartitions, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(tasks)
