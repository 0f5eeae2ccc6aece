"""A held-out pretext task is learned as a plain loop would learn it, at a rate chosen elsewhere.

Shapes: S support examples, Q queries, N ways, D features, R read-outs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pyarrow import BufferReader, parquet
from torch import Tensor

from bench.cell import Event, Progress, StageSpec, Started
from bench.contract import Task, Tensors
from bench.dataset import Dataset, facts
from bench.plan import Plan, make_plan
from bench.stages.engine import TASKS_AT_ONCE
from bench.stages.few_steps import Pupil, choose_rate, fresh_head, new_tasks
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place
from bench.stages.source import read_part
from bench.store import Store
from bench.suite import read_suite

SUITE = """
name: few
data: glyphs
encoder: {name: conv4, width: 4}
ways: 4
shots: 2
seeds: 2
tasks: {name: pretext, family: [rotation, jigsaw, recolour]}
held_out: [rotation]
variants:
  - {label: meta, meta: {name: maml, order: 1, steps: 1, tasks_per_step: 1, task_shots: 1, \
task_queries: 2}}
  - {label: first, pretext: {name: jigsaw, batch_size: 8}, meta: none}
budget: {pretrain_steps: 3, metatrain_steps: 3}
evaluate: {episodes: 5, queries: 3, test_steps: 3, rates: [0.3, 0.05], rate_tasks: 3}
"""
Planned = Callable[..., Plan]


@pytest.fixture
def planned(tmp_path: Path, glyphs: Dataset) -> Planned:
    """Return a function from changes of the suite's text to its plan."""

    def plan(*changes: tuple[str, str]) -> Plan:
        text = SUITE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "suite.yaml").write_text(text)
        return make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))

    return plan


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(tmp_path / "results")
    made.prepare()
    return made


@pytest.fixture
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def place_in(store: Store, heard: list[Event] | None = None, seconds: float = 20) -> Place:
    """Return a place on the CPU whose events are collected."""
    emit = (heard if heard is not None else []).append
    return Place(store=store, device=torch.device("cpu"), emit=emit, checkpoint_seconds=seconds)


def evaluation(plan: Plan, variant: str, seed: int = 0) -> StageSpec:
    """Return the evaluation of a row and seed."""
    (cell,) = [one for one in plan.cells if (one.variant, one.seed) == (variant, seed)]
    return plan.stages[cell.stages["evaluate"]]


def run_all(plan: Plan, store: Store) -> None:
    """Run every stage of a plan here."""
    for spec in plan.stages.values():
        perform(spec, place_in(store))


def answers(store: Store, spec: StageSpec) -> dict[str, np.ndarray]:
    """Return accuracies and losses [E, R] of a finished evaluation."""
    table = parquet.read_table(BufferReader(store.read("evaluate", spec.key, "episodes.parquet")))
    shape = (spec.inputs["episodes"], len(spec.inputs["readouts"]))
    return {name: table[name].to_numpy().reshape(shape) for name in ("accuracy", "loss")}


