"""Faults of strategies: each check fails on a strategy that has the fault it looks for."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.conformance import strategy
from bench.conformance.subject import Check
from bench.contract import AbstractLearner, AbstractStrategy, Lesson, Tensors
from bench.inner import gradient_steps
from bench.strategy.joint import Joint
from bench.strategy.naive import Naive
from bench.strategy.prototypes import Prototypes
from bench.strategy.replay import Replay

Learn = Callable[..., Iterator[Tensors]]
Changed = Callable[[Tensors], Tensors]
FINE_TUNE: Learn = Naive.learn


def yields(change: Changed, right: type[AbstractStrategy] = Naive) -> dict[str, object]:
    """Return a strategy that changes whatever it yields."""

    def learn(self: AbstractStrategy, *given: Any) -> Iterator[Tensors]:  # noqa: ANN401  # as handed over
        return map(change, right.learn(self, *given))

    return {"learn": learn}


def met(
    change: Callable[[Lesson], Lesson], right: type[AbstractStrategy] = Naive
) -> dict[str, object]:
    """Return a strategy that changes each lesson before it learns it."""

    def learn(
        self: AbstractStrategy,
        learner: AbstractLearner,
        start: Tensors,
        params: Tensors,
        lesson: Lesson,
        rate: float,
    ) -> Iterator[Tensors]:
        return right.learn(self, learner, start, params, change(lesson), rate)

    return {"learn": learn}


def at_rate(
    change: Callable[[float], float], right: type[AbstractStrategy] = Naive
) -> dict[str, object]:
    """Return a strategy that takes another rate than it is told."""

    def learn(self: AbstractStrategy, *given: Any) -> Iterator[Tensors]:  # noqa: ANN401  # as handed over
        learned: Learn = right.learn
        return learned(self, *given[:-1], change(given[-1]))

    return {"learn": learn}


def nothing(self: AbstractStrategy, *given: object) -> Iterator[Tensors]:
    """Yield nothing."""
    return iter(())


def erases(name: str) -> dict[str, object]:
    """Return a strategy that writes into what it is handed under a name."""

    def learn(
        self: Replay,
        learner: AbstractLearner,
        start: Tensors,
        params: Tensors,
        lesson: Lesson,
        rate: float,
    ) -> Iterator[Tensors]:
        handed = {
            "start": start["encoder.0.weight"],
            "params": params["head.weight"],
            "new_x": lesson.new_x,
            "kept_y": lesson.kept_y,
            "seen": lesson.seen,
        }[name]
        learned = Replay.learn(self, learner, start, params, lesson, rate)
        yield next(learned)
        handed.copy_(torch.zeros_like(handed))
        yield from learned

    return {"learn": learn}


def numpys(params: Tensors) -> Tensors:
    """Add noise of Python's global generator."""
    return {name: value + 1e-3 * random.random() for name, value in params.items()}


def unmasked(
    self: AbstractStrategy,
    learner: AbstractLearner,
    start: Tensors,
    params: Tensors,
    lesson: Lesson,
    rate: float,
) -> Iterator[Tensors]:
    """Learn by a loss over all classes of the stream, those that have not come yet too."""

    def loss(now: Tensors) -> torch.Tensor:
        return F.cross_entropy(learner.head(now, learner.embed(now, lesson.new_x)), lesson.new_y)

    return gradient_steps(learner, loss, params, dict.fromkeys(params, rate), differentiable=False)


def peeking(
    self: AbstractStrategy,
    learner: AbstractLearner,
    start: Tensors,
    params: Tensors,
    lesson: Lesson,
    rate: float,
) -> Iterator[Tensors]:
    """Branch on a value."""
    if lesson.new_x.double().mean() > -1e9:
        yield from FINE_TUNE(self, learner, start, params, lesson, rate)


