"""A search among pretexts: equal shares, one criterion, the best encoder, exact resumption."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from bench.catalogue import build, rebuild
from bench.cell import Event, Progress, StageSpec, Started
from bench.contract import AbstractPretext, AbstractSearch, Task
from bench.dataset import Dataset, facts
from bench.errors import UserError
from bench.inner import prototypical_loss
from bench.mirror import content as mirrored
from bench.mirror import stage_child
from bench.plan import Plan, make_plan
from bench.report.comparison import blocks
from bench.report.figures.learning import learning_figure
from bench.report.results import read_results
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place
from bench.stages.search import candidates
from bench.store import Store
from bench.suite import read_suite

HEAD = """
name: search
data: glyphs
encoder: {name: conv4, width: 4}
shots: 1
seeds: 2
evaluate: {episodes: 4, queries: 2}
"""
SINGLES = "candidates: [{name: rotation, batch_size: 8}, {name: simclr, batch_size: 8}]"
FAR = "{name: rotation, batch_size: 8, rate: 1.0e30}"  # diverges
PLAIN = "{name: rotation, batch_size: 8}"
DIVERGING = f"candidates: [{PLAIN}, {FAR}]"
MIXTURE = "{name: mixture, members: [rotation, simclr], batch_size: 8}"
SMALL = "episodes: 3, outer_queries: 2"
PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path, glyphs: Dataset) -> PlanOf:
    """Return a function from a search's parameters, and lines of a suite, to its plan."""

    def plan(params: str, budget: str = "pretrain_steps: 8", more: str = "") -> Plan:
        pretext = f"pretext: {{name: best_of, {SMALL}, {params}}}\n"
        (tmp_path / "suite.yaml").write_text(HEAD + pretext + f"budget: {{{budget}}}\n" + more)
        return make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))

    return plan


def spec_of(plan: Plan, seed: int = 0) -> StageSpec:
    """Return the pre-training of a seed of the first row."""
    cell = next(cell for cell in plan.cells if cell.seed == seed)
    return plan.stages[cell.stages["pretrain"]]


def tried_by(spec: StageSpec) -> list[StageSpec]:
    """Return the stages of the candidates."""
    search = rebuild("pretext", spec.inputs["pretext"])
    assert isinstance(search, AbstractSearch)
    return candidates(spec, search)


class Stop(BaseException):
    """What interrupts a stage in these tests."""


def run(spec: StageSpec, store: Store, *, stop_at: int | None = None) -> list[Event]:
    """Run one stage, and return its events; ``stop_at`` interrupts it at that step."""
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.step == stop_at:
            raise Stop

    store.prepare()
    perform(spec, Place(store=store, device=torch.device("cpu"), emit=emit, checkpoint_seconds=0))
    return events


def weights(store: Store, spec: StageSpec) -> dict[str, Tensor]:
    """Return the encoder of a stage."""
    return load(store.read(spec.kind, spec.key, "weights.safetensors"))


def test_the_best_candidate_is_kept(plan_of: PlanOf, tmp_path: Path) -> None:
    """The encoder is that of the candidate of the lowest loss, as its own stage trains it."""
    spec, store = spec_of(plan_of(SINGLES)), Store(tmp_path / "search")
    events = run(spec, store)
    manifest = store.manifest(spec.kind, spec.key)
    losses = manifest["curve"]["loss"]
    assert manifest["curve"]["steps"] == [1, 2]
    assert len(set(losses)) == 2
    assert manifest["metrics"] == {"loss": min(losses), "chosen": losses.index(min(losses))}
    alone = tried_by(spec)[manifest["metrics"]["chosen"]]
    run(alone, Store(tmp_path / "alone"))
    found, expected = weights(store, spec), weights(Store(tmp_path / "alone"), alone)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    told = [event for event in events if isinstance(event, Progress)]
    assert [event.step for event in told] == list(range(1, 9))
    assert {name for event in told for name in event.values} == {"candidate/loss"}
    assert {event.total for event in events if isinstance(event, Progress | Started)} == {8}


