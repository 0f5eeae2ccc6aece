"""A start adapts to unseen environments as a plain loop would, and a planner drives with it.

Shapes: E environments, R read-outs, S states, Q queries, D numbers of a row.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from pyarrow import BufferReader, parquet
from safetensors.torch import load
from torch import Tensor

from bench.cell import Event, Progress, StageSpec, Started
from bench.contract import AbstractData, Task, Tensors
from bench.dataset import Dataset, Facts, facts, open_dataset
from bench.episodes import draw_environments
from bench.plan import Plan, make_plan
from bench.planner import Planner, planned_runs
from bench.seeds import derive
from bench.stages.control import MEASURES, Driver, choose_rate, environments, measures
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place
from bench.stages.source import read_part
from bench.stages.streams import generator
from bench.store import Store
from bench.suite import read_suite
from bench.weights import WEIGHTS
from bench.worlds import WORLDS, parsed

DATA = "{name: control, family: pendulum, train: 4, val: 3, test: 3, transitions: 30, run: 10}"
SUITE = f"""
name: small
data: {DATA}
encoder: {{name: mlp, width: 8}}
tasks: {{name: environments, queries: 6}}
seeds: 2
shots: [4]
variants:
  - {{label: meta, meta: {{name: maml, order: 1, steps: 1, tasks_per_step: 2}}}}
  - {{label: first, pretext: {{name: next_state, batch_size: 16, rate: 0.01}}, meta: none}}
  - {{label: both, pretext: {{name: next_state, batch_size: 16, rate: 0.01}}, \
meta: {{name: reptile, steps: 2}}}}
budget: {{pretrain_steps: 4, metatrain_steps: 3}}
evaluate:
  protocol: control
  episodes: 3
  queries: 9
  test_steps: 3
  rates: [0.3, 0.05]
  rate_tasks: 2
  planner: {{horizon: 3, population: 8, elites: 2, iterations: 2, real_steps: 4}}
"""
ROWS = ("meta", "first", "both", "random_init")
Planned = Callable[..., Plan]


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return what a plan needs to know of a set."""
    return facts(opened(source, name))


def opened(source: AbstractData, name: str = "control") -> Dataset:
    """Collect the transitions, or take them from the cache."""
    return open_dataset(source, name, None)


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Return a function from changes of the suite's text to its plan."""

    def plan(*changes: tuple[str, str]) -> Plan:
        text = SUITE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "suite.yaml").write_text(text)
        return make_plan(read_suite(tmp_path / "suite.yaml"), facts_of)

    return plan


def fresh(folder: Path) -> Store:
    """Return an empty store."""
    made = Store(folder)
    made.prepare()
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return fresh(tmp_path / "results")


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


def run_all(plan: Plan, store: Store, *kinds: str) -> None:
    """Run every stage of a plan here, or those of some kinds."""
    for spec in plan.stages.values():
        if not kinds or spec.kind in kinds:
            perform(spec, place_in(store))


def answers(store: Store, spec: StageSpec) -> dict[str, np.ndarray]:
    """Return what was measured [E, R] of a finished evaluation, by its name."""
    table = parquet.read_table(BufferReader(store.read("evaluate", spec.key, "episodes.parquet")))
    shape = (spec.inputs["episodes"], len(spec.inputs["readouts"]))
    return {name: table[name].to_numpy().reshape(shape) for name in MEASURES}


def predicted(weights: Tensors, x_B2D: Tensor) -> Tensor:
    """Return what a small network says of transitions."""
    z = x_B2D.flatten(1)
    for layer in (1, 3):
        weight, bias = weights[f"encoder.{layer}.weight"], weights[f"encoder.{layer}.bias"]
        z = torch.tanh(z @ weight.T + bias)
    return z @ weights["head.weight"].T + weights["head.bias"]


def adapted(weights: Tensors, task: Task, rate: float, readouts: Sequence[int]) -> list[Tensors]:
    """Return what steps on a support have made of the weights, by a loop with autograd."""
    found = []
    for step in range(readouts[-1] + 1):
        if step in readouts:
            found.append(weights)
        leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
        loss = ((predicted(leaves, task.support_x) - task.support_y) ** 2).mean()
        slopes = torch.autograd.grad(loss, list(leaves.values()))
        moved = zip(leaves.items(), slopes, strict=True)
        weights = {name: value.detach() - rate * slope for (name, value), slope in moved}
    return found


