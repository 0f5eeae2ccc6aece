"""Joint training over the classes of all tasks: its loss, its head, what tasks say of classes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import Generator, Tensor, nn

from bench.cell import StageSpec
from bench.contract import AbstractMetaTrained, Norm, Task, TaskShape, Tensors
from bench.dataset import Dataset, facts
from bench.meta.joint import Joint
from bench.meta.reptile import Reptile
from bench.plan import Plan, make_plan
from bench.stages.engine import Learner, over_tasks
from bench.stages.network import Network
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.stages.source import Source
from bench.store import Store
from bench.suite import read_suite
from bench.tasks.labels import Labels
from bench.weights import WEIGHTS

CPU = torch.device("cpu")
CLASSES, WAYS, WIDTH = 7, 3, 4
RIVALS = torch.tensor([True, True, False, True, False, True, False])


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Compute in float64, from one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(4)
    yield
    torch.set_default_dtype(torch.float32)


def task_of(classes: list[int]) -> Task:
    """Return a 3-way task of random images, two shots and one query a way."""
    return Task(
        support_x=torch.rand(6, 1, 3, 3),
        support_y=torch.arange(WAYS).repeat(2),
        query_x=torch.rand(3, 1, 3, 3),
        query_y=torch.arange(WAYS),
        ways=WAYS,
        classes=torch.tensor(classes),
        rivals=RIVALS,
    )


def learner_of(method: AbstractMetaTrained, outputs: int, norm: Norm) -> tuple[Learner, Tensors]:
    """Return a smooth network without a norm layer, and its parameters."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(9, WIDTH), nn.Tanh())
    network = Network(body, method.head(WIDTH, outputs), channels_last=False, grouped=False)
    params, buffers = network.tensors(CPU)
    return Learner(network, buffers, norm, training=True), params


def by_hand(params: Tensors, task: Task) -> Tensor:
    """Return the mean surprise at each example's class among the rivals, one at a time."""
    terms = []
    x, y = torch.cat([task.support_x, task.query_x]), torch.cat([task.support_y, task.query_y])
    for image, way in zip(x, y.tolist(), strict=True):
        hidden = params["encoder.1.weight"] @ image.flatten() + params["encoder.1.bias"]
        scores = params["head.weight"] @ hidden.tanh() + params["head.bias"]
        assert task.classes is not None
        among = sum(scores[k].exp() for k in range(CLASSES) if RIVALS[k])
        terms.append(torch.log(torch.as_tensor(among)) - scores[int(task.classes[way])])
    return torch.stack(terms).mean()


@pytest.mark.parametrize("norm", ["running", "support"])
def test_it_descends_on_the_surprise_at_classes_among_rivals(norm: Norm) -> None:
    """Loss and direction are those of every example, support and query, under the one head."""
    task = task_of([5, 0, 3])
    learner, params = learner_of(Joint(), CLASSES, norm)
    loss, gradient = Joint().meta_gradient(learner, params, task)
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    expected = by_hand(leaves, task)
    torch.testing.assert_close(loss, expected.detach())
    slopes = torch.autograd.grad(expected, list(leaves.values()))
    for (name, value), slope in zip(gradient.items(), slopes, strict=True):
        torch.testing.assert_close(value, slope, msg=name)
    assert not gradient["head.weight"][~RIVALS].any()
    assert gradient["head.weight"][1].any()  # a rival that is no way of this task
    assert learner.passed == Joint().examples_per_task(TaskShape(ways=3, shots=2, queries=1), norm)


def test_it_is_the_first_gradient_of_an_inner_loop() -> None:
    """With ways as classes, it is where one step of Reptile on all examples leads, by sign.

    Adam's first step from moments of zero goes ``inner_rate`` against the sign of the gradient.
    """
    task = replace(task_of([0, 1, 2]), rivals=torch.ones(WAYS, dtype=torch.bool))
    reptile = Reptile(steps=1, inner_batch=9, inner_rate=0.01)
    learner, params = learner_of(Joint(), WAYS, "support")
    loss, gradient = Joint().meta_gradient(learner, params, task)
    reptile_loss, direction = reptile.meta_gradient(learner, params, task)
    torch.testing.assert_close(loss, reptile_loss)
    for name, value in gradient.items():
        torch.testing.assert_close(direction[name], 0.01 * value.sign(), rtol=1e-4, atol=1e-9)


