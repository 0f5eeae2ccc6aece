"""Colour permutation. Lee, Hwang and Shin (2020), arXiv:1910.05872.

The channels of an image in colour are given in another order, and the head says in which of the
six (their transformation of colour permutation; there it makes labels of a supervised task richer).

Images of one channel have no colours, but three bands of tones, and here it is these that change
places: dark, middle and bright. A tone v in [0, 1] is first put at t = (255 v + 1/2) / 256, so that
each of 256 levels lies within a band, none on an edge; this is so in every class. With b the
number of its band [b/3, (b+1)/3), r = 3 t - b its place there, and p the place of b in the order,
    t -> t if p = b,    t -> (p + 1 - r) / 3 if not:
a band that moves is also mirrored. Moved as it is, black and white would in two of the six orders
come to lie side by side, and a drawing of two tones would be gone.

Shapes: B images, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractClassifying, Reals, Setting, Space

ORDERS = list(permutations(range(3)))
LEVELS = 256  # of the tones of 8 bits


@dataclass(frozen=True, kw_only=True)
class Recolour(AbstractClassifying):
    """Name the order in which an image's colours, or its bands of tones, were given."""

    reference: ClassVar[str] = "arXiv:1910.05872"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)
    batch_size: PositiveInt = 128  # images
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    @property
    def num_classes(self) -> int:
        """The orders of three."""
        return len(ORDERS)

    def declines(self, setting: Setting) -> str | None:
        """What is recoloured are images in colour, or of grey tones."""
        if setting.form.shape[0] not in (1, 3):
            return f"recolour needs images of one or three channels, not {setting.form.shape}"
        return None

    def show(self, x_BCHW: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each image with channel c from channel order[c], or band b at order[b]."""
        order_B3 = torch.tensor(ORDERS, device=x_BCHW.device)[class_B]
        if x_BCHW.shape[1] == 3:
            return x_BCHW.gather(1, order_B3[:, :, None, None].expand_as(x_BCHW))
        return _banded(x_BCHW, order_B3)


def _banded(x_BCHW: Tensor, order_B3: Tensor) -> Tensor:
    """Give the three bands of tones the places that an order says."""
    tone = (x_BCHW * (LEVELS - 1) + 0.5) / LEVELS
    band = (3 * tone).long()
    place = order_B3.gather(1, band.flatten(1)).view_as(band)
    mirrored = (place + 1 - (3 * tone - band)) / 3
    return torch.where(place == band, tone, mirrored)
