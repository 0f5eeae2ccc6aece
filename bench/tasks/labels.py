"""Tasks from labelled classes: the usual episodes. Vinyals et al. (2016), arXiv:1606.04080."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Generator

from bench.contract import AbstractSource, AbstractTasks, AtLeastTwo, Task, TaskShape
from bench.groups import draw_from


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
        task = draw_from(members_CM, source, shape, rng)
        return replace(task, rivals=torch.ones_like(count_C, dtype=torch.bool))
