"""Train an encoder on a self-supervised pretext task; no label is within reach."""

from functools import lru_cache

import torch
from torch import Generator, Tensor

from bench.catalogue import rebuild
from bench.cell import StageSpec
from bench.contract import AbstractNetwork, AbstractPretext, Tensors
from bench.stages.checkpoint import chosen, prefixed
from bench.stages.engine import channels_last
from bench.stages.model import Model, assemble
from bench.stages.network import part_of
from bench.stages.place import Place, Result
from bench.stages.source import Source, augmentation, read_part
from bench.stages.streams import generator, seed_default
from bench.stages.training import train, trained


class _Network(AbstractNetwork):
    """The network as one pretext step sees it; its batches move the running statistics."""

    def __init__(self, model: Model, params: Tensors, buffers: Tensors, source: Source) -> None:
        self._model, self._params, self._buffers, self._source = model, params, buffers, source

    def encode(self, x_BCHW: Tensor) -> Tensor:
        return self._model.network.encode(self._params, self._buffers, x_BCHW, "learned")

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        return self._model.network.head(self._params, self._buffers, z_BD, "learned", child)

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return self._source.augment(x_BCHW, rng)

    @property
    def params(self) -> Tensors:
        return self._params


def pretrain(spec: StageSpec, place: Place) -> Result:
    """Run one ``pretrain`` stage: the trained encoder, and its learning curve."""
    inputs = spec.inputs
    pretext = rebuild("pretext", inputs["pretext"])
    assert isinstance(pretext, AbstractPretext)
    part = read_part(inputs["data"])
    source = Source(part, augmentation(inputs["augment"]), place.device, labels=False)
    shape = part.images.shape[1:]
    model = assemble(
        inputs,
        place,
        shape,
        lambda width: pretext.head(width, shape),
        inputs["pretext"]["name"],
        channels_last=channels_last(place.device, second_order=False),
    )
    name, seed = inputs["pretext"]["name"], inputs["seed"]
    batches = _Batches(source.num_examples, pretext.batch_size, inputs["data"]["digest"], seed)

    def step(number: int, params: Tensors, carried: Tensors) -> tuple[Tensor, Tensors, Tensors]:
        seed_default("pretrain", name, seed, number)
        rng = generator(place.device, "pretrain step", name, seed, number)
        x = source.examples(batches.index(number).to(place.device))
        buffers = {key: value.clone() for key, value in chosen(carried, "buffer/").items()}
        net = _Network(model, params, buffers, source)
        loss, state = pretext.loss(net, chosen(carried, "state/"), x, rng)
        gradients = torch.autograd.grad(loss, tuple(params.values()), materialize_grads=True)
        return (
            loss,
            dict(zip(params, gradients, strict=True)),
            prefixed(buffers, "buffer/") | prefixed(state, "state/"),
        )

    first = pretext.state(_Network(model, model.params, model.buffers, source))
    carried = prefixed(model.buffers, "buffer/") | prefixed(first, "state/")
    done = train(spec, place, pretext, model.params, carried, step)
    buffers = chosen(done.carried, "buffer/")
    encoder = part_of(done.params, "encoder") | part_of(buffers, "encoder")
    return trained(spec, place, done, encoder, model.num_parameters)


class _Batches:
    """Epochs in random order, cut into whole batches; a function of the step alone.

    The order names no pretext: pretexts with one batch size see the same images.
    """

    def __init__(self, num_examples: int, batch_size: int, digest: str, seed: int) -> None:
        self._size, self._count = batch_size, num_examples // batch_size
        self._order = lru_cache(maxsize=1)(
            lambda epoch: torch.randperm(
                num_examples,
                generator=generator(torch.device("cpu"), "pretrain order", digest, seed, epoch),
            )
        )

    def index(self, step: int) -> Tensor:
        """Return the examples of one step's batch."""
        epoch, place = divmod(step, self._count)
        return self._order(epoch)[place * self._size : (place + 1) * self._size]
