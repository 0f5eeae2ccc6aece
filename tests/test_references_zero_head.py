"""Heads that start at zero in each task, against an explicit computation without bench."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn

from bench.catalogue import build, resolved
from bench.cell import Json
from bench.contract import AbstractMetaTrained, Task, Tensors
from bench.dataset import Dataset, facts
from bench.meta.anil import Anil
from bench.meta.maml import Maml
from bench.meta.reptile import Reptile
from bench.plan import make_plan
from bench.stages.engine import Learner
from bench.stages.network import Network
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.store import Store
from bench.suite import read_suite
from bench.weights import WEIGHTS

CPU = torch.device("cpu")
WAYS, WIDTH, PIXELS = 3, 4, 9
STEPS, RATE = 3, 0.3
STEP = 1e-6  # of central differences


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64, from one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(8)
    yield
    torch.set_default_dtype(torch.float32)


def task() -> Task:
    """Return a task of random images of nine pixels, two shots and two queries a way."""
    return Task(
        support_x=torch.rand(2 * WAYS, PIXELS),
        support_y=torch.arange(WAYS).repeat(2),
        query_x=torch.rand(2 * WAYS, PIXELS),
        query_y=torch.arange(WAYS).repeat(2),
        ways=WAYS,
    )


def learner_of(method: AbstractMetaTrained) -> tuple[Learner, Tensors]:
    """Return one layer under the method's own head, and their parameters."""
    body = nn.Sequential(nn.Linear(PIXELS, WIDTH), nn.Tanh())
    head = method.head(WIDTH, WAYS)
    network = Network(body, head, channels_last=False, grouped=False)
    params, buffers = network.tensors(CPU)
    return Learner(network, buffers, "support", training=True), params


