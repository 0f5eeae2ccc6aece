"""What a plan keeps, adds, drops and refuses: controls, baselines, sizes, budgets, labels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.contract import AbstractData
from bench.dataset import Facts
from bench.errors import UserError
from bench.form import Form
from bench.plan import Plan, make_plan
from bench.suite import read_suite, with_options

HEAD = "name: small\ndata: glyphs\nseeds: 1\nshots: 1\n"  # four lines
PlanOf = Callable[..., Plan]


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of a set that is not there: 64, 16 and 20 classes of 30 examples."""
    counts = {"train": (30,) * 64, "val": (30,) * 16, "test": (30,) * 19 + (20,)}
    return Facts(form=Form(shape=(1, 28, 28), modality="image"), counts=counts, digest="0" * 64)


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """Return a function from what follows a suite's head, and options, to its plan."""

    def plan(text: str, head: str = HEAD, **options: object) -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(head + text)
        return make_plan(with_options(read_suite(path), **options), facts_of)  # type: ignore[arg-type]

    return plan


def labels(plan: Plan) -> list[str]:
    """Return a plan's variants in order, each once."""
    return list(dict.fromkeys(cell.variant for cell in plan.cells))


def steps(plan: Plan, kind: str) -> int:
    """Return the training steps of a plan's one stage of a kind."""
    (found,) = [spec for spec in plan.stages.values() if spec.kind == kind]
    return int(found.inputs["budget"]["steps"])


# --- labels and controls


LABELLED = [
    ("meta: protonet", ["none + protonet", "random_init"]),
    ("pretext: rotation", ["rotation + none", "random_init"]),
    ("grid: {pretext: [none, rotation], meta: [none]}", ["random_init", "rotation + none"]),
    ("meta: none", ["random_init"]),
    ("meta: none\ncontrols: [raw_neighbour]", ["random_init", "raw_neighbour"]),
    ("meta: none\ncontrols: [random_init]", ["random_init"]),
    ("meta: {name: none, head: logistic}", ["none + none head=logistic", "random_init"]),
    (
        "grid: {meta: [{name: maml, order: 1}, {name: maml, order: 2}]}",
        ["none + maml order=1", "none + maml order=2", "random_init"],
    ),
    (
        "grid: {meta: [{name: maml, order: 1, steps: 3}, protonet]}",
        ["none + maml", "none + protonet", "random_init"],
    ),
    (
        "grid: {tasks: [labels, instances], meta: [protonet]}",
        ["none + protonet (labels)", "none + protonet (instances)", "random_init"],
    ),
    (
        "grid: {encoder: [{name: conv4, width: 4}, {name: conv4, width: 8}], meta: [none]}",
        ["random_init (conv4 width=4)", "random_init (conv4 width=8)"],
    ),
    (
        "grid: {augment: [affine, {name: affine, degrees: 5}, none], pretext: [simclr]}",
        ["simclr + none (affine)", "simclr + none (affine degrees=5)", "random_init"],
    ),
    (
        "grid: {norm: [running, support], meta: [none]}",
        ["random_init (norm running)", "none + none (norm support)"],
    ),
    ("variants: [{label: mine, pretext: none}]", ["mine"]),
    ("grid: {ways: [5, 10], meta: [protonet]}", ["none + protonet", "random_init"]),
]


@pytest.mark.parametrize(("text", "expected"), LABELLED)
def test_rows_and_their_names(plan_of: PlanOf, text: str, expected: list[str]) -> None:
    """Each variant has one name that tells it from the others, and the floor is always there."""
    plan = plan_of(text)
    assert labels(plan) == expected
    assert any(cell.control == "random_init" for cell in plan.cells)
    identity = [(cell.id, cell.data) for cell in plan.cells]
    assert len(set(identity)) == len(identity)


def test_a_policy_of_other_data_is_a_mistake_where_nothing_uses_it(plan_of: PlanOf) -> None:
    """Only what was asked for: a row whose policy is for other data is dropped with the reason."""
    plan = plan_of(
        "variants:\n  - {label: warped, meta: protonet, augment: warp}\n"
        "  - {label: turned, meta: protonet, augment: affine}\n"
    )

    (dropped,) = plan.dropped
    assert dropped.variant == "warped"
    assert dropped.reason.startswith("warp is made for series data, not image")
    assert labels(plan) == ["turned", "random_init"]


def test_the_grid_without_training_is_the_floor(plan_of: PlanOf) -> None:
    """None + none is the control itself, not a second row of the same numbers."""
    plan = plan_of("grid: {pretext: [none, rotation], meta: [none, protonet]}")
    controls = {cell.variant: cell.control for cell in plan.cells}
    assert controls == {
        "random_init": "random_init",
        "none + protonet": "",
        "rotation + none": "",
        "rotation + protonet": "",
    }


