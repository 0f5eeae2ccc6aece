"""Pretexts on two views against loops in numpy that share no code with bench.

Shapes: B images, D projected features; a view is [B, D] in numpy.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench.contract import AbstractNetwork, Tensors
from bench.pretext.barlow import Barlow
from bench.pretext.byol import Byol
from bench.pretext.simclr import Simclr
from bench.pretext.vicreg import Vicreg

Floats = np.ndarray
CLOSE = 1e-9  # relative
BATCH, SIDE, WIDTH, D = 5, 4, 6, 3


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rng() -> Generator:
    """Return the generator of the step."""
    return Generator().manual_seed(11)


def images() -> Tensor:
    """Return random grey images."""
    return torch.rand(BATCH, 1, SIDE, SIDE, generator=Generator().manual_seed(2))


def weights(seed: int) -> dict[str, Tensor]:
    """Draw encoder, projector and predictor; projected features differ in how much they vary."""
    draws = Generator().manual_seed(seed)
    return {
        "encoder.weight": torch.randn(SIDE * SIDE, WIDTH, generator=draws),
        "head.projector.weight": torch.randn(WIDTH, D, generator=draws)
        * torch.tensor([0.02, 0.3, 2.0]),
        "head.predictor.weight": torch.randn(D, D, generator=draws),
    }


class Linear(AbstractNetwork):
    """Linear everywhere; a view is an image times drawn shades of its pixels."""

    def __init__(self, params: Tensors) -> None:
        """Take the weights; a head without children is the projector."""
        self._params = dict(params)

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return linear features."""
        return x.flatten(1) @ self._params["encoder.weight"]

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Return linear scores."""
        return z_BD @ self._params[f"head.{child or 'projector'}.weight"]

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return shaded images."""
        return x_BCHW * torch.rand(x_BCHW.shape, generator=rng)

    @property
    def params(self) -> Tensors:
        """The weights."""
        return self._params

    def using(self, params: Tensors) -> AbstractNetwork:
        """Return the network with other weights."""
        assert params.keys() <= self._params.keys()
        return Linear({**self._params, **params})


def embedded(params: Tensors) -> tuple[Floats, Floats]:
    """Return both views of a step, projected image by image."""
    draws, x = rng(), images().numpy()
    named = {name: value.detach().numpy() for name, value in params.items()}

    def one() -> Floats:
        shades = torch.rand(x.shape, generator=draws).numpy()
        rows = [(image * shade).reshape(-1) for image, shade in zip(x, shades, strict=True)]
        weight = named["encoder.weight"] @ named["head.projector.weight"]
        return np.stack([row @ weight for row in rows])

    return one(), one()


def unit(vector: Floats) -> Floats:
    """Return a vector of length 1."""
    return np.asarray(vector / np.sqrt(sum(vector**2)))


def test_simclr_equals_its_equation() -> None:
    """The mean over views of the surprise at the other view, among all views but itself."""
    points = [unit(point) for view in embedded(weights(0)) for point in view]
    terms = []
    for i, point in enumerate(points):
        likes = [np.exp(point @ other / 0.3) for j, other in enumerate(points) if j != i]
        right = np.exp(point @ points[(i + BATCH) % (2 * BATCH)] / 0.3)
        terms.append(-np.log(right / sum(likes)))
    loss, _ = Simclr(temperature=0.3).loss(Linear(weights(0)), {}, images(), rng())
    assert float(loss) == pytest.approx(np.mean(terms), rel=CLOSE)


def moments(values: Floats) -> tuple[float, float]:
    """Return the mean of numbers, and the sum of squared distances to it."""
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values)


def test_barlow_equals_its_equation() -> None:
    """Squared distances of the cross-correlation to 1 on its diagonal, to 0 off it, weighted."""
    standard = []
    for view in embedded(weights(0)):
        columns = []
        for values in view.T:
            mean, squares = moments(values)
            columns.append((values - mean) / np.sqrt(squares / BATCH + 1e-5))
        standard.append(columns)
    expected = 0.0
    for i, a in enumerate(standard[0]):
        for j, b in enumerate(standard[1]):
            correlation = sum(one * other for one, other in zip(a, b, strict=True)) / BATCH
            expected += (1 - correlation) ** 2 if i == j else 0.2 * correlation**2
    loss, _ = Barlow(redundancy=0.2).loss(Linear(weights(0)), {}, images(), rng())
    assert float(loss) == pytest.approx(expected, rel=CLOSE)


