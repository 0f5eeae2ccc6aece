"""What every source of tasks draws: tasks of the asked shape, from what it may look at.

A source of clusters is handed groups in the place of classes, some of each partition too small
for a task; what is held of classes is held of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Generator, Tensor

from bench.conformance.subject import Fault, Subject, require, require_repeats
from bench.conformance.world import CPU, WAYS, inputs, kind_of, noisy, setting_for
from bench.contract import (
    AbstractAugment,
    AbstractClustered,
    AbstractTasks,
    Form,
    Setting,
    Task,
    TaskShape,
)
from bench.dataset import Part
from bench.stages.source import Source, members_of, unlabelled_order
from bench.stages.streams import generator, seed_default

CLASSES, MEMBERS = 10, (12, 9)  # classes, and how many examples every other one has
TASKS = 30  # with 3 ways, chance would sort all of their labels once in 6 ** 30


class _Noisy(AbstractAugment):
    """Views that keep the first value, which tells the example: for tasks of known examples."""

    reference = "arXiv:1811.11819"

    def __call__(self, x: Tensor, rng: Generator) -> Tensor:
        views = noisy(x, rng)
        views.flatten(1)[:, 0] = x.flatten(1)[:, 0]
        return views


class _World:
    """A small training split, in which an example's first value is its number."""

    def __init__(self, subject: Subject) -> None:
        assert isinstance(subject.plugin, AbstractTasks)
        self.tasks = subject.plugin
        setting = setting_for(self.tasks, "support", tasks=True)
        assert setting.task is not None
        self.shape, self.form = setting.task, setting.form
        self.part = _part(setting.form)
        self.groupings = self._groupings()
        least = self.shape.shots + self.shape.queries
        handed = [members_of(grouping, least) for grouping in self.groupings]
        self.source = Source(
            self.part,
            _Noisy(),
            CPU,
            labels=self.tasks.uses_labels,
            clusters=handed if isinstance(self.tasks, AbstractClustered) else (),
        )

    def _groupings(self) -> list[Tensor]:
        """Return what may stand for a class: the classes, the clusters of each partition, or none.

        A grouping has the number of each example's group, in the order of the source.
        """
        if self.tasks.uses_labels:
            return [torch.from_numpy(self.part.labels)]
        count = self.tasks.partitions if isinstance(self.tasks, AbstractClustered) else 0
        rngs = [generator(CPU, "conformance", "clusters", number) for number in range(count)]
        sizes = torch.tensor([1, 2] + [MEMBERS[number % 2] for number in range(CLASSES)])
        whole = torch.arange(len(sizes)).repeat_interleave(sizes)[: len(self.part.labels)]
        return [whole[torch.randperm(len(whole), generator=rng)] for rng in rngs]

    def group_of(self, grouping: Tensor, examples: list[int]) -> list[int]:
        """Return the groups of examples, which are known by their place in the split."""
        if self.tasks.uses_labels:
            return grouping[examples].tolist()
        place_N = unlabelled_order(len(grouping)).argsort()
        return grouping[place_N[examples]].tolist()

    def draw(self, seed: int, shape: TaskShape | None = None) -> Task:
        seed_default("conformance", "tasks", seed)
        rng = generator(CPU, "tasks", seed)
        try:
            return self.tasks.sample(self.source, shape or self.shape, rng)
        except PermissionError as error:
            raise Fault(
                "it asks for the classes of the examples, but says that it uses no labels",
                "Say uses_labels: ClassVar[bool] = True, or leave source.classes() alone.",
            ) from error

    def numbers(self, x: Tensor) -> list[int]:
        """Return which example of the split each view is of, by the first value or most tokens."""
        stored = kind_of(self.form.modality).inputs(torch.from_numpy(self.part.examples)).flatten(1)
        if self.form.vocabulary:
            return (x.unsqueeze(1) == stored).sum(2).argmax(1).tolist()
        return (x.flatten(1)[:, :1] - stored[:, 0]).abs().argmin(1).tolist()