def start_of(store: Store, spec: StageSpec) -> tuple[Driver, Tensors]:
    """Return a row as its test has it, and copies of its weights."""
    driver = Driver(spec, place_in(store), read_part(spec.inputs["data"]))
    return driver, {name: value.clone() for name, value in driver.model.params.items()}


# --- prediction ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("variant", ROWS)
def test_adaptation_is_that_of_a_plain_loop(planned: Planned, store: Store, variant: str) -> None:
    """From each start, what is explained after every read-out is that of a loop with autograd."""
    plan = planned()
    run_all(plan, store)
    spec = evaluation(plan, variant)
    found, (_, weights) = answers(store, spec), start_of(store, spec)
    rate = store.manifest("evaluate", spec.key)["rate"]
    *_, task_of = environments(spec.inputs, place_in(store), spec.inputs["data"], 3)
    for episode in range(3):
        task = task_of(episode)
        true = task.query_y[:, :3].numpy()
        for readout, own in enumerate(adapted(weights, task, rate, [0, 1, 3])):
            wrong = (predicted(own, task.query_x)[:, :3].numpy() - true) ** 2
            apart = (true - true.mean(0)) ** 2
            explained = 1 - wrong.sum() / apart.sum()
            assert found["error"][episode, readout] == pytest.approx(wrong.mean(), rel=1e-9)
            assert found["explained"][episode, readout] == pytest.approx(explained, rel=1e-9)
    assert not np.allclose(found["error"][:, 1], found["error"][:, 0])


def test_a_trained_head_is_taken_over(planned: Planned, store: Store) -> None:
    """The head of pre-training goes on in meta-training and at test; a fresh one is the seed's."""
    plan = planned()
    run_all(plan, store, "pretrain", "metatrain")
    heads: dict[str, Tensor] = {}
    for variant, kind in (("first", "pretrain"), ("both", "metatrain"), ("meta", "metatrain")):
        spec = evaluation(plan, variant)
        trained = load(store.read(kind, spec.inputs["needs"][kind], WEIGHTS))
        _, weights = start_of(store, spec)
        for name in ("head.weight", "head.bias", "encoder.1.weight"):
            assert torch.equal(weights[name], trained[name])
        heads[variant] = weights["head.weight"]
    # Reptile moves little: had it not started from the head of pre-training, it would be far away.
    near, far = ((heads["both"] - heads[one]).norm() for one in ("first", "meta"))
    assert 0 < near < far / 10
    fresh_heads = [
        start_of(store, evaluation(plan, "random_init", seed))[1]["head.weight"] for seed in (0, 1)
    ]
    assert not torch.equal(*fresh_heads)


@pytest.mark.parametrize(("share", "explained"), [(0.0, 1.0), (1.0, 0.0), (2.0, -3.0)])
def test_what_is_explained_is_relative_to_the_mean(share: float, explained: float) -> None:
    """A perfect prediction explains all, the mean of the queries nothing, worse ones less."""
    changes_EQD = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(1)).double()
    changes_EQD[..., 3] = 0
    mean = changes_EQD.mean(1, keepdim=True)
    guess_ERQD = (changes_EQD + share * (mean - changes_EQD))[:, None].clone()
    guess_ERQD[..., 3] = 99.0  # the action's place: nothing is predicted there
    explained_ER, error_ER = measures(guess_ERQD, changes_EQD, 3)
    np.testing.assert_allclose(explained_ER, np.full((2, 1), explained), atol=1e-12)
    spread_E = (changes_EQD - mean)[..., :3].square().mean((1, 2)).numpy()
    np.testing.assert_allclose(error_ER[:, 0], share**2 * spread_E, atol=1e-12)


# --- the bank -----------------------------------------------------------------------------------


