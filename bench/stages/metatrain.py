"""Meta-train encoder and head over tasks drawn from the training split."""

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
from bench.stages.engine import TASKS_AT_ONCE, Learner, channels_last, over_tasks
from bench.stages.model import assemble
from bench.stages.place import Place, Result
from bench.stages.source import Source, augmentation, read_part
from bench.stages.streams import generator, seed_default
from bench.stages.training import train, trained


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
    model = assemble(
        inputs,
        place,
        part.images.shape[1:],
        lambda width: meta.head(width, shape.ways),
        inputs["meta"]["name"],
        meta.learned,
        channels_last=channels_last(place.device, second_order=meta.second_order),
    )
    at_once = TASKS_AT_ONCE[place.device.type] if meta.vectorises else 1
    vectorised = at_once > 1 and inputs["norm"] != "running"  # which moves its statistics in place

    def step(number: int, params: Tensors, carried: Tensors) -> tuple[Tensor, Tensors, Tensors]:
        drawn = [
            _draw(tasks, source, shape, spec, place, number, i) for i in range(meta.tasks_per_step)
        ]
        seed_default("metatrain", inputs["meta"]["name"], inputs["seed"], number)
        buffers = {name: value.clone() for name, value in carried.items()}
        learner = Learner(
            model.network, buffers, inputs["norm"], training=True, vectorised=vectorised
        )

        constant = {name: value.detach() for name, value in params.items()}  # no second tape

        def one(task: Task) -> tuple[Tensor, ...]:
            loss, gradient = meta.meta_gradient(learner, constant, task)
            return loss, *(gradient[name] for name in params)

        losses, *gradients = over_tasks(one, drawn, vectorised=vectorised)
        mean = {name: g.mean(0) for name, g in zip(params, gradients, strict=True)}
        return losses.mean(), mean, buffers

    done = train(spec, place, meta, model.params, model.buffers, step)
    return trained(spec, place, done, {**done.params, **done.carried}, model.num_parameters)


def _draw(
    tasks: AbstractTasks,
    source: Source,
    shape: TaskShape,
    spec: StageSpec,
    place: Place,
    step: int,
    number: int,
) -> Task:
    """Draw task ``number`` of a step; the stream names no meta-algorithm."""
    coordinates = (
        spec.inputs["tasks"]["name"],
        spec.inputs["data"]["digest"],
        spec.inputs["seed"],
        step,
        number,
    )
    seed_default("task, default generator", *coordinates)
    return tasks.sample(source, shape, generator(place.device, "task", *coordinates))