def _part(form: Form) -> Part:
    """Return classes of examples whose first values are their numbers; tokens are as they come."""
    counts = tuple(MEMBERS[number % 2] for number in range(CLASSES))
    total, size = sum(counts), prod(form.shape)
    examples = np.arange(total * size).reshape(total, *form.shape) * 7 % 251
    examples.reshape(total, -1)[:, 0] = np.arange(total)
    if form.vocabulary:
        examples = inputs(form, total, "tasks").numpy()
    return Part(
        examples=examples.astype(kind_of(form.modality).stored),
        form=form,
        labels=np.repeat(np.arange(CLASSES), counts),
        classes=tuple(f"class {number}" for number in range(CLASSES)),
        counts=counts,
    )


def tasks_have_the_asked_shape(subject: Subject) -> None:
    """A task has ways x shots examples, and ways x queries, that could be real, each."""
    world = _World(subject)
    for shape in (world.shape, replace(world.shape, ways=WAYS + 2)):
        if world.tasks.values and shape != world.shape:
            return  # where numbers are predicted, there is one way
        setting = Setting(
            form=world.form, norm="support", ways=WAYS, task=shape, values=world.tasks.values
        )
        if world.tasks.refuses(setting) is None:
            _require_shape(world.draw(0, shape), shape, world.form)


def _require_shape(task: Task, shape: TaskShape, form: Form) -> None:
    for part, each, x in (
        ("support_x", shape.shots, task.support_x),
        ("query_x", shape.queries, task.query_x),
    ):
        wanted = (shape.ways * each, *form.shape)
        require(
            tuple(x.shape) == wanted and x.dtype == inputs(form, 1).dtype,
            f"for {shape} {part} is {x.dtype} {list(x.shape)}, not {list(wanted)}",
            "Gather examples with source.examples(index), ways * shots and ways * queries of them.",
        )
        reason = kind_of(form.modality).allows(x, form)
        require(
            reason is None,
            f"{part} holds no {form.modality} data: {reason}",
            "Return examples as source.examples and source.augment do.",
        )
    require(task.ways == shape.ways, f"ways is {task.ways}", f"Return ways={shape.ways}.")


def labels_are_in_order(subject: Subject) -> None:
    """Labels are 0 to ways - 1, over and over: the first shot of each class comes first.

    Where numbers are predicted, each example has those that its head gives.
    """
    world = _World(subject)
    task = world.draw(0)
    if world.tasks.values:
        _require_numbers(world, task)
        return
    for part, each, labels in (
        ("support_y", world.shape.shots, task.support_y),
        ("query_y", world.shape.queries, task.query_y),
    ):
        wanted = torch.arange(world.shape.ways).repeat(each)
        require(
            torch.equal(labels, wanted),
            f"{part} is {labels.tolist()}, not {wanted.tolist()}",
            "Return torch.arange(ways).repeat(shots), and the examples in that order.",
        )


def _require_numbers(world: _World, task: Task) -> None:
    outputs = world.tasks.outputs(world.form, world.shape)
    for part, x, y in (
        ("support_y", task.support_x, task.support_y),
        ("query_y", task.query_x, task.query_y),
    ):
        require(
            tuple(y.shape) == (len(x), outputs) and y.dtype == x.dtype and y.isfinite().all(),
            f"{part} is {y.dtype} {list(y.shape)}, or not finite, for {outputs} outputs",
            "Return the numbers to predict of each example, as outputs() counts them.",
        )
        stored = kind_of(world.form.modality).inputs(torch.from_numpy(world.part.examples))
        require(
            not (x.flatten(1).unsqueeze(1) == stored.flatten(1)).all(2).any(),
            f"{part} can be read from the examples, which are as the source holds them",
            "Take what is to be predicted out of the examples.",
        )


def tasks_follow_from_the_generator(subject: Subject) -> None:
    """One generator state draws one task, another draws another."""
    world = _World(subject)

    def parts(seed: int) -> Sequence[Tensor]:
        task = world.draw(seed)
        return [task.support_x, task.query_x]

    first = require_repeats(lambda: parts(0), "a task")
    require(
        any(not all(map(torch.equal, first, parts(seed))) for seed in range(1, 6)),
        "six generators draw one and the same task",
        "Draw with rng: torch.randperm(..., generator=rng).",
    )


