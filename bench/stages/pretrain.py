"""Train an encoder before anything else: on a pretext task, without labels, or on the labels."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor, nn

from bench.catalogue import rebuild
from bench.cell import StageSpec
from bench.contract import (
    AbstractInit,
    AbstractNetwork,
    AbstractPretext,
    AbstractSearch,
    Form,
    Tensors,
    Validation,
)
from bench.dataset import Part
from bench.stages.checkpoint import chosen, prefixed
from bench.stages.engine import channels_last
from bench.stages.model import assemble
from bench.stages.network import part_of
from bench.stages.place import Place, Result
from bench.stages.search import search
from bench.stages.selection import Loss, snapshots
from bench.stages.source import Batches, Source, augmentation, read_part
from bench.stages.streams import generator, seed_default
from bench.stages.trainee import Trainee
from bench.stages.training import train, trained
from bench.stages.validation import Drawn, episodes


def pretrain(spec: StageSpec, place: Place) -> Result:
    """Run one ``pretrain`` stage: the trained encoder, and its learning curve."""
    inputs = spec.inputs
    axis = "init" if "init" in inputs else "pretext"
    plugin = rebuild(axis, inputs[axis])
    if isinstance(plugin, AbstractSearch):
        return search(spec, place, plugin, pretrain)
    assert isinstance(plugin, AbstractPretext | AbstractInit)
    objective = _Objective(name=inputs[axis]["name"], plugin=plugin)
    part, policy = read_part(inputs["data"]), augmentation(inputs["augment"])
    labels = isinstance(objective.plugin, AbstractInit)
    source = Source(part, policy, place.device, labels=labels)
    name, seed = objective.name, inputs["seed"]
    model = assemble(
        inputs,
        place,
        part.form,
        lambda width: objective.head(width, part.form, len(part.classes)),
        name,
        channels_last=channels_last(place.device, second_order=False),
    )
    size, digest = objective.plugin.batch_size, inputs["data"]["digest"]

    def forward(
        stream: str,
        batches: Batches,
        of: Source,
        number: int,
        params: Tensors,
        carried: Tensors,
        validation: Drawn | None = None,
    ) -> tuple[Tensor, Tensors, Tensors]:
        seed_default(stream, name, seed, number)
        rng = generator(place.device, f"{stream} step", name, seed, number)
        index = batches.index(number).to(place.device)
        buffers = {key: value.clone() for key, value in chosen(carried, "buffer/").items()}
        draw = partial(validation, number) if validation else None
        net = Trainee(model.network, params, buffers, of, validation=draw)
        return *objective.loss(net, chosen(carried, "state/"), of, index, rng), buffers

    batches = Batches(source.num_examples, size, "pretrain order", digest, seed)
    asked = objective.validates
    validation = episodes(spec, place, model, asked, policy, "outer episode") if asked else None

    def step(
        number: int, params: Tensors, carried: Tensors
    ) -> tuple[Tensor, Tensors, Tensors, Tensors]:
        loss, state, buffers = forward(
            "pretrain", batches, source, number, params, carried, validation
        )
        gradients = torch.autograd.grad(loss, tuple(params.values()), materialize_grads=True)
        return (
            loss,
            dict(zip(params, gradients, strict=True)),
            prefixed(buffers, "buffer/") | prefixed(state, "state/"),
            objective.watched(state),
        )

    def loss_on(held_out: Part) -> Loss:
        unseen = Source(held_out, policy, place.device, labels=False)
        order = Batches(unseen.num_examples, size, "selection order", digest, seed)
        return lambda number, params, carried: forward(
            "selection", order, unseen, number, params, carried
        )[0]

    first = objective.state(Trainee(model.network, model.params, model.buffers, source))
    carried = prefixed(model.buffers, "buffer/") | prefixed(first, "state/")
    kept = snapshots(spec, place, model, loss_on, lambda now: chosen(now, "buffer/"))
    done = train(spec, place, objective.plugin, model.params, carried, step, kept)
    buffers = chosen(done.carried, "buffer/")
    weights = part_of(done.params, "encoder") | part_of(buffers, "encoder")
    if objective.keeps_head:
        weights |= part_of(done.params, "head") | part_of(buffers, "head")
    return trained(spec, place, done, weights, model.num_parameters)


@dataclass(frozen=True, kw_only=True)
class _Objective:
    """What is trained on: a pretext, which sees examples alone, or a loss of labels."""

    name: str
    plugin: AbstractPretext | AbstractInit

    def head(self, width: int, form: Form, classes: int) -> nn.Module:
        if isinstance(self.plugin, AbstractInit):
            return self.plugin.head(width, classes)
        return self.plugin.head(width, form)

    def state(self, net: AbstractNetwork) -> Tensors:
        return {} if isinstance(self.plugin, AbstractInit) else self.plugin.state(net)

    @property
    def validates(self) -> Validation | None:
        return None if isinstance(self.plugin, AbstractInit) else self.plugin.validates

    @property
    def keeps_head(self) -> bool:
        return isinstance(self.plugin, AbstractPretext) and self.plugin.keeps_head

    def watched(self, state: Tensors) -> Tensors:
        return {} if isinstance(self.plugin, AbstractInit) else self.plugin.watched(state)

    def loss(
        self, net: AbstractNetwork, state: Tensors, source: Source, index: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        x = source.examples(index)
        if isinstance(self.plugin, AbstractInit):
            return self.plugin.loss(net, x, source.labels(index), rng), {}
        return self.plugin.loss(net, state, x, rng)