def embedded(weights: Tensors, x_BCHW: Tensor, rows: int) -> Tensor:
    """Return Conv4's features, each channel normalised by the first ``rows`` examples alone."""
    for block in range(4):
        name = f"encoder.{block}"
        x_BCHW = F.conv2d(x_BCHW, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"], padding=1)
        channels = []
        for c in range(x_BCHW.shape[1]):
            own = x_BCHW[:rows, c]
            centred = (x_BCHW[:, c] - own.mean()) / (own.var(correction=0) + 1e-5).sqrt()
            weight, bias = weights[f"{name}.1.weight"][c], weights[f"{name}.1.bias"][c]
            channels.append(weight * centred + bias)
        x_BCHW = F.max_pool2d(F.relu(torch.stack(channels, dim=1)), 2)
    return x_BCHW.flatten(1)


def learned(weights: Tensors, task: Task, rate: float, readouts: Sequence[int]) -> np.ndarray:
    """Return accuracy and query loss [R, 2] of a task, by a loop with autograd."""
    weights = {name: value.clone() for name, value in weights.items()}
    width = embedded(weights, task.support_x, len(task.support_x)).shape[1]
    weights |= {"w": torch.zeros(task.ways, width), "b": torch.zeros(task.ways)}
    rows, found = len(task.support_x), []
    for step in range(readouts[-1] + 1):
        both = torch.cat([task.support_x, task.query_x])
        scores_QN = embedded(weights, both, rows)[rows:] @ weights["w"].T + weights["b"]
        chances = [
            float(scores.exp()[y] / scores.exp().sum())
            for scores, y in zip(scores_QN, task.query_y, strict=True)
        ]
        if step in readouts:
            right = float((scores_QN.argmax(1) == task.query_y).double().mean())
            found.append([right, -float(np.log(chances).mean())])
        leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
        features_SD = embedded(leaves, task.support_x, rows)
        log_SN = torch.log_softmax(features_SD @ leaves["w"].T + leaves["b"], dim=1)
        loss = -log_SN[torch.arange(rows), task.support_y].mean()
        slopes = torch.autograd.grad(loss, list(leaves.values()))
        moved = zip(leaves.items(), slopes, strict=True)
        weights = {name: value.detach() - rate * slope for (name, value), slope in moved}
    return np.array(found)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("variant", ["meta", "first", "random_init"])
def test_learning_is_that_of_a_plain_loop(planned: Planned, store: Store, variant: str) -> None:
    """From each start, accuracy and loss after every read-out are those of a loop with autograd."""
    plan = planned()
    run_all(plan, store)
    spec = evaluation(plan, variant)
    place, found = place_in(store), answers(store, spec)
    weights = fresh_head(spec.inputs, place, read_part(spec.inputs["data"])).params
    encoder = {name: v.clone() for name, v in weights.items() if name.startswith("encoder.")}
    _, task_of = new_tasks(spec.inputs, place, spec.inputs["member"], "test", 5)
    rate = store.manifest("evaluate", spec.key)["rate"]

    expected_ER2 = np.stack([learned(encoder, task_of(e), rate, [0, 1, 3]) for e in range(5)])

    np.testing.assert_allclose(found["accuracy"], expected_ER2[:, :, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["loss"], expected_ER2[:, :, 1], rtol=1e-8)
    assert not np.allclose(found["loss"][:, 1], found["loss"][:, 0])


def test_before_the_first_step_nothing_is_known(planned: Planned, store: Store) -> None:
    """With a head of zeros accuracy is exactly 1 / N and the loss ln N, for every row and task."""
    plan = planned()
    run_all(plan, store)
    for variant in ("meta", "first", "random_init"):
        found = answers(store, evaluation(plan, variant))
        assert (found["accuracy"][:, 0] == 1 / 4).all()
        assert (found["loss"][:, 0] == math.log(4)).all()


def test_rows_and_seeds_meet_the_same_tasks(planned: Planned, store: Store) -> None:
    """Every row and seed is shown the same pixels, whose cuts are drawn, and has the same bank."""
    plan = planned(
        ("rotation, jigsaw, recolour", "rotation, position, recolour"),
        ("held_out: [rotation]", "held_out: [position]"),
        ("name: jigsaw", "name: recolour"),
        ("episodes: 5", "episodes: 1"),
    )
    run_all(plan, store)
    specs = [evaluation(plan, v, s) for v in ("meta", "first", "random_init") for s in (0, 1)]
    assert len({store.manifest("evaluate", one.key)["bank"] for one in specs}) == 1

    shown = [new_tasks(s.inputs, place_in(store), s.inputs["member"], "test", 5) for s in specs]
    torch.randn(9)  # what was drawn before has no say
    first, *others = [task_of(3) for _, task_of in shown]
    for other in others:
        for name in ("support_x", "support_y", "query_x", "query_y"):
            assert torch.equal(getattr(first, name), getattr(other, name))
    assert first.support_x.shape == (8, 1, 28, 28)
    assert first.support_y.tolist() == [0, 1, 2, 3] * 2


class Fake:
    """Answers with the losses that a table has for a rate; counts what it was asked."""

    at_once = 2

    def __init__(self, losses: dict[float, Sequence[float]]) -> None:
        """Take a loss for each read-out after the first, by rate."""
        self._losses = losses
        self.asked: list[tuple[float, int]] = []

    def answer(self, tasks: Sequence[Task], rate: float, number: int) -> np.ndarray:
        """Return the same losses for every task; before the first step it is far above."""
        self.asked += [(rate, number + place) for place in range(len(tasks))]
        answers_ERM = np.zeros((len(tasks), 3, 2))
        answers_ERM[:, :, 1] = [99.0, *self._losses[rate]]
        return answers_ERM


NAN = float("nan")


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        ({0.3: (1.0, 1.0), 0.05: (1.1, 0.8)}, 0.05),  # the mean of the read-outs after the first
        ({0.3: (0.5, 1.0), 0.05: (1.2, 0.8)}, 0.3),  # not the last one alone
        ({0.3: (1.0, 1.0), 0.05: (1.0, 1.0)}, 0.05),  # of equal ones the smaller
        ({0.3: (0.1, NAN), 0.05: (9.0, 9.0)}, 0.05),  # what diverges counts as infinite
        ({0.3: (0.1, math.inf), 0.05: (9.0, 9.0)}, 0.05),
    ],
)
def test_the_rate_of_least_mean_loss_is_chosen(
    planned: Planned, store: Store, losses: dict[float, Sequence[float]], chosen: float
) -> None:
    """The rate is that of the least mean query loss over tasks and read-outs after a step."""
    spec, fake = evaluation(planned(), "random_init"), Fake(losses)
    found = choose_rate(spec, place_in(store), cast(Pupil, fake), lambda step, values: None)
    assert found.rate == chosen
    assert {number for _, number in fake.asked} <= {0, 1, 2}
    shown = dict(found.described)
    assert [rate for rate, loss in shown.items() if loss is None] == [
        rate for rate in sorted(losses) if not np.isfinite(losses[rate]).all()
    ]


