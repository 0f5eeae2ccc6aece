"""What an encoder is trained on before anything else: pretext tasks, or labels."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import PlainSerializer, PlainValidator, SerializationInfo, ValidationInfo
from torch import Generator, Tensor, nn

from bench.contract.plugin import AbstractTrained
from bench.contract.values import Shape, Tensors


class AbstractNetwork(ABC):
    """What a pretext task is handed: encoder, its own head, the suite's augmentation."""

    @abstractmethod
    def encode(self, x_BCHW: Tensor) -> Tensor:
        """Return features [B, D]."""

    @abstractmethod
    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Apply the layers that the pretext's ``head`` built, or one child module of them."""

    @abstractmethod
    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return one view of each example, by the suite's policy.

        Raises:
            PermissionError: the pretext does not say ``augments``.
        """

    @property
    @abstractmethod
    def params(self) -> Tensors:
        """What is being trained: ``encoder.*`` and ``head.*``."""

    @abstractmethod
    def using(self, params: Tensors) -> "AbstractNetwork":
        """Return the network with these tensors in the place of some or all of ``params``.

        Such a network normalises each batch by itself and moves no running statistics.
        """


class AbstractInit(AbstractTrained):
    """Pre-training on the labels of the training split, as a start for what follows."""

    augments: ClassVar[bool] = False  # it calls ``net.augment``
    batch_size: int

    @abstractmethod
    def head(self, width: int, classes: int) -> nn.Module:
        """Return the layers on top of ``width`` features; the engine seeds their initialisation."""

    @abstractmethod
    def loss(self, net: AbstractNetwork, x_BCHW: Tensor, label_B: Tensor, rng: Generator) -> Tensor:
        """Return a scalar loss; labels are in [0, classes)."""


class AbstractPretext(AbstractTrained):
    """A self-supervised objective. It is never handed a label, so it cannot use one."""

    augments: ClassVar[bool] = False  # it calls ``net.augment``
    views: ClassVar[int]  # forward passes of the encoder for each example of a batch
    batch_size: int

    @abstractmethod
    def head(self, width: int, shape: Shape) -> nn.Module:
        """Return the layers on top of ``width`` features; the engine seeds their initialisation."""

    def state(self, net: AbstractNetwork) -> Tensors:
        """Return tensors that are carried from step to step but not trained (queues, averages)."""
        return {}

    @abstractmethod
    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return a scalar loss, and the next state; every random draw comes from ``rng``."""


class AbstractClassifying(AbstractPretext):
    """A pretext task whose answers are a few classes, and that can show any image as each of them.

    Several make a family: ``tasks: pretext`` draws episodes from them. By itself it is trained on
    the cross-entropy of one linear layer over all classes, each image shown as one drawn at random.
    """

    views: ClassVar[int] = 1

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """How many answers there are."""

    @abstractmethod
    def show(self, x_BCHW: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each image as its class, in [0, num_classes), says: one image, of the same shape.

        What is cut or placed at random is drawn from ``rng``; the class decides the rest.
        """

    def head(self, width: int, shape: Shape) -> nn.Module:
        """Return one linear layer with a score for each class."""
        return nn.Linear(width, self.num_classes)

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean cross-entropy, in nats, of the class that each image is shown as."""
        class_B = torch.randint(
            self.num_classes, (len(x_BCHW),), generator=rng, device=x_BCHW.device
        )
        shown = self.show(x_BCHW, class_B, rng)
        return F.cross_entropy(net.head(net.encode(shown)), class_B), state


def _built(value: object, info: ValidationInfo) -> AbstractPretext:
    """Make the plug-in that a parameter names, by the catalogue, which is handed in."""
    assert info.context is not None
    made = info.context["build"]("pretext", value)
    assert isinstance(made, AbstractPretext)
    return made


def _described(plugin: AbstractPretext, info: SerializationInfo) -> object:
    assert info.context is not None
    described: object = info.context["describe"]("pretext", plugin)
    return described


Pretext = Annotated[
    AbstractPretext,
    PlainValidator(_built),
    PlainSerializer(_described),
]
"""A parameter that is itself a pretext task: in a suite its name, or name and parameters."""
