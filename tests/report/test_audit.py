"""The audit in a report: what fails is a banner, a mark and a line; advice and notes are lines."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.audits import audit_of_data, audits_of_rows
from bench.cell import Json
from bench.plan import Plan
from bench.report.analysis import analyse
from bench.report.audit.audit import Audit, audit
from bench.report.comparison import blocks
from bench.report.figures.lookalikes import lookalike_figures
from bench.report.gallery import Gallery
from bench.report.machine import Edition, report_json
from bench.report.results import Results, read_results
from bench.report.text import write_text
from bench.store import Store
from tests.report.conftest import METHODS, NEW_TASKS, PROVENANCE, Bench, Method

Make = Callable[..., Any]
Row = Callable[[str], dict[str, Json] | None]  # a variant to the facts of its audit, if any
PAIRS = ("train-val", "train-test", "val-test")

CLEAN: dict[str, Json] = {
    "exact": {
        "pairs": {pair: {"known": 0, "unknown": 0} for pair in PAIRS},
        "within": {"train": 0, "val": 0, "test": 0},
    },
    "classes": [],
    "perceptual": {"counts": dict.fromkeys(PAIRS, 0), "pairs": []},
    "groups": [],
}


def row_facts(*, dependent: bool = False, passed: bool = True) -> dict[str, Json]:
    """Return what the audit of a row measures."""
    change = 0.3 if dependent else 1e-12
    accuracy = 0.2 if passed else 0.31
    return {
        "transduction": {
            "episodes": 4,
            "permuted": 0.0,
            "removed": change,
            "altered": change / 2,
            "tolerance": 1e-6,
            "dependent": dependent,
        },
        "naming": {
            "episodes": 8,
            "namings": 5,
            "accuracy": accuracy,
            "low": accuracy - 0.02,
            "high": accuracy + 0.02,
            "chance": 0.2,
            "passed": passed,
        },
    }


def audited(
    built: tuple[Plan, Store],
    *,
    data: dict[str, Json] | None = CLEAN,
    row: Row = lambda variant: row_facts(),
) -> Results:
    """Add audits to a plan and what they found to its store; ``data`` None: it has not run."""
    plan, store = built
    first = [cell for cell in plan.cells if cell.seed == plan.cells[0].seed]
    of_data = audit_of_data("glyphs", "d" * 64, ())
    planned = [of_data, *audits_of_rows(first, plan.stages)]
    stages = {**plan.stages, **{spec.key: spec for _, spec in planned}}
    for one, spec in planned:
        facts = data if one.subject == "data" else row(one.variant)
        if facts is not None and not store.has("audit", spec.key):
            with store.writing(spec.key):
                made_by = {"cost": {"seconds": 2.0}, "provenance": PROVENANCE}
                store.commit(spec, {"kind": "audit", "key": spec.key, **made_by, **facts}, {})
    made = replace(plan, audits=tuple(one for one, _ in planned), stages=stages)
    return read_results(made, store)


def found(results: Results) -> Audit:
    """Return the audit of results."""
    return audit(results, blocks(results))


def line(results: Results, check: str, subject: str = "") -> tuple[str, str]:
    """Return what the audit found in the one line of a check and subject, and its outcome."""
    frame = found(results).tables[0].frame
    lines = frame[(frame.check == check) & frame.subject.str.startswith(subject)]
    assert len(lines) == 1
    return lines.iloc[0].found, lines.iloc[0].outcome


def markdown(results: Results) -> str:
    """Return the report's text."""
    return write_text(analyse(results), Gallery(), "0" * 64).markdown


def marks_of(text: str, variant: str) -> list[str]:
    """Return the lines of marks of a variant, one a setting."""
    return [one for one in text.splitlines() if one.startswith(f"* (!) {variant}: ")]


def test_an_audit_that_passes_alarms_nobody(synthetic: Make) -> None:
    """No banner and no mark; every check is a line, and rows that are alike share one."""
    results = audited(synthetic().build())
    one = found(results)
    assert one.banners == one.notes == []
    assert one.marks == {}
    (table,) = one.tables
    assert {"failed", "not done"}.isdisjoint(table.frame.outcome)
    naming = [cells for cells in table.rows if cells[0] == "naming"]
    said = "shuffled support labels score 20 %, as chance does"
    assert naming == [("naming", "4 rows", said, "passed")]
    assert (table.frame.check == "naming").sum() == 4
    assert "Audit failed" not in markdown(results)


OVERLAP = {"classes": ["letter a", "letter b"], "splits": ["train", "test"], "share": 0.75}
TOLD = "train letter a and test letter b share 75 % of the examples of one of them"


