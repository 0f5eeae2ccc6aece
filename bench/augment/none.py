"""No augmentation: every view of an example is the example."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from bench.contract import AbstractAugment


@dataclass(frozen=True, kw_only=True)
class NoAugment(AbstractAugment):
    """Examples as they are, as prototypical networks were trained (Snell et al. 2017)."""

    reference: ClassVar[str] = "arXiv:1703.05175"

    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return the batch itself; nothing is drawn."""
        return x_BCHW
