"""The controls of a suite: which rows each adds, to what, and why it sometimes adds none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cell import Cell
from bench.contract import AbstractData
from bench.dataset import Facts
from bench.errors import UserError
from bench.form import Form
from bench.plan import Plan, make_plan
from bench.suite import read_suite

HEAD = "name: small\ndata: glyphs\nseeds: 1\nshots: 1\n"
SPLITS = ("train", "val", "test")
TWO = "grid: {pretext: [none, rotation, simclr], meta: [none, protonet]}\n"
PlanOf = Callable[[str], Plan]


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of a set that is not there: 64, 16 and 20 classes of 30 examples."""
    counts = {"train": (30,) * 64, "val": (30,) * 16, "test": (30,) * 20}
    return Facts(form=Form(shape=(1, 28, 28), modality="image"), counts=counts, digest="0" * 64)


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """Return a function from what follows a suite's head to its plan."""

    def plan(text: str) -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(HEAD + text)
        return make_plan(read_suite(path), facts_of)

    return plan


def added(plan: Plan) -> dict[str, Cell]:
    """Return the controls of a plan but the floor, by their names."""
    return {cell.variant: cell for cell in plan.cells if cell.control not in ("", "random_init")}


ADDED = [
    ("scratch_support", {"scratch_support": ("none", "scratch", "none", "finetune", "none")}),
    (
        "ssl_prototypes",
        {
            "ssl_prototypes (rotation)": ("rotation", "pretext", "none", "none", "none"),
            "ssl_prototypes (simclr)": ("simclr", "pretext", "none", "none", "none"),
        },
    ),
    (
        "ssl_logistic",
        {
            "ssl_logistic (rotation)": ("rotation", "pretext", "none", "none", "none"),
            "ssl_logistic (simclr)": ("simclr", "pretext", "none", "none", "none"),
        },
    ),
    (
        "supervised_logistic",
        {"supervised_logistic": ("none", "supervised", "none", "none", "train")},
    ),
    (
        "supervised_protonet",
        {"supervised_protonet": ("none", "scratch", "labels", "protonet", "train")},
    ),
    ("joint_pretexts", {"joint_pretexts": ("mixture", "pretext", "none", "none", "none")}),
    ("scratch_summed", {"scratch_summed": ("none", "scratch", "labels", "protonet", "train")}),
]


@pytest.mark.parametrize(("control", "rows"), ADDED)
def test_a_control_adds_its_rows(
    plan_of: PlanOf, control: str, rows: dict[str, tuple[str, ...]]
) -> None:
    """Each control is the published recipe, on the suite's data, encoder and pretexts."""
    found = added(plan_of(f"{TWO}controls: [{control}]\n"))
    axes = {
        name: (cell.pretext, cell.init, cell.tasks, cell.meta, cell.labels)
        for name, cell in found.items()
    }
    assert axes == rows


def test_heads_of_the_logistic_controls(plan_of: PlanOf) -> None:
    """A logistic control reads features by logistic regression, the others by prototypes."""
    found = added(plan_of(f"{TWO}controls: [ssl_prototypes, ssl_logistic, supervised_logistic]\n"))
    heads = {name: cell.params["meta.head"] for name, cell in found.items()}
    assert heads == {
        "ssl_prototypes (rotation)": "prototypes",
        "ssl_prototypes (simclr)": "prototypes",
        "ssl_logistic (rotation)": "logistic",
        "ssl_logistic (simclr)": "logistic",
        "supervised_logistic": "logistic",
    }


def test_joint_pretexts_trains_on_the_pretexts_of_the_suite(plan_of: PlanOf) -> None:
    """The mixture's members are the suite's pretexts with their parameters, equally weighted."""
    text = "pretext: simclr\n".join(["", "meta: none\ncontrols: [joint_pretexts]\n"])
    assert added(plan_of(text)) == {}
    grid = "grid: {pretext: [rotation, {name: simclr, temperature: 0.2}], meta: [none]}\n"
    (cell,) = added(plan_of(f"{grid}controls: [joint_pretexts]\n")).values()
    members = cell.params["pretext.members"]
    assert [one["name"] for one in members] == ["rotation", "simclr"]
    assert members[1]["params"]["temperature"] == 0.2
    assert cell.params["pretext.weights"] == "uniform"


def test_scratch_summed_spends_both_budgets_on_meta_training(plan_of: PlanOf) -> None:
    """Its budget is the images of pre-training and of meta-training together."""
    budget = "budget: {pretrain_examples: 300_000, metatrain_examples: 200_000}\n"
    (cell,) = added(plan_of(f"{TWO}{budget}controls: [scratch_summed]\n")).values()
    per_step = 20 * (5 + 15)
    assert cell.params["metatrain.examples"] == 500_000 // per_step * per_step


