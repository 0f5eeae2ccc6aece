"""What suites may say of selection, and what a plan makes of it: keys, labels, names, refusals."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cell import StageKind, StageSpec
from bench.dataset import Dataset, Facts, facts
from bench.errors import UserError
from bench.form import Form
from bench.plan import Plan, make_plan
from bench.suite import LAST, Selection, read_suite

HEAD = """
name: selected
data: glyphs
encoder: {name: conv4, width: 16}
ways: 3
shots: 1
seeds: 1
budget: {pretrain_steps: 6, metatrain_steps: 6}
evaluate: {episodes: 6, queries: 2, test_steps: 1}
"""
PROTONET = "{name: protonet, task_ways: 3, task_shots: 1, task_queries: 2}"
MAML = "{name: maml, order: 1, steps: 1, tasks_per_step: 1, task_shots: 1, task_queries: 2}"
ROTATION = "{name: rotation, batch_size: 8}"
EXAM = "snapshots: 3, episodes: 12, shots: 2, queries: 2, steps: 1"
RULES = {
    "label_val": f"{{name: label_val, {EXAM}}}",
    "pseudo_val": f"{{name: pseudo_val, {EXAM}}}",
    "pretext_val": "{name: pretext_val, snapshots: 3, batches: 2}",
}
TRAININGS: dict[str, tuple[str, StageKind]] = {
    "rotation": (f"pretext: {ROTATION}\n", "pretrain"),
    "protonet": (f"tasks: instances\nmeta: {PROTONET}\n", "metatrain"),
    "maml": (f"tasks: instances\nmeta: {MAML}\n", "metatrain"),
}
Specs = dict[StageKind, StageSpec]
PlanOf = Callable[[str], Plan]


@pytest.fixture
def plan_of(tmp_path: Path, glyphs: Dataset) -> PlanOf:
    """Return a function from what follows a suite's head to its plan."""

    def plan(text: str) -> Plan:
        (tmp_path / "suite.yaml").write_text(HEAD + text)
        return make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))

    return plan


def specs_of(plan: Plan, variant: str | None = None) -> Specs:
    """Return the stages of the first cell, or of a variant's first."""
    cell = next(one for one in plan.cells if variant in (None, one.variant))
    return {plan.stages[key].kind: plan.stages[key] for key in cell.stages.values()}


# --- what a suite may say


def test_a_rule_is_a_name_or_a_mapping(tmp_path: Path) -> None:
    """A bare rule has the documented defaults; a mapping changes what it names."""
    file = tmp_path / "suite.yaml"
    read = []
    for rule in ("label_val", "{name: label_val, shots: 1}", "pretext_val", "pseudo_val", "last"):
        file.write_text(f"name: a\nmeta: maml\nselection: {rule}\n")
        read.append(read_suite(file).combinations[0].selection)
    exam = {"snapshots": 10, "episodes": 100, "shots": 5, "queries": 15, "steps": 5}
    assert read == [
        Selection(name="label_val", params=exam),
        Selection(name="label_val", params=exam | {"shots": 1}),
        Selection(name="pretext_val", params={"snapshots": 10, "batches": 20}),
        Selection(name="pseudo_val", params=exam | {"cluster_size": 60}),
        LAST,
    ]
    assert read[0].where == f"{file}:3: selection"


