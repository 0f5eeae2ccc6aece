"""Rotation prediction. Gidaris, Singh and Komodakis (2018), arXiv:1803.07728.

Each image is shown in its four quarter turns k in {0, 1, 2, 3}; the loss is the mean over
images and turns of the cross-entropy of the predicted turn (their equations 2 and 3).

Shapes: B images, N = 4 B views, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Setting, Shape, Tensors


@dataclass(frozen=True, kw_only=True)
class Rotation(AbstractPretext):
    """Name which of four quarter turns an image was given."""

    reference: ClassVar[str] = "arXiv:1803.07728"
    views: ClassVar[int] = 4  # all four turns of each image in a batch, as in the authors' code
    batch_size: PositiveInt = 128  # images before turning; authors' code, CIFAR-10
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here; the authors: SGD 0.1 on NIN

    def declines(self, setting: Setting) -> str | None:
        """Quarter turns need square images."""
        if len(setting.shape) != 3 or setting.shape[1] != setting.shape[2]:
            return f"rotation needs square images, not {setting.shape}"
        return None

    def head(self, width: int, shape: Shape) -> nn.Module:
        """Return one linear layer with a score for each turn."""
        return nn.Linear(width, 4)

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean cross-entropy, in nats, over all N views."""
        views_NCHW = torch.cat([x_BCHW.rot90(turns, (-2, -1)) for turns in range(4)])
        turns_N = torch.arange(4, device=x_BCHW.device).repeat_interleave(len(x_BCHW))
        return F.cross_entropy(net.head(net.encode(views_NCHW)), turns_N), state
