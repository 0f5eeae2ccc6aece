"""A report on held-out tasks: their mean, losses, meta-learning against joint training."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.plan import Plan
from bench.report.comparison import Block, blocks
from bench.report.frame import cell_frame
from bench.report.pooled import pooled
from bench.report.preview import plan_text
from bench.report.results import Group, Results, read_results
from bench.report.views.speed import Pair, pairs, speeds
from bench.report.views.speed_text import answer
from bench.report.write import write_report
from bench.statistics.interval import crossed_interval, paired_difference
from bench.store import Store

Make = Callable[..., Any]
SEEDS = frozenset({0, 1, 2})
MEAN = "tasks (mean of 2)"
TOGETHER = "position (position + jigsaw held out)"


def group(results: Results, variant: str, new: str) -> Group:
    """Return the seeds of a row on a new task."""
    return next(g for g in results.groups if (g.variant, g.held_out) == (variant, new))


def pair(block: Block, variant: str) -> Pair:
    """Return the pair of a row with joint training."""
    return next(one for one in pairs(block, 0.01) if one.group.variant == variant)


def test_the_mean_comes_first_and_several_held_out_at_once_take_no_part(held: Make) -> None:
    """One block is the mean over members held out alone; each held-out task is one of its own."""
    found = blocks(read_results(*held().build()))
    assert [(one.held_out, one.is_mean) for one in found] == [
        (MEAN, True),
        ("rotation", False),
        ("jigsaw", False),
        (TOGETHER, False),
    ]
    assert found[0].title == "glyphs, 5-way 5-shot, new tasks (mean of 2)"
    assert found[3].slug == "glyphs-5way-5shot-new-position-position-jigsaw-held-out"


def test_the_mean_is_over_the_episodes_of_all_members(held: Make) -> None:
    """Its intervals are the crossed ones of episodes that are the mean of one of each member."""
    results = read_results(*held().build())
    mean = blocks(results)[0]
    (maml,) = [row for row in mean.rows if row.group.variant == "maml"]
    parts = [group(results, "maml", new) for new in ("rotation", "jigsaw")]
    joint = [group(results, "joint", new) for new in ("rotation", "jigsaw")]
    a_SE, b_SE = (np.mean([p.accuracy() for p in of], axis=0) for of in (parts, joint))

    assert maml.accuracy == crossed_interval(a_SE)
    assert maml.baseline is not None
    assert maml.baseline.difference == paired_difference(a_SE, b_SE)
    (speed,) = [one for one in speeds(mean, 0.01) if one.row.group.variant == "maml"]
    last_SE = np.mean([part.measured("loss")[-1] for part in parts], axis=0)
    assert speed.losses[-1] == crossed_interval(last_SE)
    assert speed.steps == (0, 1, 3, 5)


def test_a_row_that_lacks_a_member_has_no_mean(held: Make, tmp_path: Path) -> None:
    """A row that was dropped for one task is in the other blocks; the report says why."""
    plan, store = held().build()
    found = blocks(read_results(plan, store))
    assert "turned" not in {row.group.variant for row in found[0].rows}
    assert "turned" in {row.group.variant for row in found[2].rows}
    text = write_report(plan, store, tmp_path / "reports").read_text()
    assert (
        "Not in the mean, since a task was part of their own training: turned (rotation)." in text
    )


def test_a_failed_cell_leaves_the_mean_incomplete(held: Make) -> None:
    """A row that failed on one member with one seed is not averaged over the others."""
    found = blocks(read_results(*held(broken=frozenset({("maml", 5, 1)})).build()))
    for block in found:
        (maml,) = [row for row in block.rows if row.group.variant == "maml"]
        assert (maml.accuracy, maml.group.trouble) == (None, "incomplete (2 of 3 seeds)")
    assert pair(found[0], "maml").compared[5, "loss"].difference is None


def test_less_loss_is_better(held: Make) -> None:
    """The loss is judged with its sign turned: a row of more accuracy has less, and is better."""
    mean = blocks(read_results(*held(seeds=5, episodes=200).build()))[0]
    found = {one.row.group.variant: one for one in speeds(mean, 0.01)}
    best = found["simclr + joint"].baseline
    assert best is not None
    assert best.difference is not None
    assert best.verdict == "better"
    assert best.difference.high < 0
    worse = found["labelled"].floor
    assert worse is not None
    assert worse.difference is not None
    assert worse.verdict == "better"
    assert found["joint"].baseline is None
    assert found["random_init"].floor is None


def test_pairs_are_of_one_start(held: Make) -> None:
    """Each meta-algorithm is paired with joint training from its own start, and with no other."""
    mean = blocks(read_results(*held().build()))[0]
    found = {(p.start, p.group.variant, p.reference.variant) for p in pairs(mean, 0.01)}
    assert found == {
        ("from scratch", "maml", "joint"),
        ("after simclr pre-training", "simclr + reptile", "simclr + joint"),
    }


def with_another(held: Make, **params: object) -> list[Any]:
    """Return the usual rows, and a second MAML from scratch, worse, with parameters of its own."""
    methods = held().methods
    (maml,) = [one for one in methods if one.label == "maml"]
    return [*methods, replace(maml, label="maml 2", mean=0.5, params=params)]


@pytest.mark.parametrize("name", ["tasks.family", "auxiliary.weight", "selection"])
def test_pairs_are_of_rows_trained_on_the_same(held: Make, name: str) -> None:
    """A row of another family, auxiliary loss or selection is not paired with joint training."""
    mean = blocks(read_results(*held(methods=with_another(held, **{name: "other"})).build()))[0]
    assert {one.group.variant for one in pairs(mean, 0.01)} == {"maml", "simclr + reptile"}


def test_pairs_of_one_name_are_told_apart(held: Make) -> None:
    """Where two rows of one algorithm have one start, the conclusion names them by their labels."""
    plan, store = held(methods=with_another(held, order=1), seeds=5, episodes=200).build()
    said = answer(blocks(read_results(plan, store)), plan)[1]
    assert "**yes** for maml;" in said
    assert "**no, it is worse** for reptile after simclr pre-training and maml 2." in said


def test_every_joint_training_of_a_start_is_compared_with(held: Make) -> None:
    """Two of them from one start make two pairs for each row, whichever did better at test."""
    methods = held().methods
    (joint,) = [one for one in methods if one.label == "joint"]
    other = replace(joint, label="joint 2", mean=joint.mean + 0.1, params={"meta.rate": 0.01})
    plan, store = held(methods=[*methods, other]).build()
    found = blocks(read_results(plan, store))
    assert [p.reference.variant for p in pairs(found[0], 0.01) if p.group.variant == "maml"] == [
        "joint 2",
        "joint",
    ]
    assert "for maml against joint 2" in answer(found, plan)[1]


def test_rows_at_other_rates_say_so(held: Make) -> None:
    """The sentence of a pair names the rates of its rows where they differ."""
    methods = [
        replace(one, rate=0.1) if one.label == "simclr + reptile" else one for one in held().methods
    ]
    plan, store = held(methods=methods).build()
    said = answer(blocks(read_results(plan, store)), plan)
    named = [one for one in said if "at rates of" in one]
    assert len(named) == 1
    assert named[0].startswith("* After simclr pre-training, simclr + reptile minus")
    assert named[0].endswith("; at rates of 0.1 against 0.3.")


def test_a_pair_that_alone_is_in_no_mean_is_answered_too(held: Make) -> None:
    """Beside the mean of the others, each of its own tasks is answered, for it alone."""
    methods = [
        replace(one, trained_on="rotation") if one.label.startswith("simclr +") else one
        for one in held().methods
    ]
    plan, store = held(methods=methods).build()
    said = answer(blocks(read_results(plan, store)), plan)
    asked = [place for place, one in enumerate(said) if one.startswith("**Does")]
    mean, *others = (said[place + 1] for place in asked)
    assert f"new {MEAN})" in said[0]
    assert "maml" in mean
    assert "reptile" not in mean
    assert others
    for one in others:
        assert "reptile" in one
        assert "maml" not in one


def test_pairs_that_are_in_no_mean_are_answered_for_each_task(held: Make) -> None:
    """Where all pairs lack a task, as after pre-training on it, each of the others is answered."""
    methods = [
        one if one.meta == "none" else replace(one, trained_on="rotation") for one in held().methods
    ]
    plan, store = held(methods=methods).build()
    said = answer(blocks(read_results(plan, store)), plan)
    asked = [one for one in said if one.startswith("**Does")]
    assert [("new jigsaw)" in one, "held out)" in one) for one in asked] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(("images", "says"), [(4000, True), (9900, False)])
def test_pairs_of_unequal_training_say_so(held: Make, images: int, says: bool) -> None:
    """A pair whose rows passed different numbers of images is marked; whole steps do not count."""
    methods = [
        replace(one, params={"metatrain.examples": images if one.label == "maml" else 10_000})
        for one in held().methods
    ]
    plan, store = held(methods=methods).build()
    (said,) = [one for one in answer(blocks(read_results(plan, store)), plan) if "* From" in one]
    assert ("; **unequal training**, 4,000 examples against 10,000." in said) == says


def test_pairs_are_compared_at_every_read_out_in_both_measures(held: Make) -> None:
    """After 1, 3 and 5 steps the paired differences are the crossed ones of these read-outs."""
    results = read_results(*held().build())
    one = pair(blocks(results)[1], "maml")
    assert list(one.compared) == [(k, m) for k in (1, 3, 5) for m in ("accuracy", "loss")]
    own, joint = group(results, "maml", "rotation"), group(results, "joint", "rotation")
    for place, steps in enumerate((1, 3, 5), start=1):
        accuracy = paired_difference(own.accuracies()[place], joint.accuracies()[place])
        loss = paired_difference(own.measured("loss")[place], joint.measured("loss")[place])
        assert one.compared[steps, "accuracy"].difference == accuracy
        turned = one.compared[steps, "loss"].difference
        assert turned is not None
        np.testing.assert_allclose(
            [turned.mean, turned.low, turned.high], [loss.mean, loss.low, loss.high]
        )


def test_the_answer_says_yes_and_no(held: Make) -> None:
    """What the pairs' verdicts are is what the answer states, for each start in a sentence."""
    plan, store = held(seeds=5, episodes=200).build()
    said = answer(blocks(read_results(plan, store)), plan)
    assert said[0] == (
        "**Does meta-learning over pretexts beat joint training on them, "
        f"when the pretext is new?** (glyphs, 5-way 5-shot, new {MEAN})"
    )
    assert said[1].startswith("By accuracy after 5 steps: ")
    assert "**yes** for maml from scratch" in said[1]
    assert "**no, it is worse** for reptile after simclr pre-training" in said[1]
    assert "**yes** for maml from scratch" in said[2]
    assert said[2].startswith("By query loss after 5 steps: ")
    (scratch,) = [one for one in said if one.startswith("* From scratch, maml minus joint: ")]
    assert re.search(r"accuracy in points \+\d\.\d \[.*\] after 1 step \(\w+\)", scratch)
    assert re.search(r"query loss in nats .* -0\.\d{3} \[.*\] after 5 steps \(better\)", scratch)
    assert len(said) == 5