MISTAKES = [
    ("selection: lable_val", ":3: selection: 'lable_val' (text). Did you mean label_val?"),
    ("selection: {name: best}", ":3: selection: 'best' (text). Known: label_val, last, pretext_"),
    ("selection: 5", ":3: selection: 5. Write one of last, pretext_val, pseudo_val, label_val,"),
    ("selection: {name: 5}", ":3: selection: 5. Use one of last, pretext_val, pseudo_val,"),
    ("selection: {snapshots: 5}", ":3: selection: the name is missing. Write {name: ..., and"),
    ("selection: {name: label_val, episods: 5}", "unknown key 'episods'. Did you mean episodes?"),
    (
        "selection: {name: label_val, batches: 5}",
        ":3: selection: label_val has no parameter 'batches'. It has snapshots, episodes, shots,",
    ),
    ("selection: {name: last, snapshots: 5}", "last has no parameter 'snapshots'. It has none:"),
    ("selection: {name: label_val, snapshots: 1}", "selection.snapshots: 1. It should be greater"),
    ("selection: {name: label_val, shots: 1.5}", "selection.shots: 1.5. It should be a valid int"),
    ("selection: {name: label_val, queries: 0}", "queries: 0. It should be greater than 0."),
    ("selection: {name: label_val, steps: -1}", "steps: -1. It should be greater than or equal"),
    (
        "selection: {name: pseudo_val, cluster_size: 19}",
        "clusters of about 19 examples, but 5 shots + 15 queries of each. Write a larger cluster",
    ),
    ("grid: {selection: [last, {name: last}]}", ":3: grid.selection[1]: the same as"),
    ("selection: last\ngrid: {selection: [label_val]}", "selection also stands in line 3"),
    ("variants: [{selection: lats}]", "variants[0].selection: 'lats' (text). Did you mean last?"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_a_mistake_in_a_rule_is_named(tmp_path: Path, text: str, expected: str) -> None:
    """A rule that is misspelt, mistyped or out of bounds is one error with line and key."""
    file = tmp_path / "suite.yaml"
    file.write_text(f"name: small\nmeta: maml\n{text}\n")
    with pytest.raises(UserError) as caught:
        read_suite(file)
    assert expected in str(caught.value)


# --- what a plan makes of it


def test_last_changes_no_key(plan_of: PlanOf) -> None:
    """A suite that says ``last`` plans the very stages of one that says nothing."""
    text = f"pretext: {ROTATION}\nmeta: {PROTONET}\n"
    plain = plan_of(text)
    assert plain.stages == plan_of(f"{text}selection: last\n").stages
    assert specs_of(plain)["metatrain"].inputs["selection"] == "last"
    assert "selection" not in specs_of(plain)["pretrain"].inputs


@pytest.mark.parametrize("rule", ["label_val", "pseudo_val"])
def test_only_the_stage_that_is_selected_knows_the_rule(plan_of: PlanOf, rule: str) -> None:
    """Pre-training is shared by rules where meta-training follows, and has the rule elsewhere."""
    both = f"grid: {{selection: [last, {RULES[rule]}]}}\npretext: {ROTATION}\n"
    kinds = [spec.kind for spec in plan_of(f"{both}meta: {PROTONET}\n").stages.values()]
    assert [kinds.count(kind) for kind in ("pretrain", "metatrain")] == [1, 2]
    kinds = [spec.kind for spec in plan_of(both).stages.values()]
    assert kinds.count("pretrain") == 2


CHANGES = ["snapshots: 4", "episodes: 5", "shots: 1", "queries: 3"]


@pytest.mark.parametrize("change", [*CHANGES, "cluster_size: 50"])
@pytest.mark.parametrize("method", ["rotation", "protonet"])
def test_the_whole_rule_is_in_the_key(plan_of: PlanOf, method: str, change: str) -> None:
    """Every parameter of a rule that decides what is selected changes the stage's key."""
    text, kind = TRAININGS[method]
    key = change.split(":")[0]
    rule = ", ".join(one for one in EXAM.split(", ") if not one.startswith(key))
    usual = specs_of(plan_of(f"{text}selection: {RULES['pseudo_val']}\n"))[kind]
    other = specs_of(plan_of(f"{text}selection: {{name: pseudo_val, {rule}, {change}}}\n"))[kind]
    assert usual.key != other.key


def test_steps_are_in_the_key_of_a_method_that_takes_them(plan_of: PlanOf) -> None:
    """Steps of the exam decide nothing for prototypes, and something for gradient steps."""
    for method, same in (("rotation", True), ("protonet", True), ("maml", False)):
        text, kind = TRAININGS[method]
        rules = [RULES["label_val"], RULES["label_val"].replace("steps: 1", "steps: 2")]
        one, two = (specs_of(plan_of(f"{text}selection: {rule}\n"))[kind] for rule in rules)
        assert (one.key == two.key) is same


def test_a_rule_is_in_the_cell(plan_of: PlanOf) -> None:
    """A cell's parameters name the rule, plainly, and what it was asked for."""
    plan = plan_of(f"pretext: {ROTATION}\nselection: {RULES['pretext_val']}\n")
    (row,) = [one.params for one in plan.cells if not one.control]
    own = {key: value for key, value in row.items() if key.startswith("selection")}
    assert own == {"selection": "pretext_val", "selection.snapshots": 3, "selection.batches": 2}
    (floor,) = [one.params for one in plan.cells if one.control]
    assert [key for key in floor if key.startswith("selection")] == ["selection"]
    assert floor["selection"] == "last"


def test_an_oracle_has_seen_validation_labels(plan_of: PlanOf) -> None:
    """Validation labels make ``none`` into ``validation``; ``train`` and other rules stay."""
    metas = f"[none, {PROTONET}]"
    text = f"pretext: {ROTATION}\ngrid: {{meta: {metas}, selection: [last, {', '.join(RULES)}]}}\n"
    seen = {
        (one.meta, one.params["selection"]): one.labels
        for one in plan_of(text).cells
        if not one.control
    }
    assert seen == {
        ("none", "last"): "none",
        ("none", "label_val"): "validation",
        ("none", "pseudo_val"): "none",
        ("none", "pretext_val"): "none",
        ("protonet", "last"): "train",
        ("protonet", "label_val"): "train",
        ("protonet", "pseudo_val"): "train",
    }


def test_rows_that_differ_by_their_rule_alone_say_it(plan_of: PlanOf) -> None:
    """The main result keeps the plain name; the others name the rule, and what differs in it."""
    rules = "[last, label_val, {name: pseudo_val, shots: 1}, {name: pseudo_val, shots: 2}]"
    plan = plan_of(f"grid: {{pretext: [none, {ROTATION}], selection: {rules}}}\n")
    assert list(dict.fromkeys(one.variant for one in plan.cells)) == [
        "random_init",
        "rotation + none",
        "rotation + none (label_val)",
        "rotation + none (pseudo_val shots=1)",
        "rotation + none (pseudo_val shots=2)",
    ]
    alone = plan_of(f"pretext: {ROTATION}\nselection: label_val\n")
    assert {one.variant for one in alone.cells} == {"rotation + none", "random_init"}


def test_what_trains_nothing_has_nothing_to_select(plan_of: PlanOf) -> None:
    """Under any rule an untrained row is the floor itself, once, and sees no label."""
    plan = plan_of("meta: none\nselection: label_val\n")
    assert [(one.variant, one.labels) for one in plan.cells] == [("random_init", "none")]


def test_controls_follow_the_main_rule(plan_of: PlanOf) -> None:
    """A control is by ``last`` where any row is, else by the suite's rule; it is planned once."""
    text = f"pretext: {ROTATION}\nmeta: {PROTONET}\ncontrols: [ssl_prototypes]\n"
    mixed = plan_of(f"{text}grid: {{selection: [label_val, last]}}\n")
    alone = plan_of(f"{text}selection: label_val\n")
    for plan, rule in ((mixed, "last"), (alone, "label_val")):
        found = [one for one in plan.cells if one.control == "ssl_prototypes"]
        assert [one.params["selection"] for one in found] == [rule]


def test_the_usual_baseline_is_by_last(plan_of: PlanOf) -> None:
    """Where the suite leaves it open, rows are compared with one of the main results."""
    plan = plan_of(f"grid: {{selection: [label_val, last]}}\nmeta: {PROTONET}\n")
    assert plan.settings["baseline"]["train"] == "none + protonet"


def test_a_pattern_never_picks_among_rules(plan_of: PlanOf) -> None:
    """A baseline's pattern that fits rows of two rules is refused; a label tells them apart."""
    text = f"grid: {{selection: [last, label_val]}}\nmeta: {PROTONET}\nbaseline: "
    with pytest.raises(UserError, match=r"several variants, none \+ protonet, none \+ "):
        plan_of(f"{text}{{train: {{meta: protonet}}}}\n")
    plan = plan_of(f"{text}{{train: none + protonet (label_val)}}\n")
    assert plan.settings["baseline"]["train"] == "none + protonet (label_val)"


DROPPED = [
    (f"meta: {PROTONET}", "pretext_val needs a loss without labels, labels uses them"),
    ("init: supervised", "pretext_val needs a loss without labels, supervised uses them"),
]


@pytest.mark.parametrize(("row", "reason"), DROPPED)
def test_a_loss_of_labels_is_no_pretext(plan_of: PlanOf, row: str, reason: str) -> None:
    """Where the last training is on labels, ``pretext_val`` is dropped with the reason."""
    plan = plan_of(f"grid: {{selection: [last, pretext_val]}}\n{row}\n")
    assert [one.reason for one in plan.dropped] == [reason]


def test_a_loss_after_labels_is_a_pretext(plan_of: PlanOf) -> None:
    """What the stages before saw does not matter: the rule measures the last one."""
    text = f"init: supervised\ntasks: instances\nmeta: {PROTONET}\nselection: pretext_val\n"
    assert plan_of(text).dropped == ()


def small(name: str, source: object) -> Facts:
    """Return the facts of a set whose validation split has two classes of 30 and 20 examples."""
    counts = {"train": (300,) * 8, "val": (30, 20), "test": (30,) * 8}
    return Facts(form=Form(shape=(1, 28, 28), modality="image"), counts=counts, digest="0" * 64)


TOO_SMALL = [
    (
        "pretext: rotation\nselection: label_val",
        "suite.yaml:11: selection: label_val asks for 3-way episodes, but the validation split of"
        " glyphs has 2 classes. Use ways: 2, selection: pseudo_val, or selection: last.",
    ),
    (
        "pretext: rotation\nvariants: [{ways: 2, selection: {name: label_val, queries: 16}}]",
        "suite.yaml:11: variants[0].selection: label_val asks for 21 examples of each class, but"
        " the validation split of glyphs has a class of 20. Use {name: label_val, shots: ...,",
    ),
    (
        "pretext: rotation\nselection: pseudo_val",
        "pseudo_val asks for clusters of about 60 examples, at least 6 of them, but the validation"
        " split of glyphs has 50 examples. Use {name: pseudo_val, cluster_size: 8} or less, or",
    ),
    (
        "pretext: rotation\nselection: pretext_val",
        "pretext_val asks for batch_size 128, but the validation split of glyphs has 50 examples."
        " Use pretext: {name: rotation, batch_size: 50} or less, or selection: last.",
    ),
    (
        "meta: protonet\ntasks: {name: instances, ways: 60}\nselection: pretext_val",
        "pretext_val asks for ways 60, but the validation split of glyphs has 50 examples."
        " Use tasks: {name: instances, ways: 50} or less, or selection: last.",
    ),
]


@pytest.mark.parametrize(("text", "expected"), TOO_SMALL)
def test_a_split_that_is_too_small_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """A rule that the validation split cannot fill is one error that says what works."""
    (tmp_path / "suite.yaml").write_text(f"{HEAD}{text}\n")
    with pytest.raises(UserError) as caught:
        make_plan(read_suite(tmp_path / "suite.yaml"), small)
    assert expected in str(caught.value)
