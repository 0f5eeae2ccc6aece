"""A pretext's loss beside that of meta-training: its own head, on the examples of a step's tasks.

The head's tensors are called ``auxiliary.*`` beside ``encoder.*`` and ``head.*``. The pretext sees
the encoder and this head, which it knows as ``head.*``, as in a pre-training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.catalogue import rebuild
from bench.cell import Json
from bench.contract import AbstractPretext, Form, Norm, Task, Tensors
from bench.seeds import Coordinate
from bench.stages.model import Model
from bench.stages.network import Network, Statistics, part_of
from bench.stages.place import Place
from bench.stages.source import Views, augmentation
from bench.stages.streams import generator, seed_default
from bench.stages.trainee import Trainee

PART = "auxiliary."


@dataclass(frozen=True, kw_only=True)
class Auxiliary:
    """A weighted pretext beside a meta-algorithm, as a function of its tensors.

    ``first`` holds the tensors of its head; ``moved`` the buffers of it.
    """

    name: str
    pretext: AbstractPretext
    weight: float
    seed: int
    network: Network
    views: Views
    norm: Norm
    device: torch.device
    first: dict[str, Tensor]
    moved: dict[str, Tensor]

    def state(self, params: Tensors, buffers: Tensors) -> Tensors:
        """Return what the pretext carries from step to step when it begins."""
        return self.pretext.state(self._trainee(params, buffers))

    def gradient(
        self,
        tasks: Sequence[Task],
        params: Tensors,
        buffers: Tensors,
        state: Tensors,
        *step: Coordinate,
    ) -> tuple[Tensor, dict[str, Tensor], Tensors]:
        """Return the loss of a step's examples, the gradient of its weighted value, the next state.

        The gradient is that with respect to encoder and own head. Under ``running`` statistics
        the examples move ``buffers`` in place. All draws are from a stream of the pretext's own.
        """
        own = part_of(params, "encoder") | part_of(params, "auxiliary")
        leaves = {name: value.detach().requires_grad_() for name, value in own.items()}
        x = torch.cat([x for task in tasks for x in (task.support_x, task.query_x)])
        seed_default("auxiliary", self.name, self.seed, *step)
        rng = generator(self.device, "auxiliary step", self.name, self.seed, *step)
        with torch.enable_grad():
            loss, after = self.pretext.loss(self._trainee(leaves, buffers), state, x, rng)
            found = torch.autograd.grad(
                self.weight * loss, tuple(leaves.values()), materialize_grads=True
            )
        return loss.detach(), dict(zip(own, found, strict=True)), after

    def _trainee(self, params: Tensors, buffers: Tensors) -> Trainee:
        statistics: Statistics = "learned" if self.norm == "running" else "batch"
        return Trainee(self.network, _seen(params), _seen(buffers), self.views, statistics)


def _seen(tensors: Tensors) -> dict[str, Tensor]:
    """Return encoder and own head, by the names that a pretext knows."""
    own = part_of(tensors, "auxiliary").items()
    return part_of(tensors, "encoder") | {n.replace(PART, "head.", 1): v for n, v in own}


def auxiliary_of(
    inputs: Mapping[str, Json], place: Place, model: Model, form: Form
) -> Auxiliary | None:
    """Build what a spec names beside its meta-algorithm; None where there is nothing.

    The head's weights come from ("init", "auxiliary", pretext, seed).
    """
    asked = inputs.get("auxiliary")
    if asked is None:
        return None
    pretext = rebuild("pretext", asked["params"]["pretext"])
    assert isinstance(pretext, AbstractPretext)
    seed_default("init", "auxiliary", asked["name"], inputs["seed"])
    head = pretext.head(model.width, form).to(torch.get_default_dtype())
    network = model.network.beside(head)
    params, buffers = (part_of(some, "head") for some in network.tensors(place.device))
    return Auxiliary(
        name=asked["name"],
        pretext=pretext,
        weight=asked["params"]["weight"],
        seed=inputs["seed"],
        network=network,
        views=Views(augmentation(inputs["augment"]) if pretext.augments else None),
        norm=inputs["norm"],
        device=place.device,
        first={n.replace("head.", PART, 1): v for n, v in params.items()},
        moved={n.replace("head.", PART, 1): v for n, v in buffers.items()},
    )


def without(tensors: Tensors) -> dict[str, Tensor]:
    """Return what a meta-algorithm knows of: all but an auxiliary loss's head."""
    return {name: value for name, value in tensors.items() if not name.startswith(PART)}
