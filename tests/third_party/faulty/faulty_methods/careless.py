"""A pretext task that writes into its batch, draws from numpy, and miscounts its views.

It is also tuned within bounds that leave its default out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from bench.contract import AbstractNetwork, AbstractPretext, Reals, Shape, Space, Tensors
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Careless(AbstractPretext):
    """Name which of four quarter turns an image was given, carelessly."""

    reference: ClassVar[str] = "Gidaris et al. 2018"
    views: ClassVar[int] = 4
    batch_size: PositiveInt = 64
    rate: PositiveFloat = 1e-3
    space: ClassVar[Mapping[str, Space]] = {"rate": Reals(low=1e-2, high=1.0, log=True)}

    def head(self, width: int, shape: Shape) -> nn.Module:
        """Return one linear layer."""
        return nn.Linear(width, 4)

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Turn each image in place, by a turn that numpy's global generator draws."""
        turns = np.random.randint(0, 4, len(x_BCHW))
        for image, turn in zip(x_BCHW, turns, strict=True):
            image.copy_(image.clone().rot90(int(turn), (-2, -1)))
        return F.cross_entropy(net.head(net.encode(x_BCHW)), torch.from_numpy(turns)), state