def test_a_suite_of_classes_has_no_such_answer(synthetic: Make, tmp_path: Path) -> None:
    """Where nothing is held out, no sentence, table, column or figure is about it."""
    plan, store = synthetic().build()
    assert answer(blocks(read_results(plan, store)), plan) == []
    folder = write_report(plan, store, tmp_path / "reports").parent
    assert not {*folder.glob("loss-*"), *folder.glob("pairs-*"), *folder.glob("speed-*")}
    assert not {"held_out", "loss", "rate"} & set(cell_frame(plan, store).columns)


def test_the_report_shows_tables_and_figures_of_new_tasks(held: Make, tmp_path: Path) -> None:
    """Losses, rates, pairs and both kinds of curves are in it, and what bounds its claims."""
    plan, store = held().build()
    index = write_report(plan, store, tmp_path / "reports")
    text, folder = index.read_text(), index.parent
    for name in (
        "speed-glyphs-5way-5shot-new-tasks-mean-of-2.png",
        "speed-each-accuracy-glyphs-5way-5shot.png",
        "speed-each-loss-glyphs-5way-5shot.png",
        "accuracy-glyphs-5way-new-tasks-mean-of-2.png",
    ):
        assert f"]({name})" in text
        assert (folder / name).is_file()
    assert "adaptation-" not in text
    losses = pd.read_csv(folder / "loss-glyphs-5way-5shot-new-rotation.csv").set_index("variant")
    assert losses["rates"]["maml"] == 0.3
    assert np.isclose(losses["loss_5"]["maml"], group_loss(plan, store))
    assert "| 0.3 (!) |" in text
    assert "(!) A rate at an edge of its grid" in text
    assert "neither to other pretexts nor to other classes" in text
    assert "on 60 tasks of the other pretexts over examples of the validation classes" in text
    shown = pd.read_csv(folder / "pairs-glyphs-5way-5shot-new-tasks-mean-of-2.csv")
    assert len(shown) == 2 * 3
    assert "Different test episodes" not in text


