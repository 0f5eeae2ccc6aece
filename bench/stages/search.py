"""Try several pretexts in one pre-training stage, and keep the encoder that validates best.

Each candidate is an ordinary ``pretrain`` stage, in a store of its own within the partial folder
of the search: an interrupted search finds its finished candidates and their checkpoints there.
One that diverged is passed over, as a snapshot is whose measure is not finite.
"""

import math
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
    """Train every candidate on its share, and return the one with the lowest validation loss.

    Raises:
        Diverged: every candidate has.
    """
    tried = candidates(spec, plugin)
    own = replace(place, store=Store(place.store.partial(spec.key) / WITHIN))
    own.store.prepare()
    done = 0
    for one in tried:
        _train(one, replace(own, emit=_relay(place, spec, done)), pretrain)
        done += one.inputs["budget"]["steps"]
    clock = Clock()
    found = [own.store.manifest("pretrain", one.key) for one in tried]
    losses = _losses(spec, own, plugin, tried, found)
    finite = {number: loss for number, loss in enumerate(losses) if math.isfinite(loss)}
    if not finite:
        raise Diverged(f"every candidate: {_reasons(tried, found, losses)}")
    best = min(finite, key=finite.__getitem__)
    numbers = range(len(tried))
    diverged = [number for number in numbers if number not in finite]
    return Result(
        metrics={"loss": finite[best], "chosen": best}
        | _present(found[best].get("metrics", {}), "selected_step"),
        curve={  # candidates so far
            "steps": [number + 1 for number in numbers],
            "loss": [finite.get(number) for number in numbers],
        },
        cost={
            "seconds": clock.seconds() + sum(one["cost"]["seconds"] for one in found),
            "examples": spec.inputs["budget"]["examples"],
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": found[best]["cost"]["parameters"],
        },
        files={WEIGHTS: own.store.read("pretrain", tried[best].key, WEIGHTS)},
        facts={"candidates": [one.inputs["pretext"] for one in tried]}
        | ({"diverged": diverged} if diverged else {})
        | _present(found[best], "snapshots"),
    )


def _present(manifest: Json, name: str) -> Json:
    """Return what a candidate has only under a rule of selection, if it has it."""
    return {name: manifest[name]} if name in manifest else {}


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
            clock = Clock()
            try:
                result = pretrain(one, place)
            except Diverged as error:  # kept, without weights: a search that resumes skips it
                cost = {"seconds": clock.seconds()}  # since it last began
                place.store.commit(one, {"cost": cost, "diverged": str(error)}, {})
            else:
                manifest = {"cost": result.cost, "metrics": result.metrics, **result.facts}
                place.store.commit(one, manifest, result.files)


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
    spec: StageSpec,
    place: Place,
    plugin: AbstractSearch,
    tried: Sequence[StageSpec],
    found: Sequence[Json],
) -> list[float]:
    """Return the mean prototypical loss of each candidate's encoder, over the same episodes.

    That of one that diverged in training is infinite.
    """
    part = read_part(spec.inputs["data"])
    policy = augmentation(spec.inputs["augment"])
    source = Source(part, policy, place.device, labels=False)

    def model_of(needs: Json) -> Model:
        return assemble(
            {**spec.inputs, "needs": needs},
            place,
            part.form,
            lambda width: nn.Identity(),
            "search",
            channels_last=channels_last(place.device, second_order=False),
        )

    draw = episodes(spec, place, model_of({}), plugin.validates, policy, "search episode")
    losses = []
    for one, manifest in zip(tried, found, strict=True):
        if "diverged" in manifest:
            losses.append(math.inf)
            continue
        model = model_of({"pretrain": one.key})
        net = Trainee(model.network, model.params, model.buffers, source, "batch")
        with torch.no_grad():
            each = [prototypical_loss(net.encode, draw(e)) for e in range(plugin.episodes)]
        losses.append(float(torch.stack(each).double().mean()))
    return losses


def _reasons(tried: Sequence[StageSpec], found: Sequence[Json], losses: Sequence[float]) -> str:
    """Say of each candidate, numbered from 0, how it diverged."""
    return "; ".join(
        f"{number} ({one.inputs['pretext']['name']}), "
        + manifest.get("diverged", f"the validation loss is {loss}")
        for number, (one, manifest, loss) in enumerate(zip(tried, found, losses, strict=True))
    )