def the_source_is_left_as_it_is(subject: Subject) -> None:
    """Drawing changes no example of the source."""
    world = _World(subject)
    before = world.source.examples(torch.arange(world.source.num_examples))
    world.draw(0)
    after = world.source.examples(torch.arange(world.source.num_examples))
    require(
        torch.equal(before, after),
        "it writes into the examples of its source",
        "Make new tensors: no in-place operation on what the source returns.",
    )


def fixed_classes_are_said(subject: Subject) -> None:
    """If its tasks are made of a fixed number of classes, each task says which, else none does."""
    world = _World(subject)
    count, fixed = world.tasks.num_classes(world.source), world.tasks.fixed_classes
    for seed in range(TASKS if fixed else 1):
        task = world.draw(seed)
        said = (count, task.classes, task.rivals)
        require(
            fixed == all(one is not None for one in said)
            and fixed == any(one is not None for one in said),
            f"fixed_classes is {fixed}, but num_classes() returns {count}, and a task says"
            f" {task.classes} and {task.rivals}",
            "Say fixed_classes: ClassVar[bool] = True, and give num_classes(), task.classes and"
            " task.rivals; or none of these.",
        )
        if fixed:
            _require_classes(task, count or 0)


def _require_classes(task: Task, count: int) -> None:
    assert task.classes is not None
    assert task.rivals is not None
    classes = task.classes.tolist()
    require(
        len(set(classes)) == len(classes) == task.ways and set(classes) <= set(range(count)),
        f"the {task.ways} ways of a task are the classes {classes}, of {count}",
        "Return for each way another class, from 0 to num_classes() - 1.",
    )
    require(
        task.rivals.dtype == torch.bool and tuple(task.rivals.shape) == (count,),
        f"rivals is {task.rivals.dtype} {list(task.rivals.shape)}, of {count} classes",
        "Return for each class whether it could be a way of this task.",
    )
    require(
        task.rivals[task.classes].all(),
        "a way of a task is a class that could be none of its ways",
        "Set rivals wherever classes are.",
    )


def support_and_queries_are_different_examples(subject: Subject) -> None:
    """With classes or clusters: an example is in a task once, a label's are of one of them."""
    world = _World(subject)
    if not world.groupings:
        return  # its classes are its own invention, and queries may be views of the support
    for seed in range(TASKS):
        task = world.draw(seed)
        numbers = world.numbers(torch.cat([task.support_x, task.query_x]))
        require(
            len(set(numbers)) == len(numbers),
            "an example is twice in one task",
            "Draw without replacement, and give the queries other examples than the support.",
        )
        labels = _ways_of(world, task)
        require(
            any(_agree(labels, world.group_of(one, numbers)) for one in world.groupings),
            "a label of one task stands for several classes, or two labels for one class",
            "Draw ways different classes, and each label's examples from one of them; of clusters,"
            " all from one partition.",
        )


def _ways_of(world: _World, task: Task) -> list[int]:
    """Return which way of a task each of its examples is of."""
    if world.tasks.values:
        return [0] * (len(task.support_x) + len(task.query_x))
    return [int(y) for y in torch.cat([task.support_y, task.query_y])]


def _agree(labels: list[int], groups: list[int]) -> bool:
    """Say whether each label stands for one group, and each group for one label."""
    pairs = set(zip(labels, groups, strict=True))
    return len(pairs) == len({label for label, _ in pairs}) == len({group for _, group in pairs})


def labels_say_nothing_of_classes(subject: Subject) -> None:
    """With classes or clusters: which label one gets differs from task to task, in no order."""
    world = _World(subject)
    if world.tasks.values:
        return  # it has no labels
    first = [world.numbers(world.draw(seed).support_x[:WAYS]) for seed in range(TASKS)]
    orders = [[world.group_of(one, numbers) for numbers in first] for one in world.groupings]
    require(
        all(any(order != sorted(order) for order in found) for found in orders),
        f"in {TASKS} tasks the labels are always in the order of the classes",
        "Draw the classes in random order: torch.randperm(..., generator=rng)[:ways].",
    )
