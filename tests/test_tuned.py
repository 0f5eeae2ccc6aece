"""What is tuned of a row, and what becomes of the rows, the plan and the written suite after it."""

from pathlib import Path

import pytest

from bench.cell import Json
from bench.errors import UserError
from bench.plan import Plan, make_plan
from bench.rows import rows_of
from bench.rungs import found_before, is_whole
from bench.space import Reals, Whole
from bench.store import Store
from bench.suite import Suite, read_suite, with_options
from bench.tuned import params_of, record_path, spaces, with_params
from bench.variant import Variant
from bench.written import write_tuned
from tests.tuning import HEAD, ROWS, Pretender, facts_of, suite_of, tuned

TUNE = "tune: {trials: 4}\n"
LABELLED = """\
variants:
  - label: auxiliary
    meta: {name: protonet, rate: 0.002}
    auxiliary: {pretext: rotation, weight: 2.0}
    trials: 3
  - label: by clusters
    tasks: {name: clusters, pretext: simclr, k: 20}
    meta: {name: maml, order: 1}
  - {label: 'true', init: supervised, meta: none, norm: transductive}
  - {label: selected, pretext: simclr, meta: protonet, selection: {name: label_val, snapshots: 2}}
controls: [ssl_logistic, raw_neighbour]
budget: {pretrain_steps: 50, metatrain_examples: 9_000}
evaluate: {queries: 10, test_steps: 3}
"""


def row(suite: Suite, label: str) -> Variant:
    """Return a row of a suite that is not tuned yet."""
    (found,) = [one for one in rows_of(suite, facts_of).variants if one.label == label]
    return found


def record_of(suite: Suite, folder: Path) -> Json:
    """Return what a tuning comes to, of stages that pretend to run."""
    store = Store(folder)
    return tuned(suite, store, Pretender(store)).record


# --- a row


def test_a_rows_space_is_what_its_plugins_declare(tmp_path: Path) -> None:
    """By dotted names; of an auxiliary loss the weight alone; of data and encoder nothing."""
    suite = suite_of(
        tmp_path, LABELLED.replace("evaluate: {queries: 10, test_steps: 3}\n", "") + TUNE
    )
    assert suite.tune is not None
    found = spaces(row(suite, "auxiliary"), suite.tune)
    assert list(found) == ["auxiliary.weight", "meta.rate", "meta.halve_every"]
    assert params_of(row(suite, "auxiliary"), list(found)) == {
        "auxiliary.weight": 2.0,
        "meta.rate": 0.002,
        "meta.halve_every": 0.2,
    }
    assert spaces(row(suite, "true, running statistics"), suite.tune) == {}
    assert spaces(row(suite, "random_init"), suite.tune) == {}


def test_a_suites_space_takes_the_place_of_a_plugins(tmp_path: Path) -> None:
    """Whole: what it does not name is not tuned."""
    text = "tune: {space: {meta/protonet: {rate: {low: 0.001, high: 0.1}}, pretext/rotation: {}}}\n"
    suite = suite_of(tmp_path, ROWS + text)
    assert suite.tune is not None
    found = spaces(row(suite, "rotation + protonet"), suite.tune)
    assert found == {"meta.rate": Reals(low=0.001, high=0.1)}
    assert spaces(row(suite, "rotation + none"), suite.tune) == {}


def test_a_range_between_whole_numbers_is_one_of_reals_where_the_parameter_is(
    tmp_path: Path,
) -> None:
    """``{low: 1, high: 2}`` of a weight or a rate holds what lies between."""
    text = (
        "tune: {space: {meta/protonet: {rate: {low: 1, high: 3}, task_shots: {low: 1, high: 3}},"
        " auxiliary/rotation: {weight: {low: 1, high: 2}}}}\n"
    )
    suite = suite_of(tmp_path, "meta: protonet\nauxiliary: {pretext: rotation}\n" + text)
    (row,) = [one for one in rows_of(suite, facts_of).variants if one.names["meta"] == "protonet"]
    assert suite.tune is not None
    found = spaces(row, suite.tune)
    assert found["meta.rate"] == Reals(low=1, high=3)
    assert found["auxiliary.weight"] == Reals(low=1, high=2)
    assert found["meta.task_shots"] == Whole(low=1, high=3)


def test_a_row_with_other_parameters_is_that_row_written_so(tmp_path: Path) -> None:
    """Its identity is that of a row whose suite gives the same parameters."""
    suite = suite_of(tmp_path, "variants: [{label: a, meta: protonet}]\n")
    written = suite_of(tmp_path, "variants: [{label: a, meta: {name: protonet, rate: 0.02}}]\n")
    changed = with_params(row(suite, "a"), {"meta.rate": 0.02})
    assert changed.identity == row(written, "a").identity
    assert changed.identity != row(suite, "a").identity


