"""From a suite to cells and the stages they share: what decides a key, and what does not."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cell import Cell, StageSpec
from bench.contract import AbstractData
from bench.dataset import Facts
from bench.form import Form
from bench.plan import Plan, make_plan
from bench.suite import read_suite, with_options
from bench.tested import readouts

SUITES = Path(__file__).parents[1] / "suites"
HEAD = "name: small\ndata: glyphs\n"
PlanOf = Callable[..., Plan]


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of a set that is not there: 64, 16 and 20 classes of 600 examples."""
    counts = {split: (600,) * classes for split, classes in SIZES.items()}
    shape = (1, 28, 28) if name == "glyphs" else (3, 32, 32)
    return Facts(form=Form(shape=shape, modality="image"), counts=counts, digest="0" * 64)


SIZES = {"train": 64, "val": 16, "test": 20}


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """Return a function from a suite's text (after its name and data) and options to its plan."""

    def plan(text: str, head: str = HEAD, **options: object) -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(head + text)
        return make_plan(with_options(read_suite(path), **options), facts_of)  # type: ignore[arg-type]

    return plan


def keys(plan: Plan, kind: str) -> set[str]:
    """Return the keys of a plan's stages of one kind."""
    return {key for key, spec in plan.stages.items() if spec.kind == kind}


def labels(plan: Plan) -> list[str]:
    """Return a plan's variants in order, each once."""
    return list(dict.fromkeys(cell.variant for cell in plan.cells))


def cell(plan: Plan, variant: str, *, shots: int = 1, seed: int = 0) -> Cell:
    """Return the one cell of a variant, shots and seed."""
    (found,) = [
        one for one in plan.cells if (one.variant, one.shots, one.seed) == (variant, shots, seed)
    ]
    return found


def test_one_key_is_pinned() -> None:
    """A key is the hash of canonical JSON: this one may never change, or old results are lost."""
    spec = StageSpec(
        kind="pretrain",
        inputs={"seed": 0, "needs": {}, "pretext": {"name": "rotation", "params": {"rate": 0.001}}},
    )
    assert spec.key == "18a1ce13a9f32a8e84c341a2e7e0c227370f9e34efc8773e08ba739af6825c4e"


def test_one_resolved_key_is_pinned(plan_of: PlanOf) -> None:
    """The key of the plainest cell: it changes only with a note under *Numbers changed*."""
    plan = plan_of("meta: none\nshots: 1\nseeds: 1\n")
    tested = [key for key, spec in plan.stages.items() if spec.kind != "audit"]
    assert tested == ["31dedb138eeedb59fcabebc5b4e71129b010c5c51655aca8862be0678750b7d8"]


def test_keys_ignore_the_order_of_inputs_and_the_kind_of_number() -> None:
    """Inputs in another order, and 1 beside 1.0, give the same key; another kind does not."""
    one = StageSpec(kind="pretrain", inputs={"a": 1, "b": [1, 2], "needs": {}})
    assert one.key == StageSpec(kind="pretrain", inputs={"needs": {}, "b": [1, 2], "a": 1.0}).key
    assert one.key != StageSpec(kind="metatrain", inputs=one.inputs).key
    assert one.key != StageSpec(kind="pretrain", inputs={**one.inputs, "b": [2, 1]}).key


def test_needs_are_the_keys_below() -> None:
    """A stage needs what its inputs name, and nothing where they name None."""
    spec = StageSpec(kind="evaluate", inputs={"needs": {"pretrain": None, "metatrain": "k"}})
    assert spec.needs == ("k",)


def test_what_is_shared(plan_of: PlanOf) -> None:
    """P pretexts and S seeds make P*S pre-trainings; test shots share all that is trained."""
    plan = plan_of(
        "grid: {pretext: [none, rotation, simclr], meta: [none, protonet, maml],"
        " shots: [1, 5], seeds: 3}\n"
    )
    assert Counter(spec.kind for spec in plan.stages.values()) == {
        "pretrain": 2 * 3,
        "metatrain": 3 * 2 * 3,
        "evaluate": 9 * 2 * 3,
        "audit": 1 + 9,
    }
    assert len(plan.cells) == 9 * 2 * 3


def test_each_cell_names_its_path(plan_of: PlanOf) -> None:
    """A cell's stages are in the plan, and each builds on the one before."""
    plan = plan_of("pretext: rotation\nmeta: maml\nshots: 1\nseeds: 1\n")
    stages = cell(plan, "rotation + maml").stages
    assert list(stages) == ["pretrain", "metatrain", "evaluate"]
    needs = [plan.stages[key].needs for key in stages.values()]
    assert needs == [(), (stages["pretrain"],), (stages["metatrain"],)]
    assert list(cell(plan, "random_init").stages) == ["evaluate"]


