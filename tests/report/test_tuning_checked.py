"""A record of tuning is checked: winners, parameters, and scores against the store's exams."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from bench.cell import Json
from bench.plan import Plan
from bench.report import write
from bench.report.examined import check_exams, check_record
from bench.report.gallery import Gallery
from bench.report.verify import verify
from bench.report.write import write_report
from bench.store import Store
from tests.report.invented import MAML, PROTONET, ROWS, record, row, tuned

Make = Callable[..., Any]


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out, which take seconds to draw."""
    monkeypatch.setattr(write, "gallery", lambda _: Gallery())


def with_rows(plan: Plan, *rows: Json) -> Plan:
    """Return the plan with other rows in its record."""
    return replace(plan, settings={**plan.settings, "tuning": record(rows)})


def examined(make: Make, *, off: float = 0.0) -> tuple[Plan, Store]:
    """Return a tuning whose trials' exams are stages that the store holds."""
    plan, store = tuned(make)
    keys = list(store.keys("evaluate"))[:4]
    accuracy = {key: store.manifest("evaluate", key)["metrics"]["accuracy"] for key in keys}
    exams = sorted((keys[:2], keys[2:]), key=lambda own: fmean(map(accuracy.__getitem__, own)))
    scores = [fmean(accuracy[key] for key in own) for own in exams]
    own = row(MAML.label, scores)
    for one, named in zip(own["trials"], exams, strict=True):
        one["exams"] = named
    own["trials"][1]["score"] += off
    return with_rows(plan, own), store


def test_a_report_of_a_tuning_agrees(synthetic: Make, tmp_path: Path, no_figures: None) -> None:
    """It is made again from its evidence, its scores from the store; report.json has them."""
    plan, store = examined(synthetic)
    folder = write_report(plan, store, tmp_path / "r").parent

    found = verify(folder, store)

    assert found.agrees, found.text
    assert "scores of 2 of 2 finished trials compared" in found.text
    told = json.loads((folder / "report.json").read_text())
    assert told["tuning"]["rule"]["sampler"] == "random"
    assert [one["variant"] for one in told["tuning"]["budget"]] == [MAML.label, "random_init"]
    assert told["tuning"]["bought"].keys() == {"glyphs, 5-way 1-shot", "glyphs, 5-way 5-shot"}
    assert not any(name.startswith("tuning") for name in told["tables"])
    assert told["cells"] == {"planned": len(plan.cells), "done": len(plan.cells)}


def test_a_score_that_its_exams_lack_is_found(synthetic: Make) -> None:
    """A stated score is the mean accuracy of its exams, or it is named; rounding is not."""
    (difference,) = check_exams(*examined(synthetic, off=0.01)).differences

    assert difference.startswith(f"tuning of {MAML.label}, trial 1: score stated")
    assert check_exams(*examined(synthetic, off=1e-13)).differences == []


def test_exams_that_are_not_here_are_counted(synthetic: Make, tmp_path: Path) -> None:
    """Another results folder holds none of them: nothing is compared, and that is said."""
    plan, _ = examined(synthetic)
    other = Store(tmp_path / "other")
    other.prepare()

    found = check_exams(plan, other)

    assert found.lines == [
        "tuning: scores of 0 of 2 finished trials compared with the exams in this results folder"
    ]
    assert found.differences == []


def test_an_exam_on_the_test_split_is_found(
    synthetic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured on test data is no score of tuning."""
    plan, store = examined(synthetic)
    manifest = store.manifest

    def on_test(kind: str, key: str) -> dict[str, Json]:
        found = dict(manifest(kind, key))
        found["inputs"] = {**found["inputs"], "data": {"split": "test"}}
        return found

    monkeypatch.setattr(Store, "manifest", lambda _, kind, key: on_test(kind, key))

    differences = check_exams(plan, store).differences
    assert len(differences) == 2
    assert all(one.endswith("an exam was on the test split") for one in differences)


def test_a_winner_that_is_not_the_best_is_found(synthetic: Make) -> None:
    """The winner is the finished trial with the best score, ties to the lower number."""
    plan, _ = tuned(synthetic)

    assert check_record(plan) == []
    tied = row(PROTONET.label, [0.4, 0.7, 0.7])
    assert check_record(with_rows(plan, tied)) == []
    for stated in (0, 2, None):
        (said,) = check_record(with_rows(plan, {**tied, "winner": stated}))
        assert said == f"tuning of {PROTONET.label}: winner stated {stated}, by the scores 1"


def test_a_score_of_a_failed_trial_is_found(synthetic: Make) -> None:
    """A trial has a score exactly where it finished."""
    plan, _ = tuned(synthetic)
    own = row(PROTONET.label, [0.4, 0.7])
    own["trials"][0]["state"] = "pruned"

    assert check_record(with_rows(plan, own)) == [
        f"tuning of {PROTONET.label}: trial 0 is pruned, score 0.4"
    ]


def test_cells_with_other_parameters_than_the_winner_s_are_found(synthetic: Make) -> None:
    """A tuned row runs with its winner's parameters, its default with those of trial 0."""
    plan, _ = tuned(synthetic)
    own = {**ROWS[1], "trials": [dict(one) for one in ROWS[1]["trials"]]}
    own["trials"][2]["params"] = {"meta.order": 7}
    own["trials"][0]["params"] = {"meta.order": 8}

    assert check_record(with_rows(plan, own)) == [
        f"tuning of {MAML.label}: meta.order of its cells is not that of trial 2",
        f"tuning of {MAML.label}: meta.order of its cells is not that of trial 0",
    ]
