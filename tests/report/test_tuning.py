"""The report's part on tuning: what it bought, spent and chose, against independent numbers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.plan import Plan
from bench.report.analysis import analyse, whole_rows
from bench.report.evidence.looks import note_looks, read_looks
from bench.report.frame import frame_of
from bench.report.gallery import Gallery
from bench.report.results import Group, Results, read_results
from bench.report.text import Report, write_text
from bench.report.trials import trials_of
from bench.report.views.tuning import best_within, cheapest, where_in
from bench.report.views.tuning_text import budget_table, chosen_table
from bench.store import Store
from tests.report.invented import (
    BEFORE,
    FLOOR,
    MAML,
    PROTONET,
    ROWS,
    SIMCLR,
    record,
    row,
    trial,
    tuned,
)

Make = Callable[..., Any]
SHOTS = (1, 5)


def report_of(plan: Plan, store: Store) -> Report:
    """Return the report's text and tables, without its figures."""
    return write_text(analyse(read_results(plan, store)), Gallery(), "0" * 64)


def frames(report: Report) -> dict[str, pd.DataFrame]:
    """Return the numbers of each table by its name."""
    return {table.name: table.frame for table in report.tables}


def section(report: Report, title: str) -> str:
    """Return one section of the report."""
    return report.markdown.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def group(results: Results, variant: str, shots: int) -> Group:
    """Return the seeds of a row."""
    return next(g for g in results.groups if (g.variant, g.shots) == (variant, shots))


def number(frame: pd.DataFrame, variant: str, column: str) -> float:
    """Return one number of a table whose index is the variant."""
    return float(str(frame.loc[variant, column]))


def crossed(d_SE: np.ndarray) -> tuple[float, float, float, float]:
    """Return mean, bounds and p of differences [S, E], by the formula of the docs."""
    S, E = d_SE.shape
    residual_SE = d_SE - d_SE.mean(1, keepdims=True) - d_SE.mean(0, keepdims=True) + d_SE.mean()
    v_s, v_e = d_SE.mean(1).var(ddof=1) / S, d_SE.mean(0).var(ddof=1) / E
    v_r = (residual_SE**2).sum() / ((S - 1) * (E - 1)) / (S * E)
    se, mean = np.sqrt(max(v_s + v_e - v_r, v_s)), d_SE.mean()
    reach = stats.t.ppf(0.975, S - 1) * se
    return mean, mean - reach, mean + reach, 2 * stats.t.sf(abs(mean) / se, S - 1)


@pytest.mark.parametrize("shots", SHOTS)
def test_what_tuning_bought_is_the_paired_difference(synthetic: Make, shots: int) -> None:
    """Tuned minus default, seed by seed and episode by episode; Holm over the changed rows."""
    results = read_results(*tuned(synthetic))
    table = frames(write_text(analyse(results), Gallery(), "0" * 64))
    found = table[f"tuning-bought-glyphs-5way-{shots}shot"].set_index("variant")

    expected = {}
    for variant in (PROTONET.label, MAML.label):
        before = results.defaults[variant, "glyphs", 5, shots, ""]
        after = group(results, variant, shots)
        assert before.variant == f"{variant}, default"
        expected[variant] = crossed(after.accuracy() - before.accuracy())
        assert number(found, variant, "default") == pytest.approx(before.accuracy().mean())
        assert number(found, variant, "tuned") == pytest.approx(after.accuracy().mean())
    own = found.loc[list(expected)]
    columns = ["reference_difference", "reference_difference_low", "reference_difference_high"]
    for name, place in zip((*columns, "reference_p"), range(4), strict=True):
        assert own[name].tolist() == pytest.approx([one[place] for one in expected.values()])
    _, holm, *_ = multipletests([one[3] for one in expected.values()], method="holm")
    assert own["reference_p_holm"].tolist() == pytest.approx(holm.tolist())
    assert own["reference_verdict"].tolist() == ["better", "undecided"]