def test_seeds_come_first(plan_of: PlanOf) -> None:
    """Seed 0 of every variant runs before seed 1 of any, in the order that the suite gives."""
    plan = plan_of("grid: {meta: [protonet, maml], shots: [5, 1], seeds: [7, 3]}\n")
    assert [one.seed for one in plan.cells] == [7] * 6 + [3] * 6
    of_data, *stages = plan.stages.values()
    assert of_data.inputs["subject"] == "data"
    seeds = [spec.inputs["seed"] for spec in stages]
    assert seeds == sorted(seeds, reverse=True)
    assert [one.shots for one in plan.cells[:2]] == [5, 1]
    place = {key: number for number, key in enumerate(plan.stages)}
    assert all(place[need] < place[key] for key, s in plan.stages.items() for need in s.needs)


SAME_KEYS = [
    ("meta: {name: protonet, rate: 1}", "meta: {name: protonet, rate: 1.0}"),
    ("meta: protonet", "meta: {name: protonet, task_ways: 20}"),  # a default written out
    ("meta: protonet", "margin: 0.05\nmeta: protonet"),
    ("meta: protonet", "variants: [{label: another name, meta: protonet}]"),
    ("meta: protonet", "meta: protonet\nbaseline: random_init"),
    ("meta: protonet", "meta: protonet\nbudget: {metatrain_steps: 2500}"),  # 400 images a step
    ("meta: protonet", "meta: protonet\nbudget: {metatrain_examples: 1_000_399}"),
    ("meta: protonet", "grid: {meta: [protonet]}"),
    ("meta: protonet", "meta: protonet\ntasks: labels"),
]


@pytest.mark.parametrize(("one", "other"), SAME_KEYS)
def test_the_same_work_has_the_same_keys(plan_of: PlanOf, one: str, other: str) -> None:
    """Labels, margins, baselines and other ways of saying the same are in no key."""
    assert set(plan_of(one).stages) == set(plan_of(other).stages)


OTHER_KEYS = [
    ("meta: {name: protonet, rate: 0.1}", {"metatrain", "evaluate"}),
    ("meta: protonet\nencoder: {name: conv4, width: 32}", {"metatrain", "evaluate"}),
    ("meta: protonet\nways: 4", {"evaluate"}),  # protonet trains with 20 ways of its own
    ("meta: protonet\nshots: [2]", {"evaluate"}),
    ("meta: protonet\nevaluate: {episodes: 100}", {"evaluate"}),
    ("meta: protonet\nevaluate: {queries: 14}", {"evaluate"}),
    ("meta: protonet\nnorm: support", {"metatrain", "evaluate"}),
    ("meta: protonet\ntasks: {name: labels, queries: 14}", {"metatrain", "evaluate"}),
    ("meta: protonet\ntasks: {name: labels, shots: 4}", {"metatrain", "evaluate"}),
    ("meta: protonet\nbudget: {metatrain_examples: 999_000}", {"metatrain", "evaluate"}),
    ("meta: protonet\nseeds: [9]", {"metatrain", "evaluate"}),
]


@pytest.mark.parametrize(("text", "changed"), OTHER_KEYS)
def test_other_work_has_other_keys(plan_of: PlanOf, text: str, changed: set[str]) -> None:
    """Whatever decides a stage's result changes its key, and no key of a stage before it."""
    one, other = plan_of("meta: protonet"), plan_of(text)
    for kind in ("metatrain", "evaluate"):
        trained = {key for key in keys(one, kind) if one.stages[key].needs or kind == "metatrain"}
        kept = trained & keys(other, kind)
        assert not kept if kind in changed else kept == trained


def test_what_a_method_uses_is_in_its_keys_alone(plan_of: PlanOf) -> None:
    """Test steps count for methods that take them, a policy where there are augmented views."""
    for text, other, same in (
        ("meta: protonet", "evaluate: {test_steps: 9}", True),
        ("meta: maml", "evaluate: {test_steps: 9}", False),
        ("meta: protonet", "augment: none", True),
        ("pretext: rotation", "augment: none", True),
        ("pretext: simclr", "augment: {name: affine, degrees: 5}", False),
        ("meta: maml\ntasks: instances", "augment: {name: affine, degrees: 5}", False),
    ):
        controls = set(plan_of("meta: none").stages)
        one, two = (set(plan_of(t).stages) - controls for t in (text, f"{text}\n{other}"))
        assert (one == two) is same


