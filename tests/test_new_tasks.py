"""What a suite with ``held_out`` comes to: families, cells, what is shared and what is dropped."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cell import Cell
from bench.contract import AbstractData
from bench.dataset import Facts
from bench.errors import UserError
from bench.form import Form
from bench.plan import Plan, make_plan
from bench.suite import read_suite, with_options

HEAD = """\
name: new
data: glyphs
ways: 4
shots: 5
seeds: 2
"""
FAMILY = "tasks: {name: pretext, family: [rotation, position, {name: jigsaw, grid: 2}, recolour]}\n"
HELD = "held_out: [rotation, position, [position, jigsaw]]\n"
MAML = "{name: maml, order: 1}"
VARIANTS = f"""\
variants:
- {{label: maml, meta: {MAML}}}
- {{label: simclr + maml, pretext: simclr, meta: {MAML}}}
- {{label: simclr, pretext: simclr, meta: none}}
- {{label: position first, pretext: position, meta: none}}
- {{label: both first, pretext: {{name: mixture, members: [rotation, recolour]}}, meta: {MAML}}}
- {{label: supervised, init: supervised, meta: none}}
"""
SIZES = {"train": 64, "val": 16, "test": 20}
PlanOf = Callable[..., Plan]


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of a set that is not there: 64, 16 and 20 classes of 24 examples."""
    counts = {split: (24,) * classes for split, classes in SIZES.items()}
    return Facts(form=Form(shape=(1, 28, 28), modality="image"), counts=counts, digest="0" * 64)


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """Return a function from a suite's text (after its head) and options to its plan."""

    def plan(text: str = FAMILY + HELD + VARIANTS, head: str = HEAD, **options: object) -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(head + text)
        return make_plan(with_options(read_suite(path), **options), facts_of)  # type: ignore[arg-type]

    return plan


def cells_of(plan: Plan, variant: str, seed: int = 0) -> dict[str, Cell]:
    """Return the cells of a row and seed by the task that is new to them."""
    return {one.held_out: one for one in plan.cells if (one.variant, one.seed) == (variant, seed)}


def family_of(plan: Plan, cell: Cell) -> list[str]:
    """Return the family that a cell's meta-training draws from."""
    tasks = plan.stages[cell.stages["metatrain"]].inputs["tasks"]
    return [one["name"] for one in tasks["params"]["family"]]


ALONE, TOGETHER = "position", "position (position + jigsaw held out)"


def test_each_member_of_each_entry_is_a_cell(plan_of: PlanOf) -> None:
    """An entry with several members has a cell for each, and its family lacks all of them."""
    plan = plan_of()
    cells = cells_of(plan, "maml")
    assert {new: family_of(plan, cell) for new, cell in cells.items()} == {
        "rotation": ["position", "jigsaw", "recolour"],
        "position": ["rotation", "jigsaw", "recolour"],
        TOGETHER: ["rotation", "recolour"],
        "jigsaw (position + jigsaw held out)": ["rotation", "recolour"],
    }
    assert cells[TOGETHER].id == f"maml/glyphs 4-way 5-shot, new {TOGETHER}/seed 0"
    assert len({one.id for one in plan.cells}) == len(plan.cells)


def test_one_held_out_task_is_audited_for_all(plan_of: PlanOf) -> None:
    """A row answers all new tasks by the same code: its audit is on the first that it meets."""
    plan = plan_of()
    audits = {one.variant: one.held_out for one in plan.audits if one.subject == "row"}
    assert audits == {
        row: next(cell.held_out for cell in plan.cells if cell.variant == row)
        for row in dict.fromkeys(cell.variant for cell in plan.cells)
    }
    assert len(plan.audits) == 1 + len(audits)


def test_what_held_out_tasks_share(plan_of: PlanOf) -> None:
    """Pre-training is shared by all entries, meta-training by the members of one entry."""
    plan = plan_of()
    maml, pretrained = cells_of(plan, "maml"), cells_of(plan, "simclr + maml")
    assert len({one.stages["pretrain"] for one in pretrained.values()}) == 1
    assert len({one.stages["metatrain"] for one in maml.values()}) == 3
    members = [new for new in maml if "+" in new]
    assert len({maml[new].stages["metatrain"] for new in members}) == 1
    kinds = Counter(s.kind for s in plan.stages.values() if s.inputs.get("seed") == 0)
    assert kinds["pretrain"] == 4
    alone = cells_of(plan, "simclr")["rotation"].stages["pretrain"]
    assert alone == pretrained["rotation"].stages["pretrain"]


