"""A row's pretext going on along a stream: steps on each group's examples, without their labels.

Pre-training keeps no head of a pretext, so there is a fresh one here. It takes ``WARM_UP`` steps on
the training split while the encoder stands still, once for a stage, and is then the start of every
stream. Along a stream encoder and head take steps of Adam at the pretext's rate; the pretext's
state and Adam's moments go from group to group.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.catalogue import rebuild
from bench.cell import Json
from bench.contract import AbstractPretext, Form, Tensors
from bench.inner import BETA1, Moments, adam, zero_moments
from bench.seeds import Coordinate
from bench.stages.model import Model, doubled
from bench.stages.network import Network, part_of
from bench.stages.place import Diverged, Place
from bench.stages.source import Batches, Source, Views, augmentation, read_part
from bench.stages.streams import generator, seed_default
from bench.stages.trainee import Trainee

WARM_UP = 50  # steps of a fresh head, which would else pull the trained encoder about; our choice


@dataclass(frozen=True, kw_only=True)
class Going:
    """Where the pretext stands: its head, what it carries, Adam's moments and steps."""

    head: Tensors
    state: Tensors
    moments: Moments
    step: int = 0


class Further:
    """A pretext that goes on; counts the examples that it passes forward."""

    def __init__(self, inputs: Mapping[str, Json], place: Place, model: Model, form: Form) -> None:
        """Build the head from ("init", "further", pretext, seed), and warm it up.

        Raises:
            Diverged: the head is not finite after its warm-up.
        """
        pretext = rebuild("pretext", inputs["pretext"])
        assert isinstance(pretext, AbstractPretext)
        self._pretext, self._device = pretext, place.device
        self._name, self._seed = inputs["pretext"]["name"], inputs["seed"]
        seed_default("init", "further", self._name, self._seed)
        head = pretext.head(model.width, form).to(torch.get_default_dtype())
        self._network: Network = model.network.beside(head)
        params, buffers = (part_of(some, "head") for some in self._network.tensors(place.device))
        self._buffers = part_of(model.buffers, "encoder") | buffers
        policy = augmentation(inputs["augment"])
        self._views = Views(policy)
        self.passed = 0
        data = inputs["pretrain_data"]
        source = Source(read_part(data), policy, place.device, labels=False)
        encoder = part_of(model.params, "encoder")
        self._first = self._warmed_up(encoder, params, source, data["digest"])

    @property
    def doubled(self) -> "Further":
        """The same numbers in float64; it counts on its own."""
        other = object.__new__(Further)
        other.__dict__.update(self.__dict__)
        first = self._first
        other._first = replace(first, head=_doubled(first.head), state=_doubled(first.state))
        other._buffers = _doubled(self._buffers)
        return other

    def begin(self, params: Tensors) -> Going:
        """Return where a stream begins."""
        own = part_of(params, "encoder") | dict(self._first.head)
        return replace(self._first, moments=zero_moments(own), step=0)

    def steps(
        self, params: Tensors, going: Going, x: Tensor, count: int, *at: Coordinate
    ) -> tuple[dict[str, Tensor], Going]:
        """Take ``count`` steps on a group's examples; return the parameters of the row, moved.

        All of them are one batch, in random order: theirs would tell what is of one class.
        """
        order = torch.randperm(
            len(x), generator=generator(torch.device("cpu"), "order without labels", *at)
        )
        x = x[order.to(x.device)]
        encoder = part_of(params, "encoder")
        for number in range(count):
            moved, going = self._step({**encoder, **going.head}, going, x, *at, number)
            encoder = part_of(moved, "encoder")
        return {**params, **encoder}, going

    def _warmed_up(self, encoder: Tensors, head: Tensors, source: Source, digest: str) -> Going:
        size = min(self._pretext.batch_size, source.num_examples)
        batches = Batches(source.num_examples, size, "warm-up order", digest, self._seed)
        state = self._pretext.state(self._trainee({**encoder, **head}))
        going = Going(head=head, state=state, moments=zero_moments(head))
        for number in range(WARM_UP):
            x = source.examples(batches.index(number).to(self._device))
            _, going = self._step({**encoder, **going.head}, going, x, "warm-up", number)
        if not all(value.isfinite().all() for value in going.head.values()):
            raise Diverged(f"the head of {self._name} after {WARM_UP} steps of warm-up")
        return going

    def _step(
        self, params: Tensors, going: Going, x: Tensor, *at: Coordinate
    ) -> tuple[dict[str, Tensor], Going]:
        """Take one step with all that Adam has moments of; the rest stands still."""
        names = going.moments[0]
        leaves = {name: value.detach() for name, value in params.items()}
        moved = {name: leaves[name].requires_grad_() for name in names}
        self.passed += self._pretext.views * len(x)
        seed_default("further", self._name, self._seed, *at)
        rng = generator(self._device, "further step", self._name, self._seed, *at)
        with torch.enable_grad():
            loss, state = self._pretext.loss(self._trainee(leaves), going.state, x, rng)
            slopes = torch.autograd.grad(loss, tuple(moved.values()), materialize_grads=True)
        step = going.step + 1
        after, moments = adam(
            {name: value.detach() for name, value in moved.items()},
            dict(zip(moved, slopes, strict=True)),
            going.moments,
            step=step,
            rate=self._pretext.rate,
            beta1=BETA1,
        )
        kept = {name: value.detach() for name, value in state.items()}
        head = part_of(after, "head")
        return after, Going(head=head, state=kept, moments=moments, step=step)

    def _trainee(self, params: Tensors) -> Trainee:
        return Trainee(self._network, params, self._buffers, self._views, "batch")


def _doubled(tensors: Tensors) -> dict[str, Tensor]:
    return {name: doubled(value) for name, value in tensors.items()}
