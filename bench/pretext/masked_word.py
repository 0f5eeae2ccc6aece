"""Masked words. Devlin, Chang, Lee and Toutanova (2019), BERT, arXiv:1810.04805, section 3.1.

A random share of a sentence's tokens is masked, at least one and never all of two or more; what
they were is predicted. BERT predicts each at its own place, from that place's vector. Here the
encoder gives one vector for the sentence, which does not know of places: so all masked tokens are
predicted from it as a bag. With M the masked places of a sentence and p the softmax over the
vocabulary of one linear layer on its vector,
    loss = - sum over t in M of log p(x_t) / |M|,
the cross-entropy to the masked tokens' own distribution, averaged over sentences. What is to be
predicted must be in the vector, and so do all words around it that tell.

BERT leaves a tenth of the chosen tokens as they are and exchanges another tenth, because tests show
no mask; without places such a token would be told apart from none, so all are masked. A token that
is not in the vocabulary is neither masked nor asked for; a sentence that holds no other does not
count.

Shapes: B sentences, T tokens, V kinds of tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Form, Reals, Space, Tensors
from bench.tokens import MASK, SPECIAL


@dataclass(frozen=True, kw_only=True)
class MaskedWord(AbstractPretext):
    """Predict the masked words of a sentence, all from its one vector."""

    reference: ClassVar[str] = "arXiv:1810.04805"
    modalities: ClassVar[tuple[str, ...] | None] = ("text",)
    views: ClassVar[int] = 1
    batch_size: PositiveInt = 64  # sentences; theirs: 256 of 512 tokens, for a million steps
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here; theirs: 1e-4 with 12 layers
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.4  # share of tokens that is masked; better than
    # BERT's .15 in arXiv:2202.08005 (Wettig et al. 2023) and on validation intents of CLINC150
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "ratio": Reals(low=0.1, high=0.6),
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return one linear layer with a score for each token of the vocabulary."""
        return nn.Linear(width, len(form.vocabulary))

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BT: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean over sentences of the mean surprise, in nats, at their masked tokens."""
        masked_BT = self.mask(x_BT, rng)
        scores_BV = net.head(net.encode(x_BT.masked_fill(masked_BT, MASK)))
        surprise_BT = -scores_BV.log_softmax(1).gather(1, x_BT)
        each_B = (surprise_BT * masked_BT).sum(1) / masked_BT.sum(1).clamp(min=1)
        return each_B.sum() / masked_BT.any(1).sum().clamp(min=1), state

    def mask(self, x_BT: Tensor, rng: Generator) -> Tensor:
        """Return which tokens [B, T] are masked."""
        open_BT = x_BT >= len(SPECIAL)
        draws_BT = torch.rand(x_BT.shape, generator=rng, device=x_BT.device, dtype=torch.float32)
        rank_BT = draws_BT.masked_fill(~open_BT, 2.0).argsort(1).argsort(1)
        size_B1 = open_BT.sum(1, keepdim=True)
        count_B1 = (self.ratio * size_B1).round().clamp(min=1)
        count_B1 = torch.minimum(count_B1, (size_B1 - 1).clamp(min=1))
        return open_BT & (rank_BT < count_B1)