def test_tasks_together_are_tasks_one_by_one() -> None:
    """Under vmap each task keeps its own classes and rivals; others may say none."""
    learner, params = learner_of(Joint(), CLASSES, "support")
    tasks = [task_of([5, 0, 3]), replace(task_of([1, 3, 0]), rivals=torch.ones_like(RIVALS))]

    def one(task: Task) -> tuple[Tensor, ...]:
        return (Joint().meta_gradient(traced, params, task)[0],)

    traced = Learner(learner._network, {}, "support", training=True, vectorised=True)
    (together,) = over_tasks(one, tasks, vectorised=True)
    apart = [Joint().meta_gradient(learner, params, task)[0] for task in tasks]
    torch.testing.assert_close(together, torch.stack(apart))
    plain = [replace(task, classes=None, rivals=None) for task in tasks]
    (sums,) = over_tasks(lambda task: (task.support_x.sum(),), plain, vectorised=True)
    torch.testing.assert_close(sums, torch.stack([task.support_x.sum() for task in tasks]))


def test_labelled_tasks_say_their_classes(glyphs: Dataset) -> None:
    """A way's class is the label of its images; any class of the split may be a way."""
    part = glyphs.part("train")
    source = Source(part, None, CPU, labels=True)
    task = Labels().sample(
        source, TaskShape(ways=5, shots=2, queries=1), Generator().manual_seed(0)
    )
    images = {
        image.tobytes(): int(label) for image, label in zip(part.examples, part.labels, strict=True)
    }
    seen = (task.support_x * 255).round().to(torch.uint8).numpy()
    assert task.classes is not None
    assert task.rivals is not None
    assert [images[x.tobytes()] for x in seen] == task.classes[task.support_y].tolist()
    assert task.rivals.tolist() == [True] * len(part.classes)
    assert Labels().num_classes(source) == len(part.classes)


# --- as a stage ---------------------------------------------------------------------------------

HEAD = """
name: joint
data: glyphs
encoder: {name: conv4, width: 4}
ways: 3
shots: 1
seeds: 1
budget: {metatrain_steps: 4}
evaluate: {episodes: 20, queries: 5, test_steps: 2}
"""
JOINT = "{name: joint, tasks_per_step: 2, task_shots: 1, task_queries: 1}"
FAMILY = "{name: pretext, family: [rotation, jigsaw, recolour]}"


def plan_of(folder: Path, glyphs: Dataset, text: str) -> Plan:
    """Return the plan of a suite's text."""
    (folder / "suite.yaml").write_text(HEAD + text)
    return make_plan(read_suite(folder / "suite.yaml"), lambda name, source: facts(glyphs))


def stage_of(plan: Plan, kind: str) -> StageSpec:
    """Return the one stage of a kind of the suite's own row."""
    (cell,) = [cell for cell in plan.cells if not cell.control]
    return next(plan.stages[key] for name, key in cell.stages.items() if name == kind)


@pytest.mark.parametrize("tasks", ["labels", FAMILY])
def test_its_head_has_an_output_for_each_class(tmp_path: Path, glyphs: Dataset, tasks: str) -> None:
    """The head that is stored has the classes of all tasks, and any number of ways is tested."""
    torch.set_default_dtype(torch.float32)
    plan = plan_of(tmp_path, glyphs, f"meta: {JOINT}\ntasks: {tasks}\n")
    store = Store(tmp_path / "results")
    store.prepare()
    for kind in ("metatrain", "evaluate"):
        perform(stage_of(plan, kind), Place(store=store, device=CPU, emit=lambda event: None))
    stored = load(store.read("metatrain", stage_of(plan, "metatrain").key, WEIGHTS))
    outputs = len(glyphs.splits["train"]) if tasks == "labels" else 4 + 24 + 6
    assert len(stored["head.weight"]) == len(stored["head.bias"]) == outputs
    losses = store.manifest("metatrain", stage_of(plan, "metatrain").key)["curve"]["loss"]
    assert np.isfinite(losses).all()
    tested = store.manifest("evaluate", stage_of(plan, "evaluate").key)
    assert tested["curve"]["steps"] == [0]
    assert 0 <= tested["metrics"]["accuracy"] <= 1


def test_tasks_without_fixed_classes_are_declined(tmp_path: Path, glyphs: Dataset) -> None:
    """Where each image is a class there is no head for all, and the plan says so."""
    plan = plan_of(tmp_path, glyphs, f"meta: {JOINT}\ngrid: {{tasks: [instances, labels]}}\n")
    (dropped,) = plan.dropped
    assert dropped.reason == (
        "joint needs tasks of a fixed number of classes: labels, or a family of pretexts"
    )
