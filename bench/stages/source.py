"""A split of a data set as one uint8 tensor on the device: episodes are index gathers."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Generator, Tensor

from bench.catalogue import rebuild
from bench.cell import Json
from bench.contract import AbstractAugment, AbstractSource
from bench.dataset import Part, open_known
from bench.stages.streams import generator


def read_part(data: Mapping[str, Json]) -> Part:
    """Map the split that a spec's ``data`` names; the plan has opened the set before."""
    return open_known(data["digest"]).part(data["split"])


class Views:
    """The augmentation that a plug-in may ask for; None where it does not say ``augments``."""

    def __init__(self, policy: AbstractAugment | None) -> None:
        """Take the policy."""
        self._policy = policy

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return one view of each example."""
        if self._policy is None:
            raise PermissionError("this plug-in does not say augments = True")
        return self._policy(x_BCHW, rng)


class Source(AbstractSource):
    """The training split, as pretext tasks and task sources see it."""

    def __init__(
        self, part: Part, augment: AbstractAugment | None, device: torch.device, *, labels: bool
    ) -> None:
        """Put the examples on the device.

        Without ``labels`` nobody can ask for classes, and examples are in random order: sorted
        by class, as they lie on disk, their positions would tell.
        """
        self.device = device
        self.num_examples = len(part.images)
        x = torch.from_numpy(np.array(part.images))
        if not labels:
            order = generator(torch.device("cpu"), "unlabelled order", len(x))
            x = x[torch.randperm(len(x), generator=order)]
        self._x = x.to(device)
        self._views = Views(augment)
        self._classes = _classes(part, device) if labels else None
        self._labels = torch.from_numpy(part.labels).to(device) if labels else None

    def examples(self, index: Tensor) -> Tensor:
        """Gather examples as floats in [0, 1], in torch's default precision."""
        return self._x[index].to(torch.get_default_dtype()) / 255

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return one view of each example."""
        return self._views.augment(x_BCHW, rng)

    def labels(self, index: Tensor) -> Tensor:
        """Return the class, from 0, of each of these examples; with ``labels`` alone."""
        if self._labels is None:
            raise PermissionError("this source was made without labels")
        return self._labels[index]

    def classes(self) -> tuple[Tensor, Tensor]:
        """Return the examples of each class, padded with -1, and their number."""
        if self._classes is None:
            raise PermissionError("this task source does not say uses_labels = True")
        return self._classes


def _classes(part: Part, device: torch.device) -> tuple[Tensor, Tensor]:
    counts = torch.tensor(part.counts)
    members = torch.full((len(counts), int(counts.max())), -1)
    first = 0
    for row, count in zip(members, part.counts, strict=True):
        row[:count] = torch.arange(first, first + count)
        first += count
    return members.to(device), counts.to(device)


def augmentation(described: Json) -> AbstractAugment | None:
    """Make the policy that a spec names; None where nothing is augmented."""
    if described is None:
        return None
    policy = rebuild("augment", described)
    assert isinstance(policy, AbstractAugment)
    return policy