def test_each_environment_is_met_once_and_no_transition_twice() -> None:
    """Episodes are different classes; supports grow with the shots, and hold no query."""
    counts = (12, 9, 10, 11)
    starts = np.concatenate([[0], np.cumsum(counts)])

    def drawn(shots: int, episodes: int = 4) -> tuple[np.ndarray, np.ndarray, str]:
        bank = draw_environments(
            counts, data_digest="d", split="test", shots=shots, queries=5, episodes=episodes
        )
        assert bank.support_ENK.shape == (episodes, 1, shots)
        return bank.support_ENK[:, 0], bank.query_ENQ[:, 0], bank.digest

    support_EK, query_EQ, digest = drawn(4)
    both = np.concatenate([support_EK, query_EQ], 1)
    of = np.searchsorted(starts, both, side="right") - 1
    assert (of == of[:, :1]).all()
    assert sorted(of[:, 0]) == [0, 1, 2, 3]
    assert all(len(set(row)) == 9 for row in both.tolist())
    fewer, same_queries, same_digest = drawn(2)
    assert (fewer == support_EK[:, :2]).all()
    assert (same_queries == query_EQ).all()
    assert same_digest == digest
    first, _, _ = drawn(4, 2)
    assert (first == support_EK[:2]).all()


@pytest.mark.parametrize(
    ("shots", "episodes", "said"), [(4, 3, "3 episodes"), (5, 2, "5 shots . 5")]
)
def test_a_bank_that_cannot_be_is_refused(shots: int, episodes: int, said: str) -> None:
    """More environments than there are, or more transitions than one has, are no bank."""
    with pytest.raises(ValueError, match=said):
        draw_environments(
            (9, 9), data_digest="d", split="test", shots=shots, queries=5, episodes=episodes
        )


def test_rows_and_seeds_meet_the_same_environments(planned: Planned, store: Store) -> None:
    """Bank, resets and the random policy's draws are those of every other row and seed."""
    plan = planned()
    run_all(plan, store)
    specs = [evaluation(plan, variant, seed) for variant in ROWS for seed in (0, 1)]
    assert len({store.manifest("evaluate", one.key)["bank"] for one in specs}) == 1
    random = [answers(store, one)["random_return"][:, [0, -1]] for one in specs]
    for other in random:
        assert np.array_equal(other, random[0])
    assert (random[0][:, 0] == random[0][:, 1]).all()
    assert len(set(random[0][:, 0].tolist())) == 3


# --- the rate -----------------------------------------------------------------------------------


class Fake:
    """Predicts with the errors that a table has for a rate; keeps what it was asked."""

    def __init__(self, errors: Mapping[float, Sequence[float]]) -> None:
        """Take an error for each read-out after the first, by rate."""
        self._errors = errors
        self.asked: list[Sequence[Task]] = []

    def predicted(
        self, tasks: Sequence[Task], rate: float, number: int
    ) -> tuple[np.ndarray, np.ndarray, Tensors]:
        """Return the same errors for every task; before the first step they are far above."""
        self.asked.append(tasks)
        error_ER = np.array([[99.0, *self._errors[rate]]] * len(tasks))
        return 1 - error_ER, error_ER, {}


NAN = float("nan")


@pytest.mark.parametrize(
    ("errors", "chosen"),
    [
        ({0.3: (1.0, 1.0), 0.05: (1.1, 0.8)}, 0.05),  # the mean of the read-outs after the first
        ({0.3: (0.5, 1.0), 0.05: (1.2, 0.8)}, 0.3),  # not the last one alone
        ({0.3: (1.0, 1.0), 0.05: (1.0, 1.0)}, 0.05),  # of equal ones the smaller
        ({0.3: (0.1, NAN), 0.05: (9.0, 9.0)}, 0.05),  # what diverges counts as infinite
        ({0.3: (0.1, math.inf), 0.05: (9.0, 9.0)}, 0.05),
    ],
)
def test_the_rate_of_least_mean_error_is_chosen(
    planned: Planned, store: Store, errors: Mapping[float, Sequence[float]], chosen: float
) -> None:
    """It is that of the least mean error, over validation environments and read-outs."""
    spec, fake = evaluation(planned(), "random_init"), Fake(errors)
    found = choose_rate(spec, place_in(store), cast(Driver, fake), lambda step, values: None)
    assert found.rate == chosen
    part = read_part({**spec.inputs["data"], "split": "val"})
    known = {bytes(row) for row in part.examples[:, 0]}
    for tasks in fake.asked:
        assert len(tasks) == 2
        assert all(bytes(row.numpy()) in known for one in tasks for row in one.support_x[:, 0])


