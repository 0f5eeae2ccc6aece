"""Meta-train encoder and head over tasks drawn from the training split."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bench.catalogue import rebuild
from bench.cell import Json, StageSpec
from bench.contract import (
    AbstractClustered,
    AbstractMetaTrained,
    AbstractSource,
    AbstractTasks,
    Task,
    TaskShape,
    Tensors,
)
from bench.dataset import Part
from bench.stages.auxiliary import auxiliary_of, without
from bench.stages.checkpoint import chosen, prefixed
from bench.stages.cluster import large_enough, read_clusters
from bench.stages.engine import TASKS_AT_ONCE, Learner, channels_last, over_tasks
from bench.stages.model import assemble
from bench.stages.network import Network
from bench.stages.observed import collisions
from bench.stages.place import Clock, Place, Result
from bench.stages.selection import Loss, snapshots
from bench.stages.source import Members, Source, augmentation, read_part
from bench.stages.streams import generator, seed_default
from bench.stages.training import Training, train, trained

# With torch's momentum of .1, 50 batches leave half a per cent of what was there before.
STATISTICS_BATCHES, STATISTICS_BATCH = 50, 256
STATE = "auxiliary state/"  # what an auxiliary loss carries on beside the network's buffers


def metatrain(spec: StageSpec, place: Place) -> Result:
    """Run one ``metatrain`` stage: trained encoder and head, and the learning curve."""
    inputs = spec.inputs
    meta, tasks = rebuild("meta", inputs["meta"]), rebuild("tasks", inputs["tasks"])
    assert isinstance(meta, AbstractMetaTrained)
    assert isinstance(tasks, AbstractTasks)
    part = read_part(inputs["data"])
    policy = augmentation(inputs["augment"]) if tasks.augments else None
    shape = TaskShape(**inputs["task"])
    groups = _clusters(tasks, shape, inputs, place) if isinstance(tasks, AbstractClustered) else []
    source = Source(part, policy, place.device, labels=tasks.uses_labels, clusters=groups)
    per_task = tasks.outputs(part.form, shape)
    outputs = tasks.num_classes(source) if meta.fixed_head else per_task
    assert outputs is not None, "the plan declines a fixed head where classes are not"
    # Steps on the features of a frozen encoder differentiate none of its convolutions twice.
    second_order = meta.second_order and not meta.frozen_encoder
    model = assemble(
        inputs,
        place,
        part.form,
        lambda width: meta.head(width, outputs),
        inputs["meta"]["name"],
        meta.learned,
        channels_last=channels_last(place.device, second_order=second_order),
    )
    auxiliary = auxiliary_of(inputs, place, model, part.form)
    first = model
    if auxiliary:
        first = replace(
            model,
            params=model.params | auxiliary.first,
            buffers=model.buffers | auxiliary.moved,
        )
    at_once = TASKS_AT_ONCE[place.device.type] if meta.vectorises else 1
    vectorised = at_once > 1 and inputs["norm"] != "running"  # which moves its statistics in place

    def answer(
        stream: str, of: Source, number: int, params: Tensors, carried: Tensors, *split: str
    ) -> tuple[Tensor, Tensors, Tensors, Tensors]:
        """Return a step's loss, its gradient, what is carried on, and values for the curve."""
        drawn = [
            _draw(tasks, of, shape, spec, number, i, *split) for i in range(meta.tasks_per_step)
        ]
        seed_default(stream, inputs["meta"]["name"], inputs["seed"], number)
        buffers = {name: value.clone() for name, value in _buffers(carried).items()}
        learner = Learner(
            model.network, buffers, inputs["norm"], training=True, vectorised=vectorised
        )

        constant = {name: value.detach() for name, value in without(params).items()}  # no 2nd tape

        def one(task: Task) -> tuple[Tensor, ...]:
            loss, gradient = meta.meta_gradient(learner, constant, task)
            return loss, *(gradient[name] for name in constant)

        losses, *gradients = over_tasks(one, drawn, vectorised=vectorised)
        mean = {name: g.mean(0) for name, g in zip(constant, gradients, strict=True)}
        if auxiliary is None:
            return losses.mean(), mean, buffers, {}
        beside, own, state = auxiliary.gradient(
            drawn, params, buffers, chosen(carried, STATE), number, *split
        )
        both = {name: value + mean[name] if name in mean else value for name, value in own.items()}
        loss = losses.mean() + auxiliary.weight * beside
        return loss, mean | both, buffers | prefixed(state, STATE), {"auxiliary": beside}

    def step(
        number: int, params: Tensors, carried: Tensors
    ) -> tuple[Tensor, Tensors, Tensors, Tensors]:
        return answer("metatrain", source, number, params, carried)

    def loss_on(held_out: Part) -> Loss:
        unseen = Source(held_out, policy, place.device, labels=False)
        return lambda number, params, carried: answer(
            "selection", unseen, number, params, carried, "val"
        )[0]

    state = auxiliary.state(first.params, first.buffers) if auxiliary else {}
    kept = snapshots(spec, place, model, loss_on, _buffers)
    carried = first.buffers | prefixed(state, STATE)
    done = train(spec, place, meta, first.params, carried, step, kept)
    done.carried = _buffers(done.carried)
    if "running_statistics" in inputs:
        clock = Clock(done.seconds)
        done.carried = _running_statistics(model.network, done, source, spec, place)
        done.seconds = clock.seconds()
    weights = without({**done.params, **done.carried})
    result = trained(spec, place, done, weights, first.num_parameters)
    facts: dict[str, Json] = {"clusters": [len(counts) for _, counts in groups]} if groups else {}
    if tasks.guesses_classes:

        def again(truth: AbstractSource, number: int) -> Task:
            return _draw(tasks, truth, shape, spec, *divmod(number, meta.tasks_per_step))

        total = inputs["budget"]["steps"] * meta.tasks_per_step
        facts["collisions"] = collisions(part, source, again, total)
    return replace(result, facts={**result.facts, **facts})