def test_the_floor_is_not_tuned(tmp_path: Path) -> None:
    """Whatever a suite says of its method: it is what every row is judged against."""
    text = "tune: {trials: 3, space: {meta/none: {head: [prototypes, neighbour]}}}\n"
    suite = suite_of(tmp_path, ROWS + text)
    assert suite.tune is not None
    assert spaces(row(suite, "random_init"), suite.tune) == {}
    assert "meta.head" in spaces(row(suite, "rotation + none"), suite.tune)


# --- what a suite may say


MISTAKES = [
    ("tune: {trial: 3}", ":10: tune.trial: unknown key 'trial'. Did you mean trials?"),
    ("tune: {trials: 0}", "tune.trials: 0."),
    ("tune: {sampler: tpr}", "tune.sampler: 'tpr' (text). Did you mean tpe?"),
    ("tune: {seeds: [1, 1000]}", "tune.seeds: the seeds 1 would be tuned on and reported."),
    ("tune: {sampler: grid, pruner: halving}", "tune.pruner: a grid that is pruned."),
    ("tune: {space: {meta/protonet: {rate: 3}}}", ".rate: 3. Write {low: ..., high: ..."),
    ("tune: {space: {meta/protonet: {rate: [1]}}}", "a choice among [1]. Write {low"),
    ("tune: {space: {meta/protonet: {rate: {low: 2, high: 1}}}}", "bounds of 2 and 1."),
    ("tune: {space: {meta/protonet: {rate: {low: -1.0, high: 1.0, log: true}}}}", "a logarithmic"),
    ("tune: {space: {meta/protonet: {rat: [1, 2]}}}", "no parameter 'rat'. Did you mean rate?"),
    ("tune: {space: {meta/maml: {rate: [1, 2]}}}", "no row has meta/maml."),
    (
        "tune: {queries: 40}",
        ":10: tune: episodes of 5 classes with 41 examples each, but",
    ),
    ("tune: {cluster_size: 300}", "4 clusters of about 300 examples for episodes of 5 clusters"),
    (
        "tune: {cluster_size: 12}",
        "clusters of about 12 examples for episodes of 5 clusters with",
    ),
    (
        "tune: {score: pseudo_val}\nvariants: [{meta: maml, tuned_on: label_val}]",
        "variants[0].tuned_on: parameters from validation labels",
    ),
    (
        "tune: {space: {auxiliary/jigsaw: {weight: {low: 0, high: 1}}}}\n"
        "variants: [{meta: maml, auxiliary: {pretext: jigsaw}}]",
        "auxiliary.weight of 0.",
    ),
    ("tune: {seeds: [5, 5]}", "tune.seeds: a seed that stands twice."),
    ("tune: {space: {meta/protonet: {rate: [1, true]}}}", "a choice among [1, True]."),
    ("tune: {space: {meta/protonet: {rate: [[1], [2]]}}}", "a choice among [[1], [2]]."),
    ("tune: {space: {meta/protonet: {rate: {low: -2, high: 1}}}}", "meta.rate of -2: rate: -2."),
    ("tune: {space: {meta/protonet: {rate: [0.1, a]}}}", "meta.rate of 'a': rate: 'a'."),
    ("tune: {sampler: grid, points: 1000000000}", ":10: tune.points: a grid of 10"),
    ("variants: [{meta: maml, trials: 3}]", "variants[0].trials: no tune."),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistakes_in_a_tuning_are_told(tmp_path: Path, text: str, said: str) -> None:
    """Each is one error with file, line, key and what would work."""
    with pytest.raises(UserError) as caught:
        rows_of(with_options(suite_of(tmp_path, ROWS + text)), facts_of)
    assert said in str(caught.value)


def test_seeds_of_the_command_line_may_not_be_those_of_the_tuning(tmp_path: Path) -> None:
    """``--seeds`` is looked at too."""
    with pytest.raises(UserError, match="the seeds 1000 would be tuned on and reported"):
        with_options(suite_of(tmp_path, ROWS + TUNE), seeds="3,1000")


def test_new_tasks_are_not_tuned_for(tmp_path: Path) -> None:
    """They choose a rate of their own in every row."""
    text = "tasks: {name: pretext, family: [rotation, jigsaw]}\nheld_out: [rotation]\nmeta: maml\n"
    with pytest.raises(UserError, match="tune beside held_out"):
        suite_of(tmp_path, text + TUNE)


# --- the plan after it


def plan_after(folder: Path, text: str) -> tuple[Suite, Json, Plan]:
    """Return a suite, its tuning, and the plan with the rows that were found."""
    suite = suite_of(folder, text)
    record = record_of(suite, folder / "results")
    return suite, record, make_plan(suite, facts_of, record)


def test_rows_of_the_plan_have_the_parameters_that_were_found(tmp_path: Path) -> None:
    """Beside them stand the same rows as they were, where these differ."""
    _, record, plan = plan_after(tmp_path, ROWS + TUNE)
    for found in record["rows"]:
        best = found["trials"][found["winner"]]["params"]
        name = found["variant"]
        cells = [one for one in plan.cells if one.variant == name]
        assert cells
        assert all(cell.params[key] == value for cell in cells for key, value in best.items())
        defaults = [one for one in plan.cells if one.default_of == name]
        assert bool(defaults) == (found["winner"] > 0)
        assert {one.variant for one in defaults} <= {f"{name}, default"}
        assert all(cell.params["meta.rate"] == 1e-3 for cell in defaults if "meta.rate" in best)
    assert plan.settings["tuning"] == record
    assert {audit.variant for audit in plan.audits if audit.subject == "row"} == {
        one.variant for one in plan.cells if not one.default_of
    }


def test_a_row_that_keeps_its_default_stands_once(tmp_path: Path) -> None:
    """No cell is there twice: the row is its own default."""
    text = "variants: [{label: good, meta: {name: protonet, rate: 0.01}}]\n"
    space = "tune: {trials: 3, space: {meta/protonet: {rate: {low: 0.1, high: 0.2}}}}\n"
    _, record, plan = plan_after(tmp_path, text + space)
    assert record["rows"][0]["winner"] == 0
    assert not any(cell.default_of for cell in plan.cells)
    assert len({cell.stages["evaluate"] for cell in plan.cells}) == len(plan.cells)


def test_the_baseline_stays_the_row_that_the_suite_names(tmp_path: Path) -> None:
    """A pattern with a parameter that is tuned matches the row as it is written."""
    text = "variants: [{meta: {name: protonet, rate: 0.002}}, {meta: maml}]\n"
    text += "baseline: {train: {meta: {name: protonet, rate: 0.002}}}\n"
    _, _, plan = plan_after(tmp_path, text + "tune: {trials: 12}\n")
    assert plan.settings["baseline"]["train"] == "none + protonet"
    (changed,) = {one.params["meta.rate"] for one in plan.cells if one.variant == "none + protonet"}
    assert changed != 0.002


def test_a_row_tuned_on_labels_is_of_the_rows_that_saw_some(tmp_path: Path) -> None:
    """Its default saw none."""
    _, _, plan = plan_after(
        tmp_path, "pretext: rotation\nmeta: none\ntune: {trials: 4, score: label_val}\n"
    )
    labels = {(one.variant, one.labels, one.params.get("tuned_on")) for one in plan.cells}
    assert labels == {
        ("rotation + none", "validation", "label_val"),
        ("rotation + none, default", "none", None),
        ("random_init", "none", None),
    }


def test_a_row_without_a_winner_stays_as_it_is(tmp_path: Path) -> None:
    """The record says that it has none."""
    suite, store = suite_of(tmp_path, ROWS + TUNE), Store(tmp_path / "results")
    record = tuned(suite, store, Pretender(store, diverging=0.0)).record
    plan = make_plan(suite, facts_of, record)
    assert {cell.params.get("meta.rate", 1e-3) for cell in plan.cells} == {1e-3}
    assert not any(cell.default_of for cell in plan.cells)


def test_inductive_rows_follow_the_row_whose_weights_they_test(tmp_path: Path) -> None:
    """They have no tuning of their own, and the same training."""
    text = "norm: transductive\nmeta: {name: maml, order: 1}\n"
    _, record, plan = plan_after(tmp_path, text + TUNE)
    assert [one["variant"] for one in record["rows"]] == ["none + maml"]
    trained = {
        cell.variant: cell.stages["metatrain"]
        for cell in plan.cells
        if cell.seed == 0 and "metatrain" in cell.stages
    }
    assert trained["none + maml"] == trained["none + maml, support statistics"]
    assert trained["none + maml"] != trained["none + maml, default"]


def test_a_tuning_of_other_rows_is_none_of_this_suite(tmp_path: Path) -> None:
    """Other rows, other trials, another way to tune: it is to be done again."""
    suite = suite_of(tmp_path, ROWS + TUNE)
    record = record_of(suite, tmp_path / "results")

    def holds(text: str) -> bool:
        other = suite_of(tmp_path, text)
        return is_whole(record, other, rows_of(other, facts_of).variants)

    assert holds(ROWS + TUNE)
    assert holds("margin: 0.02\n" + ROWS + TUNE)
    assert not holds(ROWS + "tune: {trials: 5}\n")
    assert not holds(ROWS + "tune: {trials: 4, seed: 1}\n")
    assert not holds(ROWS.replace("rotation", "simclr") + TUNE)
    assert not holds(ROWS + "budget: {metatrain_steps: 7}\n" + TUNE)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"rows": [{"variant": "a"}]}'])