def test_a_kept_default_is_no_comparison(synthetic: Make) -> None:
    """A row that kept its default stands twice as itself, without difference, p or verdict."""
    plan, store = tuned(synthetic)
    report = report_of(plan, store)
    table = next(one for one in report.tables if one.name.startswith("tuning-bought"))
    (kept,) = [line for line in table.rows if line[0] == SIMCLR.label]

    assert kept[1] == kept[2]
    assert kept[3:] == ["-", "-", "kept its default"]
    assert f"{SIMCLR.label} (kept its default)" in section(report, "The answer")
    assert f"has their defaults, which {SIMCLR.label} kept." in section(report, "The answer")


def test_a_row_without_winner_is_its_default(synthetic: Make) -> None:
    """Where every trial failed a banner and the table say so, and the family is the smaller."""
    lost = row(MAML.label, [None] * 6)
    plan, store = tuned(synthetic, record([ROWS[0], lost, ROWS[2]]), BEFORE[:1])
    report = report_of(plan, store)
    found = frames(report)["tuning-bought-glyphs-5way-1shot"].set_index("variant")

    banner = f"Tuning of {MAML.label}: every one of 6 trials failed; its default is shown."
    assert banner in report.banners
    holm = number(found, PROTONET.label, "reference_p_holm")
    assert holm == number(found, PROTONET.label, "reference_p")
    assert np.isnan(number(found, MAML.label, "winner"))
    assert "no trial finished: it is its default" in section(report, "Tuning")
    assert f"{MAML.label}: 6 trials failed (NaN in the loss)" in section(report, "Tuning")
    assert f"All rows but {FLOOR.label} and {MAML.label} are as tuned" in report.markdown


def test_an_incomplete_default_has_no_difference(synthetic: Make) -> None:
    """A failed cell of a default is a banner, a line of the audit, and p = 1 in the family."""
    broken = frozenset({(BEFORE[0].label, 1, 2)})
    plan, store = tuned(synthetic, broken=broken)
    report = report_of(plan, store)
    found = frames(report)["tuning-bought-glyphs-5way-1shot"].set_index("variant")

    assert f"of {len(plan.cells)} cells 1 failed" in report.banners[0]
    assert f"{BEFORE[0].label}/glyphs 5-way 1-shot/seed 2" in section(report, "Audit")
    assert np.isnan(number(found, PROTONET.label, "reference_difference"))
    assert "incomplete (2 of 3 seeds)" in section(report, "Tuning")
    p = number(found, MAML.label, "reference_p")
    assert number(found, MAML.label, "reference_p_holm") == pytest.approx(min(1.0, 2 * p))


def test_default_cells_change_no_other_number(synthetic: Make) -> None:
    """With and without the cells of defaults every table but that of tuning is the same.

    What counts stages and cells counts theirs: compute, versions, coverage.
    """
    plan, store = tuned(synthetic)
    cells = tuple(cell for cell in plan.cells if not cell.default_of)
    keys = {key for cell in cells for key in cell.stages.values()}
    without = replace(plan, cells=cells, stages={k: v for k, v in plan.stages.items() if k in keys})
    one, other = report_of(plan, store), report_of(without, store)
    here, there = frames(one), frames(other)

    assert here.keys() == there.keys()
    counted = {"compute", "provenance"}
    for name in here.keys() - counted:
        if not name.startswith("tuning-bought"):
            pd.testing.assert_frame_equal(here[name], there[name])
    for title in ("Results", "All pairs", "Cost", "Pretext and meta", "How sure", "Bibliography"):
        assert section(one, title) == section(other, title)
    assert here["compute"]["finished"].sum() > there["compute"]["finished"].sum()
    assert here["provenance"]["cells"].astype(int).sum() == len(plan.cells)
    variants = {line.split(" |")[0] for line in section(one, "Results").splitlines()}
    assert not any("default" in name for name in variants)