def test_scratch_summed_is_tested_as_the_row_that_it_is_beside(plan_of: PlanOf) -> None:
    """It differs from its row by the budget and the start alone: the norm is the row's."""
    grid = "grid: {pretext: [none, rotation], meta: [reptile], norm: [running, support]}\n"
    found = added(plan_of(f"{grid}controls: [scratch_summed]\n"))
    assert sorted(cell.norm for cell in found.values()) == ["running", "support"]


NOTHING = [
    ("ssl_prototypes", "the suite names no pretext"),
    ("ssl_logistic", "the suite names no pretext"),
    ("joint_pretexts", "the suite names fewer than two pretexts"),
    ("scratch_summed", "no row of the suite is pre-trained and meta-trained"),
]


@pytest.mark.parametrize(("control", "reason"), NOTHING)
def test_a_control_that_adds_nothing_says_why(plan_of: PlanOf, control: str, reason: str) -> None:
    """A control that makes no sense for a suite is dropped with a reason, never silently."""
    plan = plan_of(f"meta: protonet\ncontrols: [{control}]\n")
    assert [(one.variant, one.reason) for one in plan.dropped] == [(control, reason)]


def test_a_row_that_is_a_control_already_becomes_it(plan_of: PlanOf) -> None:
    """A row of the grid that a control comes to stands once, under the control's name."""
    plan = plan_of(f"{TWO}controls: [ssl_prototypes, supervised_protonet]\n")
    names = list(dict.fromkeys(cell.variant for cell in plan.cells))
    assert sorted(names) == [
        "random_init",
        "rotation + protonet",
        "simclr + protonet",
        "ssl_prototypes (rotation)",
        "ssl_prototypes (simclr)",
        "supervised_protonet",
    ]


def test_group_norm_is_kept_for_controls(plan_of: PlanOf) -> None:
    """Under group norm, which is another network, the floor is of that network too."""
    plan = plan_of("norm: group\nmeta: protonet\n")
    assert {cell.norm for cell in plan.cells} == {"group"}


def test_a_mixture_of_the_suite_is_joined_by_its_members(plan_of: PlanOf) -> None:
    """All pretexts at once are each there once, and the row that is this takes the name."""
    mixture = "{name: mixture, members: [rotation, simclr]}"
    plan = plan_of(
        f"grid: {{pretext: [rotation, simclr, {mixture}]}}\ncontrols: [joint_pretexts]\n"
    )
    mixed = [cell for cell in plan.cells if cell.pretext == "mixture"]
    assert [cell.control for cell in mixed] == ["joint_pretexts"]


def test_a_control_that_the_data_cannot_fill_is_dropped(tmp_path: Path) -> None:
    """Three training classes make no 20-way tasks: the suite goes on, and the plan says why."""
    few = Facts(
        form=Form(shape=(1, 28, 28), modality="image"),
        counts={s: (90,) * 3 for s in SPLITS},
        digest="0" * 64,
    )
    path = tmp_path / "suite.yaml"
    path.write_text(f"{HEAD}ways: 3\nmeta: none\ncontrols: [supervised_protonet]\n")
    plan = make_plan(read_suite(path), lambda name, source: few)
    assert added(plan) == {}
    (dropped,) = plan.dropped
    assert dropped.variant == "supervised_protonet"
    assert "trains on 20-way tasks, but glyphs can fill 3" in dropped.reason


def test_raw_values_have_no_norm(plan_of: PlanOf) -> None:
    """A grid over norms adds one nearest neighbour, but a floor for each network."""
    plan = plan_of("meta: none\ngrid: {norm: [running, group]}\ncontrols: [raw_neighbour]\n")
    controls = [cell.control for cell in plan.cells]
    assert sorted(controls) == ["random_init", "random_init", "raw_neighbour"]


@pytest.mark.parametrize(
    ("meta", "works"),
    [("protonet", r"Use tasks: \{name: labels, ways: 3\}"), ("maml", "Use ways: 3 or less")],
)
def test_the_advice_on_fewer_ways_can_be_followed(tmp_path: Path, meta: str, works: str) -> None:
    """A linear head for the suite's ways fits no tasks of fewer; prototypes fit any."""
    few = Facts(
        form=Form(shape=(1, 28, 28), modality="image"),
        counts={"train": (90,) * 3, "val": (90,) * 3, "test": (90,) * 5},
        digest="0" * 64,
    )
    path = tmp_path / "suite.yaml"
    path.write_text(f"{HEAD}ways: 5\nmeta: {meta}\n")
    with pytest.raises(UserError, match=works):
        make_plan(read_suite(path), lambda name, source: few)
