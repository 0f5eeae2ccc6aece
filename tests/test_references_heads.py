"""Heads that are solved or trained in a task, against direct solutions and plain training loops.

Shapes: N ways, S support examples, Q queries, D features.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from bench.catalogue import resolved
from bench.contract import AbstractMeta, Task, Tensors
from bench.meta.finetune import Finetune
from bench.meta.none import NoMeta
from bench.meta.protonet import Protonet
from bench.meta.r2d2 import R2d2
from bench.stages.engine import FeatureLearner, Learner
from bench.stages.network import Network

WAYS = 3
WIDTH = 6
Tuned = type[Protonet] | type[NoMeta]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64, from one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(7)
    yield
    torch.set_default_dtype(torch.float32)


def task(shots: int = 3, ways: int = WAYS) -> Task:
    """Return a task of random vectors, in the order of the contract."""
    return Task(
        support_x=torch.randn(ways * shots, WIDTH),
        support_y=torch.arange(ways).repeat(shots),
        query_x=torch.randn(ways * 4, WIDTH),
        query_y=torch.arange(ways).repeat(4),
        ways=ways,
    )


def on_vectors() -> FeatureLearner:
    """Return a learner whose features are the examples."""
    plain = Network(nn.Identity(), nn.Identity(), channels_last=False, grouped=False)
    return FeatureLearner(plain, {})


def scores_after(
    meta: AbstractMeta, one: Task, steps: int, params: Tensors | None = None
) -> list[Tensor]:
    """Return the scores of the queries after 0, 1, ... steps on vectors as they are."""
    learner = on_vectors()
    trajectory = meta.adapt(learner, params or {}, one.support_x, one.support_y)
    return [meta.predict(learner, now, one) for now in islice(trajectory, steps + 1)]


# --- ridge regression --------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [1, 3, 20])
def test_r2d2_solves_ridge_regression(shots: int) -> None:
    """Scores are those of the direct solution in D + 1 dimensions, and of scikit-learn's."""
    one, penalty, scale = task(shots), 0.3, 2.5
    learned = R2d2(regularisation=penalty, scale=scale).learned({})
    params = {f"meta.{name}": value for name, value in learned.items()}
    (actual,) = scores_after(R2d2(), one, 1, params)

    x, queries = (
        np.hstack([rows.numpy(), np.ones((len(rows), 1))]) for rows in (one.support_x, one.query_x)
    )
    y, size = np.eye(WAYS)[one.support_y.numpy()], WAYS * shots
    direct = np.linalg.solve(x.T @ x + size * penalty * np.eye(WIDTH + 1), x.T @ y)
    np.testing.assert_allclose(actual, scale * queries @ direct, rtol=1e-9)
    ridge = Ridge(alpha=size * penalty, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(actual, scale * ridge.predict(queries), rtol=1e-9)


def test_r2d2_learns_scale_and_penalty() -> None:
    """Encoder, scale and penalty have slopes: those of the loss by central differences."""
    one, meta = task(), R2d2(regularisation=0.3)
    start = {f"meta.{name}": value for name, value in meta.learned({}).items()}
    _, gradient = meta.meta_gradient(on_vectors(), start, one)
    assert gradient.keys() == {"meta.scale", "meta.log_lambda"}
    for name, slope in gradient.items():
        high, low = (
            meta.meta_gradient(on_vectors(), {**start, name: start[name] + step}, one)[0]
            for step in (1e-5, -1e-5)
        )
        assert float(slope) == pytest.approx(float(high - low) / 2e-5, rel=1e-6)
        assert slope != 0


# --- prototypes, tuned -------------------------------------------------------------------------


def plain(meta: Tuned, one: Task) -> Tensor:
    """Return the scores of the method without tuning."""
    (scores,) = scores_after(meta(), one, 5)
    return scores


@pytest.mark.parametrize("meta", [Protonet, NoMeta])
def test_tuning_starts_at_the_prototypes(meta: Tuned) -> None:
    """After 0 steps scores are the method's own; the head that follows starts with its classes."""
    one = task()
    first, barely = scores_after(meta(tune_steps=1, tune_rate=1e-13), one, 1)
    assert torch.equal(first, plain(meta, one))
    away = one.query_x.square().sum(1, keepdim=True)  # of each query; shared by its classes
    torch.testing.assert_close(barely - away, plain(Protonet, one), rtol=1e-9, atol=1e-9)
    assert torch.equal(barely.argmax(1), first.argmax(1))


@pytest.mark.parametrize("meta", [Protonet, NoMeta])
@pytest.mark.parametrize("shots", [1, 3])
def test_tuning_is_adam_on_a_linear_layer(meta: Tuned, shots: int) -> None:
    """Each step is torch's Adam on a layer of weight 2 p and bias -|p|^2, one row for each way."""
    one, steps, rate = task(shots), 8, 0.05
    means = torch.stack([one.support_x[one.support_y == way].mean(0) for way in range(WAYS)])
    layer = nn.Linear(WIDTH, WAYS)
    with torch.no_grad():
        layer.weight.copy_(2 * means)
        layer.bias.copy_(-(means**2).sum(1))
    optimizer = torch.optim.Adam(layer.parameters(), lr=rate)
    actual = scores_after(meta(tune_steps=steps, tune_rate=rate), one, 99)
    assert len(actual) == steps + 1
    for scores in actual[1:]:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(layer(one.support_x), one.support_y)
        torch.autograd.backward(loss)
        optimizer.step()
        torch.testing.assert_close(scores, layer(one.query_x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("meta", [Protonet, NoMeta])
def test_tuning_is_read_out_at_its_steps_and_in_no_older_key(meta: Tuned) -> None:
    """The test takes ``tune_steps`` steps; a method without them is described as before."""
    name = "protonet" if meta is Protonet else "none"
    assert (meta().test_steps, meta(tune_steps=15).test_steps) == (0, 15)
    assert not {"tune_steps", "tune_rate"} & resolved("meta", name, meta())["params"].keys()
    described = resolved("meta", name, meta(tune_steps=15))["params"]
    assert described["tune_steps"] == 15


@pytest.mark.parametrize("head", ["neighbour", "logistic"])
def test_only_prototypes_are_tuned(head: str) -> None:
    """A head that is no linear layer with prototypes as its start cannot be tuned."""
    with pytest.raises(ValueError, match=f"not for {head}"):
        NoMeta(head=head, tune_steps=1)  # type: ignore[arg-type]  # one of its words


# --- training on the support alone -------------------------------------------------------------


def test_finetune_is_a_plain_training_loop() -> None:
    """Encoder and a head of zeros follow torch's SGD; queries are normed by the support."""
    one, rate = task(), 0.3
    net = nn.Sequential(nn.Linear(WIDTH, 5, bias=False), nn.BatchNorm1d(5), nn.Softplus())
    built = Network(net, nn.Identity(), channels_last=False, grouped=False)
    params, buffers = built.tensors(torch.device("cpu"))
    learner = Learner(built, buffers, "support", training=False)
    trajectory = Finetune(inner_rate=rate).adapt(learner, params, one.support_x, one.support_y)

    tensors = {name: value.clone().requires_grad_() for name, value in params.items()}
    tensors |= {"head": torch.zeros(WAYS, 5, requires_grad=True)}
    tensors |= {"bias": torch.zeros(WAYS, requires_grad=True)}
    optimizer = torch.optim.SGD(tensors.values(), lr=rate)

    def scores(x: Tensor) -> Tensor:
        maps, support = (rows @ tensors["encoder.0.weight"].T for rows in (x, one.support_x))
        normed = (maps - support.mean(0)) / (support.var(0, unbiased=False) + 1e-5).sqrt()
        normed = normed * tensors["encoder.1.weight"] + tensors["encoder.1.bias"]
        return nn.functional.softplus(normed) @ tensors["head"].T + tensors["bias"]

    for now in islice(trajectory, 12):
        actual = Finetune().predict(learner, now, one)
        torch.testing.assert_close(actual, scores(one.query_x), rtol=1e-8, atol=1e-8)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(scores(one.support_x), one.support_y)
        torch.autograd.backward(loss)
        optimizer.step()


def test_finetune_knows_nothing_before_its_first_step() -> None:
    """Without steps all scores are equal; the test takes ``steps``."""
    first, second = scores_after(Finetune(), task(), 1)
    assert torch.equal(first, torch.zeros(WAYS * 4, WAYS))
    assert second.shape == first.shape
    assert second.abs().max() > 0
    assert Finetune(steps=7).test_steps == 7
