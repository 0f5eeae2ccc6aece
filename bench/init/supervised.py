"""Supervised pre-training: cross-entropy over all training classes at once.

With logistic regression on the features at test it is the control that beats many meta-learners:
Tian, Wang, Krishnan, Tenenbaum and Isola (2020), arXiv:2003.11539, section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Generator, Tensor, nn

from bench.contract import AbstractInit, AbstractNetwork, AtLeastTwo, Reals, Setting, Space


@dataclass(frozen=True, kw_only=True)
class Supervised(AbstractInit):
    """Classify the examples of all training classes by one linear layer."""

    reference: ClassVar[str] = "arXiv:2003.11539"
    optimizer: ClassVar[Literal["adam", "sgd"]] = "adam"
    rate: PositiveFloat = 1e-3  # Adam, as Chen et al. (2019), arXiv:1904.04232, section 4
    batch_size: AtLeastTwo = 64  # Tian et al. (2020), section 4
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    def declines(self, setting: Setting) -> str | None:
        """It tells classes apart."""
        if setting.values:
            return f"supervised learns classes, of {setting.form.modality}s numbers are predicted"
        return None

    def head(self, width: int, classes: int) -> nn.Module:
        """Return one linear layer."""
        return nn.Linear(width, classes)

    def loss(self, net: AbstractNetwork, x_BCHW: Tensor, label_B: Tensor, rng: Generator) -> Tensor:
        """Return the cross-entropy of the batch."""
        return F.cross_entropy(net.head(net.encode(x_BCHW)), label_B)