def test_the_test_is_the_same_for_every_row(plan_of: PlanOf) -> None:
    """What an evaluation is told beside its start is the same for every row and no method's."""
    plan = plan_of()
    told = {
        json.dumps({k: v for k, v in spec.inputs.items() if k != "needs"}, sort_keys=True)
        for one in plan.cells
        if (one.held_out, one.seed) == (ALONE, 0)
        for spec in (plan.stages[one.stages["evaluate"]],)
    }
    (inputs,) = map(json.loads, told)
    assert inputs["protocol"] == "few_steps"
    assert inputs["member"]["name"] == "position"
    assert [one["name"] for one in inputs["family"]] == ["rotation", "jigsaw", "recolour"]
    assert inputs["readouts"] == [0, 1, 3, 5, 10]
    assert inputs["rates"] == [0.01, 0.03, 0.1, 0.3, 1.0]
    assert "meta" not in inputs
    assert {one.norm for one in plan.cells} == {"support"}


def test_rows_are_not_tested_on_what_they_were_trained_on(plan_of: PlanOf) -> None:
    """A start that is a held-out member, alone or in a mixture, is dropped there."""
    plan = plan_of()
    assert list(cells_of(plan, "position first")) == ["rotation"]
    assert "rotation" not in cells_of(plan, "both first")
    of_position = "position is held out, and its pretext would train on it"
    assert {one.variant: one.reason for one in plan.dropped} == {
        "position first, new position": of_position,
        f"position first, new {TOGETHER}": of_position,
        "position first, new jigsaw (position + jigsaw held out)": of_position,
        "both first, new rotation": "rotation is held out, and its pretext would train on it",
    }


def test_rows_that_meet_what_is_held_out_on_the_way_are_dropped(plan_of: PlanOf) -> None:
    """So is a row whose auxiliary loss, or whose clusters' embedding, is of a held-out member."""
    own = f"- {{label: beside, auxiliary: {{pretext: rotation}}, meta: {MAML}}}\n"
    own += f"- {{label: clustered, tasks: {{name: clusters, pretext: rotation}}, meta: {MAML}}}\n"
    plan = plan_of(FAMILY + HELD + "variants:\n" + own)
    assert {one.variant: one.reason for one in plan.dropped} == {
        "beside, new rotation": "rotation is held out, and its auxiliary would train on it",
        "clustered, new rotation": "rotation is held out, and its tasks would train on it",
    }
    clustered = cells_of(plan, "clustered")
    assert len({one.stages["metatrain"] for one in clustered.values()}) == 1


def test_a_row_of_another_family_needs_a_member_left(plan_of: PlanOf) -> None:
    """A row's own family lacks what is held out too; where nothing is left, the row is dropped."""
    own = f"- {{label: own, tasks: {{name: pretext, family: [position]}}, meta: {MAML}}}\n"
    plan = plan_of(FAMILY + HELD + VARIANTS + own)
    assert list(cells_of(plan, "own")) == ["rotation"]
    assert family_of(plan, cells_of(plan, "own")["rotation"]) == ["position"]
    assert "its tasks have no member of the family left" in {one.reason for one in plan.dropped}


def test_labels_are_those_of_the_start(plan_of: PlanOf) -> None:
    """Tasks without labels see none; a supervised start saw those of training."""
    found = {one.variant: one.labels for one in plan_of().cells}
    assert found.pop("supervised") == "train"
    assert set(found.values()) == {"none"}


def test_methods_of_test_alone_come_to_the_floor(plan_of: PlanOf) -> None:
    """Since all rows take the same steps, heads and tuning at test are dropped with a reason."""
    extra = "- {label: tuned, meta: finetune}\n"
    plan = plan_of(FAMILY + HELD + VARIANTS + extra + "controls: [raw_neighbour]\n")
    reasons = {one.variant: one.reason for one in plan.dropped}
    assert set(reasons) > {"tuned", "raw_neighbour"}
    assert "same steps" in reasons["tuned"]
    assert not {"tuned", "raw_neighbour"} & {one.variant for one in plan.cells}
    assert len(cells_of(plan, "random_init")) == 4


def test_rates_are_chosen_on_every_member_left(plan_of: PlanOf) -> None:
    """Two members of one name, which training has as two, are two to choose a rate on as well."""
    family = FAMILY.replace(
        "recolour", "recolour, {name: erased, grid: 2}, {name: erased, grid: 3}"
    )
    plan = plan_of(family + HELD + VARIANTS)
    cell = cells_of(plan, "maml")[ALONE]
    left = plan.stages[cell.stages["evaluate"]].inputs["family"]
    trained = plan.stages[cell.stages["metatrain"]].inputs["tasks"]["params"]["family"]
    assert left == trained
    assert [one["params"].get("grid") for one in left] == [None, 2, None, 2, 3]


def test_rows_that_differ_at_test_alone_are_told(plan_of: PlanOf) -> None:
    """Two rows that meet new tasks from the same weights have one evaluation; the plan warns."""
    rows = "variants:\n- {label: one, pretext: simclr, meta: none, norm: running}\n"
    rows += "- {label: two, pretext: simclr, meta: none, norm: transductive}\n"
    plan = plan_of(FAMILY + HELD + rows)
    assert [line for line in plan.warnings if "new task" in line] == [
        "one and two come to the same on a new task; keep one"
    ]
    assert not [line for line in plan_of().warnings if "new task" in line]


