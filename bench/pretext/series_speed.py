"""How fast a series is played. After Benaim et al. (2020), SpeedNet, arXiv:2004.06130.

They show a video at its own speed or at twice that, by leaving out frames; here a series is played
at 1 to ``speeds`` times its speed, and the head says which. At speed s every s-th step of a stretch
is shown. So no class is interpolated and no other one smoothed: of white noise, steps left out are
again white noise, and nothing tells. A stretch holds as many steps in each class, T / speeds, at a
random place; all are drawn out to T steps in one and the same way.

A stretch of the fastest class reaches over almost all of a series, and of those that were
standardised as a whole, as most archives hold them, it would have mean 0 and deviation 1, others
not: so each stretch is standardised.

Shapes: B series, C channels, T steps, N steps shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, AtLeastTwo, Reals, Setting, Space
from bench.patches import drawn_out, standardised, steps_of

FEWEST = 8  # steps of a stretch


@dataclass(frozen=True, kw_only=True)
class SeriesSpeed(AbstractClassifying):
    """Name how many times its own speed a series is played at."""

    reference: ClassVar[str] = "arXiv:2004.06130"
    modalities: ClassVar[tuple[str, ...] | None] = ("series",)
    batch_size: PositiveInt = 128  # series, as for the pretexts of images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    speeds: AtLeastTwo = 4  # 1, 2, 3, ... times; the authors: 2, which are too few for most tasks
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """The speeds."""
        return self.speeds

    def declines(self, setting: Setting) -> str | None:
        """What is left after steps were left out has to show something."""
        least = FEWEST * self.speeds
        if setting.form.shape[-1] < least:
            return f"series_speed of {self.speeds} speeds needs series of at least {least} steps"
        return None

    def show(self, x_BCT: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return N steps of each series, its class + 1 apart, drawn out to its length."""
        length = x_BCT.shape[2]
        apart_B, shown = class_B + 1, length // self.speeds
        room_B = length - (shown - 1) * apart_B  # first steps that a stretch may have
        draw_B = torch.rand(len(x_BCT), generator=rng, dtype=torch.float32, device=x_BCT.device)
        first_B = torch.minimum((draw_B * room_B).long(), room_B - 1)
        steps_N = torch.arange(shown, device=x_BCT.device)
        step_BN = first_B.unsqueeze(1) + apart_B.unsqueeze(1) * steps_N
        return drawn_out(standardised(steps_of(x_BCT, step_BN), x_BCT), length)
