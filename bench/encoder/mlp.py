"""A multilayer perceptron, as dynamics models are.

Nagabandi, Kahn, Fearing and Levine (2018), arXiv:1708.02596: two hidden layers, fully connected,
on a state and an action, and a linear layer that predicts how the state changes. Here the hidden
layers are the encoder, so that pretexts and meta-algorithms can put heads of their own on it. One
thing differs: tanh is in the place of their ReLU, since what is modelled is smooth (Chua et al.
2018, arXiv:1805.12114, take a smooth one, too), and its features stay small under large steps.

Batch norm has no place here: a batch of transitions, of a planner say, has no statistics of its
own that could be relied on.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import ClassVar

from pydantic import PositiveInt
from torch import nn

from bench.contract import AbstractEncoder, Form, Setting


@dataclass(frozen=True, kw_only=True)
class Mlp(AbstractEncoder):
    """Fully connected layers with tanh on the flattened example."""

    reference: ClassVar[str] = "arXiv:1708.02596"
    width: PositiveInt = 64  # of every layer; the authors: 500, for the states of walking robots
    depth: PositiveInt = 2  # hidden layers, as the authors

    def declines(self, setting: Setting) -> str | None:
        """Ids of tokens are no numbers."""
        form = setting.form
        return f"mlp is made for numbers, not for ids as of {form}" if form.vocabulary else None

    def module(self, form: Form) -> nn.Module:
        """Return a module from [B, *shape] to [B, width]."""
        widths = [prod(form.shape)] + [self.width] * self.depth
        layers = [
            layer
            for before, after in pairwise(widths)
            for layer in (nn.Linear(before, after), nn.Tanh())
        ]
        return nn.Sequential(nn.Flatten(), *layers)
