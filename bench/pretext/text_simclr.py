"""Contrastive learning of sentences. Gao, Yao and Chen (2021), SimCSE, arXiv:2104.08821.

A sentence is encoded twice, each time with other values dropped: dropout is the only change. With
z_i and z'_i the two vectors after the head, sim the cosine and t the temperature, the loss of
sentence i (their equation 4) is
    -log( exp(sim(z_i, z'_i) / t) / sum over j of exp(sim(z_i, z'_j) / t) ),
averaged over the batch. Unlike in SimCLR only the second views are candidates, and no other of the
first.

Shapes: B sentences, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Form, Reals, Space, Tensors


@dataclass(frozen=True, kw_only=True)
class TextSimclr(AbstractPretext):
    """Find a sentence's other view among the batch; views differ by dropout alone."""

    reference: ClassVar[str] = "arXiv:2104.08821"
    modalities: ClassVar[tuple[str, ...] | None] = ("text",)
    views: ClassVar[int] = 2
    batch_size: PositiveInt = 64  # sentences; appendix A, for BERT base
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here; theirs: 3e-5, from BERT's weights
    temperature: PositiveFloat = 0.05  # appendix D, table D.1: best
    dropout: Annotated[float, Field(gt=0, lt=1)] = 0.1  # table 3: best
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "temperature": Reals(low=0.01, high=1.0, log=True),  # table D.1: 0.001 to 1
        "dropout": Reals(low=0.01, high=0.5, log=True),  # table 3: 0 to 0.5
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the layer that they train with and leave out at test (section 6.3)."""
        return nn.Sequential(nn.Linear(width, width), nn.Tanh())

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BT: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean cross-entropy, in nats, of which second view is whose."""
        vectors = net.encode(torch.cat([x_BT, x_BT]), dropout=self.dropout)
        first_BD, second_BD = F.normalize(net.head(vectors), dim=1).chunk(2)
        similarity_BB = first_BD @ second_BD.T / self.temperature
        own_B = torch.arange(len(x_BT), device=x_BT.device)
        return F.cross_entropy(similarity_BB, own_B), state
