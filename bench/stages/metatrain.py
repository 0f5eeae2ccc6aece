"""Meta-train encoder and head over tasks drawn from the training split."""

import torch
from torch import Tensor

from bench.catalogue import rebuild
from bench.cell import StageSpec
from bench.contract import (
    AbstractMetaTrained,
    AbstractTasks,
    Task,
    TaskShape,
    Tensors,
)
from bench.dataset import Part
from bench.stages.engine import TASKS_AT_ONCE, Learner, channels_last, over_tasks
from bench.stages.model import assemble
from bench.stages.network import Network
from bench.stages.place import Place, Result
from bench.stages.selection import Loss, snapshots
from bench.stages.source import Source, augmentation, read_part
from bench.stages.streams import generator, seed_default
from bench.stages.training import Training, train, trained

# With torch's momentum of .1, 50 batches leave half a per cent of what was there before.
STATISTICS_BATCHES, STATISTICS_BATCH = 50, 256


def metatrain(spec: StageSpec, place: Place) -> Result:
    """Run one ``metatrain`` stage: trained encoder and head, and the learning curve."""
    inputs = spec.inputs
    meta, tasks = rebuild("meta", inputs["meta"]), rebuild("tasks", inputs["tasks"])
    assert isinstance(meta, AbstractMetaTrained)
    assert isinstance(tasks, AbstractTasks)
    part = read_part(inputs["data"])
    policy = augmentation(inputs["augment"])
    source = Source(part, policy, place.device, labels=tasks.uses_labels)
    shape = TaskShape(**inputs["task"])
    outputs = tasks.num_classes(source) if meta.fixed_head else shape.ways
    assert outputs is not None, "the plan declines a fixed head where classes are not"
    # Steps on the features of a frozen encoder differentiate none of its convolutions twice.
    second_order = meta.second_order and not meta.frozen_encoder
    model = assemble(
        inputs,
        place,
        part.images.shape[1:],
        lambda width: meta.head(width, outputs),
        inputs["meta"]["name"],
        meta.learned,
        channels_last=channels_last(place.device, second_order=second_order),
    )
    at_once = TASKS_AT_ONCE[place.device.type] if meta.vectorises else 1
    vectorised = at_once > 1 and inputs["norm"] != "running"  # which moves its statistics in place

    def answer(
        stream: str, of: Source, number: int, params: Tensors, carried: Tensors, *split: str
    ) -> tuple[list[Tensor], Tensors]:
        """Return losses and gradients of a step's tasks, and where they leave the buffers."""
        drawn = [
            _draw(tasks, of, shape, spec, number, i, *split) for i in range(meta.tasks_per_step)
        ]
        seed_default(stream, inputs["meta"]["name"], inputs["seed"], number)
        buffers = {name: value.clone() for name, value in carried.items()}
        learner = Learner(
            model.network, buffers, inputs["norm"], training=True, vectorised=vectorised
        )

        constant = {name: value.detach() for name, value in params.items()}  # no second tape

        def one(task: Task) -> tuple[Tensor, ...]:
            loss, gradient = meta.meta_gradient(learner, constant, task)
            return loss, *(gradient[name] for name in params)

        return list(over_tasks(one, drawn, vectorised=vectorised)), buffers

    def step(number: int, params: Tensors, carried: Tensors) -> tuple[Tensor, Tensors, Tensors]:
        (losses, *gradients), buffers = answer("metatrain", source, number, params, carried)
        mean = {name: g.mean(0) for name, g in zip(params, gradients, strict=True)}
        return losses.mean(), mean, buffers

    def loss_on(held_out: Part) -> Loss:
        unseen = Source(held_out, policy, place.device, labels=False)
        return lambda number, params, carried: answer(
            "selection", unseen, number, params, carried, "val"
        )[0][0].mean()

    kept = snapshots(spec, place, model, loss_on, lambda carried: carried)
    done = train(spec, place, meta, model.params, model.buffers, step, kept)
    if "running_statistics" in inputs:
        done.carried = _running_statistics(model.network, done, source, spec, place)
    return trained(spec, place, done, {**done.params, **done.carried}, model.num_parameters)


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
    source: Source,
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
