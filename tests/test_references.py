"""Meta-algorithms and norms against slow references that share no code with bench.

Shapes: N ways, S support examples, Q queries, D features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from types import SimpleNamespace
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.linalg import matrix_power
from scipy.optimize import minimize
from torch import Tensor, nn

from bench.contract import AbstractEncoder, Norm, Shape, Task, Tensors
from bench.encoder.conv4 import Conv4
from bench.meta.maml import Maml
from bench.meta.none import NoMeta
from bench.meta.protonet import Protonet
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

    def module(self, shape: Shape) -> nn.Module:
        """Return a module from [B, 1, 5, 5] to [B, 18]."""
        conv = nn.Conv2d(1, 2, 3, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(2), nn.Softplus(), nn.Flatten())


def network(encoder: nn.Module, head: nn.Module) -> tuple[Network, Tensors, dict[str, Tensor]]:
    """Return a network and its tensors, parameters moved off their special first values."""
    built = Network(encoder, head, channels_last=False)
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
    built, params, buffers = network(Tiny().module((1, 5, 5)), nn.Linear(18, WAYS))
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
    monkeypatch.setattr("bench.meta.maml.F", SimpleNamespace(cross_entropy=quadratic))
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
    built, params, buffers = network(Conv4(width=4).module((3, 16, 16)), nn.Linear(4, 5))
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
        rows = [(step * min(batch, len(x)) + place) % len(x) for place in range(min(batch, len(x)))]
        slopes = softmax_regression(*now, x[rows], y[rows])
        for which, slope in enumerate(slopes):
            seconds[which] = 0.999 * seconds[which] + 0.001 * slope**2
            unbiased = seconds[which] / (1 - 0.999 ** (step + 1))
            now[which] = now[which] - rate * slope / (np.sqrt(unbiased) + 1e-8)

    reptile = Reptile(steps=steps, inner_rate=rate, inner_batch=batch)
    learner = Learner(built, buffers, "support", training=True)
    _, direction = reptile.meta_gradient(learner, params, one)
    for name, end in zip(("head.weight", "head.bias"), now, strict=True):
        np.testing.assert_allclose(direction[name], params[name] - end, rtol=1e-9, atol=1e-12)


# --- heads on features -------------------------------------------------------------------------


def distances(x: Floats, centres: Floats) -> Floats:
    """Return squared distances, one pair at a time."""
    return np.array([[sum((a - b) ** 2) for b in centres] for a in x])


def means(x: Floats, y: Floats) -> Floats:
    """Return the mean of each class, example by example."""
    return np.array([sum(x[i] for i in range(len(x)) if y[i] == c) / sum(y == c) for c in set(y)])


def test_protonet_equals_its_equations() -> None:
    """Loss and gradient are those of distances to class means, computed in numpy."""
    one = task(shots=2, queries=3)
    built, params, buffers = network(nn.Sequential(nn.Flatten(), nn.Linear(25, 4)), nn.Identity())
    sx, qx = (x.flatten(1).numpy() for x in (one.support_x, one.query_x))
    sy, qy = one.support_y.numpy(), one.query_y.numpy()

    def loss(at: Tensors) -> Tensor:
        weight, bias = at["encoder.1.weight"].numpy(), at["encoder.1.bias"].numpy()
        near = -distances(qx @ weight.T + bias, means(sx @ weight.T + bias, sy))
        terms = [np.log(np.exp(near[i]).sum()) - near[i, qy[i]] for i in range(len(qy))]
        return torch.tensor(np.mean(terms))

    learner = Learner(built, buffers, "running", training=True)
    actual, gradient = Protonet().meta_gradient(learner, params, one)
    torch.testing.assert_close(actual, loss(params), rtol=1e-10, atol=1e-10)
    assert_close(gradient, differences(loss, params))


def features(ways: int, shots: int = 3) -> tuple[Task, Floats, Floats, Floats]:
    """Return a task of vectors that are features already, and its arrays."""
    one = task(ways=ways, shots=shots, queries=4, shape=(6,))
    return one, one.support_x.numpy(), one.support_y.numpy(), one.query_x.numpy()


def scores_of(meta: NoMeta, one: Task) -> Floats:
    """Return the head's scores on the vectors as they are."""
    built, params, buffers = network(nn.Flatten(), nn.Identity())
    learner = Learner(built, buffers, "running", training=False)
    return meta.predict(learner, params, one).numpy()