def group_loss(plan: Plan, store: Store) -> float:
    """Return the mean of MAML's last losses on new rotation tasks."""
    return float(group(read_results(plan, store), "maml", "rotation").measured("loss")[-1].mean())


def test_cells_are_exported_with_task_loss_and_rate(held: Make) -> None:
    """The frame has the task that was held out, the query loss and the rate of each cell."""
    frame = cell_frame(*held().build())
    assert set(frame.held_out) == {"rotation", "jigsaw", TOGETHER}
    assert (frame.rate == 0.3).all()
    np.testing.assert_allclose(frame.loss, np.log(5) * (1.2 - frame.accuracy))


def test_the_cost_of_a_mean_is_that_of_one_new_task(held: Make) -> None:
    """Seconds and images are the mean over members, shared stages divided as elsewhere."""
    results = read_results(*held().build())
    rows = blocks(results)[0].rows
    (mean,) = [row.group for row in rows if row.group.variant == "simclr + joint"]
    outcome = mean.results[0]
    assert outcome.examples == 2 * 6400
    assert outcome.seconds == outcome.parts[0].seconds
    assert outcome.seconds_shared(results.sharing) < outcome.seconds


def test_one_seed_is_one_model(held: Make) -> None:
    """With one seed there is no verdict, and the answer is undecided."""
    plan, store = held(seeds=1).build()
    said = answer(blocks(read_results(plan, store)), plan)
    assert "**undecided** for maml from scratch and reptile after simclr pre-training" in said[1]
    assert "(one model)" in said[3]


