"""Four residual blocks of three convolutions, the few-shot literature's larger encoder.

Oreshkin et al. (2018), arXiv:1805.10123, with the widths of MetaOptNet (Lee et al. 2019),
arXiv:1904.03758, and the weights of its release at the start.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from bench.contract import AbstractEncoder, Form, Setting

LEAK = 0.1  # slope of LeakyReLU below zero, in MetaOptNet's code


@dataclass(frozen=True, kw_only=True)
class Resnet12(AbstractEncoder):
    """Four blocks of three 3x3 convolutions with a shortcut and 2x2 max-pooling, averaged.

    Batch norm after each convolution, LeakyReLU, and a 1x1 convolution as the shortcut.
    MetaOptNet's DropBlock is left out: no encoder here has a mode for training, and so its
    published accuracies are not to be expected.
    """

    reference: ClassVar[str] = "arXiv:1904.03758"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=4, max_length=4)] = (
        64, 160, 320, 640
    )  # fmt: skip  # channels of the blocks, MetaOptNet; Oreshkin et al.: 64, 128, 256, 512
    pool: Literal["average", "none"] = (
        "average"  # an option of MetaOptNet's code, whose own heads get every position: none
    )

    def declines(self, setting: Setting) -> str | None:
        """Four poolings need images of at least 16 x 16."""
        if min(setting.form.shape[1:]) < 16:
            return f"resnet12 needs images of at least 16 x 16, not {setting.form.shape}"
        return None

    def module(self, form: Form) -> nn.Module:
        """Return a module from [B, C, H, W] to [B, D]: D the last width, times positions left."""
        blocks = [_Block(*both) for both in pairwise((form.shape[0], *self.widths))]
        last = [nn.AdaptiveAvgPool2d(1)] if self.pool == "average" else []
        return nn.Sequential(*blocks, *last, nn.Flatten())


class _Block(nn.Module):
    """Three convolutions [B, before, H, W] to [B, after, H // 2, W // 2], and the way around."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normed(before, after, 3),
            nn.LeakyReLU(LEAK),
            *_normed(after, after, 3),
            nn.LeakyReLU(LEAK),
            *_normed(after, after, 3),
        )
        self.shortcut = nn.Sequential(*_normed(before, after, 1))
        self.last = nn.Sequential(
            nn.MaxPool2d(2),
            nn.LeakyReLU(LEAK),  # equal after pooling and before it, with a quarter of the work
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.body(x) + self.shortcut(x))
        return out


def _normed(before: int, after: int, size: int) -> tuple[nn.Module, nn.Module]:
    """Return a convolution that keeps the sides, with MetaOptNet's first weights, and its norm."""
    convolution = nn.Conv2d(before, after, size, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="leaky_relu")
    return convolution, nn.BatchNorm2d(after)
