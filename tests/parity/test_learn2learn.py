"""Losses and meta-gradients against learn2learn's, in float64, from the same weights and data.

Once with our network and learn2learn's inner loop, and once with a plain module and a plain
script of learn2learn, which share nothing with bench: network, norm, batching and outer gradient
are checked as well.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import peer
import pytest
import torch
from torch import Tensor, nn

from bench.catalogue import build
from bench.contract import AbstractMetaTrained, Norm, Shape, Task, Tensors
from bench.encoder.conv4 import Conv4
from bench.form import Form
from bench.stages.checkpoint import prefixed
from bench.stages.engine import Learner, over_tasks
from bench.stages.network import Network

WAYS, SHOTS, QUERIES, WIDTH = 3, 2, 3, 6
SHAPES: tuple[Shape, ...] = ((1, 28, 28), (3, 32, 32))
SLACK = 1e-9  # relative, of each tensor of a gradient
VANISHES = 1e-14  # of a gradient: what is zero but for rounding, as a bias before a norm is
MAML = {"steps": 3, "inner_rate": 0.1}
METHODS = [
    ("maml", {"order": 1, **MAML}),
    ("maml", {"order": 2, **MAML}),
    ("anil", {"order": 1, **MAML}),
    ("anil", {"order": 2, **MAML}),
    ("meta_sgd", {"steps": 1}),
    ("meta_sgd", {"steps": 3}),
]
Params = dict[str, object]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64, from one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    yield
    torch.set_default_dtype(torch.float32)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A method of ours, a network for it, and tasks."""

    meta: AbstractMetaTrained
    network: Network
    params: Tensors
    buffers: Tensors
    tasks: list[Task]

    def answer(self, meta: AbstractMetaTrained, norm: Norm, *, vectorised: bool = False) -> Tensors:
        """Return the mean loss and meta-gradient of a method over the tasks, as the engine does."""
        buffers = {name: value.clone() for name, value in self.buffers.items()}
        learner = Learner(self.network, buffers, norm, training=True, vectorised=vectorised)

        def one(task: Task) -> tuple[Tensor, ...]:
            loss, gradient = meta.meta_gradient(learner, self.params, task)
            return loss, *(gradient[name] for name in self.params)

        means = [part.mean(0) for part in over_tasks(one, self.tasks, vectorised=vectorised)]
        return dict(zip(["loss", *self.params], means, strict=True))


def made(name: str, params: Params) -> AbstractMetaTrained:
    """Return a method with its parameters."""
    meta = build("meta", name, params, "here")
    assert isinstance(meta, AbstractMetaTrained)
    return meta


