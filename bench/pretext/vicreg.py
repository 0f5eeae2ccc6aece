"""Variance, invariance, covariance. Bardes, Ponce and LeCun (2022), arXiv:2105.04906.

Two views of each image, with embeddings a and b. The loss is a weighted sum of
    invariance: mean over B and D of (a - b)^2,
    variance: mean over D and both views of max(0, 1 - sqrt(Var + 1e-4)),
    covariance: 1/D sum over i and j != i of Cov_ij^2, summed over both views,
Var and Cov those of the batch, divided by B - 1 (their equations 1 to 6). Where the paper and
the authors' code differ, this is the code: the paper sums the invariance over D, and adds the
variance of both views.

Shapes: B images, C channels, H height, W width, D embeddings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractNetwork,
    AbstractPretext,
    AtLeastTwo,
    Form,
    Reals,
    Space,
    Tensors,
)


@dataclass(frozen=True, kw_only=True)
class Vicreg(AbstractPretext):
    """Make views agree, while every embedding varies and no two vary together."""

    reference: ClassVar[str] = "arXiv:2105.04906"
    augments: ClassVar[bool] = True
    views: ClassVar[int] = 2
    batch_size: AtLeastTwo = 256  # images, as in solo-learn's CIFAR settings; the authors 2048
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here; the authors: LARS 0.2
    invariance: NonNegativeFloat = 25.0  # weights of the three terms, section 4.2
    variance: NonNegativeFloat = 25.0
    covariance: NonNegativeFloat = 1.0
    expansion: PositiveInt = 4  # D / features; 8192 of 2048, section 4.2; solo-learn 2048 of 512
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "invariance": Reals(low=5.0, high=125.0, log=True),  # a fifth to five times the authors';
        # of three weights Adam sees two: how they compare; so that of the variance stays
        "covariance": Reals(low=0.1, high=10.0, log=True),  # a tenth to ten times the authors'
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the expander: three layers of one width, batch norm in the first two."""
        size = self.expansion * width
        return nn.Sequential(
            nn.Linear(width, size, bias=False),  # the authors' bias, which batch norm takes away
            nn.BatchNorm1d(size),
            nn.ReLU(),
            nn.Linear(size, size, bias=False),
            nn.BatchNorm1d(size),
            nn.ReLU(),
            nn.Linear(size, size, bias=False),
        )

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the weighted sum of the three terms."""
        views = [net.augment(x_BCHW, rng), net.augment(x_BCHW, rng)]
        a_BD, b_BD = (net.head(net.encode(view)) for view in views)
        loss = (
            self.invariance * F.mse_loss(a_BD, b_BD)
            + self.variance * (_spread(a_BD) + _spread(b_BD)) / 2
            + self.covariance * (_redundancy(a_BD) + _redundancy(b_BD))
        )
        return loss, state


def _spread(z_BD: Tensor) -> Tensor:
    """Return how far standard deviations stay below 1, in the mean."""
    return F.relu(1 - (z_BD.var(0) + 1e-4).sqrt()).mean()  # epsilon: section 4.1, equation 2


def _redundancy(z_BD: Tensor) -> Tensor:
    """Return the squared covariances of different embeddings, summed, over D."""
    z_BD = z_BD - z_BD.mean(0)
    covariance_DD = z_BD.T @ z_BD / (len(z_BD) - 1)
    return (covariance_DD - covariance_DD.diag().diag()).square().sum() / z_BD.shape[1]