def vicreg_terms() -> tuple[float, float, float]:
    """Return invariance, variance and covariance of the step."""
    a, b = embedded(weights(0))
    invariance = sum((a[n, d] - b[n, d]) ** 2 for n in range(BATCH) for d in range(D))
    hinges, covariance = [], 0.0
    for view in (a, b):
        for i in range(D):
            mean, squares = moments(view[:, i])
            hinges.append(max(0.0, 1 - np.sqrt(squares / (BATCH - 1) + 1e-4)))
            for j in set(range(D)) - {i}:
                other = moments(view[:, j])[0]
                products = [(row[i] - mean) * (row[j] - other) for row in view]
                covariance += (sum(products) / (BATCH - 1)) ** 2 / D
    assert 0 in hinges  # the case tells the hinge from its line
    assert max(hinges) > 0.5
    return invariance / (BATCH * D), sum(hinges) / len(hinges), covariance


@pytest.mark.parametrize("own", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 2.0, 3.0)])
def test_vicreg_equals_its_equations(own: tuple[float, float, float]) -> None:
    """Invariance, variance and covariance, each with its weight."""
    pretext = Vicreg(invariance=own[0], variance=own[1], covariance=own[2])
    loss, _ = pretext.loss(Linear(weights(0)), {}, images(), rng())
    terms = zip(own, vicreg_terms(), strict=True)
    expected = sum(weight * term for weight, term in terms)
    assert float(loss) == pytest.approx(expected, rel=CLOSE)


def byol_loss(online: Tensors, target: Tensors) -> float:
    """Return the mean squared distance of predicted and wanted points, over both orders."""
    predictor = online["head.predictor.weight"].detach().numpy()
    predicted, wanted = embedded(online), embedded(target)
    total = 0.0
    for view in (0, 1):
        for here, there in zip(predicted[view], wanted[1 - view], strict=True):
            total += sum((unit(here @ predictor) - unit(there)) ** 2)
    return total / BATCH


def averaged(momentum: float, before: Tensors, now: Tensors) -> dict[str, Tensor]:
    """Return tau times what was plus (1 - tau) times what is."""
    return {name: momentum * before[name] + (1 - momentum) * now[name] for name in before}


def target_of(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all weights but the predictor's."""
    return {name: value for name, value in params.items() if "predictor" not in name}


def test_byol_equals_its_equation() -> None:
    """Predictions are compared with the target that this step's average has made."""
    online, before = weights(0), target_of(weights(1))
    loss, _ = Byol(momentum=0.7).loss(Linear(online), before, images(), rng())
    expected = byol_loss(online, averaged(0.7, before, online))
    assert float(loss) == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize("name", list(weights(0)))
def test_the_gradient_of_byol_ends_at_the_target(name: str) -> None:
    """It is that of a loss whose targets are numbers, though they follow from the parameters."""
    online = {key: value.requires_grad_() for key, value in weights(0).items()}
    before = target_of(weights(1))
    loss, after = Byol(momentum=0.7).loss(Linear(online), before, images(), rng())
    assert not any(value.requires_grad for value in after.values())
    (gradient,) = torch.autograd.grad(loss, [online[name]])
    target = averaged(0.7, before, {key: value.detach() for key, value in online.items()})
    for place in [(0, 0), (2, 1)]:
        step = torch.zeros_like(gradient)
        step[place] = 1e-5
        up, down = ({**online, name: online[name].detach() + s} for s in (step, -step))
        slope = (byol_loss(up, target) - byol_loss(down, target)) / 2e-5
        assert float(gradient[place]) == pytest.approx(slope, rel=1e-6)


def test_the_target_of_byol_is_a_moving_average() -> None:
    """At first it is the network's own copy; after two steps their weights are tau's powers."""
    tau, path = 0.7, [weights(seed) for seed in range(3)]
    pretext = Byol(momentum=tau)
    state = pretext.state(Linear(path[0]))
    assert state.keys() == target_of(path[0]).keys()
    for name, value in state.items():
        assert torch.equal(value, path[0][name])
        assert value.data_ptr() != path[0][name].data_ptr()  # the optimizer writes into these
    for params in path[1:]:
        _, state = pretext.loss(Linear(params), state, images(), rng())
    for name, value in state.items():
        first, second, third = (params[name].numpy() for params in path)
        expected = tau**2 * first + tau * (1 - tau) * second + (1 - tau) * third
        np.testing.assert_allclose(value.numpy(), expected, rtol=CLOSE)


def test_the_target_of_byol_begins_as_the_network() -> None:
    """The first step compares with the weights that training begins with, as the paper does."""
    online = weights(0)
    pretext = Byol()
    state = pretext.state(Linear(online))
    loss, after = pretext.loss(Linear(online), state, images(), rng())
    assert float(loss) == pytest.approx(byol_loss(online, target_of(online)), rel=CLOSE)
    for name, value in after.items():
        np.testing.assert_allclose(value.numpy(), online[name].numpy(), rtol=CLOSE)
