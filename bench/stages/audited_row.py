"""A row as its test has it, in float64: what an audit asks about.

It goes through what the test goes through: whole examples or features made beforehand, a loop or
vmap.

Shapes: E episodes, Q queries, N ways.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench.catalogue import rebuild
from bench.cell import StageSpec
from bench.contract import AbstractMeta, Task, Tensors
from bench.dataset import Part
from bench.episodes import Bank
from bench.stages.continual import Scholar
from bench.stages.control import dynamics, environments
from bench.stages.course import Course
from bench.stages.evaluate import Examiner, bank_of, tested_model
from bench.stages.few_steps import Pupil, fresh_head, new_tasks
from bench.stages.model import Model, doubled
from bench.stages.place import Place, precision
from bench.stages.source import modality_of, read_part
from bench.stages.streams import seed_default

ENVIRONMENTS = 4  # that a row is asked about: of numbers, transduction is all that is


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
class Row:
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


def row_of(spec: StageSpec, place: Place) -> tuple[Model, Row]:
    """Return the row that a spec tests, by its protocol."""
    ways = {None: _examiner, "continual": _scholar}
    return ways.get(spec.inputs.get("protocol"), _pupil)(spec, place)


def _examiner(spec: StageSpec, place: Place) -> tuple[Model, Row]:
    """Return a row that is tested on classes, with the weights of its test."""
    meta = rebuild("meta", spec.inputs["meta"])
    assert isinstance(meta, AbstractMeta)
    part = read_part(spec.inputs["data"])
    model = tested_model(spec, place, meta, part)  # in float32: fresh weights are drawn in it
    with precision(torch.float64):
        used = _used(part, bank_of(spec, part))
        examiner = Examiner(spec, place, meta, model.doubled, *used)
        tasks = [examiner.task(episode) for episode in range(spec.inputs["episodes"])]
    return model, Row(
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


def _pupil(spec: StageSpec, place: Place) -> tuple[Model, Row]:
    """Return a row that is tested on a held-out task, or on unseen environments.

    It is so at the smallest rate, as none is chosen.
    """
    inputs = spec.inputs
    data, part = inputs["data"], read_part(inputs["data"])
    if inputs["protocol"] == "control":
        count, model = min(ENVIRONMENTS, len(part.counts)), dynamics(inputs, place, part)
        task_of = environments(inputs, place, data, count)[2]
    else:
        count, model = inputs["episodes"], fresh_head(inputs, place, part)
        task_of = new_tasks(inputs, place, inputs["member"], data["split"], count)[1]
    pupil, rate = Pupil(spec, place, model.doubled), min(inputs["rates"])
    shown = [task_of(episode) for episode in range(count)]  # in float32, as in the test
    tasks = [
        replace(
            one,
            support_x=doubled(one.support_x),
            support_y=doubled(one.support_y),
            query_x=doubled(one.query_x),
        )
        for one in shown
    ]
    modality = modality_of(part.form)
    return model, Row(
        spec=spec,
        tested=pupil,
        adapted=lambda task: pupil.adapted(task, rate),
        altered=lambda x: modality.altered(x, part.form),
        tasks=tasks,
    )


def _scholar(spec: StageSpec, place: Place) -> tuple[Model, Row]:
    """Return a row that is tested along streams: the first group of each, at the smallest rate."""
    inputs = spec.inputs
    form = read_part(inputs["data"]).form
    scholar = Scholar(inputs, place, form).doubled
    episodes, modality = inputs["episodes"], modality_of(form)
    courses = scholar.courses(inputs["data"], episodes)
    return scholar.model, Row(
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
