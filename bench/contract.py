"""What a plug-in is: the abstract classes that every method file fills in.

A plug-in is a frozen keyword-only dataclass whose fields are its hyper-parameters. It is
stateless, and holds nothing but the method: no device, no logging, no global seed.

Shapes: B inputs, C channels, H height, W width, D features, N ways.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    ValidationInfo,
)
from torch import Generator, Tensor, nn

Tensors = Mapping[str, Tensor]
Norm = Literal["running", "support", "transductive", "group"]
Loss = Callable[[Tensors], Tensor]
AtLeastTwo = Annotated[int, Field(ge=2)]
Shape = tuple[int, ...]  # of one example, without the batch: (C, H, W) for images


@dataclass(frozen=True, kw_only=True)
class TaskShape:
    """Ways (classes), shots (support examples a class) and queries (a class) of a task."""

    ways: int
    shots: int
    queries: int

    @property
    def num_support(self) -> int:
        """Support examples in all."""
        return self.ways * self.shots

    @property
    def num_queries(self) -> int:
        """Query examples in all."""
        return self.ways * self.queries


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a plug-in may look at when it is asked whether a combination makes sense."""

    shape: Shape
    norm: Norm
    ways: int
    trained: bool = False  # the encoder is, by a pretext or over tasks
    task: TaskShape | None = None  # of meta-training tasks; None where nothing is meta-trained


class AbstractPlugin(ABC):
    """What every plug-in has: a source, a revision, and the right to decline a combination."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    reference: ClassVar[str]  # "arXiv:1703.03400" or "doi:10...": the bibliography is made from it
    revision: ClassVar[int] = 1  # raised when the method's numbers change on purpose
    extra: ClassVar[str | None] = None  # a module that it needs, and the extra that brings it
    added: ClassVar[Mapping[str, object]] = {}
    """Fields that came later, and the value under which keys leave them out: earlier results,
    made when there was no such field, then stay valid."""

    def declines(self, setting: Setting) -> str | None:
        """Return why this combination makes no sense, or None; the plan prints the reason."""
        return None


class AbstractTrained(AbstractPlugin):
    """A plug-in whose steps the engine takes: it owns the optimizer, the plug-in the settings."""

    optimizer: ClassVar[Literal["adam", "sgd"]] = "adam"
    rate: float  # the optimizer's learning rate at its highest

    def schedule(self, progress: float) -> float:
        """Return the factor on ``rate`` when ``progress`` (in [0, 1)) of the steps are done."""
        return 1.0


# --- data and encoders ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What a data source reads: examples grouped by class, and which split a class is in."""

    arrays: Mapping[str, np.ndarray]  # class name -> uint8 examples, one shape for all
    splits: Mapping[str, tuple[str, ...]]  # train, val, test -> class names; disjoint


class AbstractData(AbstractPlugin):
    """A source of examples with disjoint train, val and test classes."""

    augment: ClassVar[str] = "none"  # the policy that suits this source, unless a suite names one
    digest: ClassVar[str | None] = None  # what the whole set must hash to, where that is known

    @abstractmethod
    def read(self, root: Path | None) -> Examples:
        """Read everything below ``root`` (None: no root folder is set).

        Raises:
            UserError: the set is not there or not whole; says what to fetch, where to put it.
        """

    @abstractmethod
    def fingerprint(self, root: Path | None) -> str:
        """Return what changes when ``read`` would return something else, without reading it all.

        Raises:
            UserError: as for ``read``.
        """


class AbstractEncoder(AbstractPlugin):
    """A network that turns one example into a vector.

    Batch normalisation is written as ``nn.BatchNorm2d`` (or 1d): the engine decides whose
    statistics it uses.
    """

    @abstractmethod
    def module(self, shape: Shape) -> nn.Module:
        """Return a module from [B, *shape] to [B, D]."""


class AbstractAugment(AbstractPlugin):
    """A random change of examples that keeps what they are."""

    @abstractmethod
    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return changed copies of a whole batch in [0, 1], each with draws of its own."""


# --- pretext tasks -------------------------------------------------------------------------


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


# --- tasks and meta-algorithms -------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Task:
    """Support and query of one task: examples in [0, 1], labels in [0, ways).

    Support is ordered by shot first: examples 0 to N-1 are the first shot of each class.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    ways: int


