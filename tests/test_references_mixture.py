"""A mixture's loss and its weights' slope against numpy loops that share no code with bench.

Shapes: K members, N ways, S support examples, Q queries, D features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Task, Tensors
from bench.form import Form
from bench.inner import BETA1, prototypical_loss
from bench.pretext.mixture import Mixture

Floats = np.ndarray
WAYS, SHOTS, QUERIES, SIZE, WIDTH = 3, 2, 2, 5, 4
RATE, NUDGE = 0.2, 1e-5  # of the step; of a logit, in central differences


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drawn(*shape: int, seed: int) -> Tensor:
    """Return numbers of a seed."""
    return torch.randn(shape, generator=Generator().manual_seed(seed))


def episode() -> Task:
    """Return an episode whose classes differ."""
    support_y, query_y = torch.arange(WAYS).repeat(SHOTS), torch.arange(WAYS).repeat(QUERIES)
    centres = drawn(WAYS, SIZE, seed=1)
    return Task(
        support_x=centres[support_y] + drawn(len(support_y), SIZE, seed=2),
        support_y=support_y,
        query_x=centres[query_y] + drawn(len(query_y), SIZE, seed=3),
        query_y=query_y,
        ways=WAYS,
    )


@dataclass(frozen=True, kw_only=True)
class Slanted(AbstractPretext):
    """A loss that is linear in the encoder: its slope is drawn, and known."""

    reference: ClassVar[str] = "arXiv:1708.07860"
    views: ClassVar[int] = 1
    seed: int
    rate: float = 1e-3
    batch_size: int = 8

    def head(self, width: int, form: Form) -> nn.Module:
        """Return nothing."""
        return nn.Identity()

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the inner product of the slope and the encoder."""
        slope = drawn(SIZE, WIDTH, seed=self.seed)
        return (slope * net.params["encoder.weight"]).sum(), {}


class Linear(AbstractNetwork):
    """A linear encoder and no head."""

    def __init__(self, weight: Tensor) -> None:
        """Take the encoder's weight."""
        self._weight = weight

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return linear features."""
        return x @ self._weight

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Return the features."""
        return z_BD

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return the images."""
        return x_BCHW

    @property
    def params(self) -> Tensors:
        """Return the encoder's weight."""
        return {"encoder.weight": self._weight}

    def using(self, params: Tensors) -> AbstractNetwork:
        """Return another encoder."""
        return Linear(params["encoder.weight"])

    def validation(self) -> Task:
        """Return the episode."""
        return episode()


def loops(weight: Floats) -> float:
    """Return the prototypical loss of the episode, in loops."""
    task = episode()
    support, query = task.support_x.numpy() @ weight, task.query_x.numpy() @ weight
    prototypes = [
        np.mean([z for z, y in zip(support, task.support_y, strict=True) if y == n], axis=0)
        for n in range(WAYS)
    ]
    losses = []
    for z, y in zip(query, task.query_y, strict=True):
        scores = [-sum((a - b) ** 2 for a, b in zip(z, p, strict=True)) for p in prototypes]
        losses.append(np.log(sum(np.exp(s - scores[int(y)]) for s in scores)))
    return float(np.mean(losses))


def outer(weight: Floats, slopes: Sequence[Floats], logits: Floats) -> float:
    """Return the loss after one step on the weighted sum of losses in units of their first."""
    shares = np.exp(logits) / np.exp(logits).sum()
    after = weight.copy()
    for share, slope in zip(shares, slopes, strict=True):
        after -= RATE * share * slope / abs((slope * weight).sum())
    return loops(after)


def test_the_prototypical_loss() -> None:
    """It is the cross-entropy of a softmax over minus squared distances to class means."""
    weight = drawn(SIZE, WIDTH, seed=4)
    found = prototypical_loss(Linear(weight).encode, episode())
    assert found.item() == pytest.approx(loops(weight.numpy()), rel=1e-12)


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0], [1.0, -0.5, 0.25]])
def test_the_slope_of_the_logits(logits: list[float]) -> None:
    """It is that of the whole: softmax, step, prototypes, cross-entropy."""
    members = tuple(Slanted(seed=seed) for seed in (5, 6, 7))
    mixture = Mixture(members=members, weights="learned", rate=RATE)
    weight = drawn(SIZE, WIDTH, seed=4).requires_grad_()
    net = Linear(weight)
    state = {**mixture.state(net), "logits": torch.tensor(logits)}

    loss, after = mixture.loss(net, state, torch.zeros(2, SIZE), Generator())

    slopes = [drawn(SIZE, WIDTH, seed=seed).numpy() for seed in (5, 6, 7)]
    plain = weight.detach().numpy()
    expected = []
    for place in range(3):
        nudge = np.zeros(3)
        nudge[place] = NUDGE
        up, down = (outer(plain, slopes, np.array(logits) + sign * nudge) for sign in (1, -1))
        expected.append((up - down) / (2 * NUDGE))
    assert (after["mean"] / (1 - BETA1)).tolist() == pytest.approx(expected, rel=1e-6)
    shares = np.exp(logits) / np.exp(logits).sum()
    first = [np.sign((slope * plain).sum()) for slope in slopes]
    assert loss.item() == pytest.approx(float(shares @ first), rel=1e-12)