def test_a_search_resumes_where_it_was(plan_of: PlanOf, tmp_path: Path) -> None:
    """Interrupted in its second candidate, it trains the first no more, and ends with one bits."""
    spec = spec_of(plan_of(SINGLES))
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    run(spec, whole)
    with pytest.raises(Stop):
        run(spec, parts, stop_at=6)
    events = run(spec, parts)
    steps = [event.step for event in events if isinstance(event, Progress)]
    assert steps[0] in (6, 7)
    found, expected = weights(parts, spec), weights(whole, spec)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    results = [store.manifest(spec.kind, spec.key) for store in (parts, whole)]
    assert results[0]["curve"] == results[1]["curve"]
    assert list(parts.partial(spec.key).parent.glob("*")) == [
        parts.partial(spec.key).with_suffix(".lock")
    ]


def test_a_candidate_that_diverges_is_passed_over(plan_of: PlanOf, tmp_path: Path) -> None:
    """The other is chosen; its images count; curve, report, figure and mirror do without it."""
    plan, store = plan_of(DIVERGING), Store(tmp_path)
    for spec in plan.stages.values():
        run(spec, store)
    spec = spec_of(plan)
    manifest = store.manifest(spec.kind, spec.key)
    loss, gap = manifest["curve"]["loss"]
    assert gap is None
    assert manifest["metrics"] == {"loss": loss, "chosen": 0}
    assert manifest["diverged"] == [1]
    assert manifest["cost"]["examples"] == spec.inputs["budget"]["examples"]
    alone = tried_by(spec)[0]
    run(alone, Store(tmp_path / "alone"))
    found, expected = weights(store, spec), weights(Store(tmp_path / "alone"), alone)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    results = read_results(plan, store)
    marks = [row.marks for row in blocks(results)[0].rows if row.marks]
    named = "rotation (number 1, seed 0), rotation (number 1, seed 1)"
    assert marks == [(f"candidates that diverged, passed over: {named}",)]
    assert learning_figure(results)
    held = mirrored(store, stage_child(spec))
    assert held
    assert {at: v for at, v in held.points.items() if at[1]} == {("pretrain/loss", 1): loss}