def swapped(lesson: Lesson) -> Lesson:
    """Mistake the first class of the group for the second, in every other example."""
    return replace(lesson, new_y=lesson.new_y.roll(1, 0)[torch.arange(len(lesson.new_y)) // 2 * 2])


def after_one(self: AbstractStrategy, *given: Any) -> Iterator[Tensors]:  # noqa: ANN401  # as handed over
    """Leave out what is there after no step."""
    steps = FINE_TUNE(self, *given)
    next(steps)
    return steps


def hurried(self: AbstractStrategy, *given: Any) -> Iterator[Tensors]:  # noqa: ANN401  # as handed over
    """Take longer steps where streams go together."""
    vectorised = torch._C._functorch.maybe_get_level(given[3].new_x) > 0
    return FINE_TUNE(self, *given[:-1], given[-1] * (2 if vectorised else 1))


def short(width: int) -> nn.Module:
    """Return what scores the classes of the first two groups alone, under fitting names."""
    module = Prototypes().head(width, 6)
    module.register_forward_hook(lambda module, given, scores: scores[:, :4])
    return module


ONE = torch.Generator()
Fails = Callable[..., None]
NUMBERS, YIELDS, STARTS, WRITES = (
    strategy.numbers_are_what_they_say,
    strategy.learning_yields_parameters,
    strategy.learning_starts_where_it_is_told,
    strategy.lessons_write_into_nothing,
)
REPEATS, KINDS, LEARNS, OTHERS = (
    strategy.streams_repeat,
    strategy.every_kind_of_data_will_do,
    strategy.it_learns,
    strategy.other_classes_have_no_say,
)
KEEPS, RATES, BATCHED = (
    strategy.what_is_kept_is_what_it_says,
    strategy.a_rate_matters_as_claimed,
    strategy.streams_can_be_batched,
)
FAULTS = [
    (NUMBERS, Naive, {"steps": lambda self, asked, groups: asked / groups}, "its steps"),
    (NUMBERS, Joint, {"steps": lambda self, asked, groups: -1}, "its steps"),
    (NUMBERS, Naive, {"kept": -1}, "its kept is -1"),
    (NUMBERS, Joint, {"pretext_steps": 0.5}, "its pretext_steps is 0.5"),
    (YIELDS, Naive, {"learn": nothing}, "yields nothing"),
    (YIELDS, Naive, yields(lambda p: {"head.weight": p["head.weight"]}), "without some"),
    (YIELDS, Naive, yields(lambda p: {**p, "memory": p["head.bias"]}), "with others"),
    (YIELDS, Naive, yields(lambda p: {n: v.float() for n, v in p.items()}), "types"),
    (YIELDS, Naive, yields(lambda p: {n: v / 0 for n, v in p.items()}), "not finite"),
    (STARTS, Naive, {"learn": after_one}, "neither params nor start"),
    (WRITES, Replay, erases("start"), "start encoder"),
    (WRITES, Replay, erases("params"), "params head.weight"),
    (WRITES, Replay, erases("new_x"), "new_x"),
    (WRITES, Replay, erases("kept_y"), "kept_y"),
    (WRITES, Replay, erases("seen"), "seen"),
    (REPEATS, Naive, yields(numpys), "global generator"),
    (
        REPEATS,
        Naive,
        yields(lambda p: {n: v + torch.rand((), generator=ONE) for n, v in p.items()}),
        "differs between two runs",
    ),
    (KINDS, Naive, met(lambda one: replace(one, new_x=one.new_x.mean((2, 3)))), "it fails on"),
    (KINDS, Naive, {"head": lambda self, width, outputs: nn.Linear(width, 2)}, "it fails on"),
    (KINDS, Prototypes, {"head": lambda self, width, outputs: short(width)}, "scores of 5"),
    (LEARNS, Naive, yields(lambda p: {n: -v for n, v in p.items()}), "it tells only"),
    (LEARNS, Naive, met(swapped), "it tells only"),
    (OTHERS, Naive, {"learn": unmasked}, "scores of classes"),
    (OTHERS, Naive, met(lambda one: replace(one, own=one.seen)), "scores of classes"),
    (KEEPS, Replay, {"learn": Naive.learn}, "they change nothing"),
    (KEEPS, Joint, {"learn": Naive.learn}, "they change nothing"),
    (KEEPS, Naive, {"learn": Replay.learn}, "it keeps no example, but"),
    (RATES, Naive, at_rate(lambda rate: 0.1), "two rates lead to the same"),
    (RATES, Naive, {"rated": False}, "it takes no rate, but"),
    (RATES, Prototypes, {"rated": True}, "two rates lead to the same"),
    (BATCHED, Naive, {"learn": peeking}, "fails under torch.func.vmap"),
    (BATCHED, Naive, {"learn": hurried}, "learn different"),
]


@pytest.mark.parametrize(("check", "right", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails,
    check: Check,
    right: type[AbstractStrategy],
    fault: Mapping[str, object],
    told: str,
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, right, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, *_ in FAULTS} == checks_in(strategy)
