"""Bootstrap your own latent. Grill et al. (2020), arXiv:2006.07733.

Two views v, w of each image. The online network is encoder, projector and predictor q, with
parameters theta; the target is encoder and projector with parameters xi, a moving average. With
y = q(z_theta(v)) and t = z_xi(w), both on the unit sphere, the loss is the mean over the batch of
    |y - t|^2 = 2 - 2 y . t,
plus the same with the views in each other's place (their equation 2); t has no gradient.

The average, xi <- tau xi + (1 - tau) theta, is taken in the paper (algorithm 1) at the end of a
step, with the theta that the optimizer has just made. A pretext sees that theta only when the
next step begins, so the average is taken there, before it is used: step k compares with
xi_k = tau xi_{k-1} + (1 - tau) theta_k, which is the paper's. What is carried from step to step
lags by one update, the loss does not. At first xi = theta, which the first average leaves alone.

Tau is constant, where the authors let it rise to 1 over the training: a pretext is not told how
far training has come. The target normalises each batch by itself, as in the authors' code.

Shapes: B images, C channels, H height, W width, D projected features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractNetwork,
    AbstractPretext,
    AtLeastTwo,
    Form,
    OneOf,
    Reals,
    Space,
    Tensors,
)


@dataclass(frozen=True, kw_only=True)
class Byol(AbstractPretext):
    """Predict what a moving average of the network says of an image's other view."""

    reference: ClassVar[str] = "arXiv:2006.07733"
    augments: ClassVar[bool] = True
    views: ClassVar[int] = 4  # both views, through the online network and through the target
    batch_size: AtLeastTwo = 256  # images, as in solo-learn's CIFAR settings; the authors 4096
    rate: PositiveFloat = 1e-3  # Adam, as for every encoder here; the authors: LARS 0.2
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.99  # tau; the first value in solo-learn's
    # CIFAR settings, and in the authors' code for 100 and 300 epochs (0.996 for 1000)
    expansion: PositiveInt = 2  # hidden layers / features; 4096 of 2048, section 3.2
    projection: PositiveInt = 256  # D, in projector and predictor; section 3.2
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "momentum": OneOf(values=(0.9, 0.99, 0.999)),  # table 5a; 0 and 1 fail there
    }

    def head(self, width: int, form: Form) -> nn.Module:
        """Return projector and predictor, each of two layers."""
        hidden = self.expansion * width
        return nn.ModuleDict(
            {
                "projector": _perceptron(width, hidden, self.projection),
                "predictor": _perceptron(self.projection, hidden, self.projection),
            }
        )

    def state(self, net: AbstractNetwork) -> Tensors:
        """Return the target: a copy of encoder and projector."""
        return {
            name: value.detach().clone()
            for name, value in net.params.items()
            if not name.startswith("head.predictor.")
        }

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean squared distance of predictions and targets, over both orders."""
        averaged = {
            name: value.lerp(net.params[name].detach(), 1 - self.momentum)
            for name, value in state.items()
        }
        views = [net.augment(x_BCHW, rng), net.augment(x_BCHW, rng)]
        predicted = [net.head(_projected(net, view), "predictor") for view in views]
        with torch.no_grad():
            target = net.using(averaged)
            wanted = [_projected(target, view) for view in reversed(views)]
        cosines = [F.cosine_similarity(*pair) for pair in zip(predicted, wanted, strict=True)]
        return (2 - 2 * torch.stack(cosines)).sum(0).mean(), averaged


def _projected(net: AbstractNetwork, x_BCHW: Tensor) -> Tensor:
    """Return projected features [B, D]."""
    return net.head(net.encode(x_BCHW), "projector")


def _perceptron(width: int, hidden: int, outputs: int) -> nn.Module:
    """Return linear, batch norm, ReLU, linear: no batch norm at the end (section 3.2)."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),  # the authors' bias, which batch norm takes away
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs, bias=False),  # in the authors' code too
    )