class AbstractSource(ABC):
    """What a task source draws from: the training examples of a suite's data."""

    num_examples: int
    device: torch.device

    @abstractmethod
    def examples(self, index: Tensor) -> Tensor:
        """Gather examples as floats in [0, 1]."""

    @abstractmethod
    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return one view of each example, by the suite's policy.

        Raises:
            PermissionError: the task source does not say ``augments``.
        """

    @abstractmethod
    def classes(self) -> tuple[Tensor, Tensor]:
        """Return the examples of each class, [classes, most], padded with -1, and their number.

        Raises:
            PermissionError: the task source does not say ``uses_labels``.
        """


class AbstractTasks(AbstractPlugin):
    """Where meta-training tasks come from."""

    uses_labels: ClassVar[bool]
    augments: ClassVar[bool] = False  # it calls ``source.augment``
    default_shots: ClassVar[int | None] = None  # None: the meta-algorithm's
    ways: int | None  # None: what the meta-algorithm trains with by default
    shots: int | Literal["match"] | None  # "match": the suite's test shots; None: as for ways
    queries: int | None

    @abstractmethod
    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        """Draw one task; every random draw comes from ``rng``."""


class AbstractLearner(ABC):
    """The encoder and the head of a meta-algorithm, as functions of their parameters.

    ``params`` holds ``encoder.*``, ``head.*``, and ``meta.*`` (what the method's ``learned``
    returned). Whose batch statistics are used is the
    suite's choice (``norm``), made here and never by a method.
    """

    @abstractmethod
    def embed(self, params: Tensors, x_BCHW: Tensor) -> Tensor:
        """Return features [B, D] of a support set, normalised by itself or running statistics."""

    @abstractmethod
    def embed_both(
        self, params: Tensors, support_x: Tensor, query_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return features of a support and of its query set."""

    @abstractmethod
    def head(self, params: Tensors, z_BD: Tensor) -> Tensor:
        """Apply the layers that the method's ``head`` built."""

    @abstractmethod
    def gradient(
        self, loss: Loss, params: Tensors, *, differentiable: bool = False
    ) -> tuple[Tensor, Tensors]:
        """Return the loss and its gradient with respect to ``params``, all of them or any others.

        ``differentiable``: the gradient is itself a function of ``params`` that an outer
        ``gradient`` sees through (second order); else it is a constant.
        """


class AbstractMeta(AbstractPlugin):
    """What happens at test time: adapt to a support set, predict its queries."""

    norm: ClassVar[Norm] = "support"  # the default mode for this method
    transductive: ClassVar[bool] = False  # a prediction depends on the other queries
    frozen_encoder: ClassVar[bool] = False  # at test the encoder is only embedded with, unchanged
    vectorises: ClassVar[bool] = True  # vmap may trace it; False for what leaves torch.func

    @property
    def test_steps(self) -> int | None:
        """Steps of adaptation at test, where the method fixes them; None: the suite's."""
        return None

    @abstractmethod
    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps on a support set; the engine stops asking.

        A method with nothing to adapt yields once.
        """

    @abstractmethod
    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return scores [queries, N] with adapted ``params``; must not read ``task.query_y``."""


class AbstractMetaTrained(AbstractMeta, AbstractTrained):
    """A meta-learning algorithm, written for one task as pure functions."""

    second_order: bool = False  # differentiates through its own gradient steps
    test_only: ClassVar[tuple[str, ...]] = ()  # parameters that training does not look at
    tasks_per_step: int
    task_ways: int | None  # of the tasks it trains on by default; None: the suite's ways
    task_shots: int
    task_queries: int

    def head(self, width: int, ways: int) -> nn.Module:
        """Return trained layers on top of ``width`` features; the engine seeds them."""
        return nn.Identity()

    def learned(self, params: Tensors) -> Tensors:
        """Return what is meta-trained beside encoder and head, such as rates of inner steps.

        It is given ``encoder.*`` and ``head.*``; what it names ``x`` comes back as ``meta.x``.
        """
        return {}

    @abstractmethod
    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return this task's loss, and the direction the optimizer is to descend."""

    @abstractmethod
    def examples_per_task(self, shape: TaskShape) -> int:
        """Return how many examples ``meta_gradient`` passes to the learner: the budget's unit."""
