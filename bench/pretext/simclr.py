"""Contrastive learning of views. Chen, Kornblith, Norouzi and Hinton (2020), arXiv:2002.05709.

Two views of each image; with z the projected features on the unit sphere and t the temperature,
the loss of a view i whose other view is j is
    -log( exp(z_i . z_j / t) / sum over k != i of exp(z_i . z_k / t) ),
averaged over all 2 B views (their equation 1).

Shapes: B images, N = 2 B views, D projected features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractNetwork,
    AbstractPretext,
    Form,
    Reals,
    Space,
    Tensors,
)
from bench.contrastive import nt_xent


@dataclass(frozen=True, kw_only=True)
class Simclr(AbstractPretext):
    """Find an image's other view among all views of the batch."""

    reference: ClassVar[str] = "arXiv:2002.05709"
    augments: ClassVar[bool] = True
    views: ClassVar[int] = 2
    batch_size: PositiveInt = 256  # images; appendix B.9 (CIFAR-10) finds 256 and more enough
    rate: PositiveFloat = (
        1e-3  # Adam, as for every encoder here; the authors: LARS 1.0 on ResNet-50
    )
    temperature: PositiveFloat = 0.5  # appendix B.9, best on CIFAR-10
    projection: PositiveInt = 128  # section 4.2
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "temperature": Reals(low=0.05, high=1.0, log=True),  # table 5; appendix B.9: 0.1 to 1
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the projection: two layers (section 4.2)."""
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.projection))

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean over N views of the normalised temperature-scaled cross-entropy."""
        views = torch.cat([net.augment(x_BCHW, rng), net.augment(x_BCHW, rng)])
        return nt_xent(net.head(net.encode(views)), self.temperature), state
