"""Crop, flip, change colours: views of small colour photographs.

Shapes: B examples, C channels (3), H height, W width, P pixels.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional

from bench.contract import AbstractAugment, Setting

TO_YIQ = np.array(  # NTSC: brightness, and two axes of colour that turn with the hue
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
)
FROM_YIQ = np.linalg.inv(TO_YIQ)
UpToOne = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class CropJitter(AbstractAugment):
    """Random resized crop, flip, colour jitter, grey: ProtoTransfer's policy for mini-ImageNet.

    SimCLR (arXiv:2002.05709) has the same jitter at strength 0.5. Unlike torchvision's
    transforms, brightness, contrast, saturation and hue come in this order, hue turns in YIQ
    rather than HSV, and values are clipped once: together they are one affine map of colour.
    """

    reference: ClassVar[str] = "arXiv:2006.11325"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    area: Annotated[float, Field(gt=0, le=1)] = (
        0.5  # smallest part of the image that a crop keeps; SimCLR: 0.08
    )
    ratio: Annotated[float, Field(ge=1)] = (
        4 / 3
    )  # most that width and height differ by, either way, as in both sources
    brightness: UpToOne = 0.4  # a factor in 1 - 0.4 to 1 + 0.4, and so for the next two
    contrast: UpToOne = 0.4
    saturation: UpToOne = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1  # of a whole turn, either way
    jitter: UpToOne = 0.8  # probability that the colours of an example change at all
    grey: UpToOne = 0.2  # probability that they are lost

    def declines(self, setting: Setting) -> str | None:
        """Decline all but colour images."""
        colour = setting.form.shape[0] == 3
        return None if colour else "crop_jitter changes colours, and these are not colour images"

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return a cropped and recoloured copy of each image."""
        draws = torch.rand(len(x_BCHW), 11, generator=rng, device=x_BCHW.device).to(x_BCHW.dtype)
        grid = functional.affine_grid(
            self._crops(draws[:, :5]), list(x_BCHW.shape), align_corners=False
        )
        views = functional.grid_sample(
            x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return self._recolour(views, draws[:, 5:])

    def _crops(self, draws: Tensor) -> Tensor:
        """Return maps [B, 2, 3] from a view's coordinates to its image's, sides being -1 and 1."""
        area, ratio, right, down, flip = draws.unbind(1)
        area = 1 - area * (1 - self.area)
        ratio = ((ratio - 0.5) * 2 * math.log(self.ratio)).exp()
        wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        mirrored = torch.where(flip < 0.5, -wide, wide)
        zero = torch.zeros_like(wide)
        across = torch.stack([mirrored, zero, (right * 2 - 1) * (1 - wide)], 1)
        along = torch.stack([zero, high, (down * 2 - 1) * (1 - high)], 1)
        return torch.stack([across, along], 1)

    def _recolour(self, x_BCHW: Tensor, draws: Tensor) -> Tensor:
        """Apply one affine map of colour to each image; maps keep grey grey."""
        changed, grey = draws[:, 4] < self.jitter, draws[:, 5] < self.grey
        spans = (self.brightness, self.contrast, self.saturation, self.hue * 2 * math.pi)
        span = torch.tensor(spans, dtype=draws.dtype, device=draws.device)
        change = (draws[:, :4] * 2 - 1) * span * changed[:, None]
        brightness, contrast = 1 + change[:, 0], 1 + change[:, 1]
        saturation = torch.where(grey, 0, 1 + change[:, 2])
        map_BCC = _turned(saturation, change[:, 3]) * (brightness * contrast)[:, None, None]
        x_BCP = x_BCHW.flatten(2)
        luma = map_BCC.new_tensor(TO_YIQ[0])
        mean = torch.tensordot(x_BCP.mean(2), luma, dims=1) * brightness * (1 - contrast)
        return torch.baddbmm(mean[:, None, None], map_BCC, x_BCP).clamp(0, 1).view_as(x_BCHW)


def _turned(saturation: Tensor, angle: Tensor) -> Tensor:
    """Return maps [B, 3, 3] that scale and turn the two axes of colour and keep brightness."""
    to, back = saturation.new_tensor(TO_YIQ), saturation.new_tensor(FROM_YIQ)
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    return back @ turn @ to