def test_cells_of_defaults_are_told_in_the_frame(synthetic: Make) -> None:
    """The frame has them with the row they are of; a suite without tuning lacks the column."""
    frame = frame_of(read_results(*tuned(synthetic)))
    usual = frame_of(read_results(*synthetic().build()))

    defaults = frame[frame.default_of != ""]
    assert set(zip(defaults.variant, defaults.default_of, strict=True)) == {
        (one.label, one.label.removesuffix(", default")) for one in BEFORE
    }
    assert len(defaults) == 2 * 3 * 2
    assert "default_of" not in usual


def test_defaults_count_as_looked_at(synthetic: Make, tmp_path: Path) -> None:
    """A report shows defaults too: seeds that are added later mark what is said of them."""
    plan, store = tuned(synthetic, seeds=2)
    note_looks(plan, whole_rows(read_results(plan, store)), tmp_path)
    later, _ = tuned(synthetic, seeds=3)

    assert f"{BEFORE[0].label}/glyphs 5-way 1-shot" in read_looks(later, tmp_path)


def test_budgets_are_those_of_the_recorded_trials(synthetic: Make) -> None:
    """Trials by how they ended, seconds, scores, and the best within the cheapest row's seconds."""
    first = row(PROTONET.label, [0.5, 0.62, None, 0.71, 0.66, 0.58])
    for place, one in enumerate(first["trials"]):
        one["seconds"] = 5.0 + place  # 5, 11, 18, 26, 35, 45 in all
    first["trials"][5] |= {"state": "pruned", "score": None}
    cheap = row(MAML.label, [0.7, 0.69, 0.72])
    found = record([first, cheap, ROWS[2]])
    plan, store = tuned(synthetic, found)
    table = frames(report_of(plan, store))["tuning-budget"].set_index("variant")

    own = pd.Series(table.to_dict("index")[PROTONET.label])
    states = ["parameters", "asked", "trials", "finished", "pruned", "failed", "winner"]
    assert own[states].tolist() == [2, 6, 6, 4, 1, 1, 3]
    assert own[["seconds", "default_score", "best_score"]].tolist() == [45.0, 0.5, 0.71]
    assert own[["equal_seconds", "best_at_equal_seconds"]].tolist() == [30.0, 0.71]
    assert number(table, MAML.label, "best_at_equal_seconds") == 0.72
    assert table.loc[FLOOR.label, "why_not"] == "none of its plug-ins declares anything to tune"


def test_a_row_of_which_nothing_finished_limits_no_other() -> None:
    """Equal seconds are those of the cheapest row that has a result."""
    found = trials_of(_plan(record([row(MAML.label, [None, None]), row(PROTONET.label, [0.5])])))
    assert found is not None
    lost = replace(found.rows[0], trials=())
    assert cheapest(replace(found, rows=(lost, found.rows[1]))) == {("glyphs", 5): 10.0}
    assert cheapest(replace(found, rows=(lost,))) == {("glyphs", 5): 0.0}


def test_seconds_are_paid_for_whole_trials() -> None:
    """A trial that ended later than the seconds allow is not paid for; none: there is no best."""
    plan_row = trials_of(_plan(record([row(MAML.label, [0.4, 0.9])])))
    assert plan_row is not None
    (own,) = plan_row.rows

    assert best_within(own, 20.0) == 0.9
    assert best_within(own, 19.9) == 0.4
    assert best_within(own, 9.9) is None


def _plan(found: Mapping[str, Any]) -> Plan:
    return Plan(name="p", cells=(), stages={}, settings={"tuning": dict(found)})


def test_a_cut_budget_raises_the_banner(synthetic: Make) -> None:
    """Rows with other numbers of recorded trials than the others are named, with their counts."""
    plan, store = tuned(synthetic)
    cut = [ROWS[0], {**ROWS[1], "trials": ROWS[1]["trials"][:3]}, ROWS[2]]

    fair = report_of(plan, store)
    unfair = report_of(replace(plan, settings={**plan.settings, "tuning": record(cut)}), store)

    assert fair.banners == []
    assert unfair.banners == [
        f"Tuning budgets differ: 6 trials a row were asked for; they had {PROTONET.label} 6, "
        f"{MAML.label} 3 and {SIMCLR.label} 6. A row with more had the better chance."
    ]
    assert f"{MAML.label} 3" in section(unfair, "Tuning")
    assert "tuned with 3 of 6 trials" in section(unfair, "Audit")


