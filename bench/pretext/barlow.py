"""Barlow Twins. Zbontar, Jing, Misra, LeCun and Deny (2021), arXiv:2103.03230.

Two views of each image; with a and b their embeddings, each of the D standardised over the batch
(mean 0, variance 1), the cross-correlation and the loss are
    C_ij = 1/B sum over the batch of a_i b_j,
    sum over i of (1 - C_ii)^2 + lambda sum over i and j != i of C_ij^2
(their equations 1 and 2): views agree, and no two embeddings say the same.

Shapes: B images, C channels, H height, W width, D embeddings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
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
class Barlow(AbstractPretext):
    """Make the cross-correlation of two views' embeddings the identity."""

    reference: ClassVar[str] = "arXiv:2103.03230"
    augments: ClassVar[bool] = True
    views: ClassVar[int] = 2
    batch_size: AtLeastTwo = 256  # images; section 2.2: works well down to 256
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here; the authors: LARS 0.2
    redundancy: NonNegativeFloat = 0.0051  # lambda, the authors' code; section 2.2: 5e-3
    expansion: PositiveInt = 4  # D / features; 8192 of 2048, section 2.2; solo-learn 2048 of 512
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "redundancy": Reals(low=5e-4, high=5e-2, log=True),  # a tenth to ten times section 2.2's
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the projector: three layers of one width, batch norm in the first two."""
        size = self.expansion * width
        return nn.Sequential(
            nn.Linear(width, size, bias=False),
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
        """Return the squared distance of the cross-correlation to the identity, weighted."""
        views = [net.augment(x_BCHW, rng), net.augment(x_BCHW, rng)]
        a_BD, b_BD = (_standardised(net.head(net.encode(view))) for view in views)
        correlation_DD = a_BD.T @ b_BD / len(x_BCHW)
        distance_DD = (correlation_DD - torch.eye(a_BD.shape[1]).to(correlation_DD)).square()
        agreement = distance_DD.diagonal().sum()
        return agreement + self.redundancy * (distance_DD.sum() - agreement), state


def _standardised(z_BD: Tensor) -> Tensor:
    """Return embeddings with mean 0 and population variance 1 over the batch."""
    return F.batch_norm(z_BD, None, None, training=True)  # epsilon 1e-5, as in the authors' code
