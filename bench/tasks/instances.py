"""Tasks without labels: each example is a class of its own, its views are the queries.

Khodadadeh, Boloni and Shah (2019), UMTRA, arXiv:1811.11819, algorithm 1: N random examples are N
classes, queries are augmented copies. With many ways and a prototypical network this is
ProtoCLR (Medina et al. 2020, arXiv:2006.11325). When two of the examples are of one true class
the task is partly wrong; with few classes that is common.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Generator

from bench.contract import AbstractSource, AbstractTasks, AtLeastTwo, Setting, Task, TaskShape


@dataclass(frozen=True, kw_only=True)
class Instances(AbstractTasks):
    """Random examples, each a class of its own; queries are augmented views of them."""

    reference: ClassVar[str] = "arXiv:1811.11819"
    uses_labels: ClassVar[bool] = False
    augments: ClassVar[bool] = True
    guesses_classes: ClassVar[bool] = True
    default_shots: ClassVar[int | None] = 1  # UMTRA: the example itself
    ways: AtLeastTwo | None = None
    shots: PositiveInt | Literal["match"] | None = None
    queries: NonNegativeInt | None = None
    augment_support: bool = False  # UMTRA and ProtoCLR leave the support as it is

    def declines(self, setting: Setting) -> str | None:
        """Without queries no view is ever seen, and a second shot would be a copy."""
        if setting.task and setting.task.queries < 1 and not self.augment_support:
            return "instances need queries (or augment_support: true) to hold a view"
        if setting.task and setting.task.shots > 1 and not self.augment_support:
            return "instances with several shots need augment_support: true, else they are copies"
        return None

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        """Draw different examples; repeat each as support and, augmented, as queries."""
        examples_N = torch.randperm(source.num_examples, generator=rng, device=source.device)[
            : shape.ways
        ]
        x = source.examples(examples_N)
        label_N = torch.arange(shape.ways, device=source.device)
        support_x = x.repeat(shape.shots, *[1] * (x.dim() - 1))
        query_x = x.repeat(shape.queries, *[1] * (x.dim() - 1))
        return Task(
            support_x=source.augment(support_x, rng) if self.augment_support else support_x,
            support_y=label_N.repeat(shape.shots),
            query_x=source.augment(query_x, rng),
            query_y=label_N.repeat(shape.queries),
            ways=shape.ways,
        )