def test_grouped_rows_are_tested_in_groups(plan_of: PlanOf) -> None:
    """Under norm group there are no batch statistics to take; every other norm is the support's."""
    rows = f"variants:\n- {{label: a, norm: group, meta: {MAML}}}\n"
    rows += f"- {{label: b, norm: transductive, meta: {MAML}}}\n"
    plan = plan_of(FAMILY + HELD + rows)
    norms = {(one.variant, one.norm) for one in plan.cells if one.variant in "ab"}
    assert norms == {("a", "group"), ("b", "support")}


def test_a_plan_with_held_out_tasks_survives_json(plan_of: PlanOf) -> None:
    """It is equal after JSON; one that holds nothing out is written as before."""
    plan = plan_of()
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan.settings["held_out"][2] == {
        "title": TOGETHER,
        "tested": "position",
        "members": ["position", "jigsaw"],
    }
    assert "pretext/recolour" in plan.cards
    other = plan_of("meta: none\n").to_json()
    assert all("held_out" not in cell for cell in other["cells"])
    assert "held_out" not in other["settings"]


def test_options_apply(plan_of: PlanOf) -> None:
    """Seeds, episodes (and tasks to choose a rate on), budget and rows are those asked for."""
    plan = plan_of(seeds=1, episodes=7, budget_scale=0.5, only="maml")
    assert {one.variant for one in plan.cells} == {"maml", "random_init", "supervised"}
    tested = [spec for spec in plan.stages.values() if spec.kind == "evaluate"]
    assert {spec.inputs["episodes"] for spec in tested} == {7}
    assert {spec.inputs["rate_tasks"] for spec in tested} == {7}
    assert plan_of(episodes=600).cells[0].stages == plan_of().cells[0].stages


def test_a_rate_that_some_members_have_no_say_in_is_told(plan_of: PlanOf) -> None:
    """Fewer tasks to choose a rate on than members are left, as with few episodes, is a warning."""

    def told(**options: object) -> list[str]:
        return [one for one in plan_of(**options).warnings if one.startswith("rate_tasks")]

    assert told() == told(episodes=3) == []
    said = "rate_tasks: 2 for 3 members that are left: some have no say in the rate"
    assert told(episodes=2) == [said]


def test_a_baseline_that_was_dropped_says_why(plan_of: PlanOf) -> None:
    """A row that new tasks cannot tell from others is named in the error, with the reason."""
    tuned = "- {label: tuned, meta: finetune, pretext: simclr}\n"
    text = f"variants:\n{tuned}- {{label: joint, meta: joint}}\n"
    with pytest.raises(UserError, match="this baseline was dropped: every row takes the same"):
        plan_of(f"{FAMILY}{HELD}{text}baseline: {{none: tuned}}\n")


def test_rates_and_their_tasks_are_the_suite_s(plan_of: PlanOf) -> None:
    """The grid of rates, and on how many tasks one is chosen, are fields of ``evaluate``."""
    text = FAMILY + HELD + VARIANTS + "evaluate: {rates: [1, 0.5], rate_tasks: 12}\n"
    plan = plan_of(text)
    inputs = plan.stages[plan.cells[0].stages["evaluate"]].inputs
    assert (inputs["rates"], inputs["rate_tasks"]) == ([1.0, 0.5], 12)
    assert plan.settings["rates"] == [1.0, 0.5]


IMPOSSIBLE = [
    (
        ("[rotation,", "[simclr, rotation,"),
        ":6: tasks.family: simclr has no classes that",
    ),
    (("ways: 4", "ways: 5"), ":3: ways: 5 ways, but rotation has 4 classes. Use at most 4."),
    (("shots: 5", "shots: 90"), "a task of 420 examples, but the val split of glyphs has 384. Use"),
    (("[rotation,", "[rotashun,"), ":6: tasks: no pretext is named 'rotashun'. Did you mean"),
    (("recolour]", "recolor]"), "no pretext is named 'recolor'. Did you mean recolour"),
]


@pytest.mark.parametrize(("change", "says"), IMPOSSIBLE)
def test_what_cannot_be_tested(plan_of: PlanOf, change: tuple[str, str], says: str) -> None:
    """A family without classes, too many ways or images, and unknown names are told by line."""
    head, text = (part.replace(*change) for part in (HEAD, FAMILY + HELD + VARIANTS))
    with pytest.raises(UserError) as caught:
        plan_of(text, head=head)
    assert says in str(caught.value)


def test_one_key_on_a_new_task_is_pinned(plan_of: PlanOf) -> None:
    """The key of the floor on a new task: it changes only with a note under *Numbers changed*."""
    key = cells_of(plan_of(), "random_init")["rotation"].stages["evaluate"]
    assert key == "2e8d8bcb80fc4cefb56ef119e26a09d9c512deb5e51e06c5a10abc661bfd2c92"