def surprise(body: list[Tensor], head: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy, written out."""
    scores = (x @ body[0].T + body[1]).tanh() @ head[0].T + head[1]
    logs = scores - scores.exp().sum(1, keepdim=True).log()
    return -logs[torch.arange(len(y)), y].mean()


def zeros() -> list[Tensor]:
    """Return a head of zeros."""
    return [torch.zeros(WAYS, WIDTH), torch.zeros(WAYS)]


def descended(body: list[Tensor], one: Task, moves: slice) -> tuple[list[Tensor], list[Tensor]]:
    """Return body and head after steps of gradient descent from a head of zeros."""
    now = [*body, *zeros()]
    for _ in range(STEPS):
        now = [value.detach().requires_grad_() for value in now]
        loss = surprise(now[:2], now[2:], one.support_x, one.support_y)
        slopes = torch.autograd.grad(loss, now)
        moved = [(v - RATE * s).detach() for v, s in zip(now, slopes, strict=True)]
        now = [moved[n] if n in range(4)[moves] else now[n].detach() for n in range(4)]
    return now[:2], now[2:]


def differences(function: Callable[[list[Tensor]], Tensor], at: list[Tensor]) -> list[Tensor]:
    """Return the gradient of a function by central differences, one number at a time."""
    result = []
    for which, value in enumerate(at):
        slope = torch.zeros(value.numel())
        for place in range(value.numel()):
            ends = []
            for sign in (1, -1):
                step = torch.zeros(value.numel())
                step[place] = sign * STEP
                moved = [*at[:which], value + step.view_as(value), *at[which + 1 :]]
                ends.append(function(moved).detach())
            slope[place] = (ends[0] - ends[1]) / (2 * STEP)
        result.append(slope.view_as(value))
    return result


def assert_direction(actual: Tensors, expected: list[Tensor]) -> None:
    """Compare the encoder's direction; the head's is zero."""
    for name, value in zip(("weight", "bias"), expected, strict=True):
        found = actual[f"encoder.0.{name}"]
        torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-8)
        assert not actual[f"head.{name}"].any()
    assert expected[0].any()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("moves", ["both", "head"])
def test_the_meta_gradient_is_that_of_a_start_at_zero(
    order: Literal[1, 2], moves: Literal["both", "head"]
) -> None:
    """MAML and ANIL: the slope of the query loss after steps from zeros; none for the head.

    It is so whatever head the parameters hold.
    """
    one = task()
    method: AbstractMetaTrained = (
        Maml(order=order, steps=STEPS, inner_rate=RATE, zero_head=True)
        if moves == "both"
        else Anil(order=order, steps=STEPS, inner_rate=RATE, zero_head=True)
    )
    which = slice(0, 4) if moves == "both" else slice(2, 4)
    learner, params = learner_of(method)
    params = {n: v + torch.rand_like(v) if n.startswith("head") else v for n, v in params.items()}
    body = [params["encoder.0.weight"], params["encoder.0.bias"]]
    adapted, head = descended(body, one, which)

    def at_the_end(of: list[Tensor]) -> Tensor:
        return surprise(of, head, one.query_x, one.query_y)

    def from_the_start(of: list[Tensor]) -> Tensor:
        return surprise(*descended(of, one, which), one.query_x, one.query_y)

    expected = differences(at_the_end, adapted) if order == 1 else differences(from_the_start, body)
    loss, direction = method.meta_gradient(learner, params, one)
    torch.testing.assert_close(loss.detach(), from_the_start(body))
    assert_direction(direction, expected)


def test_reptile_moves_the_encoder_alone() -> None:
    """Its direction is minus the way that Adam from a head of zeros takes the encoder."""
    one, reptile = task(), Reptile(steps=STEPS, inner_rate=0.02, inner_batch=12, zero_head=True)
    learner, params = learner_of(reptile)
    x, y = torch.cat([one.support_x, one.query_x]), torch.cat([one.support_y, one.query_y])
    now = [params["encoder.0.weight"].clone(), params["encoder.0.bias"].clone(), *zeros()]
    seconds = [torch.zeros_like(value) for value in now]
    for step in range(1, STEPS + 1):
        now = [value.detach().requires_grad_() for value in now]
        slopes = torch.autograd.grad(surprise(now[:2], now[2:], x, y), now)
        seconds = [0.999 * v + 0.001 * s**2 for v, s in zip(seconds, slopes, strict=True)]
        now = [
            (value - 0.02 * slope / ((second / (1 - 0.999**step)).sqrt() + 1e-8)).detach()
            for value, slope, second in zip(now, slopes, seconds, strict=True)
        ]
    _, direction = reptile.meta_gradient(learner, params, one)
    expected = [
        params[f"encoder.0.{n}"] - end for n, end in zip(("weight", "bias"), now, strict=False)
    ]
    assert_direction(direction, expected)


def test_reptile_takes_more_than_one_step_from_zeros() -> None:
    """In the first step a head of zeros hands the encoder no gradient: it is refused alone."""
    reptile = Reptile(steps=2, inner_batch=12, zero_head=True)
    learner, params = learner_of(reptile)
    _, direction = reptile.meta_gradient(learner, params, task())
    assert all(value.any() for name, value in direction.items() if name.startswith("encoder."))
    with pytest.raises(ValueError, match="steps of 2 or more"):
        Reptile(steps=1, zero_head=True)


METHODS: list[AbstractMetaTrained] = [
    Maml(zero_head=True),
    Anil(zero_head=True),
    Reptile(zero_head=True),
]


@pytest.mark.parametrize("method", METHODS)
def test_without_a_step_no_way_is_preferred(method: AbstractMetaTrained) -> None:
    """After 0 steps all scores are equal; after one they are not."""
    one = task()
    learner, params = learner_of(method)
    with torch.no_grad():
        trajectory = method.adapt(learner, params, one.support_x, one.support_y)
        before, after = (method.predict(learner, next(trajectory), one) for _ in range(2))
    assert (before == before[0, 0]).all()
    assert (after != after[:, :1]).any()


@pytest.mark.parametrize("name", ["maml", "anil", "reptile"])
def test_keys_of_a_trained_head_are_as_before(name: str) -> None:
    """Only what starts at zero says so in its key."""
    plain, zero = (build("meta", name, {"zero_head": value}, "here") for value in (False, True))
    described: list[dict[str, Json]] = [resolved("meta", name, one) for one in (plain, zero)]
    assert "zero_head" not in described[0]["params"]
    assert described[1]["params"]["zero_head"] is True


HEAD = """
name: zero
data: glyphs
encoder: {name: conv4, width: 4}
ways: 3
shots: 1
seeds: 1
budget: {metatrain_steps: 3}
"""
SMALL = "steps: 2, tasks_per_step: 1, task_shots: 2, zero_head: true"


@pytest.mark.parametrize("meta", ["maml", "reptile"])
def test_training_leaves_the_head_at_zero(tmp_path: Path, glyphs: Dataset, meta: str) -> None:
    """The head that is stored is zero, under Adam and under SGD; the encoder has moved."""
    torch.set_default_dtype(torch.float32)
    (tmp_path / "suite.yaml").write_text(f"{HEAD}meta: {{name: {meta}, {SMALL}}}\n")
    plan = make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))
    (spec,) = [one for one in plan.stages.values() if one.kind == "metatrain"]
    store = Store(tmp_path / "results")
    store.prepare()
    perform(spec, Place(store=store, device=CPU, emit=lambda event: None))
    stored = load(store.read("metatrain", spec.key, WEIGHTS))
    head = {name: value for name, value in stored.items() if name.startswith("head.")}
    assert len(head) == 2
    assert not any(value.any() for value in head.values())
    assert all(value.isfinite().all() for value in stored.values())
