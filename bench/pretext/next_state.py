"""What an action does. Nagabandi, Kahn, Fearing and Levine (2018), arXiv:1708.02596, section IV-A.

A model of the dynamics, f(s, a), predicts by how much the state changes (as PILCO does by Gaussian
processes, Deisenroth and Rasmussen 2011), not the next state, which a model that knows nothing has
nearly right already. With x a transition, of which the encoder sees state and action and not the
change d, the loss is the
    mean over transitions and the D numbers of a row of (f(x) - d)^2,
in units of the data's scales; in the action's place d is 0. Transitions come from every environment
of the training split at once, and none says which: what is learned is one model for all of them,
and where they differ, the mean of what they do. The head is kept, since the model is of use with it
alone.

Shapes: B transitions, 2 rows (state and action; change), D numbers of a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, AbstractPretext, Form, Reals, Space, Tensors
from bench.transitions import blanked, changes


@dataclass(frozen=True, kw_only=True)
class NextState(AbstractPretext):
    """Predict by how much an action changes the state."""

    reference: ClassVar[str] = "arXiv:1708.02596"
    modalities: ClassVar[tuple[str, ...] | None] = ("transition",)
    views: ClassVar[int] = 1
    keeps_head: ClassVar[bool] = True
    batch_size: PositiveInt = 128  # transitions; the authors: 512, of models ten times as wide
    rate: PositiveFloat = 1e-3  # Adam; authors' code
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return one linear layer to changes [B, D]."""
        return nn.Linear(width, form.shape[-1])

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_B2D: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean squared error of the predicted changes."""
        predicted_BD = net.head(net.encode(blanked(x_B2D)))
        return F.mse_loss(predicted_BD, changes(x_B2D)), state
