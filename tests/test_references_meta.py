"""Meta-gradients of MAML's relatives against slow references that share no code with bench."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from bench.contract import Shape, Task, Tensors
from bench.meta.anil import Anil
from bench.meta.boil import Boil
from bench.meta.imaml import Imaml
from bench.meta.maml import Maml
from bench.meta.meta_sgd import MetaSgd
from bench.stages.engine import Learner
from bench.stages.network import Network

WAYS = 3
STEP = 1e-6  # of central differences
SHAPE = (1, 3, 3)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64, from one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    yield
    torch.set_default_dtype(torch.float32)


def network() -> tuple[Network, Tensors, dict[str, Tensor]]:
    """Return one linear layer, a norm, a smooth activation, a head; and tensors."""
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(9, 4, bias=False), nn.BatchNorm1d(4), nn.Softplus()
    )
    built = Network(encoder, nn.Linear(4, WAYS), channels_last=False, grouped=False)
    params, buffers = built.tensors(torch.device("cpu"))
    return built, {name: p + 0.3 * torch.randn_like(p) for name, p in params.items()}, buffers


def task(shots: int = 2, queries: int = 3, shape: Shape = SHAPE) -> Task:
    """Return a task of random examples, in the order of the contract."""
    return Task(
        support_x=torch.rand(WAYS * shots, *shape),
        support_y=torch.arange(WAYS).repeat(shots),
        query_x=torch.rand(WAYS * queries, *shape),
        query_y=torch.arange(WAYS).repeat(queries),
        ways=WAYS,
    )


def loss_by_hand(params: Tensors, x: Tensor, y: Tensor, like: Tensor) -> Tensor:
    """Return the cross-entropy of the network, normalised by the statistics of ``like``."""
    maps, others = (batch.flatten(1) @ params["encoder.1.weight"].T for batch in (x, like))
    mean = others.mean(0)
    away = (maps - mean) / (((others - mean) ** 2).mean(0) + 1e-5).sqrt()
    features = (1 + (params["encoder.2.weight"] * away + params["encoder.2.bias"]).exp()).log()
    scores = features @ params["head.weight"].T + params["head.bias"]
    logs = scores - scores.exp().sum(1, keepdim=True).log()
    return -logs[torch.arange(len(y)), y].mean()


def support_loss(params: Tensors, one: Task) -> Tensor:
    """Return the loss of the support, by its own statistics."""
    return loss_by_hand(params, one.support_x, one.support_y, one.support_x)


def query_loss(params: Tensors, one: Task) -> Tensor:
    """Return the loss of the queries, by the support's statistics."""
    return loss_by_hand(params, one.query_x, one.query_y, one.support_x)


Rates = dict[str, float | Tensor]


def stepped(
    params: Tensors, loss: Callable[[Tensors], Tensor], rates: Rates, steps: int
) -> Tensors:
    """Return parameters after steps on the whole network; what has no rate is not moved."""
    for _ in range(steps):
        slopes = torch.autograd.grad(loss(params), list(params.values()), create_graph=True)
        params = {
            name: value - rates.get(name, 0.0) * slope
            for (name, value), slope in zip(params.items(), slopes, strict=True)
        }
    return params


def leaves(params: Tensors) -> Tensors:
    """Return parameters that a graph can start from."""
    return {name: value.detach().requires_grad_() for name, value in params.items()}


def slopes_of(function: Callable[[Tensors], Tensor], at: Tensors) -> Tensors:
    """Return the gradient of a function by autograd."""
    start = leaves(at)
    slopes = torch.autograd.grad(function(start), list(start.values()))
    return dict(zip(at, slopes, strict=True))


def differences(function: Callable[[Tensors], Tensor], at: Tensors) -> Tensors:
    """Return the gradient of a function by central differences, one number at a time."""
    result = {}
    for name, value in at.items():
        slopes = torch.empty(value.numel())
        for place in range(value.numel()):
            step = torch.zeros(value.numel())
            step[place] = STEP
            high, low = (
                function(leaves({**at, name: value + sign * step.view_as(value)})).detach()
                for sign in (1, -1)
            )
            slopes[place] = (high - low) / (2 * STEP)
        result[name] = slopes.view_as(value)
    return result


def assert_close(actual: Tensors, expected: Tensors, slack: float) -> None:
    """Compare two sets of tensors."""
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        torch.testing.assert_close(value, expected[name], rtol=slack, atol=slack, msg=name)


def moving(part: str, params: Tensors, rate: float) -> Rates:
    """Return one rate for the tensors of a part."""
    return {name: rate for name in params if name.startswith(part)}


