"""Colours from grey. Zhang, Isola and Efros (2016), arXiv:1603.08511.

The encoder sees the grey image Y; the head predicts the chroma of each cell of S x S pixels as one
of a grid of Q values; the loss is the mean over cells of the cross-entropy (their equation 2). A
class, not a number, since a thing can have several colours, and their mean, which a regression
would learn, is none of them (their section 2.1).

What is other here, for small images and an encoder that gives one vector: the colour space is the
linear Y, Cb, Cr of ITU-R BT.601 rather than Lab, which needs a cube root of each pixel; the target
is the nearest grid value alone rather than five weighted ones; and rare colours weigh no more than
frequent ones (v = 1), as their prior is of ImageNet and serves pictures that please the eye.

Images that are grey although they have three channels leave nothing to predict.

Shapes: B images, H height, W width, S side of a cell; R rows, K columns of cells; Q chroma values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractNetwork,
    AbstractPretext,
    Form,
    Reals,
    Setting,
    Space,
    Tensors,
)

RED, GREEN, BLUE = 0.299, 0.587, 0.114  # shares of the luma Y, ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class Colorize(AbstractPretext):
    """Name the chroma of each part of an image that is shown in grey."""

    reference: ClassVar[str] = "arXiv:1603.08511"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    views: ClassVar[int] = 1  # the grey one
    batch_size: PositiveInt = 128  # images, as for rotation
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    cell: PositiveInt = 4  # pixels; the authors predict 56 x 56 values for 224 x 224 pixels
    grid: PositiveInt = 11  # steps from grey to the purest colour either
    # way; the authors: steps of 10 up to 110 in a and b
    hidden: PositiveInt = 32  # features the head has for each cell
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    def declines(self, setting: Setting) -> str | None:
        """Decline all but colour images."""
        colour = setting.form.shape[0] == 3
        return None if colour else "colorize predicts colours, and these are not colour images"

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the layers from [B, width] to a score for each chroma of a cell, [B, Q, R, K]."""
        rows, columns = ceil(form.shape[1] / self.cell), ceil(form.shape[2] / self.cell)
        return nn.Sequential(
            nn.Linear(width, self.hidden * rows * columns),
            nn.ReLU(),
            nn.Unflatten(1, (self.hidden, rows, columns)),
            nn.Conv2d(self.hidden, (2 * self.grid + 1) ** 2, 1),
        )

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean cross-entropy, in nats, of the cells' chroma."""
        grey_BCHW = luma(x_BCHW).expand_as(x_BCHW)
        scores_BQRK = net.head(net.encode(grey_BCHW))
        return F.cross_entropy(
            scores_BQRK.movedim(1, -1).flatten(0, 2), self.chroma(x_BCHW).flatten()
        ), state

    def chroma(self, x_BCHW: Tensor) -> Tensor:
        """Return which of the Q values is nearest to the mean chroma of each cell [B, R, K]."""
        y_B1HW = luma(x_BCHW)
        blue = (x_BCHW[:, 2:] - y_B1HW) / (1 - BLUE)  # twice Cb and Cr: in [-1, 1]
        red = (x_BCHW[:, :1] - y_B1HW) / (1 - RED)
        mean_B2RK = F.avg_pool2d(torch.cat([blue, red], dim=1), self.cell, ceil_mode=True)
        step_B2RK = (mean_B2RK * self.grid).round().long() + self.grid
        return step_B2RK[:, 0] * (2 * self.grid + 1) + step_B2RK[:, 1]


def luma(x_BCHW: Tensor) -> Tensor:
    """Return the grey image [B, 1, H, W] of one in red, green and blue."""
    return RED * x_BCHW[:, :1] + GREEN * x_BCHW[:, 1:2] + BLUE * x_BCHW[:, 2:]
