"""The controls of a suite: which rows each adds, to what, and why it sometimes adds none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cell import Cell
from bench.contract import AbstractData
from bench.dataset import Facts
from bench.plan import Plan, make_plan
from bench.suite import read_suite

HEAD = "name: small\ndata: glyphs\nseeds: 1\nshots: 1\n"
TWO = "grid: {pretext: [none, rotation, simclr], meta: [none, protonet]}\n"
PlanOf = Callable[[str], Plan]


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of a set that is not there: 64, 16 and 20 classes of 30 examples."""
    counts = {"train": (30,) * 64, "val": (30,) * 16, "test": (30,) * 20}
    return Facts(shape=(1, 28, 28), counts=counts, digest="0" * 64)


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
    assert cell.params["pretext.weights"] is None


def test_scratch_summed_spends_both_budgets_on_meta_training(plan_of: PlanOf) -> None:
    """Its budget is the images of pre-training and of meta-training together."""
    budget = "budget: {pretrain_images: 300_000, metatrain_images: 200_000}\n"
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
