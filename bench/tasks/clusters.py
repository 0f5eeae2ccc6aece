"""Tasks without labels: clusters of an embedding stand in for classes.

Hsu, Levine and Finn (2019), CACTUs, arXiv:1810.02334, algorithm 1: embed the examples by a network
that was trained without labels, partition them by k-means, and take each cluster for a class. More
partitions come from features whose axes are scaled at random. A task is of one partition, drawn at
random; clusters too small for its support and queries are left out. Where two clusters hold
examples of one true class a task can be partly wrong.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Generator

from bench.contract import (
    AbstractClustered,
    AbstractSource,
    AtLeastTwo,
    PretextOrNone,
    Setting,
    Task,
    TaskShape,
)
from bench.groups import draw_from


@dataclass(frozen=True, kw_only=True)
class Clusters(AbstractClustered):
    """Random clusters of an embedding, each taken for a class."""

    reference: ClassVar[str] = "arXiv:1810.02334"
    uses_labels: ClassVar[bool] = False
    guesses_classes: ClassVar[bool] = True
    pretext: PretextOrNone  # of the embedding; none: an untrained encoder, as a control
    k: AtLeastTwo = 500  # cactus-maml and cactus-protonets, scripts/
    partitions: PositiveInt = 1  # cactus-maml, scripts/; cactus-protonets: 100 or 50
    ways: AtLeastTwo | None = None
    shots: PositiveInt | Literal["match"] | None = None
    queries: NonNegativeInt | None = None

    def declines(self, setting: Setting) -> str | None:
        """Where the embedding's pretext declines, so do its clusters."""
        return self.pretext.refuses(setting) if self.pretext else None

    def examples_needed(self, shape: TaskShape) -> int:
        """Each is of one cluster, and drawn once."""
        return shape.num_support + shape.num_queries

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        """Draw a partition, clusters of it, then different examples of each."""
        partitions = source.clusters()
        drawn = torch.randint(len(partitions), (1,), generator=rng, device=source.device)
        members_CM, _ = partitions[int(drawn)]
        task = draw_from(members_CM, source, shape, rng)
        return replace(task, classes=None)  # a cluster is one of its own partition alone