def test_a_budget_cut_for_all_rows_raises_the_banner_too(synthetic: Make) -> None:
    """Where all rows have fewer trials than were asked for, it is said."""
    plan, store = tuned(synthetic, record(trials=20))

    assert report_of(plan, store).banners == [
        "Every tuned row had 6 trials, not the 20 that were asked for."
    ]


def test_a_budget_that_the_suite_cuts_is_told(synthetic: Make) -> None:
    """A row that was asked for fewer trials is named with what was asked, and the banner stands."""
    cut = row(MAML.label, [0.7, 0.69, 0.72])
    report = report_of(*tuned(synthetic, record([ROWS[0], cut, ROWS[2]])))

    assert f"{MAML.label} 3 (3 asked)" in report.banners[0]


def test_a_record_without_rows_is_none(synthetic: Make) -> None:
    """Where nothing could be tuned the report is as without tuning."""
    report = report_of(*tuned(synthetic, record([]), before=()))

    assert report.tuning is None
    assert "no row was tuned (0 trials each)" in section(report, "Audit")


def test_a_trained_row_without_tuning_raises_the_banner(synthetic: Make) -> None:
    """A row that trains and was not tuned, beside rows that were, is named with the reason."""
    why = "none of its plug-ins declares anything to tune"
    left = {"variant": SIMCLR.label, "data": "glyphs", "ways": 5, "trained": True, "why": why}
    plan, store = tuned(synthetic, record(ROWS[:2], untuned=[left]))
    report = report_of(plan, store)

    assert report.banners == [
        f"Not tuned, beside rows that were: {SIMCLR.label} ({why}) was trained."
    ]
    assert f"{SIMCLR.label} was not tuned: {why}" in section(report, "Tuning")


@pytest.mark.parametrize(
    ("space", "value", "where"),
    [
        ({"low": 1e-4, "high": 1e-1, "log": True}, 1.4e-4, "at the edge"),
        ({"low": 1e-4, "high": 1e-1, "log": True}, 1.5e-4, ""),
        ({"low": 1e-4, "high": 1e-1, "log": True}, 0.08, "at the edge"),
        ({"low": 1e-4, "high": 1e-1, "log": False}, 0.05, ""),
        ({"low": 1e-4, "high": 1e-1, "log": False}, 1.4e-4, "at the edge"),
        ({"low": 0.0, "high": 1.0, "log": False}, 0.95, "at the edge"),
        ({"low": 0.0, "high": 1.0, "log": False}, 0.94, ""),
        ({"low": 1, "high": 10, "log": False, "whole": True}, 10, "at the edge"),
        ({"low": 1, "high": 10, "log": False, "whole": True}, 12, "outside"),
        ({"values": [1, 5]}, 5, ""),
        ({"values": [1, 5]}, 20, "outside"),
        ({"values": [True, None]}, None, ""),
    ],
)
def test_a_choice_at_the_edge_is_told(space: dict[str, Any], value: object, where: str) -> None:
    """Within 5 % of an end, of logarithms where that is searched; a choice of values has none."""
    assert where_in(space, value) == where


def test_what_was_chosen_stands_beside_its_default() -> None:
    """Parameter, default, range, choice and importance; a dash where there is no importance."""
    own = row(PROTONET.label, [0.5, 0.7])
    own["trials"][0]["params"] = {"meta.rate": 0.001, "meta.shots": 5}
    own["trials"][1]["params"] = {"meta.rate": 0.0987654321, "meta.shots": 5}
    found = trials_of(_plan(record([own])))
    assert found is not None
    table = chosen_table(found)
    assert table is not None

    assert [list(line) for line in table.rows] == [
        [PROTONET.label, "meta.rate", "0.001", "0.0001 to 0.1, log", "0.09877, at the edge", "-"],
        [PROTONET.label, "meta.shots", "5", "1 to 10", "5", "-"],
    ]
    assert table.frame["chosen"].tolist() == ["0.0987654321", "5"]


