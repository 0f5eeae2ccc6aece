"""MAML and Reptile against slow references that share no code with bench."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.linalg import matrix_power
from torch import Tensor, nn

from bench.contract import AbstractEncoder, Norm, Shape, Task, Tensors
from bench.encoder.conv4 import Conv4
from bench.form import Form
from bench.meta.maml import Maml
from bench.meta.reptile import Reptile
from bench.stages.engine import Learner
from bench.stages.network import Network

WAYS = 3
STEP = 1e-6  # of central differences
Floats = np.ndarray


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64, from one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    yield
    torch.set_default_dtype(torch.float32)


@dataclass(frozen=True, kw_only=True)
class Tiny(AbstractEncoder):
    """One convolution, a norm, a smooth activation."""

    reference: ClassVar[str] = "arXiv:1606.04080"

    def module(self, form: Form) -> nn.Module:
        """Return a module from [B, 1, 5, 5] to [B, 18]."""
        conv = nn.Conv2d(1, 2, 3, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(2), nn.Softplus(), nn.Flatten())


def network(encoder: nn.Module, head: nn.Module) -> tuple[Network, Tensors, dict[str, Tensor]]:
    """Return a network and its tensors, parameters moved off their special first values."""
    built = Network(encoder, head, channels_last=False, grouped=False)
    params, buffers = built.tensors(torch.device("cpu"))
    return built, {name: p + 0.1 * torch.randn_like(p) for name, p in params.items()}, buffers


def task(*, ways: int = WAYS, shots: int = 2, queries: int = 2, shape: Shape = (1, 5, 5)) -> Task:
    """Return a task of random examples, in the order of the contract."""
    return Task(
        support_x=torch.rand(ways * shots, *shape),
        support_y=torch.arange(ways).repeat(shots),
        query_x=torch.rand(ways * queries, *shape),
        query_y=torch.arange(ways).repeat(queries),
        ways=ways,
    )


def differences(function: Callable[[Tensors], Tensor], at: Tensors) -> Tensors:
    """Return the gradient of a function by central differences, one number at a time."""
    result = {}
    for name, value in at.items():
        slopes = torch.empty(value.numel())
        for place in range(value.numel()):
            step = torch.zeros(value.numel())
            step[place] = STEP
            high, low = (
                function({**at, name: value + sign * step.view_as(value)}).detach()
                for sign in (1, -1)
            )
            slopes[place] = (high - low) / (2 * STEP)
        result[name] = slopes.view_as(value)
    return result


def assert_close(actual: Tensors, expected: Tensors, slack: float = 1e-7) -> None:
    """Compare two sets of tensors."""
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        torch.testing.assert_close(value, expected[name], rtol=slack, atol=slack, msg=name)


# --- MAML --------------------------------------------------------------------------------------


def by_hand(params: Tensors, x: Tensor, like: Tensor) -> Tensor:
    """Return the tiny network's scores of ``x``, normalised by the statistics of ``like``."""
    maps, others = (F.conv2d(batch, params["encoder.0.weight"]) for batch in (x, like))
    mean = others.mean((0, 2, 3), keepdim=True)
    variance = ((others - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scale, shift = (params[f"encoder.1.{name}"].view(1, 2, 1, 1) for name in ("weight", "bias"))
    normed = scale * (maps - mean) / (variance + 1e-5).sqrt() + shift
    features = (1 + normed.exp()).log().flatten(1)
    return features @ params["head.weight"].T + params["head.bias"]


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return minus the mean log-probability of the labels."""
    logs = scores - scores.exp().sum(1, keepdim=True).log()
    return -logs[torch.arange(len(labels)), labels].mean()


def descended(params: Tensors, one: Task, steps: int, rate: float) -> Tensors:
    """Return parameters after steps on the support, each gradient by autograd."""
    for _ in range(steps):
        now = {name: value.detach().requires_grad_() for name, value in params.items()}
        loss = cross_entropy(by_hand(now, one.support_x, one.support_x), one.support_y)
        slopes = torch.autograd.grad(loss, list(now.values()))
        params = {
            name: (now[name] - rate * slope).detach()
            for name, slope in zip(now, slopes, strict=True)
        }
    return params


@pytest.mark.parametrize("norm", ["support", "transductive"])
@pytest.mark.parametrize("order", [1, 2])
def test_maml_meta_gradient_equals_differences(order: Literal[1, 2], norm: Norm) -> None:
    """Order 2 is the slope of the query loss after the steps, order 1 the one at their end."""
    steps, rate, one = 3, 0.4, task()
    built, params, buffers = network(
        Tiny().module(Form(shape=(1, 5, 5), modality="image")), nn.Linear(18, WAYS)
    )
    like = one.support_x if norm == "support" else one.query_x

    def query_loss(at: Tensors) -> Tensor:
        return cross_entropy(by_hand(at, one.query_x, like), one.query_y)

    adapted = descended(params, one, steps, rate)
    expected = (
        differences(query_loss, adapted)
        if order == 1
        else differences(lambda start: query_loss(descended(start, one, steps, rate)), params)
    )
    maml = Maml(order=order, steps=steps, inner_rate=rate)
    loss, actual = maml.meta_gradient(Learner(built, buffers, norm, training=True), params, one)
    torch.testing.assert_close(loss, query_loss(adapted), rtol=1e-10, atol=1e-10)
    assert_close(actual, expected)


class Quadratic(Learner):
    """Scores that hold the parameters and the matrix of a task's loss."""

    def embed(self, params: Tensors, x_BCHW: Tensor) -> Tensor:
        """Return the matrix."""
        return x_BCHW

    def embed_both(
        self, params: Tensors, support_x: Tensor, query_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return both matrices."""
        return support_x, query_x

    def head(self, params: Tensors, z_BD: Tensor) -> Tensor:
        """Put the parameters on top of the matrix."""
        return torch.cat([params["head.theta"].unsqueeze(0), z_BD])


def quadratic(scores: Tensor, target: Tensor) -> Tensor:
    """Return half the squared distance to a target, in the metric of the matrix."""
    away, matrix = scores[0] - target, scores[1:]
    return 0.5 * away @ matrix @ away


@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_maml_on_a_quadratic_has_its_closed_form(
    order: Literal[1, 2], vectorised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After k steps theta' = s + (I - rA)^k (theta - s); order 2 is (I - rA)^k B (theta' - q)."""
    monkeypatch.setattr("bench.schemes.loss_of", quadratic)
    random, rate, steps, size = np.random.default_rng(0), 0.07, 4, 5
    a, b = (m @ m.T for m in random.normal(size=(2, size, size)))
    theta, s, q = random.normal(size=(3, size))
    power = matrix_power(np.eye(size) - rate * a, steps)
    adapted = s + power @ (theta - s)
    expected = b @ (adapted - q) if order == 1 else power @ b @ (adapted - q)

    built, _, _ = network(nn.Flatten(), nn.Identity())
    learner = Quadratic(built, {}, "support", training=True, vectorised=vectorised)
    one = Task(
        support_x=torch.from_numpy(a),
        support_y=torch.from_numpy(s),
        query_x=torch.from_numpy(b),
        query_y=torch.from_numpy(q),
        ways=1,
    )
    loss, gradient = Maml(order=order, steps=steps, inner_rate=rate).meta_gradient(
        learner, {"head.theta": torch.from_numpy(theta)}, one
    )
    np.testing.assert_allclose(gradient["head.theta"].detach(), expected, rtol=1e-10)
    np.testing.assert_allclose(loss.detach(), 0.5 * (adapted - q) @ b @ (adapted - q), rtol=1e-10)


def test_maml_without_steps_guesses() -> None:
    """A 5-way learner after 0 steps is right for exactly 1/5, over all namings of the classes."""
    one = task(ways=5, shots=1, queries=3, shape=(3, 16, 16))
    built, params, buffers = network(
        Conv4(width=4).module(Form(shape=(3, 16, 16), modality="image")), nn.Linear(4, 5)
    )
    learner, right = Learner(built, buffers, "support", training=False), 0
    for order in permutations(range(5)):
        named = torch.tensor(order)
        other = Task(
            support_x=one.support_x,
            support_y=named[one.support_y],
            query_x=one.query_x,
            query_y=named[one.query_y],
            ways=5,
        )
        start = next(Maml().adapt(learner, params, other.support_x, other.support_y))
        scores = Maml().predict(learner, start, other)
        right += int((scores.argmax(1) == other.query_y).sum())
    assert right * 5 == 120 * len(one.query_y)


# --- Reptile -----------------------------------------------------------------------------------


def softmax_regression(weight: Floats, bias: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the gradient of the mean cross-entropy of linear scores."""
    scores = x @ weight.T + bias
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    excess = (chances - np.eye(len(bias))[y]) / len(y)
    return excess.T @ x, excess.sum(0)


@pytest.mark.parametrize("batch", [4, 7, 50])
def test_reptile_moves_where_adam_goes(batch: int) -> None:
    """The direction is minus the way of Adam without momentum through the task's minibatches."""
    one, steps, rate = task(shots=3, queries=1), 6, 0.02
    built, params, buffers = network(nn.Flatten(), nn.Linear(25, WAYS))
    x = np.concatenate([one.support_x, one.query_x]).reshape(-1, 25)
    y = np.concatenate([one.support_y, one.query_y])
    now = [params["head.weight"].numpy().copy(), params["head.bias"].numpy().copy()]
    seconds = [np.zeros_like(value) for value in now]
    for step in range(steps):
        size = min(batch, len(x))
        rows = [(step * size + place) % len(x) for place in range(size)]
        slopes = softmax_regression(now[0], now[1], x[rows], y[rows])
        for which, slope in enumerate(slopes):
            seconds[which] = 0.999 * seconds[which] + 0.001 * slope**2
            unbiased = seconds[which] / (1 - 0.999 ** (step + 1))
            now[which] = now[which] - rate * slope / (np.sqrt(unbiased) + 1e-8)

    reptile = Reptile(steps=steps, inner_rate=rate, inner_batch=batch)
    learner = Learner(built, buffers, "support", training=True)
    _, direction = reptile.meta_gradient(learner, params, one)
    for name, end in zip(("head.weight", "head.bias"), now, strict=True):
        way = params[name].numpy() - end
        np.testing.assert_allclose(direction[name], way, rtol=1e-9, atol=1e-12)
