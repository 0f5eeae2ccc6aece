"""Rotation prediction with two turns. Gidaris, Singh and Komodakis (2018), arXiv:1803.07728.

Each image is shown upright and upside down (turned by 0 and 180 degrees, one of their
ablations); the loss is the mean binary cross-entropy of which it is.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from bench.contract import AbstractNetwork, AbstractPretext, Shape, Tensors
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn


@dataclass(frozen=True, kw_only=True)
class HalfTurn(AbstractPretext):
    """Say whether an image is upside down."""

    reference: ClassVar[str] = "arXiv:1803.07728"
    views: ClassVar[int] = 2
    batch_size: PositiveInt = 64
    rate: PositiveFloat = 1e-3

    def head(self, width: int, shape: Shape) -> nn.Module:
        """Return one linear layer with one score: how upside down it looks."""
        return nn.Linear(width, 1)

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean binary cross-entropy, in nats, over both views of each image."""
        views = torch.cat([x_BCHW, x_BCHW.rot90(2, (-2, -1))])
        turned = torch.arange(2, device=views.device).repeat_interleave(len(x_BCHW))
        scores = net.head(net.encode(views)).squeeze(1)
        return F.binary_cross_entropy_with_logits(scores, turned.to(scores.dtype)), state
