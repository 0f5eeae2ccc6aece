"""Forecasting. Chung, Hsu, Tang and Glass (2019), arXiv:1904.03240, and van den Oord et al. (2018).

Autoregressive predictive coding predicts from all steps up to t the values at t + n (Chung et al.);
contrastive predictive coding (arXiv:1807.03748) predicts features of the steps t + 1 to t + h from
one vector of what came before, and tells the right ones from others. Here the values are predicted,
as by the former, of h steps from one vector, as by the latter. With v the steps of a series that
are visible, drawn anew each time, and z the encoder's vector of these, the loss is the
    mean over channels c and k in 1 ... h of (f(z)_ck - (x_c,v+k - x_cv) / s_c)^2,
with s_c the standard deviation of channel c of that series. So 0 is the forecast that nothing
changes, and neither level nor scale of a series has a say. s_c, which counts all steps, weighs the
error alone: the encoder is not shown it. Chung et al. take the absolute error, at t + n alone.

What is after the cut is not shown: the visible steps are moved to the end, where every series has
its cut then, and the first value is repeated before them. How often it is tells where the cut was,
not what follows.

Shapes: B series, C channels, T steps, H steps to forecast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Form, Reals, Setting, Space, Tensors

EPSILON = 1e-6  # on the variance of a series, as for mae: a flat one changes by nothing


@dataclass(frozen=True, kw_only=True)
class NextStep(AbstractPretext):
    """Forecast the coming values of a series from those up to a random cut."""

    reference: ClassVar[str] = "arXiv:1904.03240"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    views: ClassVar[int] = 1
    batch_size: PositiveInt = 128  # series, as images for mae
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    horizon: Annotated[float, Field(gt=0, lt=1)] = 0.03  # of the length; best of .03, .1 and .3 on
    # training classes of FiftyWords, 8 steps there; CPC of speech predicts 12 steps of 128
    seen: Annotated[float, Field(gt=0, lt=1)] = 0.7  # of the length, the fewest that are visible;
    # .3 there was worse than no training: an encoder of mostly repeated values sees none later
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "horizon": Reals(low=0.01, high=0.3, log=True),  # from a step or two on
    }

    def declines(self, setting: Setting) -> str | None:
        """Two steps must be visible, and one to come."""
        steps = setting.form.shape[-1]
        if steps - self._horizon(steps) < 2:
            return f"next_step forecasts from two steps or more, and series have {steps}"
        return None

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the decoder, from [B, width] to changes [B, C, H]."""
        channels, coming = form.shape[0], self._horizon(form.shape[1])
        return nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, channels * coming),
            nn.Unflatten(1, (channels, coming)),
        )

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCT: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean squared error of the forecast changes, in a series' deviations."""
        visible_B = self.cuts(x_BCT, rng)
        predicted_BCH = net.head(net.encode(up_to(x_BCT, visible_B)))
        wrong_BCH = predicted_BCH - self.changes(x_BCT, visible_B)
        return wrong_BCH.square().mean(), state

    def cuts(self, x_BCT: Tensor, rng: Generator) -> Tensor:
        """Draw how many steps [B] of each series are visible; each number as likely."""
        steps = x_BCT.shape[2]
        most = steps - self._horizon(steps)
        least = min(max(round(self.seen * steps), 2), most)
        size = (len(x_BCT),)
        return torch.randint(least, most + 1, size, generator=rng, device=x_BCT.device)

    def changes(self, x_BCT: Tensor, visible_B: Tensor) -> Tensor:
        """Return how far [B, C, H] the coming steps are from the last visible one."""
        steps_H = torch.arange(self._horizon(x_BCT.shape[2]), device=x_BCT.device)
        last_BC1 = _at(x_BCT, visible_B[:, None] - 1)
        coming_BCH = _at(x_BCT, visible_B[:, None] + steps_H)
        variance_BC1 = x_BCT.var(2, correction=0, keepdim=True)
        return (coming_BCH - last_BC1) / (variance_BC1 + EPSILON).sqrt()

    def _horizon(self, steps: int) -> int:
        return max(round(self.horizon * steps), 1)


def up_to(x_BCT: Tensor, visible_B: Tensor) -> Tensor:
    """Return series [B, C, T] that end with the visible steps; the first is repeated before."""
    steps = x_BCT.shape[2]
    place_T = torch.arange(steps, device=x_BCT.device)
    return _at(x_BCT, (place_T - (steps - visible_B[:, None])).clamp(min=0))


def _at(x_BCT: Tensor, place_BK: Tensor) -> Tensor:
    """Return the values [B, C, K] of all channels at some steps of each series."""
    return x_BCT.gather(2, place_BK[:, None].expand(-1, x_BCT.shape[1], -1))