# --- MAML's scheme with other tensors and rates ------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("method", [Anil, Boil])
def test_a_part_that_moves_alone(method: type[Anil | Boil], order: Literal[1, 2]) -> None:
    """ANIL moves the head, BOIL the encoder: as a network whose other rates are zero."""
    steps, rate, one = 3, 0.4, task()
    built, params, buffers = network()
    rates = moving("head." if method is Anil else "encoder.", params, rate)

    def adapted(start: Tensors) -> Tensors:
        return stepped(start, partial(support_loss, one=one), rates, steps)

    def at_the_end(now: Tensors) -> Tensor:
        return query_loss(now, one)

    def at_the_start(now: Tensors) -> Tensor:
        return query_loss(adapted(now), one)

    end = {name: value.detach() for name, value in adapted(leaves(params)).items()}
    function, at = (at_the_end, end) if order == 1 else (at_the_start, params)
    meta = method(order=order, steps=steps, inner_rate=rate)
    learner = Learner(built, buffers, "support", training=True)
    loss, actual = meta.meta_gradient(learner, params, one)
    torch.testing.assert_close(loss, query_loss(end, one), rtol=1e-10, atol=1e-10)
    assert_close(actual, slopes_of(function, at), 1e-10)
    assert_close(actual, differences(function, at), 1e-7)


@pytest.mark.parametrize("method", [Anil, Boil])
def test_the_other_part_stays_at_test(method: type[Anil | Boil]) -> None:
    """At test, too, ANIL moves nothing but the head, BOIL nothing but the encoder."""
    one = task()
    built, params, buffers = network()
    rates = moving("head." if method is Anil else "encoder.", params, 0.3)
    learner = Learner(built, buffers, "support", training=False)
    trajectory = method(inner_rate=0.3).adapt(learner, params, one.support_x, one.support_y)
    for steps in range(4):
        expected = stepped(leaves(params), partial(support_loss, one=one), rates, steps)
        assert_close(next(trajectory), expected, 1e-10)
    assert rates
    assert len(rates) < len(params)


def test_meta_sgd_with_one_rate_is_maml() -> None:
    """With equal rates the start's meta-gradient and loss are those of MAML, order 2."""
    steps, rate, one = 3, 0.4, task()
    built, params, buffers = network()
    rates = {f"meta.rate.{name}": torch.full_like(p, rate) for name, p in params.items()}
    learner = Learner(built, buffers, "support", training=True)
    loss, gradient = MetaSgd(steps=steps).meta_gradient(learner, {**params, **rates}, one)
    maml = Maml(steps=steps, inner_rate=rate)
    expected_loss, expected = maml.meta_gradient(learner, params, one)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=1e-12)
    assert_close({name: gradient[name] for name in params}, expected, 1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_meta_sgd_learns_rates_by_the_products_of_slopes(order: Literal[1, 2]) -> None:
    """After one step d loss_Q / d rate = - grad L(theta) * grad loss_Q(theta'), elementwise."""
    one = task()
    built, params, buffers = network()
    rates = {name: 0.1 + torch.rand_like(p) for name, p in params.items()}
    both = {**params, **{f"meta.rate.{name}": rate for name, rate in rates.items()}}
    learner = Learner(built, buffers, "support", training=True)
    _, actual = MetaSgd(order=order).meta_gradient(learner, both, one)

    first = slopes_of(partial(support_loss, one=one), params)
    end = {name: params[name] - rates[name] * first[name] for name in params}
    last = slopes_of(partial(query_loss, one=one), end)
    for name in params:
        expected = -first[name] * last[name]
        torch.testing.assert_close(actual[f"meta.rate.{name}"], expected, rtol=1e-9, atol=1e-12)


def test_meta_sgd_draws_its_first_rates() -> None:
    """There is a rate for each number, from [0.005, 0.1), another for each; the seed decides."""
    _, params, _ = network()
    torch.manual_seed(0)
    rates = MetaSgd().learned(params)
    torch.manual_seed(0)
    assert_close(rates, MetaSgd().learned(params), 0.0)
    assert rates.keys() == {f"rate.{name}" for name in params}
    assert all(rates[f"rate.{name}"].shape == value.shape for name, value in params.items())
    every = torch.cat([rate.flatten() for rate in rates.values()])
    assert every.min() >= 0.005
    assert every.max() < 0.1
    assert len(set(every.tolist())) == len(every)


# --- implicit gradients ------------------------------------------------------------------------


def test_imaml_agrees_with_the_gradient_through_all_steps() -> None:
    """Where the inner problem and the system are solved, it is the unrolled loop's gradient."""
    steps, rate, weight, one = 150, 0.1, 2.0, task()
    built, params, buffers = network()
    start = leaves(params)

    def proximal(now: Tensors) -> Tensor:
        away = sum(((now[name] - start[name]) ** 2).sum() for name in now)
        return support_loss(now, one) + weight / 2 * away

    end = stepped(start, proximal, dict.fromkeys(params, rate), steps)
    loss = query_loss(end, one)
    expected = dict(zip(params, torch.autograd.grad(loss, list(start.values())), strict=True))

    imaml = Imaml(regularisation=weight, steps=steps, inner_rate=rate, solver_steps=40)
    learner = Learner(built, buffers, "support", training=True)
    actual_loss, actual = imaml.meta_gradient(learner, params, one)
    torch.testing.assert_close(actual_loss, loss.detach(), rtol=1e-9, atol=1e-9)
    assert_close(actual, expected, 1e-6)