def test_rows_of_several_data_sets_are_told_apart() -> None:
    """Where tuning knows two sets, tables and sentences name them; equal seconds are of each."""
    other = row(MAML.label, [0.4] * 6, data="faces")
    for one in other["trials"]:
        one["seconds"] = 1.0
    found = trials_of(_plan(record([ROWS[1], other])))
    assert found is not None

    table = budget_table(found)

    assert list(table.header[:3]) == ["variant", "data", "ways"]
    assert table.frame.equal_seconds.tolist()[:2] == [60.0, 6.0]


def test_the_expected_best_is_that_of_all_subsets(synthetic: Make) -> None:
    """Of trials drawn at random, without trial 0, failures as chance; bands by every subset."""
    table = frames(report_of(*tuned(synthetic)))["expected-best"]
    own = table[table.variant == PROTONET.label]

    assert own.trials.tolist() == [1, 2, 3, 4, 5]
    for k, line in zip(own.trials, own.to_dict("records"), strict=True):
        best = sorted(max(subset) for subset in combinations([0.62, 0.2, 0.71, 0.66, 0.58], k))
        assert line["expected_best"] == pytest.approx(np.mean(best))
        assert line["low"] == best[int(np.ceil(0.1 * len(best))) - 1]
        assert line["high"] == best[int(np.ceil(0.9 * len(best) - 1e-9)) - 1]


@pytest.mark.parametrize("how", [{"sampler": "tpe"}, {"sampler": "grid"}, {"pruner": "halving"}])
def test_other_trials_have_their_best_so_far(synthetic: Make, how: dict[str, str]) -> None:
    """Trials that are no independent draws, or were pruned, have no expected best of k."""
    plan, store = tuned(synthetic, record(fractions=[0.1111, 0.3333, 1.0], **how))
    report = report_of(plan, store)
    found = frames(report)

    assert "expected-best" not in found
    own = found["best-so-far"].query(f"variant == '{PROTONET.label}'")
    assert own.best_so_far.tolist() == [0.5, 0.62, 0.62, 0.71, 0.71, 0.71]
    assert own.trials.tolist() == [1, 2, 3, 4, 5, 6]
    uses = {use for one in report.citations for use in one.uses}
    assert "expected best of several trials" not in uses
    assert ("tuning (TPE)" in uses) == (how.get("sampler") == "tpe")
    assert ("tuning (successive halving)" in uses) == ("pruner" in how)
    assert ("with 1/9, 1/3 and all of its budget" in report.markdown) == ("pruner" in how)


def test_the_best_by_seconds_is_cumulative(synthetic: Make) -> None:
    """Each trial's seconds are added to those before it; failures cost theirs and gain nothing."""
    table = frames(report_of(*tuned(synthetic)))["tuning-seconds"]
    own = table[table.variant == PROTONET.label]

    assert own.seconds.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    assert own.best_so_far.tolist() == [0.5, 0.62, 0.62, 0.71, 0.71, 0.71]
    assert own.state.tolist().count("failed") == 1


def test_rows_tuned_on_validation_labels_are_marked(synthetic: Make) -> None:
    """With the number of recorded trials; a row tuned without labels is not."""
    report = report_of(*tuned(synthetic))
    marks = frames(report)["accuracy-glyphs-5way-1shot"].set_index("variant")["marks"]

    assert marks[PROTONET.label] == "parameters tuned on validation labels (6 trials)"
    assert "parameters tuned on validation labels (6 trials)" in marks[MAML.label]
    assert marks[SIMCLR.label] == ""