def test_labels_that_a_row_saw(plan_of: PlanOf) -> None:
    """Only training on labelled tasks makes a row one that saw labels."""
    plan = plan_of(
        "grid: {pretext: [none, rotation], tasks: [labels, instances], meta: [none, maml]}"
    )
    seen = {(cell.pretext, cell.tasks, cell.meta): cell.labels for cell in plan.cells}
    assert seen == {
        ("none", "none", "none"): "none",
        ("none", "labels", "maml"): "train",
        ("none", "instances", "maml"): "none",
        ("rotation", "none", "none"): "none",
        ("rotation", "labels", "maml"): "train",
        ("rotation", "instances", "maml"): "none",
    }


def test_variants_inherit_the_top_level_and_not_the_grid(plan_of: PlanOf) -> None:
    """A variant takes encoder, ways, norm and budget from the top, and no axis of the grid."""
    plan = plan_of(
        "ways: 4\nencoder: {name: conv4, width: 7}\nbudget: {metatrain_steps: 9}\n"
        "grid: {pretext: [rotation], meta: [reptile]}\n"
        "variants: [{label: mine, meta: protonet}, {label: own, meta: protonet, ways: 6}]\n"
    )
    mine, own = (next(c for c in plan.cells if c.variant == name) for name in ("mine", "own"))
    assert (mine.pretext, mine.meta, mine.ways) == ("none", "protonet", 4)
    assert mine.params["encoder.width"] == 7
    assert mine.params["metatrain.steps"] == 9
    assert own.ways == 6


# --- what is dropped, and what is refused


def test_dropped_with_reasons(plan_of: PlanOf) -> None:
    """Combinations that make no sense, and grid points that come to the same, are dropped aloud."""
    plan = plan_of(
        "grid:\n  pretext: [none, rotation]\n  init: [scratch, pretext]\n"
        "  tasks: [labels, instances]\n  meta: [none, {name: maml, task_ways: 7}]\n"
    )
    reasons = [one.reason for one in plan.dropped]
    assert "init is pretext, but there is no pretext" in reasons
    assert "init is scratch, so the pretext rotation would not be used" in reasons
    assert "maml's head has 5 outputs, its tasks 7 ways" in reasons
    assert "it comes to the same as another grid point" in reasons
    assert len(plan.dropped) + len(labels(plan)) == 2 * 2 * 2 * 2
    scratch = next(one for one in plan.dropped if "so the pretext" in one.reason)
    assert "pretext: rotation, init: scratch, tasks: labels, meta: none" in scratch.variant