def test_where_every_rate_diverges_nothing_is_tested(planned: Planned, store: Store) -> None:
    """Without a rate whose errors are finite the stage ends as not finite."""
    spec = evaluation(planned(("[0.3, 0.05]", "[1.0e+25, 1.0e+20]")), "random_init")
    with pytest.raises(Diverged, match="validation environments, under every rate"):
        perform(spec, place_in(store))
    assert not store.has("evaluate", spec.key)


# --- driving ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_double")
def test_the_planner_drives_with_the_model_of_each_environment(
    planned: Planned, store: Store
) -> None:
    """Its returns are those of one environment and one model at a time, adapted by a loop."""
    plan = planned()
    run_all(plan, store)
    spec = evaluation(plan, "first")
    found, (driver, weights) = answers(store, spec)["return"], start_of(store, spec)
    part, data = read_part(spec.inputs["data"]), spec.inputs["data"]["digest"]
    world, rate = WORLDS["pendulum"], store.manifest("evaluate", spec.key)["rate"]
    *_, task_of = environments(spec.inputs, place_in(store), spec.inputs["data"], 3)
    for episode in range(3):
        name = part.classes[part.labels[driver.bank.query_ENQ[episode, 0, 0]]]
        ends = adapted(weights, task_of(episode), rate, [0, 3])
        for place, own in enumerate(ends):

            def following(state: Tensor, action: Tensor, own: Tensors = own) -> Tensor:
                asked = world.asked(state, action)[0]
                return world.moved(state, predicted(own, asked)[None])

            runs = planned_runs(
                following,
                world,
                [parsed(name)],
                Planner(**spec.inputs["planner"]),
                resets=[derive("reset", data, name)],
                rngs=[generator(torch.device("cpu"), "planner", data, name)],
            )
            assert found[episode, [0, -1][place]] == pytest.approx(runs.returns[0], rel=1e-9)
    assert np.isnan(found[:, 1]).all()
    assert not np.allclose(found[:, 0], found[:, -1])