def test_one_held_out_task_is_its_own_answer(held: Make) -> None:
    """Without several members there is no mean: the answer is about the one block there is."""
    plan, store = held(held_out=("rotation",)).build()
    (block,) = blocks(read_results(plan, store))
    assert (block.held_out, block.is_mean) == ("rotation", False)
    assert answer([block], plan)[0].endswith("(glyphs, 5-way 5-shot, new rotation)")


def test_the_plan_s_text_lists_new_tasks(held: Make) -> None:
    """Each new task stands in a line with what training went without, and its cells."""
    plan, store = held().build()
    plan = replace(plan, settings=plan.settings | {"readouts": [0, 1, 3, 5]})
    text = plan_text(plan, store)
    assert re.search(r"^new task +kept out of training +cells$", text, re.M)
    assert re.search(r"^rotation +two +18$", text, re.M)
    assert re.search(r"^position +two \+ two +21$", text, re.M)


@pytest.mark.parametrize("number", [0, 3])
def test_pooled_seeds_keep_their_numbers(held: Make, number: int) -> None:
    """A row's seeds in the mean are those of the plan, each with its own episodes."""
    results = read_results(*held(seeds=4).build())
    mean = next(row.group for row in blocks(results)[0].rows if row.group.variant == "joint")
    assert mean.seeds() == {0, 1, 2, 3}
    own = [
        group(results, "joint", new).results[number].accuracy_TE for new in ("rotation", "jigsaw")
    ]
    assert np.array_equal(mean.results[number].accuracy_TE, np.mean(own, axis=0))


@pytest.mark.parametrize("lost", [{"maml"}, {"maml", "simclr + reptile"}, None])
def test_what_is_not_done_is_said(held: Make, tmp_path: Path, lost: set[str] | None) -> None:
    """A report on rows that are missing, on all of them too, says so and judges none of them."""
    every = {"random_init", "joint", "maml", "simclr + joint", "simclr + reptile", "turned"}
    plan, store = held(missing=frozenset(lost or every | {"labelled"})).build()
    text = write_report(plan, store, tmp_path / "reports").read_text()
    said = answer(blocks(read_results(plan, store)), plan)
    assert said[1:] == ["No row of a pair is done."] if lost is None else len(said) == 5
    if lost is not None:
        assert "**no verdict** for maml from scratch" in said[1]
        assert "* From scratch, maml minus joint: incomplete (0 of 3 seeds)." in said
    assert "Incomplete: of" in text


def test_what_tells_members_apart_does_not_widen_their_mean(held: Make) -> None:
    """Adding 10 points to all episodes of one member moves the mean, and no interval's width."""
    plan, store = held().build()
    results = read_results(plan, store)
    raised = [
        replace(one, measured_TE={**one.measured_TE, "accuracy": one.accuracy_TE + 0.1})
        if one.cell.held_out == "rotation" and one.status == "done"
        else one
        for one in results.cells
    ]

    before, after = (
        crossed_interval(pooled(which)[0].accuracy())
        for which in (results, replace(results, cells=tuple(raised)))
    )

    assert after.mean == pytest.approx(before.mean + 0.1 / 2)
    assert after.se == pytest.approx(before.se)