def test_prototypes_equal_class_means() -> None:
    """The score is minus the distance to the class mean."""
    one, x, y, queries = features(WAYS)
    expected = -np.sqrt(distances(queries, means(x, y)))
    np.testing.assert_allclose(scores_of(NoMeta(), one), expected, rtol=1e-9)


def test_neighbours_equal_a_search() -> None:
    """The score is minus the distance to the nearest support example of the class."""
    one, x, y, queries = features(WAYS)
    expected = [
        [
            -min(np.linalg.norm(q - x[i]) for i in range(len(x)) if y[i] == way)
            for way in range(WAYS)
        ]
        for q in queries
    ]
    np.testing.assert_allclose(scores_of(NoMeta(head="neighbour"), one), expected, rtol=1e-9)


@pytest.mark.parametrize("ways", [2, 4])
def test_logistic_regression_has_its_optimum(ways: int) -> None:
    """Probabilities are those of the minimum of the penalised likelihood on unit vectors."""
    one, x, y, queries = features(ways)
    x, queries = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, queries))

    def objective(flat: Floats) -> float:
        weight, bias = flat[: ways * 6].reshape(ways, 6), flat[ways * 6 :]
        scores = x @ weight.T + bias
        logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        # For two classes scikit-learn has one weight vector, the difference of ours: the
        # penalty of the difference is twice that of its two halves.
        penalty = (weight**2).sum() * (2 if ways == 2 else 1) / 2
        return float(penalty - logs[np.arange(len(y)), y].sum())

    best = minimize(objective, np.zeros(ways * 7), method="BFGS", options={"gtol": 1e-7}).x
    expected = queries @ best[: ways * 6].reshape(ways, 6).T + best[ways * 6 :]
    actual = scores_of(NoMeta(head="logistic"), one)
    chances = [np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in (actual, expected)]
    np.testing.assert_allclose(*chances, atol=1e-3)


# --- norms -------------------------------------------------------------------------------------


def normed(x: Floats, like: Floats) -> Floats:
    """Normalise each channel by the mean and variance of another batch, value by value."""
    out = np.empty_like(x)
    for channel in range(x.shape[1]):
        values = like[:, channel].ravel()
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        out[:, channel] = (x[:, channel] - mean) / np.sqrt(variance + 1e-5)
    return out


@pytest.mark.parametrize("norm", ["support", "transductive", "running"])
def test_norms_use_the_statistics_they_are_named_after(norm: Norm) -> None:
    """support: the support's for both; transductive: each its own; running: both in training."""
    built, params, buffers = network(nn.BatchNorm2d(2), nn.Identity())
    scale, shift = (params[f"encoder.{name}"].view(1, 2, 1, 1) for name in ("weight", "bias"))
    one = task(shape=(2, 3, 3))
    support, query = one.support_x.numpy(), one.query_x.numpy()
    both = np.concatenate([support, query])
    like = {
        "support": (support, support),
        "transductive": (support, query),
        "running": (both, both),
    }[norm]
    learner = Learner(built, buffers, norm, training=True)
    actual = learner.embed_both(params, one.support_x, one.query_x)
    for found, x, batch in zip(actual, (support, query), like, strict=True):
        expected = scale.numpy() * normed(x, batch) + shift.numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_running_statistics_move_in_training_and_are_used_at_test() -> None:
    """They move by a tenth towards a batch's mean and unbiased variance, and then stand still."""
    built, params, buffers = network(nn.BatchNorm2d(2), nn.Identity())
    x = torch.rand(4, 2, 3, 3)
    Learner(built, buffers, "running", training=True).embed(params, x)
    values = x.numpy().transpose(1, 0, 2, 3).reshape(2, -1)
    mean, variance = 0.1 * values.mean(1), 0.9 + 0.1 * values.var(1, ddof=1)
    np.testing.assert_allclose(buffers["encoder.running_mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(buffers["encoder.running_var"], variance, rtol=1e-9)

    tested = Learner(built, buffers, "running", training=False).embed(params, x)
    away = (x.numpy() - mean.reshape(2, 1, 1)) / np.sqrt(variance + 1e-5).reshape(2, 1, 1)
    scale, shift = (params[f"encoder.{name}"].view(2, 1, 1).numpy() for name in ("weight", "bias"))
    np.testing.assert_allclose(tested, scale * away + shift, rtol=1e-9)
    np.testing.assert_allclose(buffers["encoder.running_mean"], mean, rtol=1e-9)
