"""Learn a stream of groups one after the other, and answer for all that came before.

Every start is treated alike: its encoder, and a head for all classes of the stream that is new,
learn each group as the strategy says, by steps of plain gradient descent under one rate. After each
group the queries of all groups so far are answered. The rate is chosen for each start, from one
grid, on streams of the validation classes: the one of the highest accuracy over all groups after
the whole of a stream.

Shapes: E streams, T groups, C classes of a stream, Q queries of a group; M[e, t, j] is the accuracy
on group j after group t.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import nan

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.catalogue import rebuild
from bench.cell import Json, StageSpec
from bench.contract import AbstractLearner, AbstractStrategy, Form, Lesson, Task, Tensors
from bench.inner import after
from bench.stages.course import Course, Courses
from bench.stages.engine import (
    TASKS_AT_ONCE,
    FeatureLearner,
    Learner,
    Shown,
    channels_last,
    counted,
)
from bench.stages.evaluate import EPISODES, episodes_file
from bench.stages.examination import Choice, Tell, choose, examine
from bench.stages.further import Further
from bench.stages.model import Model, assemble, doubled
from bench.stages.network import part_of
from bench.stages.place import Diverged, Place, Result, peak_memory
from bench.stages.source import read_part
from bench.stages.streams import seed_default
from bench.statistics.continual import (
    average_accuracy,
    backward_transfer,
    forgetting,
    learning_accuracy,
)


def continual(spec: StageSpec, place: Place) -> Result:
    """Run one ``evaluate`` stage over streams: the accuracy matrix of each."""
    inputs = spec.inputs
    scholar = Scholar(inputs, place, read_part(inputs["data"]).form)
    courses = scholar.courses(inputs["data"], inputs["episodes"])

    def answer(first: int, last: int, rate: float) -> np.ndarray:
        matrix_ETT = scholar.answer([courses(e) for e in range(first, last)], rate, first)
        if not _whole(matrix_ETT):
            raise Diverged(f"a prediction of streams {first} to {last - 1}, under rate {rate:g}")
        return matrix_ETT

    done = examine(
        spec,
        place,
        scholar,
        before=len(inputs["rates"]) * inputs["rate_tasks"] if scholar.chooses else 0,
        choice=lambda tell: choose_rate(inputs, scholar, tell),
        answer=answer,
        values=lambda done_ETT: {"accuracy": _at_the_end(done_ETT)},
    )
    M_ETT, rated = done.answers, scholar.strategy.rated
    accuracy_ET, steps = average_accuracy(M_ETT), inputs["readouts"]
    on = {f"on_{j}": M_ETT[:, :, j - 1] for j in range(1, inputs["groups"] + 1)}
    return Result(
        metrics={
            "accuracy": float(accuracy_ET[:, -1].mean()),
            "forgetting": float(forgetting(M_ETT).mean()),
            "backward_transfer": float(backward_transfer(M_ETT).mean()),
            "learning": float(learning_accuracy(M_ETT).mean()),
        },
        curve={"steps": steps, "accuracy": accuracy_ET.mean(0).tolist()},
        cost={
            "seconds": done.seconds,
            "examples": scholar.passed,
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": scholar.model.num_parameters,
        },
        files={EPISODES: episodes_file(steps, accuracy=accuracy_ET, **on)},
        facts={
            "bank": courses.bank.digest,
            "rate": done.chosen.rate if rated else None,
            "rate_scores": done.chosen.described,
        },
    )


def choose_rate(inputs: Mapping[str, Json], scholar: "Scholar", tell: Tell) -> Choice:
    """Choose the rate of the highest accuracy after whole validation streams, if there are two.

    Raises:
        Diverged: under every rate some prediction is not finite.
    """
    if not scholar.chooses:
        return Choice(rate=scholar.least_rate, found={})
    courses = scholar.courses(inputs["rate_data"], inputs["rate_tasks"])
    streams = [courses(number) for number in range(inputs["rate_tasks"])]

    def accuracy(rate: float) -> float:
        size = scholar.at_once
        parts = (
            scholar.answer(streams[first : first + size], rate, first)
            for first in range(0, len(streams), size)
        )
        matrix_ETT = np.concatenate(list(parts))
        return _at_the_end(matrix_ETT) if _whole(matrix_ETT) else nan

    return choose(
        inputs,
        accuracy,
        tell,
        name="accuracy",
        highest=True,
        failing="a prediction of the validation streams",
    )


class Scholar:
    """A start that follows streams by a strategy, and is examined after each group."""

    def __init__(self, inputs: Mapping[str, Json], place: Place, form: Form) -> None:
        """Take the start from the stages it needs; streams go through vmap where a GPU is."""
        assert inputs["norm"] == "group", "batch statistics of which group would they be?"
        strategy = rebuild("strategy", inputs["strategy"])
        assert isinstance(strategy, AbstractStrategy)
        self.strategy, self._inputs, self._place = strategy, inputs, place
        self.model = _model(inputs, place, form, strategy)
        goes_on = strategy.pretext_steps > 0
        self._further = Further(inputs, place, self.model, form) if goes_on else None
        self.passed = self._further.passed if self._further else 0
        self.still = not (strategy.rated or goes_on)  # nothing moves the encoder
        alone = goes_on or self.still  # a pretext may draw as vmap cannot; features are cheap
        self.at_once = 1 if alone else TASKS_AT_ONCE[place.device.type]
        self._double = False
        self._told_TTC = _told(inputs, place.device)
        self._learn_by(self.model)

    @property
    def doubled(self) -> "Scholar":
        """The same start in float64."""
        other = object.__new__(Scholar)
        other.__dict__.update(self.__dict__)
        other._further = self._further.doubled if self._further else None
        other.model, other._double = self.model.doubled, True
        other._learn_by(other.model)
        return other

    def _learn_by(self, model: Model) -> None:
        self._learner = Learner(
            model.network,
            model.buffers,
            self._inputs["norm"],
            training=False,
            vectorised=self.at_once > 1,
        )
        features = FeatureLearner(model.network, model.buffers)
        self._on: AbstractLearner = features if self.still else self._learner

    @property
    def chooses(self) -> bool:
        """Whether there is a rate to choose."""
        return self.strategy.rated and len(self._inputs["rates"]) > 1

    @property
    def least_rate(self) -> float:
        """The smallest rate; 0 for a strategy that takes no steps."""
        return float(min(self._inputs["rates"])) if self.strategy.rated else 0.0

    def courses(self, data: Mapping[str, Json], count: int) -> Courses:
        """Return the streams of a split; of features, where the encoder stands still."""
        return Courses(self._inputs, self._place, data, count, self.embed if self.still else None)

    def embed(self, x: Tensor) -> Tensor:
        """Return the features of examples as the start has them."""
        self.passed += len(x)
        with torch.no_grad():
            return self._learner.embed(self.model.params, doubled(x) if self._double else x)

    def answer(self, streams: Sequence[Course], rate: float, number: int) -> np.ndarray:
        """Return M [E, T, T] of streams, of which the first is the ``number``-th.

        It is NaN above the diagonal, and where a score is not finite.
        """
        seed_default("continual", self._inputs["seed"], number)
        (matrix_ETT,) = self.over(lambda one: (self._matrix(one, rate, number),), streams)
        return matrix_ETT.cpu().numpy()

    def over(
        self, function: Callable[[Shown], tuple[Tensor, ...]], shown: Sequence[Shown]
    ) -> tuple[Tensor, ...]:
        """Apply a function of one stream to several, by vmap where the device asks for it."""
        before = self._further.passed if self._further else 0
        results, passed = counted(self._learner, function, shown, vectorised=self.at_once > 1)
        self.passed += passed + (self._further.passed - before if self._further else 0)
        return results

    def follow(self, course: Course, rate: float, number: int) -> Iterator[Tensors]:
        """Yield the parameters after each group of a stream; no query is looked at."""
        start: Tensors = self.model.params
        params = start
        going = self._further.begin(start) if self._further else None
        for group in range(len(course.support_x)):
            lesson = self._lesson(course.support_x, course.support_y, group)
            if self._further and going:
                count = self.strategy.pretext_steps
                params, going = self._further.steps(
                    params, going, lesson.new_x, count, number, group
                )
            steps = self.strategy.steps(self._inputs["steps"], group + 1)
            taught: Iterator[Tensors] = self.strategy.learn(self._on, start, params, lesson, rate)
            params = after(taught, steps if self.strategy.rated else 0)
            yield params

    def adapted(self, task: Task) -> Iterator[Tensors]:
        """Yield what a task teaches at the least rate, as the first group of a stream."""
        course = Course(
            support_x=task.support_x.unsqueeze(0),
            support_y=task.support_y.unsqueeze(0),
            query_x=task.query_x.unsqueeze(0),
            query_y=task.query_y.unsqueeze(0),
        )
        return self.follow(course, self.least_rate, 0)

    def scores(self, params: Tensors, task: Task) -> Tensor:
        """Return the scores [Q, N] of a first group's queries for its own classes."""
        return self._scores(params, task.query_x)[:, : task.ways]

    def _scores(self, params: Tensors, x: Tensor) -> Tensor:
        return self._on.head(params, self._on.embed(params, x))

    def _lesson(self, support_x: Tensor, support_y: Tensor, group: int) -> Lesson:
        """Return a group as the strategy meets it, with as much of those before as it keeps."""
        strategy, ways = self.strategy, self._inputs["ways"]
        kept = support_x.shape[1] if strategy.oracle else strategy.kept * ways
        kept_y = support_y[:group, :kept]
        told_TC = self._told_TTC[group]
        return Lesson(
            new_x=support_x[group],
            new_y=support_y[group],
            kept_x=support_x[:group, :kept].flatten(0, 1),
            kept_y=kept_y.flatten(),
            seen=self._told_TTC[group, : group + 1].any(0),
            own=told_TC[group],
            kept_own=told_TC[:group].repeat_interleave(kept_y.shape[1], dim=0),
        )

    def _matrix(self, course: Course, rate: float, number: int) -> Tensor:
        """Return M [T, T] of one stream."""
        learned = enumerate(self.follow(course, rate, number))
        return torch.stack([self._row(params, course, group) for group, params in learned])

    def _row(self, params: Tensors, course: Course, group: int) -> Tensor:
        """Return the accuracies [T] after a group: on those so far, NaN on the others."""
        met = group + 1
        scores_BC = self._scores(params, course.query_x[:met].flatten(0, 1))
        scores_JQC = scores_BC.view(met, -1, scores_BC.shape[1])
        told_J1C = self._told_TTC[group, :met].unsqueeze(1)
        named_JQ = scores_JQC.masked_fill(~told_J1C, -torch.inf).argmax(2)
        right_J = (named_JQ == course.query_y[:met]).double().mean(1)
        finite_J = scores_JQC.isfinite().flatten(1).all(1)
        known_J = torch.where(finite_J, right_J, nan)
        return F.pad(known_J, (0, len(course.query_x) - met), value=nan)