def test_a_class_in_two_splits_is_on_the_first_screen(synthetic: Make) -> None:
    """It is a banner, a line, and a mark at each row that trained on the set."""
    results = audited(synthetic().build(), data=CLEAN | {"classes": [OVERLAP]})
    text = markdown(results)
    first_screen = text.partition("## The answer")[0]
    assert f"> **Audit failed, class overlap: glyphs: {TOLD}.**" in first_screen
    assert line(results, "class overlap") == (TOLD, "failed")
    for variant in ("none + protonet", "simclr + none"):
        mark = f"* (!) {variant}: **audit failed**: class overlap: {TOLD}"
        assert len([one for one in marks_of(text, variant) if one.startswith(mark)]) == 2
    assert not marks_of(text, "random_init")
    accuracy = next(one for one in text.splitlines() if one.startswith("| simclr + none"))
    assert "running (!)" in accuracy


def with_pairs(**counts: tuple[int, int]) -> dict[str, Json]:
    """Return a set with duplicates: of a pair of splits, how many known, how many unknown."""
    pairs = dict(CLEAN["exact"]["pairs"])
    for pair, (known, unknown) in counts.items():
        pairs[pair.replace("_", "-")] = {"known": known, "unknown": unknown}
    return CLEAN | {"exact": {**CLEAN["exact"], "pairs": pairs}}


def test_an_image_in_two_splits_fails_unless_it_is_known(synthetic: Make) -> None:
    """Unknown duplicates are a banner; known ones pass, and the line says how many."""
    plan, store = synthetic().build()
    known = audited((plan, store), data=with_pairs(train_test=(6, 0), val_test=(1, 0)))
    told = "examples known to be in two splits: 6 of test in train, 1 of test in val; no other"
    assert line(known, "example overlap") == (told, "passed")
    assert found(known).banners == []
    assert found(known).marks == {}


def test_unknown_duplicates_are_told_beside_known_ones(synthetic: Make) -> None:
    """The banner names the unknown ones first."""
    results = audited(synthetic().build(), data=with_pairs(train_test=(6, 2)))
    told = "the same examples in two splits: 2 of test in train (besides those known to be in two "
    told += "splits: 6 of test in train)"
    assert line(results, "example overlap") == (told, "failed")
    assert found(results).banners == [f"Audit failed, example overlap: glyphs: {told}."]


def test_look_alikes_and_groups_are_advice(synthetic: Make) -> None:
    """They are lines without a banner; what is no image says why there are no look-alikes."""
    counts = dict.fromkeys(PAIRS, 0) | {"train-test": 31}
    group = {"group": "Gurmukhi", "classes": {"train": 41, "test": 4}}
    alike = CLEAN | {"perceptual": {"counts": counts, "pairs": []}, "groups": [group]}
    results = audited(synthetic().build(), data=alike)
    said, outcome = line(results, "look-alikes in two splits")
    assert said.startswith("of one hash: 31 of test in train")
    assert outcome == "advice"
    told = "classes of Gurmukhi are in train (41 classes) and test (4 classes)"
    assert line(results, "groups in two splits") == (told, "advice")
    assert found(results).banners == []


def test_what_is_no_image_has_no_look_alikes(synthetic: Make) -> None:
    """The line has the reason."""
    series = CLEAN | {"perceptual": {"skipped": "examples of shape [1, 50] are of no known look"}}
    results = audited(synthetic().build(), data=series)
    reason = "examples of shape [1, 50] are of no known look"
    assert line(results, "look-alikes in two splits") == (reason, "not done")
    assert found(results).banners == []


CLAIMS = {"meta/maml": {"claims": {"transductive": True}}}


def of(variant: str, **changes: bool) -> Row:
    """Return what a row's audit found, with changes for one variant alone."""
    return lambda name: row_facts(**changes) if name == variant else row_facts()


def test_a_row_that_depends_on_other_queries_must_claim_it(synthetic: Make) -> None:
    """A method that is transductive and does not say so is a banner, and a mark at its row."""
    results = audited(synthetic().build(), row=of("simclr + maml", dependent=True))
    (banner,) = found(results).banners
    assert banner.startswith("Audit failed, transduction: simclr + maml (glyphs, 5-way): ")
    assert "by 0.3 of its scores' spread" in banner
    text = markdown(results)
    assert all("**audit failed**: transduction" in one for one in marks_of(text, "simclr + maml"))
    assert len(marks_of(text, "simclr + maml")) == 2
    assert "audit failed" not in "".join(marks_of(text, "none + protonet"))


