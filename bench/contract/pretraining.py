"""What an encoder is trained on before anything else: pretext tasks, or labels."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import PlainSerializer, PlainValidator, SerializationInfo, ValidationInfo
from torch import Generator, Tensor, nn

from bench.contract.plugin import AbstractPlugin, AbstractTrained
from bench.contract.values import Task, Tensors, Validation
from bench.form import Form


class AbstractNetwork(ABC):
    """What a pretext task is handed: encoder, its own head, the suite's augmentation."""

    @abstractmethod
    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return features [B, D].

        ``dropout``: with what probability each ``nn.Dropout`` of the encoder drops a value, by
        torch's default generator, which the engine seeds before a step.
        """

    @abstractmethod
    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Apply the layers that the pretext's ``head`` built, or one child module of them."""

    @abstractmethod
    def augment(self, x: Tensor, rng: Generator) -> Tensor:
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

    def validation(self) -> Task:
        """Return an episode of the validation split, of the kind that ``validates`` names.

        The engine draws it, from a stream that this step has for nothing else: one a step.

        Raises:
            PermissionError: the pretext's ``validates`` is None.
        """
        raise PermissionError("this pretext does not say what it validates on")


class AbstractInit(AbstractTrained):
    """Pre-training on the labels of the training split, as a start for what follows."""

    augments: ClassVar[bool] = False  # it calls ``net.augment``
    batch_size: int

    @abstractmethod
    def head(self, width: int, classes: int) -> nn.Module:
        """Return the layers on top of ``width`` features; the engine seeds their initialisation."""

    @abstractmethod
    def loss(self, net: AbstractNetwork, x: Tensor, label_B: Tensor, rng: Generator) -> Tensor:
        """Return a scalar loss; labels are in [0, classes)."""


class AbstractPretext(AbstractTrained):
    """A self-supervised objective. It is never handed a label, so it cannot use one."""

    augments: ClassVar[bool] = False  # it calls ``net.augment``
    views: ClassVar[int]  # forward passes of the encoder for each example of a batch
    validates: ClassVar[Validation | None] = None  # it calls ``net.validation`` for these
    keeps_head: ClassVar[bool] = False  # what follows goes on with its head as well, by its names
    batch_size: int

    def examples(self, steps: int) -> int:
        """Return how many examples the first ``steps`` steps pass forward: the unit of budgets."""
        return steps * self.views * self.batch_size

    def watched(self, state: Tensors) -> Tensors:
        """Return scalars of the state that the learning curve holds, by their names."""
        return {}

    def drawn(self, rng: Generator) -> "AbstractPretext":
        """Return the pretext as a random search tries it: what it leaves open drawn from ``rng``.

        What a step costs must not depend on the draw.
        """
        return self

    @abstractmethod
    def head(self, width: int, form: Form) -> nn.Module:
        """Return the layers on top of ``width`` features; the engine seeds their initialisation."""

    def state(self, net: AbstractNetwork) -> Tensors:
        """Return tensors that are carried from step to step but not trained (queues, averages)."""
        return {}

    @abstractmethod
    def loss(
        self, net: AbstractNetwork, state: Tensors, x: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return a scalar loss, and the next state; every random draw comes from ``rng``."""


class AbstractSearch(AbstractPlugin):
    """A choice among pretext tasks: each is trained on an equal share of the budget.

    The encoder of the one with the lowest prototypical loss over ``episodes`` episodes of the
    validation split is kept. All of their examples, the episodes' included, are the row's.
    """

    augments: ClassVar[bool]  # a candidate does, or the episodes do
    validates: ClassVar[Validation]
    episodes: int

    @abstractmethod
    def choices(self, rng: Generator) -> tuple[AbstractPretext, ...]:
        """Return what is tried, in order; how many, and what each costs, must not be drawn."""


class AbstractClassifying(AbstractPretext):
    """A pretext task whose answers are a few classes, and that can show any example as each.

    Several make a family: ``tasks: pretext`` draws episodes from them. By itself it is trained on
    the cross-entropy of one linear layer over all classes, each example shown as one at random.
    """

    views: ClassVar[int] = 1

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """How many answers there are."""

    @abstractmethod
    def show(self, x: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return each example as its class, in [0, num_classes), says, in the same shape.

        What is cut or placed at random is drawn from ``rng``; the class decides the rest.
        """

    def head(self, width: int, form: Form) -> nn.Module:
        """Return one linear layer with a score for each class."""
        return nn.Linear(width, self.num_classes)

    def loss(
        self, net: AbstractNetwork, state: Tensors, x: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the mean cross-entropy, in nats, of the class that each example is shown as."""
        class_B = torch.randint(self.num_classes, (len(x),), generator=rng, device=x.device)
        shown = self.show(x, class_B, rng)
        return F.cross_entropy(net.head(net.encode(shown)), class_B), state


def _built(value: object, info: ValidationInfo) -> AbstractPretext:
    """Make the plug-in that a parameter names, by the catalogue, which is handed in."""
    assert info.context is not None
    made = info.context["build"]("pretext", value)
    if not isinstance(made, AbstractPretext):
        raise ValueError("a search has no loss of its own: it cannot stand within another pretext")
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


def _built_if_any(value: object, info: ValidationInfo) -> AbstractPretext | None:
    return None if value == "none" else _built(value, info)


def _described_if_any(plugin: AbstractPretext | None, info: SerializationInfo) -> object:
    return "none" if plugin is None else _described(plugin, info)


PretextOrNone = Annotated[
    AbstractPretext | None,
    PlainValidator(_built_if_any),
    PlainSerializer(_described_if_any),
]
"""A parameter that is a pretext task, or ``none``."""
