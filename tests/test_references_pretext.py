"""Pretext losses against loops in numpy that share no code with bench."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench.contract import AbstractNetwork, AbstractPretext, Tensors
from bench.pretext.position import Position
from bench.pretext.rotation import Rotation
from bench.pretext.simclr import Simclr

Floats = np.ndarray
SIDE = 20


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rng() -> Generator:
    """Return the generator of the step."""
    return Generator().manual_seed(11)


class Linear(AbstractNetwork):
    """A linear encoder and a linear head; views are images times a drawn shade."""

    def __init__(self, size: int, outputs: int, patches: int = 1) -> None:
        """Draw the weights."""
        draws = Generator().manual_seed(5)
        self.encoder = torch.randn(size, 7, generator=draws) / 10
        self.top = torch.randn(7 * patches, outputs, generator=draws)

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return linear features."""
        return x.flatten(1) @ self.encoder

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Return linear scores."""
        assert child is None
        return z_BD @ self.top

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return shaded images."""
        return x_BCHW * torch.rand(len(x_BCHW), 1, 1, 1, generator=rng)

    @property
    def params(self) -> Tensors:
        """Return nothing: the loss alone is looked at."""
        return {}

    def using(self, params: Tensors) -> AbstractNetwork:
        """Return itself: it has nothing to replace."""
        assert not params
        return self

    def features(self, image: Floats) -> Floats:
        """Encode one image in numpy."""
        return np.asarray(image.reshape(-1) @ self.encoder.numpy())

    def scores(self, features: Floats) -> Floats:
        """Apply the head to one vector in numpy."""
        return np.asarray(features @ self.top.numpy())


def images(count: int = 4, channels: int = 2) -> Tensor:
    """Return random square images."""
    return torch.rand(count, channels, SIDE, SIDE, generator=Generator().manual_seed(2))


def surprise(scores: Floats, right: int) -> float:
    """Return minus the log of the probability of the right answer."""
    return float(np.log(sum(np.exp(score) for score in scores)) - scores[right])


def loss_of(pretext: AbstractPretext, net: AbstractNetwork, x: Tensor) -> float:
    """Return the loss of a pretext on a batch."""
    return float(pretext.loss(net, {}, x, rng())[0])


def test_rotation_equals_its_equations() -> None:
    """The mean over images and quarter turns of the surprise at the turn."""
    net, x = Linear(2 * SIDE * SIDE, 4), images()
    terms = []
    for image in x.numpy():
        for turns in range(4):
            turned = image
            for _ in range(turns):  # a quarter turn takes (row, column) to (side - 1 - column, row)
                turned = turned.transpose(0, 2, 1)[:, ::-1]
            terms.append(surprise(net.scores(net.features(turned)), turns))
    assert loss_of(Rotation(), net, x) == pytest.approx(np.mean(terms), rel=1e-10)


def test_simclr_equals_its_equation() -> None:
    """The mean over views of the surprise at the other view, among all views but itself."""
    net, x, temperature = Linear(2 * SIDE * SIDE, 3), images(), 0.3
    draws = rng()
    views = [view for _ in range(2) for view in net.augment(x, draws).numpy()]
    points = [net.scores(net.features(view)) for view in views]
    points = [point / np.sqrt(sum(point**2)) for point in points]
    terms = []
    for i, point in enumerate(points):
        other = (i + len(x)) % len(views)
        likes = {k: point @ points[k] / temperature for k in range(len(views)) if k != i}
        terms.append(np.log(sum(np.exp(like) for like in likes.values())) - likes[other])
    assert loss_of(Simclr(temperature=temperature), net, x) == pytest.approx(
        np.mean(terms), rel=1e-10
    )


def resized(patch: Floats, side: int) -> Floats:
    """Resize one channel bilinearly, pixel by pixel; pixels are areas, the border is repeated."""
    small = len(patch)

    def at(place: int) -> tuple[int, int, float]:
        source = max(0.0, (place + 0.5) * small / side - 0.5)
        low = int(source)
        return low, min(low + 1, small - 1), source - low

    out = np.empty((side, side))
    for row in range(side):
        for column in range(side):
            (top, bottom, down), (left, right, across) = at(row), at(column)
            upper = patch[top, left] * (1 - across) + patch[top, right] * across
            lower = patch[bottom, left] * (1 - across) + patch[bottom, right] * across
            out[row, column] = upper * (1 - down) + lower * down
    return out


def test_position_equals_its_description() -> None:
    """The surprise at which of eight neighbours a jittered patch is, beside the centre's."""
    net, x = Linear(2 * SIDE * SIDE, 8, patches=2), images()
    cell, patch = 6, 4  # a third of 20 pixels; less round(0.25 * 6) = 2, half of them for jitter
    draws = rng()
    which = torch.randint(8, (len(x),), generator=draws)
    jitters = [torch.randint(2, (len(x), 2), generator=draws).numpy() for _ in range(2)]
    grid = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)]

    def seen(number: int, place: tuple[int, int], jitter: Floats) -> Floats:
        row, column = (cell * at + move for at, move in zip(place, jitter, strict=True))
        cut = x[number].numpy()[:, row : row + patch, column : column + patch]
        return net.features(np.stack([resized(channel, SIDE) for channel in cut]))

    terms = []
    for number, right in enumerate(which.tolist()):
        centre = seen(number, (1, 1), jitters[0][number])
        neighbour = seen(number, grid[right], jitters[1][number])
        terms.append(surprise(net.scores(np.concatenate([centre, neighbour])), right))
    assert loss_of(Position(), net, x) == pytest.approx(np.mean(terms), rel=1e-10)