def test_a_tuning_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    """One error, with what writes it again."""
    suite = suite_of(tmp_path, ROWS + TUNE)
    path = record_path("small", tmp_path)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match="Write it again: `bench tune"):
        found_before(suite, rows_of(suite, facts_of).variants, tmp_path)


# --- the written suite


def keys(plan: Plan) -> set[tuple[int, int, str]]:
    """Return seed, shots and key of what tests the rows of a plan, those before tuning left out."""
    return {
        (one.seed, one.shots, one.stages["evaluate"]) for one in plan.cells if not one.default_of
    }


ORACLE = "tune: {trials: 4, score: label_val}\n"
BY_LABELS = ROWS.replace("none: random_init", "validation: rotation + none")
ELSEWHERE = "grid:\n  data: [glyphs, omniglot]\n  ways: [2, 5]\n  meta: [none, protonet]\n"
FLOOR = """\
variants:
  - {label: floor, meta: none}
  - {label: "1e5", meta: protonet}
baseline: {train: "1e5", none: floor}
"""
WRITTEN = [(ROWS, TUNE), (BY_LABELS, ORACLE), (LABELLED, TUNE), (ELSEWHERE, TUNE), (FLOOR, TUNE)]


@pytest.mark.parametrize(("text", "tune"), WRITTEN)
def test_the_written_suite_runs_the_rows_as_they_were_tuned(
    tmp_path: Path, text: str, tune: str
) -> None:
    """The same stages to the last, under the same names, in the same classes of labels."""
    own = {
        LABELLED: ("evaluate: {queries: 10}\n", "margin: 0.02\n"),
        ELSEWHERE: ("data: glyphs\n", ""),
    }
    head = HEAD.replace(*own.get(text, ("", "")))
    (tmp_path / "suite.yaml").write_text(head + text + tune)
    suite = read_suite(tmp_path / "suite.yaml")
    record = record_of(suite, tmp_path / "results")
    plan = make_plan(suite, facts_of, record)
    path = tmp_path / "small.tuned.yaml"
    write_tuned(path, suite, rows_of(suite, facts_of, record), record)
    again = make_plan(read_suite(path), facts_of)
    assert keys(again) == keys(plan)
    assert again.name == "small_tuned"
    assert again.settings["margin"] == plan.settings["margin"]
    classes = {(cell.stages["evaluate"], cell.labels) for cell in again.cells}
    assert classes == {
        (cell.stages["evaluate"], cell.labels) for cell in plan.cells if not cell.default_of
    }
    assert again.settings["baseline"].keys() == plan.settings["baseline"].keys()


