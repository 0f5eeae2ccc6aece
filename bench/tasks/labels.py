"""Tasks from labelled classes: the usual episodes. Vinyals et al. (2016), arXiv:1606.04080.

Shapes: N ways, K shots, Q queries a class, M examples of the largest class.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Generator, Tensor

from bench.contract import AbstractSource, AbstractTasks, AtLeastTwo, Task, TaskShape


@dataclass(frozen=True, kw_only=True)
class Labels(AbstractTasks):
    """Random classes of the training split, with their labels."""

    reference: ClassVar[str] = "arXiv:1606.04080"
    uses_labels: ClassVar[bool] = True
    fixed_classes: ClassVar[bool] = True
    ways: AtLeastTwo | None = None
    shots: PositiveInt | Literal["match"] | None = None
    queries: NonNegativeInt | None = None

    def num_classes(self, source: AbstractSource) -> int:
        """The classes of the training split."""
        return len(source.classes()[1])

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        """Draw classes, then different examples of each; labels are in random order."""
        members_CM, count_C = source.classes()
        device = members_CM.device
        chosen_N = torch.randperm(len(count_C), generator=rng, device=device)[: shape.ways]
        order_NM = torch.rand(
            (shape.ways, members_CM.shape[1]), generator=rng, device=device
        ).masked_fill(members_CM[chosen_N] < 0, 2.0)
        picked_NM = members_CM[chosen_N].gather(1, order_NM.argsort(1))
        support_KN = picked_NM[:, : shape.shots].T
        query_QN = picked_NM[:, shape.shots : shape.shots + shape.queries].T
        return Task(
            support_x=source.examples(support_KN.flatten()),
            support_y=_labels(support_KN),
            query_x=source.examples(query_QN.flatten()),
            query_y=_labels(query_QN),
            ways=shape.ways,
            classes=chosen_N,
            rivals=torch.ones_like(count_C, dtype=torch.bool),
        )


def _labels(index_KN: Tensor) -> Tensor:
    return torch.arange(index_KN.shape[1], device=index_KN.device).repeat(index_KN.shape[0])