def _model(
    inputs: Mapping[str, Json], place: Place, form: Form, strategy: AbstractStrategy
) -> Model:
    """Return the encoder as it was trained with the strategy's head, whatever was trained beside.

    The head's weights come from ("init", "head", "continual", strategy, seed).
    """
    model = assemble(
        inputs,
        place,
        form,
        lambda width: nn.Identity(),
        "continual",
        channels_last=channels_last(place.device, second_order=False),
    )
    outputs = inputs["ways"] * (1 if inputs["scenario"] == "domain" else inputs["groups"])
    seed_default("init", "head", "continual", inputs["strategy"]["name"], inputs["seed"])
    head = strategy.head(model.width, outputs).to(torch.get_default_dtype())
    network = model.network.beside(head)
    params, buffers = (part_of(some, "head") for some in network.tensors(place.device))
    return replace(
        model,
        network=network,
        params=part_of(model.params, "encoder") | params,
        buffers=part_of(model.buffers, "encoder") | buffers,
    )


def _told(inputs: Mapping[str, Json], device: torch.device) -> Tensor:
    """Say for group t and earlier group j among which classes its examples are told: [T, T, C]."""
    groups, ways = inputs["groups"], inputs["ways"]
    if inputs["scenario"] == "domain":
        return torch.ones(groups, groups, ways, dtype=torch.bool, device=device)
    if inputs["scenario"] == "task":
        told_TTT = torch.eye(groups).expand(groups, -1, -1)  # the group's own, whenever it is asked
    else:
        told_TTT = torch.ones(groups, groups).tril().unsqueeze(1).expand(-1, groups, -1)  # all met
    return told_TTT.bool().repeat_interleave(ways, dim=2).to(device)


def _whole(matrix_ETT: np.ndarray) -> bool:
    """Say whether no accuracy on or below the diagonal is NaN."""
    return bool(np.isfinite(matrix_ETT[:, *np.tril_indices(matrix_ETT.shape[1])]).all())


def _at_the_end(matrix_ETT: np.ndarray) -> float:
    """Return the mean accuracy over all groups after the last."""
    return float(average_accuracy(matrix_ETT)[:, -1].mean())
