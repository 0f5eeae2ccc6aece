"""The input itself as the vector: what an encoder has to beat."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.contract import AbstractEncoder, Form, Setting
from bench.tokens import PAD


@dataclass(frozen=True, kw_only=True)
class Raw(AbstractEncoder):
    """Every value of the input, flattened; of tokens, how often each occurs. Nothing is learned."""

    reference: ClassVar[str] = "doi:10.1109/TIT.1967.1053964"  # Cover and Hart: nearest neighbours

    def declines(self, setting: Setting) -> str | None:
        """There is nothing to train."""
        return "raw learns nothing, so there is nothing to train" if setting.trained else None

    def module(self, form: Form) -> nn.Module:
        """Return a module from [B, *shape] to [B, prod(shape)], or [B, V] of V kinds of tokens."""
        return _Counts(len(form.vocabulary)) if form.vocabulary else nn.Flatten()


class _Counts(nn.Module):
    """From ids [B, T] to how often each of V occurs [B, V]; padding does not count."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, ids: Tensor) -> Tensor:
        """Count, in torch's default precision."""
        every = torch.arange(self.size, device=ids.device)
        counts = (ids.unsqueeze(-1) == every).sum(1).to(torch.get_default_dtype())
        return counts * (every != PAD)
