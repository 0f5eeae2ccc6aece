"""Episodes of the validation split, for pretexts that learn from them or are chosen by them."""

from collections.abc import Callable

from bench.catalogue import rebuild
from bench.cell import StageSpec
from bench.contract import AbstractAugment, AbstractTasks, Task, Validation
from bench.stages.model import Model
from bench.stages.place import Place
from bench.stages.selection import by_content, clusters
from bench.stages.source import Source, read_part
from bench.stages.streams import generator

Drawn = Callable[[int], Task]  # episode number to task


def episodes(
    spec: StageSpec,
    place: Place,
    model: Model,
    validation: Validation,
    policy: AbstractAugment | None,
    stream: str,
) -> Drawn:
    """Return what draws the episodes of a stream, each from a generator of its own.

    ``model`` is what the training begins with. The stream names no method: rows that validate on
    one kind of classes see the same episodes. Where no label is to be read, the order of the
    examples tells none.
    """
    inputs, shape = spec.inputs, validation.shape
    data = inputs["data"] | {"split": "val"}
    part, tasks = read_part(data), rebuild("tasks", inputs["validation"]["tasks"])
    assert isinstance(tasks, AbstractTasks)
    if validation.classes == "clusters":
        asked = {"ways": shape.ways, "shots": shape.shots, "queries": shape.queries}
        asked |= {"data": data, "seed": inputs["seed"], "cluster_size": validation.cluster_size}
        part = clusters(StageSpec(kind="evaluate", inputs=asked), by_content(part), model, place)
    source = Source(part, policy, place.device, labels=validation.classes != "instances")

    def draw(number: int) -> Task:
        rng = generator(place.device, stream, data["digest"], inputs["seed"], number)
        return tasks.sample(source, shape, rng)

    return draw
