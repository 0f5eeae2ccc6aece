"""What a suite with a protocol comes to: its keys, rows, labels, stages, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cell import Cell
from bench.contract import AbstractData
from bench.dataset import Facts
from bench.errors import UserError
from bench.form import Form
from bench.options import Options
from bench.plan import Plan, make_plan
from bench.report.preview import plan_text
from bench.store import Store
from bench.suite import read_suite, with_options

HEAD = "name: stream\ndata: glyphs\nways: 4\nshots: 5\nseeds: 2\n"
EVALUATE = "evaluate: {protocol: continual, groups: 3, episodes: 6, queries: 5, test_steps: 7"
STREAM = f"{EVALUATE}, rates: [0.1, 0.3], rate_tasks: 4}}\n"
GRID = "grid: {pretext: [none, rotation], strategy: [naive, replay, prototypes]}\n"
PlanOf = Callable[..., Plan]


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of a set that is not there: 64, 16 and 20 classes of 24 examples."""
    sizes = {"train": 64, "val": 16, "test": 20}
    counts = {split: (24,) * classes for split, classes in sizes.items()}
    return Facts(form=Form(shape=(1, 28, 28), modality="image"), counts=counts, digest="0" * 64)


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """Return a function from a suite's text (after its head) and options to its plan."""

    def plan(text: str = STREAM + GRID, head: str = HEAD, **options: object) -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(head + text)
        return make_plan(with_options(read_suite(path), **options), facts_of)  # type: ignore[arg-type]

    return plan


def cells_of(plan: Plan, seed: int = 0) -> dict[str, Cell]:
    """Return the cells of a seed by the label of their row."""
    return {cell.variant: cell for cell in plan.cells if cell.seed == seed}


def test_each_strategy_is_a_row_from_each_start(plan_of: PlanOf) -> None:
    """A grid of starts and strategies has a row for each pair, told apart by its label."""
    cells = cells_of(plan_of())
    assert {label: one.strategy for label, one in cells.items()} == {
        "random_init (naive)": "naive",
        "random_init (replay)": "replay",
        "random_init (prototypes)": "prototypes",
        "rotation + none (naive)": "naive",
        "rotation + none (replay)": "replay",
        "rotation + none (prototypes)": "prototypes",
    }


def test_strategies_share_what_comes_before(plan_of: PlanOf) -> None:
    """A strategy matters at test alone: pre-training is one stage for all of them."""
    plan = plan_of()
    trained = {
        one.stages["pretrain"] for one in cells_of(plan).values() if "pretrain" in one.stages
    }
    assert len(trained) == 1
    assert sum(spec.kind == "pretrain" for spec in plan.stages.values()) == 2  # of two seeds


def test_a_stream_is_described_in_its_stage(plan_of: PlanOf) -> None:
    """The key of a test along a stream holds all that decides it, and no method of its own."""
    plan = plan_of()
    inputs = plan.stages[cells_of(plan)["rotation + none (replay)"].stages["evaluate"]].inputs
    assert inputs["protocol"] == "continual"
    assert inputs["strategy"]["name"] == "replay"
    assert (inputs["scenario"], inputs["groups"], inputs["steps"]) == ("class", 3, 7)
    assert inputs["readouts"] == [1, 2, 3]
    assert (inputs["rates"], inputs["rate_tasks"]) == ([0.1, 0.3], 4)
    assert (inputs["data"]["split"], inputs["rate_data"]["split"]) == ("test", "val")
    assert inputs["norm"] == "group"
    assert "meta" not in inputs


def test_a_rate_that_is_chosen_saw_validation_labels(plan_of: PlanOf) -> None:
    """Rows whose rate is chosen on validation classes say so; such as take no steps do not."""
    labels = {label: one.labels for label, one in cells_of(plan_of()).items()}
    assert labels["rotation + none (naive)"] == "validation"
    assert labels["rotation + none (prototypes)"] == "none"
    one = plan_of(f"{EVALUATE}, rates: [0.1]}}\n" + GRID)
    assert {cell.labels for cell in one.cells} == {"none"}


