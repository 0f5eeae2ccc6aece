"""Learning of numbers against closed forms and loops in numpy that share no code with bench.

The model is linear, so that a step on the mean squared error is one of linear regression: with
X [B, F] (a last column of ones) and Y [B, D], L(W) = |X W - Y|^2 / (B D) has the gradient
2 X' (X W - Y) / (B D), and its Hessian takes V to 2 X' X V / (B D).

Shapes: S support, Q queries, F features and a one, D numbers to predict.
"""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from bench.contract import AbstractMetaTrained, AbstractNetwork, Form, Task, TaskShape, Tensors
from bench.dataset import Part
from bench.encoder.mlp import Mlp
from bench.inner import loss_of
from bench.meta.anil import Anil
from bench.meta.imaml import Imaml
from bench.meta.maml import Maml
from bench.meta.meta_sgd import MetaSgd
from bench.meta.reptile import Reptile
from bench.pretext.next_state import NextState
from bench.stages.engine import Learner
from bench.stages.network import Network
from bench.stages.source import Source
from bench.tasks.environments import Environments

Floats = np.ndarray
FEATURES, D, S, Q = 3, 2, 5, 4
RATE, CPU = 0.1, torch.device("cpu")


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64, from one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    yield
    torch.set_default_dtype(torch.float32)


def task() -> Task:
    """Return a task of numbers."""
    return Task(
        support_x=torch.randn(S, FEATURES),
        support_y=torch.randn(S, D),
        query_x=torch.randn(Q, FEATURES),
        query_y=torch.randn(Q, D),
        ways=1,
    )


def learner() -> tuple[Learner, Tensors]:
    """Return a linear layer on the input itself, and its weights."""
    network = Network(nn.Flatten(), nn.Linear(FEATURES, D), channels_last=False, grouped=False)
    params, buffers = network.tensors(CPU)
    return Learner(network, buffers, "group", training=True), params


def joined(params: Tensors) -> Floats:
    """Return weights and bias as W [F, D]."""
    return np.vstack([params["head.weight"].detach().T, params["head.bias"].detach()])


def with_ones(x: Tensor) -> Floats:
    """Return X [B, F]."""
    return np.hstack([x.numpy(), np.ones((len(x), 1))])


def slope(w: Floats, x: Floats, y: Floats) -> Floats:
    """Return the gradient of the mean squared error."""
    found: Floats = 2 * x.T @ (x @ w - y) / y.size
    return found


def curved(v: Floats, x: Floats) -> Floats:
    """Return the Hessian's product with V."""
    found: Floats = 2 * x.T @ x @ v / (len(x) * D)
    return found


def direction(meta: AbstractMetaTrained, one: Task) -> tuple[Floats, Floats]:
    """Return where a method starts, and its direction, as W [F, D]."""
    at, params = learner()
    _, found = meta.meta_gradient(at, params, one)
    return joined(params), joined(found)


def test_the_loss_of_numbers_is_their_mean_squared_error() -> None:
    """Over all examples and numbers; that of classes is the cross-entropy."""
    predicted, y = torch.randn(S, D), torch.randn(S, D)
    assert loss_of(predicted, y).item() == pytest.approx(
        ((predicted.numpy() - y.numpy()) ** 2).mean(), rel=1e-12
    )
    scores, classes = torch.randn(S, D), torch.tensor([0, 1, 1, 0, 1])
    chances = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(1, keepdims=True)
    expected = -np.log(chances[np.arange(S), classes.numpy()]).mean()
    assert loss_of(scores, classes).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("method", [Maml, Anil])
def test_the_meta_gradient_of_a_regression_has_its_closed_form(
    method: type[Maml | Anil], order: int, steps: int
) -> None:
    """It is (I - a H)^k of the query's gradient at W_k; without the power at first order.

    The encoder has no weights, so that steps of the head alone are all the steps.
    """
    one = task()
    meta = method(order=order, steps=steps, inner_rate=RATE)  # type: ignore[arg-type]
    w, found = direction(meta, one)
    x, y = with_ones(one.support_x), one.support_y.numpy()
    for _ in range(steps):
        w = w - RATE * slope(w, x, y)
    expected = slope(w, with_ones(one.query_x), one.query_y.numpy())
    for _ in range(steps if order == 2 else 0):
        expected = expected - RATE * curved(expected, x)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


def test_the_rates_of_meta_sgd_have_their_closed_form() -> None:
    """After one step, of a rate: minus the support's gradient times that of the queries."""
    one, meta = task(), MetaSgd()
    at, params = learner()
    params = {**params, **{f"meta.{n}": v for n, v in meta.learned(params).items()}}
    _, found = meta.meta_gradient(at, params, one)
    rates = joined({n.removeprefix("meta.rate."): v for n, v in params.items() if "rate" in n})
    own = slope(joined(params), with_ones(one.support_x), one.support_y.numpy())
    after = joined(params) - rates * own
    of_queries = slope(after, with_ones(one.query_x), one.query_y.numpy())
    by_rate = joined({n.removeprefix("meta.rate."): v for n, v in found.items() if "rate" in n})
    np.testing.assert_allclose(by_rate, -own * of_queries, rtol=1e-10, atol=1e-13)


