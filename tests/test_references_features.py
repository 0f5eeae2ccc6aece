"""Heads on features, and norms, against slow references that share no code with bench.

Shapes: N ways, S support examples, Q queries, D features.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from bench.contract import Norm, Shape, Task, Tensors
from bench.meta.none import NoMeta
from bench.meta.protonet import Protonet
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


def distances(x: Floats, centres: Floats) -> Floats:
    """Return squared distances, one pair at a time."""
    return np.array([[sum((a - b) ** 2) for b in centres] for a in x])


def slopes(function: Callable[[Floats], float], shape: Shape) -> Floats:
    """Return the gradient of a function of an offset by central differences at zero."""
    found = np.empty(shape)
    for place in np.ndindex(*shape):
        step = np.zeros(shape)
        step[place] = STEP
        found[place] = (function(step) - function(-step)) / (2 * STEP)
    return found


def means(x: Floats, y: Floats) -> Floats:
    """Return the mean of each class, example by example."""
    return np.array([sum(x[i] for i in range(len(x)) if y[i] == c) / sum(y == c) for c in set(y)])


def test_protonet_equals_its_equations() -> None:
    """Loss and gradient are those of distances to class means, computed in numpy."""
    one = task(shots=2, queries=3)
    built, params, buffers = network(nn.Sequential(nn.Flatten(), nn.Linear(25, 4)), nn.Identity())
    sx, qx = (x.flatten(1).numpy() for x in (one.support_x, one.query_x))
    sy, qy = one.support_y.numpy(), one.query_y.numpy()

    def loss(weight: Floats, bias: Floats) -> float:
        near = -distances(qx @ weight.T + bias, means(sx @ weight.T + bias, sy))
        terms = [np.log(np.exp(near[i]).sum()) - near[i, qy[i]] for i in range(len(qy))]
        return float(np.mean(terms))

    learner = Learner(built, buffers, "running", training=True)
    actual, gradient = Protonet().meta_gradient(learner, params, one)
    weight, bias = params["encoder.1.weight"].numpy(), params["encoder.1.bias"].numpy()
    assert float(actual) == pytest.approx(loss(weight, bias), rel=1e-10)
    for found, at in (
        (gradient["encoder.1.weight"], lambda step: loss(weight + step, bias)),
        (gradient["encoder.1.bias"], lambda step: loss(weight, bias + step)),
    ):
        np.testing.assert_allclose(found, slopes(at, found.shape), rtol=1e-6, atol=1e-7)


def features(ways: int, shots: int = 3) -> tuple[Task, Floats, Floats, Floats]:
    """Return a task of vectors that are features already, and its arrays."""
    one = task(ways=ways, shots=shots, queries=4, shape=(6,))
    return one, one.support_x.numpy(), one.support_y.numpy(), one.query_x.numpy()


def scores_of(meta: NoMeta, one: Task) -> Floats:
    """Return the head's scores on the vectors as they are."""
    built, params, buffers = network(nn.Flatten(), nn.Identity())
    learner = Learner(built, buffers, "running", training=False)
    scores: Floats = meta.predict(learner, params, one).numpy()
    return scores


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
    found, best_chances = (np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in (actual, expected))
    np.testing.assert_allclose(found, best_chances, atol=1e-3)


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
