"""Leave words out: views of sentences. Wei and Zou (2019), EDA, arXiv:1901.11196.

Their random deletion leaves each word out with one probability, and keeps one of a sentence that
would lose all. Beside it, a word can be put out of sight where it stands, by the token of unknown
words: as word dropout (Iyyer et al. 2015, doi:10.3115/v1/P15-1162), it says that something was
there.

Shapes: B sentences, T tokens.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor

from bench.contract import AbstractAugment
from bench.tokens import PAD, UNKNOWN

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class WordDropout(AbstractAugment):
    """Each token is deleted, made unknown, or kept; one of each sentence always is."""

    reference: ClassVar[str] = "arXiv:1901.11196"
    modalities: ClassVar[tuple[str, ...] | None] = ("text",)
    delete: Share = 0.1  # probability; EDA's alpha, section 3.3
    hide: Share = 0.1  # probability, of a token that is not deleted; as much again

    def __call__(self, x_BT: Tensor, rng: Generator) -> Tensor:
        """Return sentences with gaps closed: tokens keep their order, padding comes last."""
        draws_2BT = torch.rand(
            (2, *x_BT.shape), generator=rng, device=x_BT.device, dtype=torch.float32
        )
        real_BT = x_BT != PAD
        safe_BT = draws_2BT[0].masked_fill(~real_BT, -1.0).argmax(1, keepdim=True)
        safe_BT = torch.zeros_like(real_BT).scatter(1, safe_BT, True)
        keep_BT = real_BT & ((draws_2BT[0] >= self.delete) | safe_BT)
        hidden_BT = keep_BT & (draws_2BT[1] < self.hide) & ~safe_BT
        kept_BT = x_BT.masked_fill(hidden_BT, UNKNOWN).masked_fill(~keep_BT, PAD)
        return kept_BT.gather(1, (~keep_BT).long().argsort(dim=1, stable=True))
