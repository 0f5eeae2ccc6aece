"""Meet a pretext task as new: a head of zeros, a few gradient steps, and what they have taught.

Every start is treated alike: encoder and a fresh linear head take steps of plain gradient descent
on the support's cross-entropy, under one rate, and the queries are read out on the way. The rate
is chosen for each start, from one grid, on other tasks: those of the training family, over examples
of the validation classes. It is the one of least query loss, as the mean over tasks and over the
read-outs after the first step, since what is asked is how fast a task is learned.

Shapes: E tasks, R read-outs, M = 2 measures, N ways, D features.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.catalogue import rebuild
from bench.cell import Json, StageSpec, digest
from bench.contract import AbstractClassifying, Task, Tensors
from bench.dataset import Part
from bench.episodes import PretextBank, draw_pretext_bank
from bench.inner import gradient_steps
from bench.schemes import support_loss
from bench.stages.engine import TASKS_AT_ONCE, Learner, channels_last, counted
from bench.stages.evaluate import EPISODES, at_steps, episodes_file
from bench.stages.examination import Answers, Choice, Tell, choose, examine
from bench.stages.model import Model, assemble
from bench.stages.place import Diverged, Place, Result, peak_memory
from bench.stages.source import read_part, shown_as
from bench.stages.streams import seed_default

MEASURES = ("accuracy", "loss")
TaskOf = Callable[[int], Task]


def few_steps(spec: StageSpec, place: Place) -> Result:
    """Run one ``evaluate`` stage on a held-out task: accuracy and loss after each read-out."""
    inputs = spec.inputs
    model = fresh_head(inputs, place, read_part(inputs["data"]))
    pupil = Pupil(spec, place, model)
    split, episodes = inputs["data"]["split"], inputs["episodes"]
    bank, task_of = new_tasks(inputs, place, inputs["member"], split, episodes)
    done = _examine(spec, place, pupil, task_of)
    answers_ERM, chosen = done.answers, done.chosen
    mean_RM, steps = answers_ERM.mean(0), inputs["readouts"]
    return Result(
        metrics={name: float(mean_RM[-1, m]) for m, name in enumerate(MEASURES)},
        curve={"steps": steps, **{n: mean_RM[:, m].tolist() for m, n in enumerate(MEASURES)}},
        cost={
            "seconds": done.seconds,
            "examples": pupil.passed,
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": model.num_parameters,
        },
        files={
            EPISODES: episodes_file(
                steps, **{name: answers_ERM[:, :, m] for m, name in enumerate(MEASURES)}
            )
        },
        facts={"bank": bank.digest, "rate": chosen.rate, "rate_losses": chosen.described},
    )


def fresh_head(inputs: Mapping[str, Json], place: Place, part: Part) -> Model:
    """Return the encoder as it was trained, and a linear head of zeros."""
    return assemble(
        inputs,
        place,
        part.form,
        lambda width: _zeros(width, inputs["ways"]),
        "few steps",
        channels_last=channels_last(place.device, second_order=False),
    )


def _zeros(width: int, ways: int) -> nn.Module:
    """Return a linear layer of zeros, by a name under which no trained head is taken over."""
    layer = nn.Linear(width, ways)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(OrderedDict(new_task=layer))


def new_tasks(
    inputs: Mapping[str, Json], place: Place, described: Mapping[str, Json], split: str, count: int
) -> tuple[PretextBank, TaskOf]:
    """Return the bank of a pretext over a split, and what shows task e of it.

    Examples are shown on the CPU, by generators that name neither a row nor a seed.
    """
    member = rebuild("pretext", described)
    assert isinstance(member, AbstractClassifying)
    part = read_part({**inputs["data"], "split": split})
    data, name = inputs["data"]["digest"], digest(described)
    bank = draw_pretext_bank(
        len(part.examples),
        member.num_classes,
        data_digest=data,
        split=split,
        member=name,
        ways=inputs["ways"],
        shots=inputs["shots"],
        queries=inputs["queries"],
        tasks=count,
    )
    label_N = torch.arange(inputs["ways"])

    def shown(task: int, positions_XN: np.ndarray, role: str) -> tuple[Tensor, Tensor]:
        class_B = torch.from_numpy(bank.classes_EN[task]).repeat(len(positions_XN))
        at = (data, split, name, inputs["ways"], inputs["queries"], task, role)
        views = shown_as(member, part, positions_XN.ravel(), class_B, *at)
        return views.to(place.device), label_N.repeat(len(positions_XN)).to(place.device)

    def task_of(task: int) -> Task:
        query_x, query_y = shown(task, bank.query_EQN[task], "query")
        support_x, support_y = shown(task, bank.support_EKN[task], "support")
        return Task(
            support_x=support_x,
            support_y=support_y,
            query_x=query_x,
            query_y=query_y,
            ways=inputs["ways"],
        )

    return bank, task_of


class Pupil:
    """A start that learns tasks by gradient steps, and is examined on the way."""

    def __init__(self, spec: StageSpec, place: Place, model: Model) -> None:
        """Take the start; tasks go through vmap where the device asks for it."""
        self._spec, self._model = spec, model
        self.at_once = TASKS_AT_ONCE[place.device.type]
        self.passed = 0  # examples passed forward so far
        self._learner = Learner(
            model.network,
            model.buffers,
            spec.inputs["norm"],
            training=False,
            vectorised=self.at_once > 1,
        )

    def answer(self, tasks: Sequence[Task], rate: float, number: int) -> np.ndarray:
        """Return accuracy and mean query loss (in nats) of tasks, [E, R, M]; may not be finite.

        ``number`` is the place of the first, from which torch's default generator is seeded.
        """
        seed_default("few steps", self._spec.inputs["seed"], number)
        (scores_ERQN,) = self.over(lambda task: (self._scores(task, rate),), tasks)
        label_EQ = torch.stack([task.query_y for task in tasks])
        label_ERQ = label_EQ.unsqueeze(1).expand(scores_ERQN.shape[:3])
        right_ERQ = (scores_ERQN.argmax(3) == label_ERQ).double()
        loss_ERQ = F.cross_entropy(
            scores_ERQN.double().flatten(0, 2), label_ERQ.flatten(), reduction="none"
        ).view(label_ERQ.shape)
        return torch.stack([right_ERQ.mean(2), loss_ERQ.mean(2)], dim=2).cpu().numpy()

    def over(
        self, function: Callable[[Task], tuple[Tensor, ...]], tasks: Sequence[Task]
    ) -> tuple[Tensor, ...]:
        """Apply a function of one task to several, by vmap where the device asks for it."""
        vectorised = self.at_once > 1
        results, passed = counted(self._learner, function, tasks, vectorised=vectorised)
        self.passed += passed
        return results

    def adapted(self, task: Task, rate: float) -> Iterator[Tensors]:
        """Yield what steps on the support of a task have made of the start, at each read-out."""
        start, learner = self._model.params, self._learner
        trajectory: Iterator[Tensors] = gradient_steps(
            learner,
            support_loss(learner, task.support_x, task.support_y),
            start,
            dict.fromkeys(start, rate),
            differentiable=False,
        )
        return at_steps(trajectory, self._spec.inputs["readouts"])

    def scores(self, params: Tensors, task: Task) -> Tensor:
        """Return the scores [queries, N] of a task under the parameters that it has led to."""
        query_QD = self._learner.embed_queries(params, task.support_x, task.query_x)
        return self._learner.head(params, query_QD)

    def _scores(self, task: Task, rate: float) -> Tensor:
        """Return the scores [R, queries, N] of one task after each read-out of steps."""
        return torch.stack([self.scores(params, task) for params in self.adapted(task, rate)])


def choose_rate(spec: StageSpec, place: Place, pupil: Pupil, tell: Tell) -> Choice:
    """Choose the rate of least mean loss on tasks of the training family, never of the new one.

    Raises:
        Diverged: no rate of the grid has a finite loss.
    """
    tasks = list(_choice_tasks(spec.inputs, place))
    return choose(
        spec.inputs,
        lambda rate: _loss_under(rate, pupil, tasks),
        tell,
        name="loss",
        highest=False,
        failing="a loss on tasks of the training family",
    )


def _choice_tasks(inputs: Mapping[str, Json], place: Place) -> Iterator[Task]:
    """Yield tasks of the members of the training family in turn, over the validation split.

    It is that of the set that was trained on, where a row is tested on another.
    """
    family = inputs["family"]
    inputs = {**inputs, "data": inputs.get("rate_data", inputs["data"])}
    each = -(-inputs["rate_tasks"] // len(family))
    shows = [new_tasks(inputs, place, member, "val", each)[1] for member in family]
    for number in range(inputs["rate_tasks"]):
        turn, member = divmod(number, len(family))
        yield shows[member](turn)


def _loss_under(rate: float, pupil: Pupil, tasks: Sequence[Task]) -> float:
    """Return the mean loss over tasks and read-outs after the first step; infinite if not so."""
    found = []
    for first in range(0, len(tasks), pupil.at_once):
        answers_ERM = pupil.answer(tasks[first : first + pupil.at_once], rate, first)
        if not np.isfinite(answers_ERM).all():
            return inf
        found.append(answers_ERM[:, 1:, MEASURES.index("loss")])
    return float(np.concatenate(found).mean())


def _examine(spec: StageSpec, place: Place, pupil: Pupil, task_of: TaskOf) -> Answers:
    """Choose the rate, go through the bank; from the checkpoint where there is one."""

    def answer(first: int, last: int, rate: float) -> np.ndarray:
        answers_ERM = pupil.answer([task_of(e) for e in range(first, last)], rate, first)
        if not np.isfinite(answers_ERM).all():
            raise Diverged(f"an answer to a task from {first}, under rate {rate:g}")
        return answers_ERM

    return examine(
        spec,
        place,
        pupil,
        before=len(spec.inputs["rates"]) * spec.inputs["rate_tasks"],
        choice=lambda tell: choose_rate(spec, place, pupil, tell),
        answer=answer,
        values=lambda done_ERM: dict(
            zip(MEASURES, map(float, done_ERM[:, -1].mean(0)), strict=True)
        ),
    )