def test_where_every_rate_diverges_nothing_is_chosen(planned: Planned, store: Store) -> None:
    """Without a rate whose losses are finite the stage ends as not finite."""
    spec, fake = evaluation(planned(), "random_init"), Fake({0.3: (NAN, 1), 0.05: (NAN, 1)})
    with pytest.raises(Diverged, match="under every rate of the grid"):
        choose_rate(spec, place_in(store), cast(Pupil, fake), lambda step, values: None)


def test_a_rate_that_diverges_is_told_as_null(planned: Planned, store: Store) -> None:
    """A rate without a finite loss is in the manifest as null, and never the one that is used."""
    plan = planned(("rates: [0.3, 0.05]", "rates: [1.0e+300, 0.05]"), ("seeds: 2", "seeds: 1"))
    spec = evaluation(plan, "random_init")
    perform(spec, place_in(store))
    manifest = store.manifest("evaluate", spec.key)
    assert manifest["rate"] == 0.05
    assert [rate for rate, loss in manifest["rate_losses"] if loss is None] == [1e300]


def test_the_rate_is_chosen_without_the_new_task(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of the choice are of the training family and the validation split, in turn."""
    met: list[tuple[str, str]] = []

    def watched(inputs: object, place: object, member: dict[str, str], split: str, count: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- as the function it stands for
        bank, task_of = new_tasks(inputs, place, member, split, count)  # type: ignore[arg-type]

        def noted(task: int) -> Task:
            met.append((member["name"], split))
            return task_of(task)

        return bank, noted

    monkeypatch.setattr("bench.stages.few_steps.new_tasks", watched)
    perform(evaluation(planned(), "random_init"), place_in(store))
    assert met[:3] == [("jigsaw", "val"), ("recolour", "val"), ("jigsaw", "val")]
    assert met[3:] == [("rotation", "test")] * 5


def test_an_interrupted_evaluation_goes_on(planned: Planned, tmp_path: Path) -> None:
    """Stopped after some tasks and taken up again, it chooses nothing anew and ends the same."""
    spec = evaluation(planned(), "random_init")
    whole, other = Store(tmp_path / "whole"), Store(tmp_path / "other")
    whole.prepare()
    other.prepare()
    perform(spec, place_in(whole))

    class Stop(BaseException):
        pass

    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 2 * 3 + 3:
            raise Stop

    stopping = Place(store=other, device=torch.device("cpu"), emit=emit, checkpoint_seconds=0)
    with pytest.raises(Stop):
        perform(spec, stopping)
    heard: list[Event] = []
    perform(spec, place_in(other, heard))

    assert isinstance(heard[0], Started)
    assert (heard[0].step, heard[0].total) == (2 * 3 + 2, 2 * 3 + 5)
    first, second = (one.manifest("evaluate", spec.key) for one in (whole, other))
    same = ("metrics", "curve", "bank", "rate", "rate_losses")
    assert [first[name] for name in same] == [second[name] for name in same]
    assert first["cost"]["examples"] == second["cost"]["examples"]
    files = [one.read("evaluate", spec.key, "episodes.parquet") for one in (whole, other)]
    assert files[0] == files[1]


def test_every_pass_is_counted(planned: Planned, store: Store) -> None:
    """The cost counts supports in every step and, with the queries, at every read-out."""
    spec = evaluation(planned(), "random_init")
    perform(spec, place_in(store))
    tasks, support, queries = 2 * 3 + 5, 4 * 2, 4 * 3
    each = 3 * support + 3 * (support + queries)
    assert store.manifest("evaluate", spec.key)["cost"]["examples"] == tasks * each


@pytest.mark.usefixtures("_double")
def test_tasks_at_once_are_tasks_one_by_one(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through vmap, as on a GPU, answers and counts are those of a loop."""
    monkeypatch.setattr("bench.stages.few_steps.channels_last", lambda *_, **__: False)
    spec = evaluation(planned(("seeds: 2", "seeds: 1")), "random_init")
    found = []
    for at_once in (1, 2):
        monkeypatch.setitem(TASKS_AT_ONCE, "cpu", at_once)
        store = Store(tmp_path / str(at_once))
        store.prepare()
        perform(spec, place_in(store))
        manifest = store.manifest("evaluate", spec.key)
        found.append((answers(store, spec), manifest["rate"], manifest["cost"]["examples"]))
    (one, *rest), (two, *same) = found
    assert rest == same
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-9, err_msg=name)
