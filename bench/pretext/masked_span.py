"""Reconstruction of masked spans. Zerveas et al. (2021), arXiv:2010.02803.

In each channel of a series spans are masked whose lengths are geometric with mean l; between them
are spans of mean l (1 - r) / r, so that the share r of all values is masked (their section 3.2).
The loss is the mean over masked values of (predicted - target)^2, of series
standardised by channel. Whether a value is masked is a Markov chain; here it is drawn at once: with
probability 1 / (l (1 - r)) a step draws anew, masked with probability r, else it is as the one
before. Its spans, of both kinds, have the same distribution.

Masked values are 0 for the authors, whose data has mean 0 by channel; here the mean of what is
visible in the channel, which is the same there. Their transformer has a vector for each step. The
encoders here give one for all, so nothing that is visible can be copied past it: that vector has
to hold what the whole series is like. As for mae, this is what an encoder of few-shot learning is
judged by.

Shapes: B series, C channels, T steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Form, Reals, Space, Tensors

EPSILON = 1e-6  # on the variance of a series, as for mae


@dataclass(frozen=True, kw_only=True)
class MaskedSpan(AbstractPretext):
    """Predict the values of masked spans from the rest of the series."""

    reference: ClassVar[str] = "arXiv:2010.02803"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    views: ClassVar[int] = 1
    batch_size: PositiveInt = 128  # series, as images for mae
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here, and (RAdam) the authors
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.15  # of the values; the authors
    length: Annotated[float, Field(ge=1)] = 3.0  # steps of a span, on average; the authors
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "ratio": Reals(low=0.05, high=0.6),  # to four times the default
        "length": Reals(low=3.0, high=30.0, log=True),  # the authors': too short for fine steps
    }

    def __post_init__(self) -> None:
        """Refuse spans so short that the visible ones between them would be shorter than a step."""
        if self._anew() > 1:
            least = 1 / (1 - self.ratio)
            raise ValueError(
                f"with a ratio of {self.ratio} spans have a length of {least:.2g} or more"
            )

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the decoder, from [B, width] to series [B, C, T]."""
        channels, steps = form.shape
        return nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, channels * steps),
            nn.Unflatten(1, (channels, steps)),
        )

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCT: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean squared error over masked values, in a series' deviations."""
        masked_BCT = self.mask(x_BCT, rng)
        predicted_BCT = net.head(net.encode(shown(x_BCT, masked_BCT)))
        wrong_BCT = (predicted_BCT - standardised(x_BCT)).square()
        # One at least: a small batch may have nothing masked, and then has no error.
        return (wrong_BCT * masked_BCT).sum() / masked_BCT.sum().clamp(min=1), state

    def mask(self, x_BCT: Tensor, rng: Generator) -> Tensor:
        """Return which values [B, C, T] are masked."""
        draws = torch.rand(
            (2, *x_BCT.shape), generator=rng, device=x_BCT.device, dtype=torch.float32
        )
        place_T = torch.arange(x_BCT.shape[2], device=x_BCT.device)
        anew_BCT = (draws[0] < self._anew()) | (place_T == 0)
        drawn_at_BCT = torch.where(anew_BCT, place_T, 0).cummax(2).values
        return (draws[1] < self.ratio).gather(2, drawn_at_BCT)

    def _anew(self) -> float:
        """Return the probability that a step draws anew whether it is masked."""
        return 1 / (self.length * (1 - self.ratio))


def shown(x_BCT: Tensor, masked_BCT: Tensor) -> Tensor:
    """Return series whose masked values are the mean of their channel's visible ones."""
    visible = ~masked_BCT
    count = visible.sum(2, keepdim=True).clamp(min=1)
    mean_BC1 = (x_BCT * visible).sum(2, keepdim=True) / count
    return torch.where(masked_BCT, mean_BC1, x_BCT)


def standardised(x_BCT: Tensor) -> Tensor:
    """Return series of mean 0 and variance 1 in each channel."""
    centred = x_BCT - x_BCT.mean(2, keepdim=True)
    return centred / (centred.square().mean(2, keepdim=True) + EPSILON).sqrt()