def test_a_loss_that_is_not_finite_is_passed_over(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder that trains, but whose episodes have no finite loss, is not chosen."""
    calls = iter(range(6))

    def once_nan(encode: Callable[[Tensor], Tensor], task: Task) -> Tensor:
        return prototypical_loss(encode, task) * (float("nan") if next(calls) == 2 else 1)

    monkeypatch.setattr("bench.stages.search.prototypical_loss", once_nan)
    spec, store = spec_of(plan_of(SINGLES)), Store(tmp_path)
    run(spec, store)
    manifest = store.manifest(spec.kind, spec.key)
    assert manifest["diverged"] == [0]
    assert manifest["metrics"]["chosen"] == 1
    assert manifest["curve"]["loss"] == [None, manifest["metrics"]["loss"]]


def test_a_search_whose_candidates_all_diverge_fails(plan_of: PlanOf, tmp_path: Path) -> None:
    """The reason names each, and nothing of the stage is kept."""
    other = FAR.replace("30", "29")
    spec, store = spec_of(plan_of(f"candidates: [{FAR}, {other}]")), Store(tmp_path)
    reasons = (
        r"every candidate: 0 \(rotation\), the loss is \w+ after . of 4 steps; 1 \(rotation\), "
    )
    with pytest.raises(Diverged, match=reasons):
        run(spec, store)
    assert not store.has(spec.kind, spec.key)
    assert not store.partial(spec.key).exists()


def test_a_diverged_candidate_is_not_trained_again(plan_of: PlanOf, tmp_path: Path) -> None:
    """A search that resumes begins with the candidate after it."""
    spec, store = spec_of(plan_of(f"candidates: [{FAR}, {PLAIN}]")), Store(tmp_path)
    with pytest.raises(Stop):
        run(spec, store, stop_at=6)
    began = [event.step for event in run(spec, store) if isinstance(event, Started)]
    assert len(began) == 1
    assert began[0] in (5, 6)
    assert store.manifest(spec.kind, spec.key)["diverged"] == [0]


def test_shares_are_equal_and_all_images_are_counted(plan_of: PlanOf, glyphs: Dataset) -> None:
    """Each candidate has as many images, the episodes' come off first, and the sum is the row's."""
    for outer, once in (("instances", 0), ("clusters", len(glyphs.part("val").examples))):
        plan = plan_of(f"{SINGLES}, outer: {outer}", "pretrain_examples: 9_000")
        budget = spec_of(plan).inputs["budget"]
        measured = 3 * 5 * (1 + 2)
        share = (9_000 - once - 2 * measured) // 2
        assert [one["steps"] for one in budget["shares"]] == [share // 32, share // 16]
        assert budget["examples"] == once + 2 * measured + sum(
            one["examples"] for one in budget["shares"]
        )
        assert 9_000 - 2 * 32 < budget["examples"] <= 9_000


def test_steps_are_shared_too(plan_of: PlanOf) -> None:
    """A budget of steps is divided among the candidates."""
    budget = spec_of(plan_of(SINGLES, "pretrain_steps: 9")).inputs["budget"]
    assert [one["steps"] for one in budget["shares"]] == [4, 4]
    assert budget["steps"] == 8


def test_random_search_draws_weights_by_the_seed(plan_of: PlanOf) -> None:
    """Each draw has weights of its own, which sum to 1, the same ones again from data and seed."""
    plan = plan_of(f"candidates: [{MIXTURE}], draws: 3")
    found = [
        [one.inputs["pretext"]["params"]["weights"] for one in tried_by(spec_of(plan, seed))]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1]
    assert len({tuple(one) for one in found[0] + found[2]}) == 6
    assert [sum(one) for one in found[0]] == pytest.approx([1, 1, 1])


def test_drawn_weights_are_uniform_over_the_simplex() -> None:
    """Of three weights each has the mean 1/3 and the variance 1/18 of Dirichlet(1, 1, 1)."""
    members = ["rotation", "simclr", "position"]
    mixture = build("pretext", "mixture", {"members": members}, "here")
    assert isinstance(mixture, AbstractPretext)
    rng = torch.Generator().manual_seed(0)
    drawn = torch.tensor([mixture.drawn(rng).weights for _ in range(2000)])  # type: ignore[attr-defined]
    assert drawn.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert drawn.var(0).tolist() == pytest.approx([1 / 18] * 3, rel=0.1)


@pytest.mark.parametrize(("outer", "labels"), [("clusters", "none"), ("labels", "validation")])
def test_a_row_says_what_it_was_chosen_by(plan_of: PlanOf, outer: str, labels: str) -> None:
    """A search by episodes of true classes has seen the validation split's labels."""
    assert plan_of(f"{SINGLES}, outer: {outer}").cells[0].labels == labels


def test_a_search_by_a_loss_of_its_own_is_not_selected_by_it(plan_of: PlanOf) -> None:
    """The rule pretext_val has no one loss to compare snapshots by."""
    with pytest.raises(UserError, match="validation episodes change this one"):
        plan_of(SINGLES, more="selection: pretext_val\n")


def test_meta_training_starts_from_the_best(plan_of: PlanOf, tmp_path: Path) -> None:
    """What is trained or tested on a search takes its encoder as of any pre-training."""
    plan = plan_of(
        SINGLES,
        "pretrain_steps: 8, metatrain_steps: 2",
        "meta: {name: protonet, task_ways: 3, task_shots: 1, task_queries: 2}\n",
    )
    store = Store(tmp_path)
    for key in plan.cells[0].stages.values():
        run(plan.stages[key], store)
    evaluated = plan.cells[0].stages["evaluate"]
    assert 0 <= store.manifest("evaluate", evaluated)["metrics"]["accuracy"] <= 1


def test_a_batch_of_a_candidate_fits_the_split(plan_of: PlanOf) -> None:
    """The plan checks each candidate as it would alone."""
    with pytest.raises(UserError, match="batch_size 99999"):
        plan_of("candidates: [rotation, {name: simclr, batch_size: 99999}]")


def test_joint_pretexts_joins_what_a_search_tries(plan_of: PlanOf) -> None:
    """The control joins the candidates, those of a mixture among them, never the search."""
    plan = plan_of(f"candidates: [position, {MIXTURE}]", more="controls: [joint_pretexts]\n")
    joint = next(cell for cell in plan.cells if cell.control == "joint_pretexts")
    members = [one["name"] for one in joint.params["pretext.members"]]
    assert members == ["position", "rotation", "simclr"]