def test_the_implicit_gradient_of_a_regression_has_its_closed_form() -> None:
    """It is (I + H / lambda)^-1 of the query's gradient at the solution."""
    one, strength, steps = task(), 2.0, 6
    meta = Imaml(regularisation=strength, steps=steps, inner_rate=RATE, solver_steps=FEATURES + 1)
    start, found = direction(meta, one)
    x, y = with_ones(one.support_x), one.support_y.numpy()
    w = start
    for _ in range(steps):
        w = w - RATE * (slope(w, x, y) + strength * (w - start))
    system = np.eye(FEATURES + 1) + 2 * x.T @ x / (S * D) / strength
    expected = np.linalg.solve(system, slope(w, with_ones(one.query_x), one.query_y.numpy()))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_reptile_moves_to_where_steps_on_a_regression_lead() -> None:
    """Adam without momentum, on minibatches in the task's order, by a loop."""
    one, steps, size = task(), 4, 6
    start, found = direction(Reptile(steps=steps, inner_rate=RATE, inner_batch=size), one)
    x = np.vstack([with_ones(one.support_x), with_ones(one.query_x)])
    y = np.vstack([one.support_y, one.query_y])
    w, square = start, np.zeros_like(start)
    for step in range(steps):
        batch = [(step * size + i) % len(x) for i in range(size)]
        own = slope(w, x[batch], y[batch])
        square = 0.999 * square + 0.001 * own**2
        w = w - RATE * own / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
    np.testing.assert_allclose(found, start - w, rtol=1e-9, atol=1e-12)


def test_adaptation_is_gradient_descent_on_the_regression() -> None:
    """At test MAML's steps are those of the mean squared error of the support."""
    one, (at, params) = task(), learner()
    meta = Maml(inner_rate=RATE)
    *_, last = islice(meta.adapt(at, params, one.support_x, one.support_y), 4)
    w = joined(params)
    for _ in range(3):
        w = w - RATE * slope(w, with_ones(one.support_x), one.support_y.numpy())
    np.testing.assert_allclose(joined(last), w, rtol=1e-10)
    predicted = meta.predict(at, last, one).detach()
    np.testing.assert_allclose(predicted.numpy(), with_ones(one.query_x) @ w, rtol=1e-10)


# --- transitions --------------------------------------------------------------------------------

WIDTH = 4
FORM = Form(shape=(2, WIDTH), modality="transition")


class Hidden(AbstractNetwork):
    """One linear layer as encoder, and one as head; remembers what it was shown."""

    def __init__(self) -> None:
        """Draw both."""
        draw = partial(torch.randn, generator=Generator().manual_seed(3))
        self._params = {"encoder.weight": draw(2 * WIDTH, 5), "head.weight": draw(5, WIDTH)}
        self.seen: list[Tensor] = []

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return features."""
        self.seen.append(x)
        return x.flatten(1) @ self._params["encoder.weight"]

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Return what is predicted."""
        return z_BD @ self._params["head.weight"]

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        """Refuse: nothing here has views."""
        raise PermissionError

    @property
    def params(self) -> Tensors:
        """What is being trained."""
        return self._params

    def using(self, params: Tensors) -> "Hidden":
        """Refuse: no other weights are asked for."""
        raise NotImplementedError


def test_next_state_is_the_error_of_predicted_changes() -> None:
    """The encoder is shown state and action, and zeros where the change is."""
    x, net = torch.randn(6, 2, WIDTH), Hidden()
    loss, state = NextState().loss(net, {}, x, Generator())
    errors = []
    for known, came in x.numpy():
        flat = np.concatenate([known, np.zeros(WIDTH)])
        predicted = flat @ net.params["encoder.weight"].numpy() @ net.params["head.weight"].numpy()
        errors += [(predicted[d] - came[d]) ** 2 for d in range(WIDTH)]
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-12)
    assert state == {}
    (shown,) = net.seen
    assert not shown[:, 1].any()
    assert torch.equal(shown[:, 0], x[:, 0])


def test_mlp_is_two_layers_of_tanh() -> None:
    """tanh(W2 tanh(W1 x + b1) + b2) of the flattened example."""
    module, x = Mlp(width=6).module(FORM), torch.randn(3, 2, WIDTH)
    weights = [value.detach().numpy() for value in module.state_dict().values()]
    first, one, second, two = weights
    expected = np.tanh(np.tanh(x.flatten(1).numpy() @ first.T + one) @ second.T + two)
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-12)
    assert expected.shape == (3, 6)


def test_a_task_is_of_one_environment_and_hides_what_came() -> None:
    """Support and queries are different transitions of one; the examples do not show changes."""
    counts = (7, 9, 8)
    examples = np.random.default_rng(0).normal(size=(sum(counts), 2, WIDTH)).astype(np.float32)
    part = Part(
        examples=examples,
        form=FORM,
        labels=np.repeat(np.arange(3), counts),
        classes=("a", "b", "c"),
        counts=counts,
    )
    source = Source(part, None, CPU, labels=True)
    shape, met = TaskShape(ways=1, shots=3, queries=4), set()
    for seed in range(20):
        one = Environments().sample(source, shape, Generator().manual_seed(seed))
        x, y = torch.cat([one.support_x, one.query_x]), torch.cat([one.support_y, one.query_y])
        assert (len(one.support_x), len(one.query_x), one.ways) == (3, 4, 1)
        numbers = [int((row[0] == torch.from_numpy(examples[:, 0])).all(1).nonzero()) for row in x]
        assert len(set(numbers)) == 7
        (environment,) = {int(part.labels[number]) for number in numbers}
        met.add(environment)
        assert not x[:, 1].any()
        assert torch.equal(y, torch.from_numpy(examples[numbers, 1]).double())
    assert met == {0, 1, 2}
    assert Environments().outputs(FORM, shape) == WIDTH