def test_marks_for_programs_have_no_markup(synthetic: Make) -> None:
    """In report.json a mark is plain text, like banners and sentences."""
    results = audited(synthetic().build(), row=of("simclr + maml", dependent=True))
    analysis = analyse(results)
    report = write_text(analysis, Gallery(), "0" * 64)
    edition = Edition(revision=1, content_hash="0" * 64)
    rows = json.loads(report_json(analysis, report, edition, []))["blocks"][0]["rows"]
    marks = next(one["marks"] for one in rows if one["variant"] == "simclr + maml")
    assert marks[0].startswith("audit failed: transduction: a prediction depends on ")


def test_a_claim_that_is_measured_passes(synthetic: Make) -> None:
    """By the method or by the norm: it depends, and says so."""
    plan, store = synthetic().build()
    claimed = replace(plan, cards={**plan.cards, **CLAIMS})
    results = audited((claimed, store), row=of("simclr + maml", dependent=True))
    said = ("a prediction depends on the other queries, as claimed", "passed")
    assert line(results, "transduction", "simclr + maml") == said
    assert found(results).banners == []


def test_transductive_batch_norm_claims(tmp_path: Path) -> None:
    """Rows under ``norm: transductive`` need no claim of their method."""
    methods = [replace(one, norm="transductive") for one in METHODS]
    bench = Bench(results=tmp_path, methods=methods)
    results = audited(bench.build(), row=lambda variant: row_facts(dependent=True))
    assert found(results).banners == []


def test_a_claim_that_is_not_measured_is_advice(synthetic: Make) -> None:
    """It claims more than it does."""
    plan, store = synthetic().build()
    results = audited((replace(plan, cards={**plan.cards, **CLAIMS}), store))
    said, outcome = line(results, "transduction", "simclr + maml")
    assert said.startswith("claims more than measured")
    assert outcome == "advice"
    assert found(results).banners == []


def test_shuffled_labels_that_score_are_a_leak(synthetic: Make) -> None:
    """A row that is right whatever its classes are called is a banner and a mark."""
    results = audited(synthetic().build(), row=of("none + protonet", passed=False))
    (banner,) = found(results).banners
    assert banner.startswith("Audit failed, naming: none + protonet (glyphs, 5-way): ")
    assert "31.0 [29.0, 33.0] %, not the 20 % of chance" in banner
    assert "**audit failed**: naming" in marks_of(markdown(results), "none + protonet")[0]


class Leaky(Bench):
    """Its learners are right in 3 of 10 queries before they have seen a task."""

    def _accuracy(self, method: Method, shots: int, seed: int, new: str) -> np.ndarray:
        accuracy_TE = super()._accuracy(method, shots, seed, new)
        if len(accuracy_TE) > 1:
            accuracy_TE[0] += 0.1
        return accuracy_TE


def test_accuracy_before_any_step_must_be_chance(tmp_path: Path) -> None:
    """A learner that is right before it has taken a step was told the order of labels."""
    plan, store = Leaky(results=tmp_path).build()
    results = audited((plan, store))
    banners = found(results).banners
    assert banners[0].startswith(
        "Audit failed, accuracy before any step: simclr + maml (glyphs, 5-way): 1-shot: 30.0 ["
    )
    assert all("accuracy before any step" in one for one in banners)
    assert len(marks_of(markdown(results), "simclr + maml")) == 2


@pytest.mark.parametrize("own", [True, False])
def test_a_start_from_prototypes_is_no_leak(tmp_path: Path, own: bool) -> None:
    """Tuned prototypes look at the support before step 1; of others' methods it is advice."""
    tuned = {"meta.tune_steps": 5} if own else {}
    methods = [replace(one, params={**one.params, **tuned}) for one in METHODS]
    plan, store = Leaky(results=tmp_path, methods=methods).build()
    card: Json = {"claims": {}, "package": "bench" if own else "someone-elses"}
    results = audited((replace(plan, cards={"meta/maml": card}), store))
    assert found(results).banners == []
    lines = found(results).tables[0].frame
    steps = lines[lines.check == "accuracy before any step"]
    assert list(steps.outcome) == ([] if own else ["advice", "advice"])


def test_audits_that_failed_are_told_when_all_else_is_done(synthetic: Make) -> None:
    """What has no result is a line with its reason, and a banner once every cell is done."""
    plan, store = synthetic().build()
    broken = read_results(audited((plan, store), data=None).plan, store)
    key = next(one.key for one in broken.plan.audits if one.subject == "data")
    store.add_failure(key, {"reason": "ValueError: no", "traceback": ""})
    results = read_results(broken.plan, store)
    told = "it failed: ValueError: no"
    assert line(results, "examples and classes of two splits") == (told, "not done")
    assert found(results).banners == [f"Not audited: 1 of 5 audits have no result ({told})."]


