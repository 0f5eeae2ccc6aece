"""Nearest class mean by cosine similarity. Chen et al. (2020), Meta-Baseline, arXiv:2003.04390.

The score of a query for a class is the cosine of the angle between its features and the mean
of the class's support features, times a temperature.

Shapes: N ways, S support examples, Q queries, D features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from bench.contract import (
    AbstractLearner,
    AbstractMetaTrained,
    Norm,
    Task,
    TaskShape,
    Tensors,
)
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Cosine(AbstractMetaTrained):
    """Learn features whose direction tells the class."""

    reference: ClassVar[str] = "arXiv:2003.04390"
    norm: ClassVar[Norm] = "running"
    frozen_encoder: ClassVar[bool] = True
    temperature: PositiveFloat = 10.0  # there it is learned, from this value
    rate: PositiveFloat = 1e-3
    tasks_per_step: PositiveInt = 4
    task_ways: PositiveInt | None = None
    task_shots: PositiveInt = 1
    task_queries: NonNegativeInt = 15

    def meta_gradient(
        self, learner: AbstractLearner, params: Tensors, task: Task
    ) -> tuple[Tensor, Tensors]:
        """Return the cross-entropy of the queries, and its gradient."""
        return learner.gradient(
            lambda now: F.cross_entropy(self.predict(learner, now, task), task.query_y), params
        )

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield once: nothing is adapted."""
        yield params

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the scaled cosine of each query and each class mean."""
        support_SD, query_QD = learner.embed_both(params, task.support_x, task.query_x)
        labels_N1 = torch.arange(task.ways, device=task.support_y.device).unsqueeze(1)
        members_NS = (task.support_y == labels_N1).to(support_SD.dtype)
        means_ND = members_NS @ support_SD / members_NS.sum(1, keepdim=True)
        return self.temperature * F.normalize(query_QD, dim=1) @ F.normalize(means_ND, dim=1).T

    def examples_per_task(self, shape: TaskShape) -> int:
        """Support and queries, once."""
        return shape.num_support + shape.num_queries
