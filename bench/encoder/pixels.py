"""The input itself as the vector: what an encoder has to beat."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bench.contract import AbstractEncoder, Setting, Shape


@dataclass(frozen=True, kw_only=True)
class Pixels(AbstractEncoder):
    """Every value of the input, flattened; nothing is learned."""

    reference: ClassVar[str] = "doi:10.1109/TIT.1967.1053964"  # Cover and Hart: nearest neighbours

    def declines(self, setting: Setting) -> str | None:
        """There is nothing to train."""
        return "pixels learns nothing, so there is nothing to train" if setting.trained else None

    def module(self, shape: Shape) -> nn.Module:
        """Return a module from [B, *shape] to [B, prod(shape)]."""
        return nn.Flatten()
