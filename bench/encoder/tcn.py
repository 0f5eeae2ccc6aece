"""Residual blocks of dilated convolutions in time.

Bai, Kolter and Koltun (2018), arXiv:1803.01271: block i has two convolutions of one kernel size
and dilation 2^i, each with a norm and ReLU, and a shortcut around both (their section 3.3).
Theirs predicts each step from those before it; here a whole series becomes one vector. So
- convolutions see both sides (theirs are causal): nothing here may look at one side alone, and a
  mean over causal features would be one over steps most of which have seen little;
- the last features are averaged over time (Wang, Yan and Oates 2017, arXiv:1611.06455, for
  classification), so that every length gives as many;
- batch norm is in the place of weight norm and dropout: its statistics are the suite's choice, as
  for every encoder here.

Shapes: B series, C channels, T steps.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import AfterValidator, PositiveInt
from torch import Tensor, nn

from bench.contract import AbstractEncoder, Form


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("a kernel of an even number of steps has no middle")
    return value


@dataclass(frozen=True, kw_only=True)
class Tcn(AbstractEncoder):
    """Residual blocks of two convolutions whose dilation doubles, then the mean over time."""

    reference: ClassVar[str] = "arXiv:1803.01271"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    width: PositiveInt = 64  # channels of every block, as in conv4; Bai et al. 25 to 600
    blocks: PositiveInt = 5  # with the kernel, they see 2 * 6 * 31 = 372 steps around each
    kernel: Annotated[PositiveInt, AfterValidator(_odd)] = 7  # steps; Bai et al. 7 on images' rows

    def module(self, form: Form) -> nn.Module:
        """Return a module from [B, C, T] to [B, width]."""
        channels = [form.shape[0]] + [self.width] * self.blocks
        blocks = [
            _Block(before, after, kernel=self.kernel, dilation=2**number)
            for number, (before, after) in enumerate(pairwise(channels))
        ]
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten())


class _Block(nn.Module):
    """Two convolutions [B, before, T] to [B, after, T], and the way around."""

    def __init__(self, before: int, after: int, *, kernel: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normed(before, after, kernel, dilation),
            nn.ReLU(),
            *_normed(after, after, kernel, dilation),
            nn.ReLU(),
        )
        same = before == after
        self.shortcut = nn.Identity() if same else nn.Conv1d(before, after, 1)
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.body(x) + self.shortcut(x))
        return out


def _normed(before: int, after: int, kernel: int, dilation: int) -> tuple[nn.Module, nn.Module]:
    """Return a convolution that keeps the length, and its norm."""
    around = dilation * (kernel // 2)
    convolution = nn.Conv1d(before, after, kernel, padding=around, dilation=dilation, bias=False)
    return convolution, nn.BatchNorm1d(after)
