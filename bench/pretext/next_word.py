"""The next word. Radford et al. (2018), GPT; of recurrent networks, Mikolov et al. (2010).

A sentence is cut at a random place t; the encoder sees what comes before, and the token at t is
predicted. With z_t the vector of the tokens before t, and p the softmax of one linear layer on it,
    loss = - log p(x_t | z_t),
averaged over sentences; t is drawn evenly over the places whose token is in the vocabulary. All
that comes from t on is padding, so attention in both directions, which the encoder has, sees
nothing of the answer. Language models predict every token of a sentence in one pass, by attention
to the left; an encoder that gives one vector does one of them at a pass, so a sentence's tokens are
met over epochs. Where t is 0 the encoder sees the start token alone.

Shapes: B sentences, T tokens, V kinds of tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Form, Reals, Space, Tensors
from bench.tokens import PAD, SPECIAL, START


@dataclass(frozen=True, kw_only=True)
class NextWord(AbstractPretext):
    """Predict a word of a sentence from those before it."""

    reference: ClassVar[str] = "doi:10.21437/Interspeech.2010-343"
    modalities: ClassVar[tuple[str, ...] | None] = ("text",)
    views: ClassVar[int] = 1
    batch_size: PositiveInt = 64  # sentences, as for masked_word
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return one linear layer with a score for each token of the vocabulary."""
        return nn.Linear(width, len(form.vocabulary))

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BT: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean surprise, in nats, at the token after the cut."""
        place_B = self.cut(x_BT, rng)
        next_B = x_BT.gather(1, place_B.unsqueeze(1)).squeeze(1)
        scores_BV = net.head(net.encode(prefix(x_BT, place_B)))
        counts_B = next_B >= len(SPECIAL)
        surprise_B = F.cross_entropy(scores_BV, next_B, reduction="none")
        return (surprise_B * counts_B).sum() / counts_B.sum().clamp(min=1), state

    def cut(self, x_BT: Tensor, rng: Generator) -> Tensor:
        """Return the place [B] of the token to predict; 0 where a sentence holds none."""
        draws_BT = torch.rand(x_BT.shape, generator=rng, device=x_BT.device, dtype=torch.float32)
        return draws_BT.masked_fill(x_BT < len(SPECIAL), -1.0).argmax(1)


def prefix(x_BT: Tensor, place_B: Tensor) -> Tensor:
    """Return the tokens before a place, padded; before the first, the start token alone."""
    before_BT = torch.arange(x_BT.shape[1], device=x_BT.device) < place_B.unsqueeze(1)
    seen_BT = x_BT.masked_fill(~before_BT, PAD)
    first_B1 = torch.where(place_B == 0, START, seen_BT[:, 0]).unsqueeze(1)
    return torch.cat([first_B1, seen_BT[:, 1:]], dim=1)