def test_what_decides_nothing_is_in_no_key(plan_of: PlanOf) -> None:
    """The order of rates has no say, nor rates where none is chosen: such stages stay valid."""

    def keys(plan: Plan, strategy: str) -> set[str]:
        return {one.stages["evaluate"] for one in plan.cells if one.strategy == strategy}

    usual = plan_of()
    turned = plan_of(f"{EVALUATE}, rates: [0.3, 0.1], rate_tasks: 4}}\n" + GRID)
    other = plan_of(f"{EVALUATE}, rates: [0.3, 1], rate_tasks: 5}}\n" + GRID)
    assert keys(usual, "naive") == keys(turned, "naive")
    assert keys(usual, "naive").isdisjoint(keys(other, "naive"))
    assert keys(usual, "prototypes") == keys(other, "prototypes")


def test_validation_classes_are_needed_where_a_rate_is_chosen(plan_of: PlanOf) -> None:
    """Streams longer than the validation split allows are tested at one rate, or at none."""
    long = EVALUATE.replace("groups: 3", "groups: 5")
    assert plan_of(f"{long}, rates: [0.1]}}\n" + GRID).cells
    assert plan_of(f"{long}}}\npretext: rotation\nstrategy: prototypes\n").cells


def test_a_floor_stands_beside_pre_training_that_goes_on(plan_of: PlanOf) -> None:
    """An untrained network has no pretext to go on with: its floor learns by the rest of it."""
    goes_on = "strategy: {name: prototypes, pretext_steps: 2}\npretext: rotation\n"
    cells = cells_of(plan_of(STREAM + goes_on))
    assert cells["random_init"].params["strategy.pretext_steps"] == 0


def test_more_is_kept_than_is_shown(plan_of: PlanOf) -> None:
    """A memory that groups cannot fill is the same as a smaller one: the plan says so."""
    plan = plan_of(STREAM + "strategy: {name: replay, kept: 6}\nmeta: none\n")
    assert "random_init keeps 6 examples of each class, and is shown 5" in plan.warnings


def test_settings_tell_the_report_of_the_stream(plan_of: PlanOf) -> None:
    """The plan holds what a report has to know of a protocol, and no more in other suites."""
    settings = plan_of().settings
    assert (settings["protocol"], settings["scenario"]) == ("continual", "class")
    assert (settings["groups"], settings["readouts"]) == (3, [1, 2, 3])
    assert "protocol" not in plan_of("grid: {pretext: [none, rotation]}\n").settings


def test_domains_are_the_classes_of_a_pretext(plan_of: PlanOf) -> None:
    """In scenario domain there are as many groups as a pretext has ways to show an example."""
    own = "evaluate: {protocol: continual, scenario: domain, domains: rotation, episodes: 6"
    plan = plan_of(f"{own}, queries: 1}}\nshots: 2\n" + GRID, head=HEAD.replace("shots: 5\n", ""))
    inputs = plan.stages[cells_of(plan)["random_init (naive)"].stages["evaluate"]].inputs
    assert inputs["groups"] == 4
    assert inputs["domains"]["name"] == "rotation"


def test_methods_that_differ_at_test_alone_are_dropped(plan_of: PlanOf) -> None:
    """Every start takes the same steps, so a row's own way to adapt would change nothing."""
    text = "grid: {meta: [none, {name: none, head: logistic}, protonet], strategy: [naive]}\n"
    plan = plan_of(STREAM + text)
    assert {"random_init", "none + protonet"} == set(cells_of(plan))
    assert any("every row takes the same steps" in one.reason for one in plan.dropped)


def test_a_start_without_pretext_cannot_go_on_with_it(plan_of: PlanOf) -> None:
    """Where a strategy goes on with pre-training, rows that have none are dropped and named."""
    goes_on = "{name: prototypes, pretext_steps: 2}"
    plan = plan_of(STREAM + f"grid: {{pretext: [none, rotation], strategy: [{goes_on}, naive]}}\n")
    assert [one.reason for one in plan.dropped if "own pretext" in one.reason]
    inputs = [spec.inputs for spec in plan.stages.values() if "pretrain_data" in spec.inputs]
    assert inputs
    assert all(one["pretext"]["name"] == "rotation" for one in inputs)


def test_a_pretext_that_validates_cannot_go_on(plan_of: PlanOf) -> None:
    """A search, or what validates as it trains, is no pretext that goes on along a stream."""
    goes_on = "{name: prototypes, pretext_steps: 2}"
    search = "{name: best_of, candidates: [rotation, jigsaw]}"
    plan = plan_of(
        STREAM + f"grid: {{pretext: [rotation, {search}], strategy: [{goes_on}, naive]}}\n"
    )
    (reason,) = [one.reason for one in plan.dropped if "best_of" in one.variant]
    assert "a search among several" in reason


