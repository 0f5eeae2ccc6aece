"""Values that plug-ins are handed: shapes of tasks, settings, examples, tasks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from bench.cell import Norm
from bench.form import Form

Tensors = Mapping[str, Tensor]
Loss = Callable[[Tensors], Tensor]
AtLeastTwo = Annotated[int, Field(ge=2)]


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

    def passed_with_queries(self, norm: Norm) -> int:
        """Examples that pass forward for the features of the queries (``embed_queries``).

        In training under ``running`` and ``support`` the support passes with them, since its
        statistics have a say in theirs.
        """
        alone = norm in ("transductive", "group")
        return self.num_queries + (0 if alone else self.num_support)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Episodes of the validation split, and what their classes are.

    ``instances``: each example is a class, its views are the queries; ``clusters``: k-means, with
    one cluster for every ``cluster_size`` examples, of the features that the training began with;
    ``labels``: the true classes, an oracle.
    """

    classes: Literal["instances", "clusters", "labels"]
    shape: TaskShape
    cluster_size: int = 60

    @property
    def examples(self) -> int:
        """Examples of one episode."""
        return self.shape.num_support + self.shape.num_queries


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a plug-in may look at when it is asked whether a combination makes sense."""

    form: Form
    norm: Norm
    ways: int
    trained: bool = False  # the encoder is, by a pretext or over tasks
    task: TaskShape | None = None  # of meta-training tasks; None where nothing is meta-trained
    fixed_classes: bool = False  # of these tasks: there is a number of them, see Task
    values: bool = False  # what is predicted of examples are numbers: there are no classes


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What a data source reads: examples grouped by class, and which split a class is in.

    One that says ``unlabelled`` has one class, in train, and no other split.

    ``arrays`` maps a class's name to its examples [N, *shape], one shape and type for all: uint8
    for what has 256 levels, float32 (finite) for what is measured, int32 for ids of tokens, which
    lie in [0, len(vocabulary)). ``notes`` are sentences, for the plan and the report, about what
    was left out or filled in.
    """

    arrays: Mapping[str, np.ndarray]
    splits: Mapping[str, tuple[str, ...]]  # train, val, test -> class names; disjoint
    vocabulary: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """Support and query of one task: examples as encoders see them, labels in [0, ways).

    Support is ordered by shot first: examples 0 to N-1 are the first shot of each class.

    Where tasks are made of a fixed number C of classes, ``classes`` says which one each way is,
    integers [N], and ``rivals`` which of them could be a way of this task at all, booleans [C].

    Where what is predicted are numbers, ``support_y`` and ``query_y`` are floats [B, outputs], the
    examples do not show them, and there is one way.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    ways: int
    classes: Tensor | None = None
    rivals: Tensor | None = None
