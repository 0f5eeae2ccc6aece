"""Encoder and head of a stage: built from its seed, or loaded from the stages it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load
from torch import Tensor, nn

from bench.catalogue import rebuild
from bench.cell import Json
from bench.contract import AbstractEncoder, Form, Tensors
from bench.stages.checkpoint import prefixed
from bench.stages.network import Network, build_encoder, part_of, width_of
from bench.stages.place import Place
from bench.stages.streams import seed_default
from bench.weights import WEIGHTS, read


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network and the tensors it is a function of."""

    network: Network
    params: dict[str, Tensor]
    buffers: dict[str, Tensor]
    width: int  # of the encoder's features

    @property
    def num_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(value.numel() for value in self.params.values())

    @property
    def doubled(self) -> "Model":
        """The same numbers in float64; those that are no floats stay."""
        return replace(self, params=_double(self.params), buffers=_double(self.buffers))


def doubled(value: Tensor) -> Tensor:
    """Return floats in float64, and anything else as it is."""
    return value.double() if value.is_floating_point() else value


def _double(tensors: Tensors) -> dict[str, Tensor]:
    return {name: doubled(value) for name, value in tensors.items()}


def assemble(
    inputs: Mapping[str, Json],
    place: Place,
    form: Form,
    head: Callable[[int], nn.Module],
    head_name: str,
    learned: Callable[[Tensors], Tensors] | None = None,
    *,
    channels_last: bool,
) -> Model:
    """Build encoder and head; take over what the needed stage has trained of them.

    The encoder's weights come from ("init", encoder, seed), which names no method: methods
    start from the same ones. ``head`` gets the encoder's width; ``learned`` encoder and head, and
    returns what is trained beside them as ``meta.*``.
    """
    encoder = rebuild("encoder", inputs["encoder"])
    assert isinstance(encoder, AbstractEncoder)
    seed = inputs["seed"]
    body = build_encoder(encoder, form, "encoder", inputs["encoder"]["name"], seed)
    width = width_of(body, form)
    seed_default("init", "head", head_name, seed)
    network = Network(
        body,
        head(width).to(torch.get_default_dtype()),
        channels_last=channels_last,
        grouped=inputs["norm"] == "group",
    )
    params, buffers = network.tensors(place.device)
    if learned:
        params |= network.placed(prefixed(learned(params), "meta."), place.device)
    if inputs.get("weights"):
        given = {name: torch.from_numpy(value) for name, value in read(inputs["weights"]).items()}
        _take(given, params, buffers, network, place)
    for kind, key in inputs["needs"].items():
        if key is not None and kind != "cluster":  # which holds no weights
            _take(load(place.store.read(kind, key, WEIGHTS)), params, buffers, network, place)
    return Model(network=network, params=params, buffers=buffers, width=width)


def _take(
    given: Tensors,
    params: dict[str, Tensor],
    buffers: dict[str, Tensor],
    network: Network,
    place: Place,
) -> None:
    """Put trained tensors in the place of fresh ones; the encoder's have to be there."""
    trained = network.placed(given, place.device)
    missing = [name for name in part_of(params | buffers, "encoder") if name not in trained]
    assert not missing, f"the trained weights lack {missing}"
    params |= {name: trained[name] for name in params if name in trained}
    buffers |= {name: trained[name] for name in buffers if name in trained}