def test_a_model_that_means_nothing_drives_all_the_same(
    planned: Planned, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where imagined states are no numbers, plans are bad ones, and the stage goes on."""

    def senseless(self: Driver, params: Tensors) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda state, action: state * torch.nan

    monkeypatch.setattr(Driver, "_imagining", senseless)
    spec = evaluation(planned(), "random_init")
    perform(spec, place_in(store))
    assert np.isfinite(answers(store, spec)["return"][:, [0, -1]]).all()


# --- the stage ----------------------------------------------------------------------------------


def test_one_spec_has_one_result(planned: Planned, tmp_path: Path) -> None:
    """Two stores end with the same bytes, whatever was drawn before: the trajectories repeat."""
    plan, found = planned(), []
    for name in ("one", "other"):
        store = fresh(tmp_path / name)
        torch.randn(7)
        run_all(plan, store)
        specs = [evaluation(plan, variant) for variant in ROWS]
        found.append([store.read("evaluate", one.key, "episodes.parquet") for one in specs])
    assert found[0] == found[1]


class _Interrupted(Exception):
    pass


def test_an_interrupted_stage_goes_on_bit_by_bit(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a checkpoint between environments it comes to the same bytes, and counts the same."""
    monkeypatch.setattr(Driver, "at_once", 1)
    spec = evaluation(planned(), "random_init")
    whole, parts = fresh(tmp_path / "whole"), fresh(tmp_path / "parts")
    perform(spec, place_in(whole))
    heard: list[Event] = []

    def stop(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Progress) and event.step == 4 + 2:  # two rates, two tasks each
            raise _Interrupted

    # Only what is in a checkpoint before the interruption survives; perform removes it, as a
    # failure's, so the stage itself is interrupted.
    place = Place(store=parts, device=torch.device("cpu"), emit=stop, checkpoint_seconds=0.0)
    from bench.stages.control import control

    with parts.writing(spec.key), pytest.raises(_Interrupted):
        control(spec, place)
    heard.clear()
    perform(spec, place_in(parts, heard))
    (started,) = [one for one in heard if isinstance(one, Started)]
    assert started.step == 4 + 1
    read = [one.read("evaluate", spec.key, "episodes.parquet") for one in (whole, parts)]
    assert read[0] == read[1]
    first, other = (one.manifest("evaluate", spec.key) for one in (whole, parts))
    assert first["cost"]["examples"] == other["cost"]["examples"]
    assert first["rate_losses"] == other["rate_losses"]


def test_the_manifest_says_what_was_measured(planned: Planned, store: Store) -> None:
    """Metrics are the means at the last read-out; a curve has nothing where nothing was driven."""
    plan = planned()
    spec = evaluation(plan, "random_init")
    perform(spec, place_in(store))
    manifest, found = store.manifest("evaluate", spec.key), answers(store, spec)
    assert manifest["metrics"] == {
        name: pytest.approx(found[name][:, -1].mean()) for name in MEASURES
    }
    assert manifest["curve"]["steps"] == [0, 1, 3]
    assert manifest["curve"]["return"][1] is None
    assert manifest["rate"] in (0.3, 0.05)
    assert [rate for rate, _ in manifest["rate_losses"]] == [0.05, 0.3]


def test_a_rows_audit_finds_that_predictions_stand_alone(planned: Planned, store: Store) -> None:
    """No prediction depends on other queries; numbers have no names to follow."""
    plan = planned()
    run_all(plan, store)
    audits = [
        spec for spec in plan.stages.values() if spec.kind == "audit" and "norm" in spec.inputs
    ]
    assert len(audits) == len(ROWS)
    for spec in audits:
        manifest = store.manifest("audit", spec.key)
        assert not manifest["transduction"]["dependent"]
        assert manifest["metrics"].keys() == {"transduction"}
        assert "naming" not in manifest


# --- what makes no sense ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("meta: protonet", "protonet learns classes, of transitions numbers are predicted"),
        ("meta: r2d2", "r2d2 learns classes"),
        ("meta: joint", "joint learns classes"),
        ("meta: maml, tasks: labels", "labels makes tasks of classes, of transitions numbers"),
        (
            "meta: maml, tasks: {name: clusters, pretext: none, k: 6}",
            "clusters makes tasks of classes",
        ),
        ("meta: none, init: supervised", "supervised learns classes"),
        ("meta: none, pretext: rotation", "rotation is made for image data"),
        (
            "meta: maml, auxiliary: {pretext: next_state}",
            "the auxiliary next_state sees what tasks show, which hides what is predicted",
        ),
        (
            "meta: none, pretext: next_state, selection: {name: label_val}",
            "label_val tests on episodes of classes",
        ),
        (
            "meta: none, pretext: next_state, selection: {name: pseudo_val}",
            "pseudo_val tests on episodes of classes",
        ),
        ("meta: maml, selection: {name: pretext_val}", "pretext_val needs a loss without labels"),
    ],
)
def test_what_learns_classes_is_declined(planned: Planned, variant: str, reason: str) -> None:
    """Rows that tell classes apart are dropped, and the plan says why."""
    plan = planned(("variants:\n", f"variants:\n  - {{label: odd, {variant}}}\n"))
    assert "odd" not in {cell.variant for cell in plan.cells}
    (said,) = [one.reason for one in plan.dropped if one.variant == "odd"]
    assert reason in said


@pytest.mark.parametrize("meta", ["anil", "boil", "meta_sgd", "imaml", "maml", "reptile"])
def test_what_learns_numbers_is_kept(planned: Planned, meta: str) -> None:
    """Methods of gradient steps learn environments; rows of them have seen no labels."""
    plan = planned(("variants:\n", f"variants:\n  - {{label: odd, meta: {meta}}}\n"))
    assert {cell.labels for cell in plan.cells if cell.variant == "odd"} == {"none"}


def test_pre_training_may_be_selected_by_its_own_loss(planned: Planned) -> None:
    """The loss of next_state on validation environments needs no classes."""
    row = "variants:\n  - {label: odd, meta: none, selection: pretext_val, \
pretext: {name: next_state, batch_size: 16}}\n"
    assert "odd" in {cell.variant for cell in planned(("variants:\n", row)).cells}


def test_environments_are_only_of_transitions(planned: Planned) -> None:
    """Images have no environments, whose transitions could be predicted."""
    with pytest.raises(Exception, match="environments is made for transition data"):
        planned((f"data: {DATA}", "data: glyphs"), ("{name: mlp, width: 8}", "conv4"))
