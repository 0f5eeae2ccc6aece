"""Where tasks come from, and what a meta-learning algorithm makes of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Generator, Tensor, nn

from bench.cell import Norm
from bench.contract.plugin import AbstractPlugin, AbstractTrained
from bench.contract.pretraining import AbstractPretext
from bench.contract.values import Loss, Setting, Task, TaskShape, Tensors
from bench.form import Form


class AbstractSource(ABC):
    """What a task source draws from: the training examples of a suite's data."""

    num_examples: int
    form: Form
    device: torch.device

    @abstractmethod
    def examples(self, index: Tensor) -> Tensor:
        """Gather examples, as encoders see them."""

    @abstractmethod
    def augment(self, x: Tensor, rng: Generator) -> Tensor:
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

    def clusters(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Return for each partition what ``classes`` does for the classes, too small ones left out.

        Raises:
            PermissionError: the task source is no ``AbstractClustered``.
        """
        raise PermissionError("this task source is not made of clusters")


class AbstractTasks(AbstractPlugin):
    """Where meta-training tasks come from."""

    uses_labels: ClassVar[bool]
    augments: ClassVar[bool] = False  # it calls ``source.augment``
    guesses_classes: ClassVar[bool] = False  # two ways of a task can be of one true class
    fixed_classes: ClassVar[bool] = False  # each way is one of so many classes: see ``Task``
    values: ClassVar[bool] = False  # what is predicted are numbers: see ``Task``
    known_origins: ClassVar[bool] = False  # its classes are where examples were collected, which is
    # known without labelling: rows that learn from such tasks have seen no labels
    default_shots: ClassVar[int | None] = None  # None: the meta-algorithm's
    ways: int | None  # None: what the meta-algorithm trains with by default
    shots: int | Literal["match"] | None  # "match": the suite's test shots; None: as for ways
    queries: int | None

    def examples_needed(self, shape: TaskShape) -> int:
        """Return how many different examples a task is made of, where no labels are used."""
        return shape.ways

    def num_classes(self, source: AbstractSource) -> int | None:
        """Return how many classes all tasks are made of, if these are fixed."""
        return None

    def outputs(self, form: Form, shape: TaskShape) -> int:
        """Return how many numbers a head gives for a query: a score for each way, or values."""
        return shape.ways

    def refuses(self, setting: Setting) -> str | None:
        """Return why there are no such tasks for the data, or what ``declines`` says."""
        if setting.values and not self.values:
            name = type(self).__module__.rpartition(".")[2]
            return (
                f"{name} makes tasks of classes, of {setting.form.modality}s numbers are predicted"
            )
        return super().refuses(setting)

    @abstractmethod
    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        """Draw one task; every random draw comes from ``rng``."""


class AbstractClustered(AbstractTasks):
    """Tasks whose classes are k-means clusters of the features that an embedding gives."""

    pretext: AbstractPretext | None  # what the embedding is trained on; None: it is untrained
    k: int  # clusters of a partition
    partitions: int


class AbstractLearner(ABC):
    """The encoder and the head of a meta-algorithm, as functions of their parameters.

    ``params`` holds ``encoder.*``, ``head.*``, and ``meta.*`` (what the method's ``learned``
    returned). Whose batch statistics are used is the
    suite's choice (``norm``), made here and never by a method.
    """

    @abstractmethod
    def embed(self, params: Tensors, x: Tensor) -> Tensor:
        """Return features [B, D] of a support set, normalised by itself or running statistics."""

    @abstractmethod
    def embed_both(
        self, params: Tensors, support_x: Tensor, query_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return features of a support and of its query set."""

    def embed_queries(self, params: Tensors, support_x: Tensor, query_x: Tensor) -> Tensor:
        """Return what ``embed_both`` gives for the queries, where the support's has no use."""
        return self.embed_both(params, support_x, query_x)[1]

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

    fixed_head: ClassVar[bool] = False  # with an output for each class of the tasks, not each way
    second_order: bool = False  # differentiates through its own gradient steps
    descends_loss: ClassVar[bool] = True  # its direction is a loss's gradient: others can be added
    values: ClassVar[bool] = False  # it learns tasks of numbers too: by ``bench.inner.loss_of``
    test_only: ClassVar[tuple[str, ...]] = ()  # parameters that training does not look at
    tasks_per_step: int
    task_ways: int | None  # of the tasks it trains on by default; None: the suite's ways
    task_shots: int
    task_queries: int

    def head(self, width: int, outputs: int) -> nn.Module:
        """Return trained layers on top of ``width`` features; the engine seeds them.

        ``outputs``: the ways of a task, or with ``fixed_head`` the classes of all tasks; where
        numbers are predicted, how many.
        """
        return nn.Identity()

    def refuses(self, setting: Setting) -> str | None:
        """Return why it cannot learn the tasks of such data, or what ``declines`` says."""
        if setting.values and not self.values:
            name = type(self).__module__.rpartition(".")[2]
            return f"{name} learns classes, of {setting.form.modality}s numbers are predicted"
        return super().refuses(setting)

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
    def examples_per_task(self, shape: TaskShape, norm: Norm) -> int:
        """Return how many examples ``meta_gradient`` passes forward: the unit of budgets.

        ``learner.embed`` passes what it is given, ``embed_both`` support and queries,
        ``embed_queries`` what ``shape.passed_with_queries(norm)`` says.
        """