def scene(name: str, params: Params, shape: Shape, *, channels_last: bool = False) -> Scene:
    """Return a scene whose parameters are moved off their special first values."""
    meta = made(name, params)
    width = WIDTH * (shape[1] // 16) * (shape[2] // 16)
    encoder = Conv4(width=WIDTH).module(Form(shape=shape, modality="image"))
    network = Network(encoder, meta.head(width, WAYS), channels_last=channels_last, grouped=False)
    start, buffers = network.tensors(torch.device("cpu"))
    start = {key: value + 0.1 * torch.randn_like(value) for key, value in start.items()}
    start |= prefixed(meta.learned(start), "meta.")
    tasks = [task(shape) for _ in range(2)]
    return Scene(meta=meta, network=network, params=start, buffers=buffers, tasks=tasks)


def task(shape: Shape) -> Task:
    """Return a task of random examples, in the order of the contract."""
    return Task(
        support_x=torch.rand(WAYS * SHOTS, *shape),
        support_y=torch.arange(WAYS).repeat(SHOTS),
        query_x=torch.rand(WAYS * QUERIES, *shape),
        query_y=torch.arange(WAYS).repeat(QUERIES),
        ways=WAYS,
    )


def assert_same(actual: Tensors, expected: Tensors) -> None:
    """Compare losses and gradients, each tensor by its own size."""
    assert actual.keys() == expected.keys()
    whole = max(float(value.norm()) for value in expected.values())
    assert whole > 0
    for name, value in expected.items():
        off, size = float((actual[name] - value).norm()), float(value.norm())
        assert off <= SLACK * size + VANISHES * whole, f"{name}: {off} off of {size}"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norm", ["running", "support", "transductive", "group"])
@pytest.mark.parametrize(("name", "params"), METHODS)
def test_our_inner_loop_is_theirs(name: str, params: Params, norm: Norm, shape: Shape) -> None:
    """A method and its twin, whose steps learn2learn takes, have one loss and meta-gradient."""
    ours = scene(name, params, shape)
    twin = made(f"learn2learn_{name}", params)

    assert_same(ours.answer(ours.meta, norm), ours.answer(twin, norm))


@pytest.mark.parametrize(("name", "params"), METHODS)
def test_our_adaptation_is_theirs(name: str, params: Params) -> None:
    """A method and its twin predict the same after 0, 1, 2, ... steps at test."""
    ours = scene(name, params, SHAPES[0])
    learner = Learner(ours.network, ours.buffers, "support", training=False)
    one = ours.tasks[0]

    def scores(meta: AbstractMetaTrained) -> Tensor:
        with torch.no_grad():
            steps = meta.adapt(learner, ours.params, one.support_x, one.support_y)
            return torch.stack([meta.predict(learner, now, one) for now in islice(steps, 5)])

    expected = scores(made(f"learn2learn_{name}", params))
    assert expected.diff(dim=0).flatten(1).any(1).all()
    torch.testing.assert_close(scores(ours.meta), expected, rtol=SLACK, atol=SLACK)


def plain(
    ours: Scene, shape: Shape, loss: Callable[[peer.Classifier, Task], Tensor]
) -> dict[str, Tensor]:
    """Return the mean loss and meta-gradient of a plain module, by ``backward``."""
    model = peer.Classifier(shape, WIDTH, WAYS)
    model.take(ours.params)
    losses = [loss(model, one) for one in ours.tasks]
    mean = torch.stack(losses).mean()
    torch.autograd.backward([mean])
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": mean.detach(), **gradients}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batching", ["loop", "vmap", "channels last"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", ["maml", "anil"])
def test_a_plain_script_agrees(name: str, order: int, batching: str, shape: Shape) -> None:
    """However tasks and images are stored, loss and meta-gradient are those of a plain script."""
    ours = scene(name, {"order": order, **MAML}, shape, channels_last=batching == "channels last")
    by_peer = {"maml": peer.maml, "anil": peer.anil}[name]

    actual = ours.answer(ours.meta, "transductive", vectorised=batching == "vmap")
    expected = plain(
        ours, shape, lambda model, one: by_peer(model, one, order=order, steps=3, rate=0.1)
    )
    assert_same(actual, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("vectorised", [False, True])
def test_a_plain_script_of_meta_sgd_agrees(steps: int, vectorised: bool, shape: Shape) -> None:
    """So are loss and meta-gradient of Meta-SGD, with respect to the learned rates too."""
    ours = scene("meta_sgd", {"steps": steps}, shape)
    names = [name for name, _ in peer.Classifier(shape, WIDTH, WAYS).named_parameters()]
    rates = nn.ParameterList([ours.params[f"meta.rate.{name}"].clone() for name in names])

    actual = ours.answer(ours.meta, "transductive", vectorised=vectorised)
    expected = plain(ours, shape, lambda model, one: peer.meta_sgd(model, rates, one, steps=steps))
    slopes = {f"meta.rate.{n}": r.grad for n, r in zip(names, rates, strict=True)}
    assert_same(actual, expected | {n: g for n, g in slopes.items() if g is not None})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batching", ["loop", "channels last"])
def test_a_plain_script_of_protonet_agrees(batching: str, shape: Shape) -> None:
    """So are those of a prototypical network, support and queries normalised together."""
    ours = scene("protonet", {}, shape, channels_last=batching == "channels last")

    actual = ours.answer(ours.meta, "running")
    expected = plain(ours, shape, peer.protonet)
    assert_same(actual, expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("vectorised", [False, True])
def test_a_plain_script_of_reptile_agrees(vectorised: bool, shape: Shape) -> None:
    """So are Reptile's loss and direction, which is from where theirs ends to the start.

    Except of biases before a norm: their gradients are rounding alone, which Adam enlarges.
    """
    ours = scene("reptile", {"steps": 4, "inner_batch": 4}, shape)
    model = peer.Classifier(shape, WIDTH, WAYS)
    model.take(ours.params)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    loss = peer.reptile_step(model, optimizer, ours.tasks, steps=4, rate=1e-3, batch=4)
    actual = ours.answer(ours.meta, "transductive", vectorised=vectorised)
    expected = {name: ours.params[name] - end.detach() for name, end in model.named_parameters()}
    expected["loss"] = torch.tensor(loss)
    told = [name for name in expected if not re.fullmatch(r"encoder\.\d\.0\.bias", name)]
    assert len(told) == len(expected) - 4
    assert_same({name: actual[name] for name in told}, {name: expected[name] for name in told})