def test_test_shots_are_in_a_training_only_when_they_match(plan_of: PlanOf) -> None:
    """`tasks: {shots: match}` trains once for each number of test shots, else once for all."""
    text = "meta: protonet\nshots: [1, 5]\nseeds: 1\n"
    assert len(keys(plan_of(text), "metatrain")) == 1
    matched = plan_of(f"{text}tasks: {{name: labels, shots: match}}\n")
    assert len(keys(matched, "metatrain")) == 2
    trained = [matched.stages[key].inputs["task"] for key in keys(matched, "metatrain")]
    assert sorted(task["shots"] for task in trained) == [1, 5]


def test_norm_is_not_in_a_pretraining(plan_of: PlanOf) -> None:
    """Pre-training is shared by methods of different norms: whose statistics count comes later."""
    plans = [plan_of(f"pretext: rotation\nnorm: {n}\nseeds: 1\n") for n in ("running", "support")]
    assert keys(plans[0], "pretrain") == keys(plans[1], "pretrain")
    assert len(keys(plans[0], "evaluate") & keys(plans[1], "evaluate")) == 2  # the control's
    mixed = plan_of("grid: {pretext: [rotation], meta: [protonet, maml], seeds: 1}")
    assert len(keys(mixed, "pretrain")) == 1


def test_nothing_of_the_machine_is_in_a_key(plan_of: PlanOf) -> None:
    """No input names a device, a worker, a path, a label, a time or a version."""
    plan = plan_of("variants: [{label: zebra, pretext: rotation, meta: maml}]\nseeds: 1\n")
    text = json.dumps([dict(spec.inputs) for spec in plan.stages.values()])
    for word in ("device", "worker", "suite.yaml", "zebra", "cpu", "torch", "label_", "2.1"):
        assert word not in text


def test_a_plan_survives_json(plan_of: PlanOf) -> None:
    """A plan written as JSON and read again is equal, keys included."""
    plan = plan_of(
        "grid: {pretext: [none, rotation], init: [scratch, pretext], meta: [none, maml]}\n"
        "tasks: {name: labels, shots: match}\ncontrols: [raw_neighbour]\n"
    )
    written = json.loads(json.dumps(plan.to_json()))
    again = Plan.from_json(written)
    assert again == plan
    assert again.to_json() == written
    assert list(again.stages) == list(plan.stages)
    assert all(key == spec.key for key, spec in again.stages.items())
    assert plan.dropped


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, [0, 1]), (2, [0, 1, 2]), (5, [0, 1, 3, 5]), (10, [0, 1, 3, 5, 10]), (7, [0, 1, 3, 5, 7])],
)
def test_readouts(steps: int, expected: list[int]) -> None:
    """Accuracy is read after 0, 1, 3, 5, 10, 20, 50, 100 steps and last after the suite's."""
    assert readouts(steps) == expected
    assert readouts(100) == [0, 1, 3, 5, 10, 20, 50, 100]


def test_cifar_fewshot_pretrains_each_pretext_and_seed_once() -> None:
    """The user's own suite: 17 variants and the floor, 3 x 5 pre-trainings, every row there."""
    plan = make_plan(read_suite(SUITES / "cifar_fewshot.yaml"), facts_of)
    pretrained = [s.inputs for s in plan.stages.values() if s.kind == "pretrain"]
    assert Counter((one["pretext"]["name"], one["seed"]) for one in pretrained) == {
        (pretext, seed): 1 for pretext in ("rotation", "position", "simclr") for seed in range(5)
    }
    rows = Counter((one.pretext, one.meta, one.tasks) for one in plan.cells)
    assert len(rows) == 17
    assert set(rows.values()) == {2 * 5}
    assert plan.settings["baseline"] == {"train": "none + protonet", "none": "random_init"}
    assert cell(plan, "UMTRA").labels == "none"
    assert plan.dropped == ()
    assert plan.warnings == (
        "UMTRA: two of a task's 5 examples are of one true class with probability 0.148"
        " (64 training classes)",
    )


def test_quickstart_is_planned_as_the_issue_says() -> None:
    """Two pretexts by three metas by two shots by five seeds, the grid's none + none the floor."""
    plan = make_plan(read_suite(SUITES / "quickstart.yaml"), facts_of)
    assert len(plan.cells) == 2 * 3 * 2 * 5
    assert labels(plan)[:2] == ["random_init", "none + protonet"]
    assert len(keys(plan, "pretrain")) == 5
