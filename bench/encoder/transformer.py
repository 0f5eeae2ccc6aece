"""A small transformer. Vaswani et al. (2017), arXiv:1706.03762, section 3.

Each layer is x + Attention(Norm(x)), then x + Feed(Norm(x)): the norm comes before each part
(pre-norm; Xiong et al. 2020, arXiv:2002.04745), so that no warming-up of the rate is needed. With
queries q, keys k and values v of K features, a head gives softmax(q k^T / sqrt(K)) v over the
tokens of the sentence, padding left out (their equation 1). Positions are learned vectors. The
sentence's vector is the mean of the last layer over its tokens (Reimers and Gurevych 2019,
arXiv:1908.10084, table 6: better than that of a token of its own).

Shapes: B sentences, T tokens, D features, H heads, K = D / H features of a head.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from bench.contract import AbstractEncoder, Form
from bench.tokens import PAD

SPREAD = (
    0.02  # of first embeddings, as in BERT and GPT. Torch's 1 makes an untrained network a random
)
# projection of counts of words, 76 % at 5 shots on CLINC150, that Adam at 1e-3 hardly moves: after
# 30,000 masked sentences the loss was 5.2 nats, and 4.7 from here.


@dataclass(frozen=True, kw_only=True)
class Transformer(AbstractEncoder):
    """Layers of self-attention over tokens, norm first, and the mean over a sentence's tokens."""

    reference: ClassVar[str] = "arXiv:1706.03762"
    modalities: ClassVar[tuple[str, ...] | None] = ("text",)
    width: PositiveInt = 64  # features of a token, and of the sentence's vector; theirs: 512
    layers: PositiveInt = 2  # theirs: 6
    heads: PositiveInt = 4  # theirs: 8

    def __post_init__(self) -> None:
        """Refuse heads that cannot share the features evenly."""
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads cannot share {self.width} features")

    def module(self, form: Form) -> nn.Module:
        """Return a module from ids [B, T] to [B, width]."""
        layers = [_Layer(self.width, self.heads) for _ in range(self.layers)]
        return _Encoder(len(form.vocabulary), form.shape[0], self.width, layers)


class _Encoder(nn.Module):
    """Embeddings of tokens and of their positions, layers, a norm, and the mean."""

    def __init__(self, tokens: int, length: int, width: int, layers: list["_Layer"]) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(length, width)
        for one in (self.tokens, self.positions):
            nn.init.normal_(one.weight, std=SPREAD)
        self.dropout = nn.Dropout(0.1)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return [B, D]; a sentence of padding alone gives zeros."""
        real_BT = ids_BT != PAD
        place_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        x_BTD = self.dropout(self.tokens(ids_BT) + self.positions(place_T))
        for layer in self.layers:
            x_BTD = layer(x_BTD, real_BT)
        summed_BD: Tensor = (self.norm(x_BTD) * real_BT.unsqueeze(-1)).sum(1)
        return summed_BD / real_BT.sum(1, keepdim=True).clamp(min=1)


class _Layer(nn.Module):
    """Attention and two linear layers, each after a norm and added to what it was given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Return [B, T, D]; what stands at a place of padding says nothing."""
        x_BTD = x_BTD + self.dropout(self.join(self._attend(self.before(x_BTD), real_BT)))
        fed_BTD: Tensor = self.dropout(self.narrow(F.gelu(self.widen(self.after(x_BTD)))))
        return x_BTD + fed_BTD

    def _attend(self, x_BTD: Tensor, real_BT: Tensor) -> Tensor:
        """Return values [B, T, D] by scaled dot products; written out, for second derivatives."""
        query, key, value = (
            one.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for one in self.project(x_BTD).chunk(3, -1)
        )  # each [B, H, T, K]
        scores_BHTT = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        lowest = torch.finfo(x_BTD.dtype).min  # not -inf: of padding alone, no 0 / 0
        scores_BHTT = scores_BHTT.masked_fill(~real_BT[:, None, None, :], lowest)
        mixed_BHTK = self.dropout(scores_BHTT.softmax(-1)) @ value
        joined_BTD: Tensor = mixed_BHTK.transpose(-3, -2).flatten(-2)
        return joined_BTD
