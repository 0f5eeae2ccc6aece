"""How often a training's tasks took two examples or clusters of one true class for two classes.

Labels are looked at for logging alone: once the training is over, its first tasks are drawn again
from their own streams, by a source whose examples are their labels.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from bench.cell import Json
from bench.contract import AbstractSource, Task
from bench.dataset import Part
from bench.stages.source import Source, unlabelled_order

LOOKED_AT = 2000  # tasks: a share is then known to about a point


class _Truth(AbstractSource):
    """An unlabelled source, whose examples [1, 1, 1] are the number of their true class."""

    def __init__(self, part: Part, source: Source) -> None:
        self.device, self.form = source.device, source.form
        self.num_examples = source.num_examples
        labels = torch.from_numpy(part.labels)[unlabelled_order(len(part.labels))]
        self._labels = labels.to(source.device, torch.float64)  # holds every number exactly
        self._source = source

    def examples(self, index: Tensor) -> Tensor:
        return self._labels[index][:, None, None, None]

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        return x

    def classes(self) -> tuple[Tensor, Tensor]:
        return self._source.classes()

    def clusters(self) -> list[tuple[Tensor, Tensor]]:
        return self._source.clusters()


def collisions(
    part: Part, source: Source, draw: Callable[[AbstractSource, int], Task], num_tasks: int
) -> dict[str, Json]:
    """Return the share of tasks with two ways of one class, and the mean share of such pairs.

    ``draw`` draws task ``number`` of the training from a source.
    """
    truth, count = _Truth(part, source), min(num_tasks, LOOKED_AT)
    pairs = torch.tensor([same_pairs(draw(truth, number)) for number in range(count)])
    return {
        "tasks": count,
        "share": float((pairs > 0).double().mean()),
        "pairs": float(pairs.mean()),
    }


def same_pairs(task: Task) -> float:
    """Return the share of pairs of ways whose first support examples are of one class.

    The most frequent class of a way would not do: in an impure cluster all are rare, and whatever
    decides between them makes ways alike or different.
    """
    class_N = task.support_x[: task.ways].flatten().cpu()  # shot by shot: see Task
    same = int((class_N[:, None] == class_N).sum()) - task.ways
    return same / (task.ways * (task.ways - 1))
