"""Try several pretexts in one pre-training stage, and keep the encoder that validates best.

Each candidate is an ordinary ``pretrain`` stage, in a store of its own within the partial folder
of the search: an interrupted search finds its finished candidates and their checkpoints there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from bench.catalogue import described
from bench.cell import Event, Json, Progress, StageSpec, Started
from bench.contract import AbstractSearch
from bench.inner import prototypical_loss
from bench.stages.engine import channels_last
from bench.stages.model import Model, assemble
from bench.stages.place import Clock, Diverged, Place, Result, peak_memory
from bench.stages.source import Source, augmentation, read_part
from bench.stages.streams import generator
from bench.stages.trainee import Trainee
from bench.stages.validation import episodes
from bench.store import Store
from bench.weights import WEIGHTS

Pretrain = Callable[[StageSpec, Place], Result]
WITHIN = "search"  # the folder of the candidates' store


def search(spec: StageSpec, place: Place, plugin: AbstractSearch, pretrain: Pretrain) -> Result:
    """Train every candidate on its share, and return the one with the lowest validation loss."""
    tried = candidates(spec, plugin)
    own = replace(place, store=Store(place.store.partial(spec.key) / WITHIN))
    own.store.prepare()
    done = 0
    for one in tried:
        _train(one, replace(own, emit=_relay(place, spec, done)), pretrain)
        done += one.inputs["budget"]["steps"]
    clock = Clock()
    losses = _losses(spec, own, plugin, tried)
    best = min(range(len(tried)), key=losses.__getitem__)
    found = [own.store.manifest("pretrain", one.key) for one in tried]
    return Result(
        metrics={"loss": losses[best], "chosen": best},
        curve={"steps": list(range(1, len(tried) + 1)), "loss": losses},  # candidates so far
        cost={
            "seconds": clock.seconds() + sum(one["cost"]["seconds"] for one in found),
            "examples": spec.inputs["budget"]["examples"],
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": found[best]["cost"]["parameters"],
        },
        files={WEIGHTS: own.store.read("pretrain", tried[best].key, WEIGHTS)},
        facts={"candidates": [one.inputs["pretext"] for one in tried]},
    )


def candidates(spec: StageSpec, plugin: AbstractSearch) -> list[StageSpec]:
    """Return the stage of each candidate; what is drawn follows from data and seed alone."""
    inputs = {key: value for key, value in spec.inputs.items() if key != "validation"}
    rng = generator(torch.device("cpu"), "candidates", inputs["data"]["digest"], inputs["seed"])
    shares: Sequence[Json] = inputs["budget"]["shares"]
    return [
        StageSpec(
            kind="pretrain",
            inputs=inputs
            | {
                "pretext": described("pretext", one),
                "augment": inputs["augment"] if one.augments else None,
                "budget": share,
            },
        )
        for one, share in zip(plugin.choices(rng), shares, strict=True)
    ]


def _train(one: StageSpec, place: Place, pretrain: Pretrain) -> None:
    """Finish a candidate's stage, unless it is."""
    with place.store.writing(one.key):
        if not place.store.has(one.kind, one.key):
            result = pretrain(one, place)
            place.store.commit(one, {"cost": result.cost}, result.files)


def _relay(place: Place, spec: StageSpec, done: int) -> Callable[[Event], None]:
    """Tell of a candidate as of a part of the search, ``done`` steps after its beginning."""
    total = spec.inputs["budget"]["steps"]

    def emit(event: Event) -> None:
        assert isinstance(event, Started | Progress)
        moved = replace(event, key=spec.key, step=done + event.step, total=total)
        if isinstance(moved, Progress):  # their losses are not the one that chooses
            values = {f"candidate/{name}": value for name, value in moved.values.items()}
            moved = replace(moved, values=values)
        place.emit(moved)

    return emit


def _losses(
    spec: StageSpec, place: Place, plugin: AbstractSearch, tried: Sequence[StageSpec]
) -> list[float]:
    """Return the mean prototypical loss of each candidate's encoder, over the same episodes.

    Raises:
        Diverged: one of them is not finite.
    """
    part = read_part(spec.inputs["data"])
    policy = augmentation(spec.inputs["augment"])
    source = Source(part, policy, place.device, labels=False)
    shape = part.images.shape[1:]

    def model_of(needs: Json) -> Model:
        return assemble(
            {**spec.inputs, "needs": needs},
            place,
            shape,
            lambda width: nn.Identity(),
            "search",
            channels_last=channels_last(place.device, second_order=False),
        )

    draw = episodes(spec, place, model_of({}), plugin.validates, policy, "search episode")
    losses = []
    for one in tried:
        model = model_of({"pretrain": one.key})
        net = Trainee(model.network, model.params, model.buffers, source, "batch")
        with torch.no_grad():
            found = [prototypical_loss(net.encode, draw(e)) for e in range(plugin.episodes)]
        losses.append(float(torch.stack(found).double().mean()))
    if not torch.tensor(losses).isfinite().all():
        raise Diverged(f"the validation losses of the candidates are {losses}")
    return losses