REFUSED = [
    ("meta: mamml", "suite.yaml:5: meta: no meta is named 'mamml'. Did you mean maml or imaml?"),
    ("tasks: labelz\nmeta: none", "suite.yaml:5: tasks: no tasks is named 'labelz'."),
    ("grid: {meta: [none, {name: maml, ordr: 2}]}", "suite.yaml:5: grid.meta[1]: meta/maml has no"),
    ("variants: [{meta: {name: maml, order: x}}]", "suite.yaml:5: variants[0].meta: order: 'x'."),
    ("meta: {name: protonet, rate: 9007199254740993}", "9007199254740993 is too large"),
    ("meta: {name: protonet, tasks_per_step: 9007199254740991}", "exceeds safe integer"),
    ("ways: 21", ":5: ways: 21 ways, but glyphs has 20 test classes. Use at most 20."),
    ("evaluate: {queries: 20}\nmeta: none", ":5: evaluate.queries: 1 shots + 20 queries a class,"),
    (
        "meta: {name: protonet, task_ways: 65}",
        "none + protonet trains on 65-way tasks, but glyphs can fill 64. Use tasks: {name: labels,",
    ),
    (
        "meta: {name: protonet, task_ways: 1921}\ntasks: instances",
        "trains on 1921-way tasks, but glyphs can fill 1920.",
    ),
    (
        "meta: {name: protonet, task_shots: 16}",
        "16 shots + 15 queries a class, but the smallest training class of glyphs has 30 examples.",
    ),
    (
        "pretext: {name: rotation, batch_size: 1921}",
        "batch_size 1921, but glyphs has 1920 training examples. Use {name: rotation, batch_size:",
    ),
    (
        "grid: {pretext: [rotation], init: [scratch]}",
        "no combination is left (data: glyphs, pretext: rotation, init: scratch: init is scratch,",
    ),
    (
        "variants: [{label: a, meta: protonet}, {label: b, meta: {name: protonet, task_ways: 20}}]",
        "variants[1]: 'b' comes to the same as what stands at ",
    ),
    (
        "grid: {meta: [protonet]}\nvariants: [{label: b, meta: protonet, tasks: labels}]",
        ":6: variants[0]: 'b' comes to the same as what stands at ",
    ),
    (
        "grid: {meta: [protonet]}\nvariants: [{meta: protonet, budget: {metatrain_steps: 7}}]",
        "two variants are called 'none + protonet'",
    ),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_refused(plan_of: PlanOf, text: str, says: str) -> None:
    """A name, parameter or size that cannot be is one error with its place and what works."""
    with pytest.raises(UserError) as caught:
        plan_of(text if "meta" in text or "pretext" in text else f"{text}\nmeta: none")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_limits_themselves_are_allowed(plan_of: PlanOf) -> None:
    """Exactly as many ways, examples and training classes as there are is no mistake."""
    plan = plan_of(
        "ways: 20\nevaluate: {queries: 19}\nmeta: {name: protonet, task_ways: 64, task_shots: 15}\n"
        "pretext: {name: rotation, batch_size: 1920}\n"
    )
    assert labels(plan) == ["rotation + protonet", "random_init"]


# --- baselines

GRID = "grid: {pretext: [none, rotation], meta: [none, protonet, maml]}\n"
BASELINES = [
    ("baseline: {pretext: none, meta: maml}", {"train": "none + maml"}),
    ("baseline: random_init", {"none": "random_init"}),
    ("baseline: rotation + none", {"none": "rotation + none"}),
    ("baseline: {train: none + maml, none: rotation + none}", None),
    ("baseline: {train: {pretext: none, meta: protonet}, none: random_init}", None),
    ("baseline: {meta: {name: maml, order: 2}, pretext: rotation}", {"train": "rotation + maml"}),
    ("baseline: {init: pretext, meta: protonet}", {"train": "rotation + protonet"}),
    ("", {"train": "none + protonet", "none": "random_init"}),
]


@pytest.mark.parametrize(("text", "expected"), BASELINES)
def test_baselines(plan_of: PlanOf, text: str, expected: dict[str, str] | None) -> None:
    """A label, a control or a pattern names one row of a class; what is left open is said."""
    plan = plan_of(GRID + text)
    found = plan.settings["baseline"]
    assert set(found) == {"train", "none"}
    assert expected is None or expected.items() <= found.items()
    open_classes = {"train", "none"} - set(expected or found)
    said = {labels for labels in found for note in plan.warnings if f"labels: {labels};" in note}
    assert said == (open_classes if text else {"train", "none"})


def test_a_pattern_means_the_suite_s_own_rows(plan_of: PlanOf) -> None:
    """Neither controls nor inductive rows make it ambiguous, nor are they taken by themselves."""
    wanted = "baseline: {train: {pretext: none, meta: protonet}}\ncontrols: [scratch_summed]\n"
    for text in (wanted, f"{wanted}norm: transductive\n", "controls: [scratch_summed]\n"):
        assert plan_of(GRID + text).settings["baseline"]["train"] == "none + protonet"
    only = "grid: {pretext: [rotation], meta: [protonet]}\ncontrols: [scratch_summed]\n"
    assert plan_of(only).settings["baseline"]["train"] == "rotation + protonet"


NESTED = [
    "{tasks: {name: clusters, pretext: {name: simclr, temperature: 0.1}}}",
    "{pretext: {name: mixture, members: [rotation, simclr]}}",
    "{pretext: {name: mixture, weights: uniform}}",
    "{pretext: {name: mixture, members: [{name: rotation, angles: 8}, simclr], outer: instances}}",
    "{auxiliary: {pretext: {name: mixture, members: [rotation, simclr]}, weight: 0.5}}",
]


@pytest.mark.parametrize("pattern", NESTED)
def test_a_pattern_reaches_into_nested_plugins(plan_of: PlanOf, pattern: str) -> None:
    """It names them, in part or in whole; a field that keys leave out can be asked for too."""
    rows = [
        "tasks: {name: clusters, k: 30, pretext: {name: simclr, temperature: 0.1}}",
        "tasks: {name: clusters, k: 30, pretext: {name: simclr, temperature: 0.2}}",
        "pretext: {name: mixture, members: [{name: rotation, angles: 8}, simclr]}",
        "pretext: {name: mixture, members: [rotation, position], weights: [1.0, 2.0]}",
        "auxiliary: {pretext: {name: mixture, members: [rotation, simclr]}, weight: 0.5}",
        "auxiliary: {pretext: {name: mixture, members: [position, simclr]}, weight: 0.5}",
    ]
    variants = "".join(f"  - {{label: row {n}, {row}}}\n" for n, row in enumerate(rows))
    plan = plan_of(f"meta: protonet\nvariants:\n{variants}baseline: {pattern}\n")
    axis = pattern[1 : pattern.index(":")]
    wanted = next(n for n, row in enumerate(rows) if row.startswith(axis))
    assert f"row {wanted}" in plan.settings["baseline"].values()
    assert len(plan.settings["baseline"]) > 1


BAD_BASELINES = [
    ("baseline: {meta: reptile}", ":6: baseline: this baseline matches no variant."),
    ("baseline: {meta: maml}", "matches several variants, none + maml, rotation + maml."),
    ("baseline: {meta: {name: maml, order: 1}, pretext: none}", "matches no variant."),
    ("baseline: {meta: {name: maml, ordr: 2}, pretext: none}", "matches no variant."),
    ("baseline: none + mamll", "matches no variant. Did you mean none + maml"),
    ("baseline: raw_neighbour", "matches no variant."),
    ("baseline: {train: random_init}", ":6: baseline.train: the baseline of the class 'train' is"),
    ("baseline: {none: {meta: maml}}", ":6: baseline.none: this baseline matches no variant."),
    ("baseline: {validation: none + maml}", "Name a variant of that class: there is none."),
]


@pytest.mark.parametrize(("text", "says"), BAD_BASELINES)
def test_bad_baselines(plan_of: PlanOf, text: str, says: str) -> None:
    """A baseline that matches no row, several, or one of another class is refused."""
    with pytest.raises(UserError) as caught:
        plan_of(GRID + text)
    assert says in str(caught.value)


# --- options and budgets


def test_only_keeps_the_inductive_row_of_what_it_names(plan_of: PlanOf) -> None:
    """A transductive row is never without the same weights tested inductively."""
    text = "grid: {meta: [protonet, {name: maml, order: 1}, reptile]}\nnorm: transductive\n"
    kept = labels(plan_of(text, only="none + maml"))
    assert "none + maml, support statistics" in kept
    assert not any("reptile" in label for label in kept)


def test_only_keeps_baselines_and_the_floor(plan_of: PlanOf) -> None:
    """`--only` keeps what it names beside what rows are compared with."""
    text = f"{GRID}baseline: {{train: none + protonet, none: rotation + none}}\n"
    kept = labels(plan_of(text, only="rotation + m*"))
    assert kept == ["random_init", "none + protonet", "rotation + none", "rotation + maml"]
    with pytest.raises(UserError, match=r"--only: 'rotation \+ mamm' matches no variant\. Did you"):
        plan_of(text, only="rotation + maml,rotation + mamm")


STEPS = [
    ("metatrain_steps: 40", None, 40),
    ("metatrain_steps: 40", 0.5, 20),
    ("metatrain_steps: 40", 0.001, 2),  # never below two
    ("metatrain_steps: 1", None, 2),
    ("metatrain_examples: 4000", None, 10),  # 20 ways x (5 + 15) examples a step
    ("metatrain_examples: 4399", None, 10),
    ("metatrain_examples: 4000", 0.25, 2),
    ("metatrain_examples: 1", None, 2),
]


@pytest.mark.parametrize(("budget", "scale", "expected"), STEPS)
def test_budgets(plan_of: PlanOf, budget: str, scale: float | None, expected: int) -> None:
    """Images are converted to steps, scaled, rounded down, and never below two steps."""
    plan = plan_of(f"meta: protonet\nbudget: {{{budget}}}", budget_scale=scale)
    assert steps(plan, "metatrain") == expected
    cell = next(cell for cell in plan.cells if cell.meta == "protonet")
    assert cell.params["metatrain.examples"] == expected * 400


def test_images_count_every_view(plan_of: PlanOf) -> None:
    """A pretext's step costs its batch times its views."""
    text = "pretext: {{name: {}, batch_size: 10}}\nbudget: {{pretrain_examples: 4000}}\n"
    assert [steps(plan_of(text.format(p)), "pretrain") for p in ("rotation", "simclr")] == [
        100,
        200,
    ]


def test_the_budget_of_each_row_is_in_its_cells(plan_of: PlanOf) -> None:
    """What each phase of training was given, for the report to compare; no phase, no budget."""
    plan = plan_of(
        "budget: {metatrain_steps: 9}\nvariants:\n- {label: usual, meta: protonet}\n"
        "- {label: more, meta: protonet, budget: {metatrain_steps: 90}}\n"
    )
    given = {cell.variant: cell.params.get("metatrain.budget") for cell in plan.cells}
    assert given == {"usual": "9 steps", "more": "90 steps", "random_init": None}


def test_the_scale_of_the_budgets_is_in_the_settings(plan_of: PlanOf) -> None:
    """A report can tell a suite at full budget from a shrunken one."""
    plans = [plan_of("meta: protonet\n"), plan_of("meta: protonet\n", budget_scale=0.5)]

    assert [plan.settings["budget_scale"] for plan in plans] == [1.0, 0.5]
