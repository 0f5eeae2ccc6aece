"""Rotation prediction. Gidaris, Singh and Komodakis (2018), arXiv:1803.07728.

Each image is shown in its four quarter turns k in {0, 1, 2, 3}; the loss is the mean over
images and turns of the cross-entropy of the predicted turn (their equations 2 and 3).

Other numbers of angles than four need interpolation, and must not be told by its traces. So of
each image a disc alone is shown, in every turn, since corners would tell. And each turn is by up to
a quarter of a step more or less, about a point up to half a pixel off the centre, since exact
quarter turns alone would keep every pixel sharp.

Shapes: B images, A angles, N = A B views, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import tau
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import (
    AbstractClassifying,
    AbstractNetwork,
    AtLeastTwo,
    Reals,
    Setting,
    Space,
    Tensors,
)

JITTER = 1 / 4  # of a step between two angles, either way: neighbours stay half a step apart
SHIFT = 1 / 2  # pixel, either way


@dataclass(frozen=True, kw_only=True)
class Rotation(AbstractClassifying):
    """Name the angle that an image was turned by: four quarter turns, or other multiples."""

    reference: ClassVar[str] = "arXiv:1803.07728"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    batch_size: PositiveInt = 128  # images before turning; authors' code, CIFAR-10
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here; the authors: SGD 0.1 on NIN
    angles: AtLeastTwo = 4  # at equal distances; the authors find four best of 2, 4 and 8
    added: ClassVar[Mapping[str, object]] = {"angles": 4}
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """The angles."""
        return self.angles

    @property
    def views(self) -> int:  # type: ignore[override]  # here it follows from the angles
        """All turns of each image in a batch, as in the authors' code."""
        return self.angles

    def declines(self, setting: Setting) -> str | None:
        """Quarter turns need square images."""
        if setting.form.shape[1] != setting.form.shape[2]:
            return f"rotation needs square images, not {setting.form.shape}"
        return None

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean cross-entropy, in nats, over all N views."""
        angle_A = torch.arange(self.angles, device=x_BCHW.device)
        turn_N = angle_A.repeat_interleave(len(x_BCHW))
        views_NCHW = self.show(x_BCHW.repeat(self.angles, 1, 1, 1), turn_N, rng)
        return F.cross_entropy(net.head(net.encode(views_NCHW)), turn_N), state

    def show(self, x_BCHW: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each image turned counter-clockwise by its class's multiple of an angle."""
        if self.angles == 4:
            return _quarter_turned(x_BCHW, class_B)
        draws_B3 = torch.rand(
            (len(x_BCHW), 3), generator=rng, dtype=torch.float32, device=x_BCHW.device
        )
        jitter_B3 = 2 * draws_B3.to(x_BCHW.dtype) - 1
        radians_B = (class_B + JITTER * jitter_B3[:, 0]) * tau / self.angles
        return _turned_disc(x_BCHW, radians_B, SHIFT * jitter_B3[:, 1:])


def _quarter_turned(x_BCHW: Tensor, turns_B: Tensor) -> Tensor:
    """Turn each image by whole quarters, pixel by pixel."""
    every_4BCHW = torch.stack([x_BCHW.rot90(turns, (-2, -1)) for turns in range(4)])
    return every_4BCHW[turns_B, torch.arange(len(x_BCHW), device=x_BCHW.device)]


def _turned_disc(x_BCHW: Tensor, radians_B: Tensor, shift_B2: Tensor) -> Tensor:
    """Turn each image about its centre, bilinearly, shifted (across, down) by parts of a pixel.

    All is 0 outside the largest disc whose shifted pixels are all within the image.
    """
    radius = (x_BCHW.shape[-1] - 1) / 2  # in pixels, as far as their centres go; 1 in the grid
    cos_B, sin_B, (across_B, down_B) = radians_B.cos(), radians_B.sin(), (shift_B2 / radius).T
    from_B23 = torch.stack(  # where each pixel comes from: turned the other way
        [torch.stack([cos_B, -sin_B, across_B], 1), torch.stack([sin_B, cos_B, down_B], 1)], 1
    )
    grid_BHW2 = F.affine_grid(from_B23, list(x_BCHW.shape), align_corners=True)
    turned = F.grid_sample(
        x_BCHW, grid_BHW2, mode="bilinear", padding_mode="border", align_corners=True
    )
    place_S = torch.linspace(-radius, radius, x_BCHW.shape[-1], device=x_BCHW.device)
    inside_SS = torch.hypot(place_S, place_S.unsqueeze(1)) <= radius - SHIFT
    return (turned * inside_SS).clamp(0, 1)