def test_a_suite_is_written_with_the_budget_that_it_was_tuned_with(tmp_path: Path) -> None:
    """``--budget-scale`` is in its numbers of images."""
    suite = with_options(suite_of(tmp_path, ROWS + TUNE), budget_scale=0.013)
    record = record_of(suite, tmp_path / "results")
    path = tmp_path / "small.tuned.yaml"
    write_tuned(path, suite, rows_of(suite, facts_of, record), record)
    again = make_plan(read_suite(path), facts_of)
    assert keys(again) == keys(make_plan(suite, facts_of, record))


def test_a_control_that_was_tuned_is_written_as_a_row(tmp_path: Path) -> None:
    """No row of a suite may have a control's name."""
    text = ROWS.replace("none: random_init", "none: ssl_logistic") + "controls: [ssl_logistic]\n"
    suite = suite_of(tmp_path, text + TUNE)
    record = record_of(suite, tmp_path / "results")
    path = tmp_path / "small.tuned.yaml"
    write_tuned(path, suite, rows_of(suite, facts_of, record), record)
    again = make_plan(read_suite(path), facts_of)
    assert again.settings["baseline"]["none"] == "ssl_logistic, tuned"
    assert keys(again) == keys(make_plan(suite, facts_of, record))


def test_a_suite_is_not_written_over_itself(tmp_path: Path) -> None:
    """The file that was tuned is never the one that is written."""
    suite = suite_of(tmp_path, ROWS + TUNE)
    record = record_of(suite, tmp_path / "results")
    with pytest.raises(UserError, match="the suite itself"):
        write_tuned(Path(suite.file), suite, rows_of(suite, facts_of, record), record)
    with pytest.raises(UserError, match="there is no folder"):
        write_tuned(tmp_path / "no" / "a.yaml", suite, rows_of(suite, facts_of, record), record)
    with pytest.raises(UserError, match="a folder"):
        write_tuned(tmp_path, suite, rows_of(suite, facts_of, record), record)
    with pytest.raises(UserError, match="cannot be written"):
        write_tuned(tmp_path / ("a" * 300), suite, rows_of(suite, facts_of, record), record)
