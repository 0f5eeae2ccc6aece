"""A split of a data set as one tensor on the device: episodes are index gathers."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from bench.catalogue import build, rebuild
from bench.cell import Json
from bench.contract import (
    AbstractAugment,
    AbstractClassifying,
    AbstractModality,
    AbstractSource,
    Form,
)
from bench.dataset import Part, open_known
from bench.seeds import Coordinate
from bench.stages.streams import generator, seed_default

Members = tuple[Tensor, Tensor]  # examples of each group, padded with -1, and their number


def unlabelled_order(count: int) -> Tensor:
    """Return which example of a split each one of an unlabelled source is."""
    order = generator(torch.device("cpu"), "unlabelled order", count)
    return torch.randperm(count, generator=order)


def read_part(data: Mapping[str, Json]) -> Part:
    """Map the split that a spec's ``data`` names; the plan has opened the set before."""
    return open_known(data["digest"]).part(data["split"])


@cache
def modality_of(form: Form) -> AbstractModality:
    """Return what says how examples of a form are read, shown and compared."""
    modality = build("modality", form.modality, {}, f"modality/{form.modality}")
    assert isinstance(modality, AbstractModality)
    return modality


def grouped(part: Part, members: Sequence[Sequence[int]]) -> Part:
    """Return examples of a split as one whose classes are these groups of positions."""
    counts = tuple(len(one) for one in members)
    return Part(
        examples=part.examples[np.concatenate(members)],
        form=part.form,
        labels=np.repeat(np.arange(len(counts)), counts),
        classes=tuple(str(number) for number in range(len(counts))),
        counts=counts,
    )


class Views:
    """The augmentation that a plug-in may ask for; None where it does not say ``augments``."""

    def __init__(self, policy: AbstractAugment | None) -> None:
        """Take the policy."""
        self._policy = policy

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        """Return one view of each example."""
        if self._policy is None:
            raise PermissionError("this plug-in does not say augments = True")
        return self._policy(x, rng)


class Source(AbstractSource):
    """The training split, as pretext tasks and task sources see it."""

    def __init__(
        self,
        part: Part,
        augment: AbstractAugment | None,
        device: torch.device,
        *,
        labels: bool,
        clusters: Sequence[Members] = (),
    ) -> None:
        """Put the examples on the device.

        Without ``labels`` nobody can ask for classes, and examples are in random order: sorted
        by class, as they lie on disk, their positions would tell. ``clusters`` are of that order.
        """
        self.device = device
        self.num_examples, self.form = len(part.examples), part.form
        x = torch.from_numpy(np.array(part.examples))
        if not labels:
            x = x[unlabelled_order(len(x))]
        self._x = x.to(device)
        self._views = Views(augment)
        self._classes = _classes(part, device) if labels else None
        self._labels = torch.from_numpy(part.labels).to(device) if labels else None
        self._clusters = [(members.to(device), counts.to(device)) for members, counts in clusters]

    def examples(self, index: Tensor) -> Tensor:
        """Gather examples, as encoders see them; floats in torch's default precision."""
        return modality_of(self.form).inputs(self._x[index])

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        """Return one view of each example."""
        return self._views.augment(x, rng)

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

    def clusters(self) -> list[Members]:
        """Return for each partition the examples of its clusters, and their number."""
        return self._clusters or list(super().clusters())


def shown_as(
    pretext: AbstractClassifying,
    part: Part,
    positions_B: np.ndarray,
    class_B: Tensor,
    *at: Coordinate,
) -> Tensor:
    """Show examples of a split as classes of a pretext, on the CPU; ``at`` names the draws."""
    x = torch.from_numpy(part.examples[positions_B])
    seed_default("pretext view, default generator", *at)
    rng = generator(torch.device("cpu"), "pretext view", *at)
    return pretext.show(modality_of(part.form).inputs(x), class_B, rng)


class Batches:
    """Epochs in random order, cut into whole batches; a function of the step alone.

    The order names no pretext: pretexts with one batch size see the same examples.
    """

    def __init__(self, num_examples: int, batch_size: int, *coordinates: Coordinate) -> None:
        """Take how many examples there are, in a batch too, and what the order is drawn from."""
        self._size, self._count = batch_size, num_examples // batch_size
        self._order = lru_cache(maxsize=1)(
            lambda epoch: torch.randperm(
                num_examples,
                generator=generator(torch.device("cpu"), *coordinates, epoch),
            )
        )

    def index(self, step: int) -> Tensor:
        """Return the examples of one step's batch."""
        epoch, place = divmod(step, self._count)
        return self._order(epoch)[place * self._size : (place + 1) * self._size]


def members_of(group_N: Tensor, least: int) -> Members:
    """Return the examples of each group that has at least ``least``, in order."""
    counts = torch.bincount(group_N)
    groups = torch.split(group_N.argsort(stable=True), counts.tolist())
    kept = [one for one in groups if len(one) >= least]
    padded = pad_sequence(kept, batch_first=True, padding_value=-1) if kept else torch.empty(0, 0)
    return padded.long(), counts[counts >= least]


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