NUMBERS = "data: {name: control, family: pendulum}\ntasks: environments\n"


@pytest.mark.parametrize("test", ["", "evaluate: {protocol: continual, groups: 2}\n"])
def test_numbers_are_tested_by_control_alone(tmp_path: Path, test: str) -> None:
    """What learned to predict numbers is never asked to tell classes apart."""
    path = tmp_path / "suite.yaml"
    path.write_text(f"name: a\n{NUMBERS}{test}meta: {{name: maml, order: 1}}\nways: 4\nshots: 5\n")
    with pytest.raises(UserError) as caught:
        make_plan(read_suite(path), Options().facts_of())
    assert "of which numbers are predicted. Write evaluate: {protocol: control" in str(caught.value)


def test_the_cost_of_control_is_the_planners(tmp_path: Path, plan_of: PlanOf) -> None:
    """What a plan costs is estimated for a small network, and a test by what is imagined there."""
    path, store = tmp_path / "suite.yaml", Store(tmp_path / "results")

    def estimate(population: int) -> str:
        planner = f"{{population: {population}, elites: 2, real_steps: 1000}}"
        own = f"evaluate: {{protocol: control, episodes: 2, queries: 10, planner: {planner}}}\n"
        path.write_text(f"name: a\nshots: 5\nseeds: 1\n{NUMBERS}{own}meta: none\n")
        text = plan_text(make_plan(read_suite(path), Options().facts_of()), store)
        (line,) = [one for one in text.splitlines() if one.startswith("cost: ")]
        assert "else from constants for a small network on one CPU core" in line
        return line.partition("evaluate ")[2].partition(",")[0]

    assert (estimate(100), estimate(1000)) == ("13 s", "2.1 min")  # 7e-7 s for each of 18 million
    streamed = plan_text(plan_of(), store)
    assert "else from constants for Conv4-64 on one CPU core" in streamed


MISTAKES = [
    ("evaluate: {groups: 3}", ":6: evaluate.groups: groups without protocol: continual."),
    ("evaluate: {planner: {horizon: 3}}", ":6: evaluate.planner: planner without protocol:"),
    (
        "evaluate: {protocol: control, planner: {population: 4}}",
        ":6: evaluate.planner: 8 elites of 4 plans. Take fewer, or more plans.",
    ),
    ("strategy: naive", ":6: strategy: a strategy without a stream."),
    (
        f"{EVALUATE.replace(', groups: 3', '')}, scenario: domain, domains: turns}}",
        ":6: evaluate.domains: no pretext is named 'turns'.",
    ),
    ("grid: {strategy: [naive]}", ":6: grid.strategy[0]: a strategy without a stream."),
    (STREAM + "norm: running", ":7: norm: norm running beside protocol continual"),
    (
        STREAM + "strategy: joined",
        ":7: strategy: no strategy is named 'joined'. Did you mean joint",
    ),
    (STREAM + "held_out: [a]\ntasks: {name: pretext, family: [a, b]}", ":7: held_out: held_out be"),
    (STREAM + "tune: {trials: 3}", ":7: tune: tune beside protocol continual"),
    ("evaluate: {protocol: stream}", ":6: evaluate.protocol: 'stream' (text)."),
    ("evaluate: {protocol: control}", ":3: ways: ways beside protocol control."),
    (f"{EVALUATE}, scenario: domain}}", "evaluate.scenario: domain without domains."),
    (f"{EVALUATE}, domains: rotation}}", "evaluate.domains: scenario class."),
    (
        f"{EVALUATE}, scenario: domain, domains: rotation}}",
        "evaluate.groups: groups beside domains.",
    ),
    (f"{EVALUATE.replace('3', '9')}}}", "groups: streams of 36 classes, but the test split"),
    (f"{EVALUATE.replace('3', '5')}}}", "groups: streams of 20 classes, but the val split"),
    (f"{EVALUATE}}}\nshots: 20", "queries: 25 examples of each class in a stream"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_mistake_is_one_line(plan_of: PlanOf, text: str, said: str) -> None:
    """What makes no sense beside a protocol is refused where it stands, with what would work."""
    head = HEAD.replace("shots: 5\n", "") if "shots" in text else HEAD
    named = "pretext: rotation\n" if "strategy" not in text else "meta: none\n"
    with pytest.raises(UserError) as caught:
        plan_of(text + "\n" + named, head=head)
    assert said in str(caught.value)