def test_a_suite_that_a_tuning_wrote_is_marked(synthetic: Make) -> None:
    """A row with the rule that it was tuned by, and no record: the mark without a number."""
    methods = [
        replace(PROTONET, params={"tuned_on": "label_val"}),
        replace(SIMCLR, params={"tuned_on": "pseudo_val"}),
    ]
    report = report_of(*synthetic(methods=[FLOOR, *methods]).build())
    marks = frames(report)["accuracy-glyphs-5way-1shot"].set_index("variant")["marks"]

    assert marks[PROTONET.label] == "parameters tuned on validation labels"
    assert marks[SIMCLR.label] == ""
    assert report.tuning is None
    method = section(report, "Method, ready for a paper")
    rows = f"{PROTONET.label} on label_val; {SIMCLR.label} on pseudo_val"
    chosen = f"chose hyper-parameters of {rows}."
    assert chosen in method
    assert "their trials are not recorded here" in section(report, "Audit")


def test_the_answer_is_made_from_verdicts(synthetic: Make) -> None:
    """A setting says what tuning gained, and of which rows no change is told."""
    report = report_of(*tuned(synthetic))
    said = report.sections[0].sentences

    assert any(
        one.startswith(f"{PROTONET.label} (+") and "**better than its default** by tuning" in one
        for one in said
    )
    (unchanged,) = [one for one in said if one.startswith("No change by tuning is told of")]
    assert f"{MAML.label} (undecided)" in unchanged
    assert report.answer[0].startswith(f"All rows but {FLOOR.label} are as tuned")


def test_a_row_that_lost_is_told(synthetic: Make) -> None:
    """What is worse on the test than its default says so."""
    better = replace(BEFORE[0], mean=0.85)
    report = report_of(*tuned(synthetic, before=(better, BEFORE[1])))

    assert any("**worse than its default** by tuning" in s for s in report.sections[0].sentences)


def test_one_seed_tells_nothing(synthetic: Make) -> None:
    """With one seed there is no verdict on what tuning bought."""
    report = report_of(*tuned(synthetic, seeds=1))

    assert "With one seed nothing is told of what tuning bought." in report.sections[0].sentences


def test_the_method_says_how_rows_were_tuned(synthetic: Make) -> None:
    """A paragraph for a paper has trials, seeds, episodes, sampler, and the seconds in all."""
    plan, store = tuned(synthetic)
    found = {one.title: one.markdown for one in report_of(plan, store).method}

    assert "Selection and tuning" not in found
    for words in (
        "Each of the 3 tuned rows had 6 trials.",
        "trainings with seed 1000 over 100 episodes each of the validation split",
        "(1- and 5-shot, 15 queries a class",
        "test data took no part in tuning",
        "drawn at random, independently (Optuna 5.0.0; seed 0)",
        "ties to the lower number",
        "All trials took 3.0 min of computing",
    ):
        assert words in found["Tuning"]


def test_a_seed_that_both_use_is_told(synthetic: Make) -> None:
    """Where tuning trained with a seed of the report, it does not claim otherwise."""
    plan, store = tuned(synthetic, record(seeds=[2, 1000]))
    report = report_of(plan, store)

    assert "Of its seeds, 2 also train rows of this report" in report.markdown
    assert "No row of this report was trained with a seed of tuning" not in report.markdown


def test_a_suite_without_tuning_says_nothing_of_it(synthetic: Make) -> None:
    """No section, no tables, no key: the report is as it was."""
    report = report_of(*synthetic().build())

    assert "\n## Tuning\n" not in report.markdown
    assert not any(table.name.startswith(("tuning", "best", "exp")) for table in report.tables)
    assert "no row was tuned (0 trials each)" in report.markdown


def test_a_trial_is_read_as_it_was_recorded() -> None:
    """States, scores and exams come back as they are."""
    own = row(MAML.label, [0.5])
    own["trials"] = [trial(0, {"meta.order": 1}, 0.5, exams=["a" * 64], seconds=2.5)]
    found = trials_of(_plan(record([own])))
    assert found is not None
    ((only,),) = [one.trials for one in found.rows]

    assert (only.state, only.score, only.seconds, only.exams) == (
        "finished",
        0.5,
        2.5,
        ("a" * 64,),
    )