def test_an_unfinished_suite_is_incomplete_and_no_more(synthetic: Make) -> None:
    """While cells are missing, that audits are missing too needs no banner of its own."""
    plan, store = synthetic(missing=frozenset({"simclr + none"})).build()
    results = audited((plan, store), data=None, row=lambda variant: None)
    assert found(results).banners == []
    assert "> **Incomplete: " in markdown(results)
    lines = found(results).tables[0].frame
    assert (lines[lines.outcome == "not done"].found == "it has not run").all()


def test_an_earlier_plan_was_not_audited(synthetic: Make) -> None:
    """It says so in a line, without an alarm; what the results tell is checked all the same."""
    results = read_results(*synthetic().build())
    assert found(results).banners == []
    assert "were not audited: planned by an earlier version" in markdown(results)
    assert line(results, "tuning budget")[1] == "passed"


def test_each_block_has_a_floor_and_an_oracle(tmp_path: Path) -> None:
    """A trained row that is worse than the floor is advice, and so is a block without an oracle."""
    methods = [replace(one, labels="none") for one in METHODS]
    methods[3] = replace(methods[3], mean=0.3)
    results = audited(Bench(results=tmp_path, methods=methods, shots=(1,)).build())
    said = ("worse than the network it started from", "advice")
    assert line(results, "trained rows against the floor", "simclr + none") == said
    assert "add controls: [supervised_protonet]" in line(results, "supervised oracle")[0]
    assert line(results, "random-init floor") == ("at or above chance", "passed")


def test_a_floor_below_chance_fails(tmp_path: Path) -> None:
    """An untrained network cannot know how to be wrong: labels were mixed up."""
    methods = [replace(METHODS[0], mean=0.1), *METHODS[1:]]
    results = audited(Bench(results=tmp_path, methods=methods, shots=(1,)).build())
    assert line(results, "random-init floor")[1] == "failed"
    assert found(results).banners[0].startswith(
        "Audit failed, random-init floor: random\\_init"
    ) or (found(results).banners[0].startswith("Audit failed, random-init floor: random_init"))


def test_unequal_training_is_told(synthetic: Make) -> None:
    """Rows of one class of labels that saw unequally many examples: from which to which."""
    results = audited(synthetic(shots=(1,)).build())
    said, outcome = line(results, "training examples", "glyphs, 5-way 1-shot, labels: train")
    assert said.startswith("6.4 k (none + protonet) to 12.8 k (simclr + maml) examples, ")
    assert outcome == "advice"


def test_an_oracle_of_selection_is_advice(tmp_path: Path) -> None:
    """Weights that validation labels selected are told from the last ones."""
    methods = list(METHODS)
    methods[3] = replace(methods[3], params={"selection": "label_val"})
    results = audited(Bench(results=tmp_path, methods=methods, shots=(1,)).build())
    said = ("by label_val: an oracle, it saw validation labels", "advice")
    assert line(results, "selection of weights", "simclr + none") == said
    assert line(results, "selection of weights", "none + protonet") == (
        "the last weights",
        "passed",
    )


def test_the_mean_over_new_tasks_bears_the_marks_of_its_parts(held: Make) -> None:
    """A row that failed on one held-out task is marked there and at the mean."""
    results = audited(held().build(), row=of("maml", passed=False))
    text = markdown(results)
    assert len(NEW_TASKS) == 3
    told = [one for one in marks_of(text, "maml") if "audit failed" in one]
    assert len(told) == 4


def test_look_alikes_are_drawn_side_by_side(synthetic: Make) -> None:
    """Up to twelve pairs of a set, on white, as PNG and SVG; none where there are none."""
    plan, store = synthetic().build()
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((28, 58, 3), np.uint8)).save(buffer, "png")
    pair = {
        "splits": ["train", "test"],
        "classes": ["Latin/character09/rot180", "ULOG/character09"],
        "difference": 1.5,
        "png": base64.b64encode(buffer.getvalue()).decode(),
    }
    perceptual = {"counts": dict.fromkeys(PAIRS, 5), "pairs": [pair] * 5}
    (picture,) = lookalike_figures(audited((plan, store), data=CLEAN | {"perceptual": perceptual}))
    assert picture.name == "lookalikes-glyphs"
    assert "Look-alikes of two splits of glyphs" in picture.alt
    assert picture.svg.count(b"ULOG") == 5
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.width == 1760
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_no_look_alikes_no_picture(synthetic: Make) -> None:
    """A clean set has none."""
    assert lookalike_figures(audited(synthetic().build())) == []
