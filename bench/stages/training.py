"""The loop of every stage that trains: optimizer, schedule, curve, checkpoint, NaN check."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from bench.cell import Json, Progress, StageSpec, Started
from bench.contract import AbstractTrained, Tensors
from bench.stages.checkpoint import (
    chosen,
    pack,
    prefixed,
    read_checkpoint,
    write_checkpoint,
)
from bench.stages.place import Clock, Diverged, Place, Result, made_by, peak_memory
from bench.stages.selection import Snapshots
from bench.weights import WEIGHTS

POINTS = 200  # of a learning curve, at most; between two of them a stage is not checkpointed

Step = Callable[[int, Tensors, Tensors], tuple[Tensor, Tensors, Tensors, Tensors]]
"""(step, params, carried) -> (loss, gradient, carried, values): one pure training step.

``values`` are scalars that the learning curve holds beside the loss, of the same names in
every step; empty where there are none.
"""


@dataclass
class Training:
    """Where a training stands. ``carried`` are tensors that are not trained.

    Where there are snapshots, the best of them is what a finished training has come to.
    """

    params: dict[str, Tensor]
    carried: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    snapshots: Snapshots | None = None
    step: int = 0
    seconds: float = 0.0
    curve: dict[str, list[float]] = field(default_factory=lambda: {"steps": [], "loss": []})


def train(
    spec: StageSpec,
    place: Place,
    plugin: AbstractTrained,
    params: Tensors,
    carried: Tensors,
    step: Step,
    snapshots: Snapshots | None = None,
) -> Training:
    """Take the steps of a spec's budget, from its checkpoint where it has one.

    Raises:
        Diverged: the loss or a parameter is not finite, or the measure of every snapshot.
    """
    total: int = spec.inputs["budget"]["steps"]
    path = place.store.partial(spec.key) / "checkpoint.safetensors"
    now = _begin(plugin, params, carried, snapshots)
    _resume(now, path, made_by(place.device))
    place.emit(Started(key=spec.key, step=now.step, total=total))
    clock, written = Clock(now.seconds), now.seconds
    every: int = -(-total // POINTS)
    since: list[Tensors] = []  # the last point of the curve
    while now.step < total:
        _set_rate(now.optimizer, plugin, now.step / total)
        gradient, now.carried, values = _carry(step(now.step, now.params, now.carried))
        _descend(now, gradient)
        since.append(values)
        now.step += 1
        told = now.step % every == 0 or now.step == total
        if told:
            means, since = _means(since), []
            _record(now, spec, place, means, total)
        _look(now, spec, place, total)
        if told:
            now.seconds = clock.seconds()
            if now.seconds - written > place.checkpoint_seconds:
                _write(now, path, made_by(place.device))
                written = now.seconds
    now.seconds = clock.seconds()
    return _chosen(now)


def trained(
    spec: StageSpec, place: Place, done: Training, weights: Tensors, num_parameters: int
) -> Result:
    """Return the result of a training stage: its weights, last loss, curve and cost."""
    best = done.snapshots
    return Result(
        metrics={"loss": done.curve["loss"][-1]} | ({"selected_step": best.step} if best else {}),
        curve=done.curve,
        cost={
            "seconds": done.seconds,
            "examples": spec.inputs["budget"]["examples"],
            "peak_memory_bytes": peak_memory(place.device),
            "parameters": num_parameters,
        },
        files={WEIGHTS: pack(weights)},
        facts={"snapshots": best.curve} if best else {},
    )


def _begin(
    plugin: AbstractTrained, params: Tensors, carried: Tensors, snapshots: Snapshots | None
) -> Training:
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
    }
    optimizer = kinds[plugin.optimizer](list(leaves.values()), lr=plugin.rate)
    return Training(params=leaves, carried=dict(carried), optimizer=optimizer, snapshots=snapshots)


def _carry(
    result: tuple[Tensor, Tensors, Tensors, Tensors],
) -> tuple[Tensors, dict[str, Tensor], Tensors]:
    """Cut what a step returns off its tape; the loss joins the values."""
    loss, gradient, carried, values = result
    assert values.keys().isdisjoint({"loss", "steps"})
    shown = {name: value.detach() for name, value in {"loss": loss, **values}.items()}
    return gradient, {name: value.detach() for name, value in carried.items()}, shown


def _means(values: list[Tensors]) -> dict[str, float]:
    return {name: float(torch.stack([one[name] for one in values]).mean()) for name in values[0]}


def _set_rate(optimizer: torch.optim.Optimizer, plugin: AbstractTrained, progress: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = plugin.rate * plugin.schedule(progress)


def _descend(now: Training, gradient: Tensors) -> None:
    for name, value in now.params.items():
        value.grad = gradient[name].detach()
    now.optimizer.step()


def _record(
    now: Training, spec: StageSpec, place: Place, means: dict[str, float], total: int
) -> None:
    finite = torch.stack([value.detach().isfinite().all() for value in now.params.values()])
    if not (all(map(math.isfinite, means.values())) and finite.all()):
        raise Diverged(f"the loss is {means['loss']} after {now.step} of {total} steps")
    now.curve["steps"].append(now.step)
    for name, mean in means.items():
        now.curve.setdefault(name, []).append(mean)
    place.emit(Progress(key=spec.key, step=now.step, total=total, values=means))


def _look(now: Training, spec: StageSpec, place: Place, total: int) -> None:
    """Measure a snapshot where one is due; it disturbs nothing, each step seeds its own draws."""
    if now.snapshots is None or now.step not in now.snapshots.steps:
        return
    value = now.snapshots.take(now.step, now.params, now.carried)
    if value is not None:
        values = {"selection": value}
        place.emit(Progress(key=spec.key, step=now.step, total=total, values=values))


def _chosen(done: Training) -> Training:
    """Put the best snapshot in the place of the last weights."""
    best = done.snapshots
    if best is None:
        return done
    if not best.step:
        raise Diverged("the measure of every snapshot on the validation split")
    return replace(done, params=best.params, carried=best.carried)


def _write(now: Training, path: Path, made: Json) -> None:
    moments = {
        f"{number}.{name}": value
        for number, state in now.optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    tensors = (
        prefixed(now.params, "params/")
        | prefixed(now.carried, "carried/")
        | prefixed(moments, "optimizer/")
        | (now.snapshots.tensors() if now.snapshots else {})
    )
    note = {"made": made, "step": now.step, "seconds": now.seconds, "curve": now.curve}
    note |= {"snapshots": now.snapshots.note()} if now.snapshots else {}
    write_checkpoint(path, tensors, note)


def _resume(now: Training, path: Path, made: Json) -> None:
    """Take over a checkpoint in place, in the memory format that training began with."""
    found = read_checkpoint(path, made)
    if found is None or chosen(found[0], "params/").keys() != now.params.keys():
        return
    tensors, note = found
    with torch.no_grad():
        for name, value in chosen(tensors, "params/").items():
            now.params[name].copy_(value)
    carried = chosen(tensors, "carried/")
    now.carried = {name: _as(like, carried[name]) for name, like in now.carried.items()}
    state: dict[int, dict[str, Tensor]] = {}
    leaves = list(now.params.values())
    for name, value in chosen(tensors, "optimizer/").items():
        number, _, moment = name.partition(".")
        like = leaves[int(number)]
        if value.shape == like.shape:
            value = _as(like, value)
        state.setdefault(int(number), {})[moment] = value
    groups = now.optimizer.state_dict()["param_groups"]
    now.optimizer.load_state_dict({"state": state, "param_groups": groups})
    now.step, now.seconds, now.curve = note["step"], note["seconds"], note["curve"]
    if now.snapshots:
        now.snapshots.resume(tensors, note["snapshots"], now.params)


def _as(like: Tensor, value: Tensor) -> Tensor:
    """Return a value on the device and in the memory format of what it takes the place of.

    Convolutions round otherwise in another format.
    """
    return torch.empty_like(like, requires_grad=False).copy_(value)