def _clusters(
    tasks: AbstractClustered, shape: TaskShape, inputs: Mapping[str, Json], place: Place
) -> list[Members]:
    """Return the clusters that can fill a task, of each partition."""
    found_PN = read_clusters(place.store, inputs["needs"]["cluster"])
    return large_enough(found_PN, tasks.k, shape.shots + shape.queries, shape.ways)


def _buffers(carried: Tensors) -> dict[str, Tensor]:
    """Return what a step carries on of the network itself."""
    return {name: value for name, value in carried.items() if not name.startswith(STATE)}


def _running_statistics(
    network: Network, done: Training, source: Source, spec: StageSpec, place: Place
) -> dict[str, Tensor]:
    """Take the running statistics of trained weights, where training used the tasks' own.

    They are those of random batches of the training split, so that the same weights can be
    tested inductively.
    """
    data, seed = spec.inputs["data"]["digest"], spec.inputs["seed"]
    rng = generator(place.device, "running statistics", data, seed)
    size = min(STATISTICS_BATCH, source.num_examples)
    buffers = {name: value.clone() for name, value in done.carried.items()}
    with torch.no_grad():
        for _ in range(STATISTICS_BATCHES):
            index = torch.randint(source.num_examples, (size,), generator=rng, device=place.device)
            network.encode(done.params, buffers, source.examples(index), "learned")
    return buffers


def _draw(
    tasks: AbstractTasks,
    source: AbstractSource,
    shape: TaskShape,
    spec: StageSpec,
    step: int,
    number: int,
    *split: str,
) -> Task:
    """Draw task ``number`` of a step; the stream names no meta-algorithm."""
    coordinates = (
        spec.inputs["tasks"]["name"],
        spec.inputs["data"]["digest"],
        spec.inputs["seed"],
        step,
        number,
        *split,
    )
    seed_default("task, default generator", *coordinates)
    return tasks.sample(source, shape, generator(source.device, "task", *coordinates))
