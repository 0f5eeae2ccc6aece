"""Four convolutional blocks, the few-shot literature's small encoder.

Vinyals et al. (2016), arXiv:1606.04080, section 4.1: each block is a 3x3 convolution, batch
normalisation, ReLU and 2x2 max-pooling; the output is flattened.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from pydantic import PositiveInt
from torch import nn

from bench.contract import AbstractEncoder, Form, Setting


@dataclass(frozen=True, kw_only=True)
class Conv4(AbstractEncoder):
    """Four blocks of 3x3 convolution, batch norm, ReLU and 2x2 max-pooling, flattened."""

    reference: ClassVar[str] = "arXiv:1606.04080"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    width: PositiveInt = (
        64  # channels of every block; Snell et al. (2017) 64, Finn et al. (2017) 32
    )

    def declines(self, setting: Setting) -> str | None:
        """Four poolings need images of at least 16 x 16."""
        if min(setting.form.shape[1:]) < 16:
            return f"conv4 needs images of at least 16 x 16, not {setting.form.shape}"
        return None

    def module(self, form: Form) -> nn.Module:
        """Return a module from [B, C, H, W] to [B, width * (H // 16) * (W // 16)]."""
        channels = [form.shape[0]] + [self.width] * 4
        blocks = [
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.MaxPool2d(2),
                nn.ReLU(),  # equal after pooling and before it, with a quarter of the work
            )
            for before, after in pairwise(channels)
        ]
        return nn.Sequential(*blocks, nn.Flatten())
