"""Reconstruction of masked patches. He et al. (2022), arXiv:2111.06377.

An image is cut into patches of P x P pixels, of which a random set M, the same number in each
image, is masked; the loss is the mean over the pixels of M of (predicted - target)^2, and no
other pixel counts. The target is the pixel, or the pixel less the mean of its patch over the
patch's standard deviation (``normalise``; their section 3).

A transformer drops masked patches; a convolutional encoder sees whole images, so they are filled
(SimMIM, arXiv:2111.09886: with a learned token; SparK, arXiv:2301.03580, skips them instead and
says what filling costs: a shift of the distribution). Here each is filled with the mean colour of
the image's visible pixels, which keeps that shift small and shows nothing of what is masked.
The encoder gives one vector, so the decoder has no visible patch to copy from: all it predicts
must be in the vector. Where P does not divide a side, the patches at its end are smaller.

Shapes: B images, C channels, H height, W width, P side of a patch; R rows, K columns of patches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractNetwork,
    AbstractPretext,
    Form,
    Reals,
    Setting,
    Shape,
    Space,
    Tensors,
)

EPSILON = 1e-6  # on a patch's variance; the authors' code (which divides by n - 1, here by n)


@dataclass(frozen=True, kw_only=True)
class Mae(AbstractPretext):
    """Predict the pixels of masked patches from the rest of the image."""

    reference: ClassVar[str] = "arXiv:2111.06377"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    views: ClassVar[int] = 1
    batch_size: PositiveInt = 128  # images, as for rotation; the authors: 4096 on ImageNet
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    patch: PositiveInt = 4  # pixels; divides 28, 32 and 84, and makes 7 x 7 or 8 x 8 patches of the
    # small ones; the authors' 16 of 224 makes 14 x 14, SparK's 32 of 224 makes 7 x 7
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6  # share of the patches that is masked; SimMIM
    # and SparK, whose encoders see whole images too; He et al.: 0.75 for transformers
    normalise: bool = True  # He et al. (table 1d) and SparK; SimMIM: plain pixels
    hidden: PositiveInt = 32  # features the decoder has for each patch; small, as they ask for
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "ratio": Reals(low=0.3, high=0.9),  # within figure 5 of He et al., 0.1 to 0.9
    }

    def declines(self, setting: Setting) -> str | None:
        """One patch must be masked and another one visible."""
        rows, columns = self._grid(setting.form.shape)
        if rows * columns < 2:
            return f"mae needs images of more than one patch of {self.patch} x {self.patch} pixels"
        return None

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the decoder, from [B, width] to an image of whole patches [B, C, R P, K P]."""
        rows, columns = self._grid(form.shape)
        return nn.Sequential(
            nn.Linear(width, self.hidden * rows * columns),
            nn.ReLU(),
            nn.Unflatten(1, (self.hidden, rows, columns)),
            nn.ConvTranspose2d(self.hidden, form.shape[0], self.patch, stride=self.patch),
        )

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean squared error over masked pixels."""
        height, width = x_BCHW.shape[-2:]
        masked_B1HW = self.mask(x_BCHW, rng)
        predicted = net.head(net.encode(shown(x_BCHW, masked_B1HW)))[..., :height, :width]
        target = self._normalised(x_BCHW) if self.normalise else x_BCHW
        wrong_B1HW = (predicted - target).square().mean(1, keepdim=True)
        return (wrong_B1HW * masked_B1HW).sum() / masked_B1HW.sum(), state

    def mask(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return which pixels [B, 1, H, W] are masked: as many patches in each image."""
        rows, columns = self._grid(x_BCHW.shape[1:])
        patches = rows * columns
        count = min(max(round(self.ratio * patches), 1), patches - 1)
        draws = torch.rand(
            len(x_BCHW), patches, generator=rng, device=x_BCHW.device, dtype=torch.float32
        )
        masked = draws.argsort(1) < count  # of a random order, each row
        return self._spread(masked.reshape(-1, 1, rows, columns), x_BCHW.shape)

    def _grid(self, shape: Shape) -> tuple[int, int]:
        """Return rows and columns of patches, those that are cut short included."""
        return ceil(shape[1] / self.patch), ceil(shape[2] / self.patch)

    def _spread(self, values_BCRK: Tensor, shape: Shape) -> Tensor:
        """Give each pixel [B, C, H, W] its patch's value."""
        pixels = values_BCRK.repeat_interleave(self.patch, -2).repeat_interleave(self.patch, -1)
        return pixels[..., : shape[-2], : shape[-1]]

    def _normalised(self, x_BCHW: Tensor) -> Tensor:
        """Return pixels by mean and variance of their patch, over all its pixels and channels."""
        centred = x_BCHW - self._mean(x_BCHW)
        return centred / (self._mean(centred.square()) + EPSILON).sqrt()

    def _mean(self, x_BCHW: Tensor) -> Tensor:
        """Return the mean [B, 1, H, W] of each pixel's patch; of a cut one, what there is."""
        means = F.avg_pool2d(x_BCHW.mean(1, keepdim=True), self.patch, ceil_mode=True)
        return self._spread(means, x_BCHW.shape)


def shown(x_BCHW: Tensor, masked_B1HW: Tensor) -> Tensor:
    """Return images whose masked pixels hold the mean colour of their visible ones."""
    visible = ~masked_B1HW
    colour_BC11 = (x_BCHW * visible).sum((2, 3), keepdim=True) / visible.sum((2, 3), keepdim=True)
    return torch.where(masked_B1HW, colour_BC11, x_BCHW)
