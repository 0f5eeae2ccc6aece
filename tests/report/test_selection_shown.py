"""What report, mirror and export show of weights that were selected."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.catalogue import rebuild
from bench.contract import AbstractSearch
from bench.dataset import Dataset, facts
from bench.mirror import content as mirrored
from bench.mirror import stage_child
from bench.plan import Plan, make_plan
from bench.report.analysis import analyse
from bench.report.comparison import blocks
from bench.report.frame import cell_frame
from bench.report.gallery import Gallery
from bench.report.results import read_results
from bench.report.text import write_text
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.stages.pretrain import pretrain
from bench.stages.search import candidates
from bench.store import Store
from bench.suite import read_suite

HEAD = """
name: selected
data: glyphs
encoder: {name: conv4, width: 8}
pretext: {name: rotation, batch_size: 8}
ways: 3
shots: 1
seeds: 2
budget: {pretrain_steps: 6}
evaluate: {episodes: 6, queries: 2}
"""
LABEL_VAL = "{name: label_val, snapshots: 3, episodes: 12, shots: 2, queries: 2}"
PRETEXT_VAL = "{name: pretext_val, snapshots: 3, batches: 2}"


def finished(text: str, folder: Path, data: Dataset) -> tuple[Plan, Store]:
    """Return a suite's plan, and a store in which all of it is done."""
    (folder / "suite.yaml").write_text(text)
    plan = make_plan(read_suite(folder / "suite.yaml"), lambda name, source: facts(data))
    store = Store(folder / "results")
    store.prepare()
    for spec in plan.stages.values():
        perform(spec, place_of(store))
    return plan, store


def place_of(store: Store) -> Place:
    """Return the CPU, with nobody to tell of progress."""
    return Place(store=store, device=torch.device("cpu"), emit=lambda event: None)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory, glyphs: Dataset) -> tuple[Plan, Store]:
    """Return a finished suite of rotation under three rules."""
    rules = f"[last, {LABEL_VAL}, {PRETEXT_VAL}]"
    text = f"{HEAD}grid: {{selection: {rules}}}\n"
    return finished(text, tmp_path_factory.mktemp("oracle"), glyphs)


def test_the_report_marks_what_was_selected(oracle: tuple[Plan, Store]) -> None:
    """A row by another rule than ``last`` says which, when, and whether it is an oracle."""
    plan, store = oracle
    results = read_results(plan, store)
    (block,) = blocks(results)
    marks = {row.group.variant: row.marks for row in block.rows}
    steps = {
        rule: ", ".join(
            f"{store.manifest('pretrain', one.stages['pretrain'])['metrics']['selected_step']} of 6"
            for one in plan.cells
            if one.params["selection"] == rule
        )
        for rule in ("label_val", "pretext_val")
    }
    seen = "an oracle, it saw validation labels"
    assert marks == {
        "random_init": (),
        "rotation + none": (),
        "rotation + none (label_val)": (
            f"weights selected by label_val: {seen} (steps {steps['label_val']})",
        ),
        "rotation + none (pretext_val)": (
            f"weights selected by pretext_val (steps {steps['pretext_val']})",
        ),
    }
    text = write_text(analyse(results), Gallery(), "hash").markdown
    assert f"* (!) rotation + none (label_val): weights selected by label_val: {seen}" in text
    assert "in rows marked as selected by label_val and pretext_val." in text


def test_the_mean_over_new_tasks_names_no_steps(oracle: tuple[Plan, Store]) -> None:
    """Each new task's training has steps of its own; a mean of them names the rule alone."""
    results = read_results(*oracle)
    means = tuple(replace(one, parts=(one, one)) for one in results.cells)
    (block,) = blocks(replace(results, cells=means))
    marks = {row.group.variant: row.marks for row in block.rows}
    assert marks["rotation + none (pretext_val)"] == ("weights selected by pretext_val",)


def test_a_mark_stands_without_its_steps(oracle: tuple[Plan, Store], tmp_path: Path) -> None:
    """Where a selected stage is no longer stored, its row is still marked."""
    plan, store = oracle
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.root, copy.root)
    shutil.rmtree(copy.root / "stages" / "pretrain")
    (block,) = blocks(read_results(plan, copy))
    marks = {row.group.variant: row.marks for row in block.rows}
    assert marks["rotation + none (pretext_val)"] == ("weights selected by pretext_val",)


def test_a_search_shows_the_steps_of_what_it_chose(tmp_path: Path, glyphs: Dataset) -> None:
    """A row of ``best_of`` names the step that was selected in the chosen candidate, of its own."""
    one, other = "{name: rotation, batch_size: 8}", "{name: simclr, batch_size: 8}"
    search = f"{{name: best_of, candidates: [{one}, {other}], episodes: 2, outer_queries: 2}}"
    text = HEAD.replace(one, search).replace("pretrain_steps: 6", "pretrain_examples: 500")
    plan, store = finished(f"{text}selection: {LABEL_VAL}\n", tmp_path, glyphs)
    (row,) = (row for row in blocks(read_results(plan, store))[0].rows if row.marks)
    steps = []
    for result in row.group.done:
        spec, manifest = plan.stages[result.cell.stages["pretrain"]], result.trained["pretrain"]
        plugin = rebuild("pretext", spec.inputs["pretext"])
        assert isinstance(plugin, AbstractSearch)
        alone = pretrain(candidates(spec, plugin)[manifest["metrics"]["chosen"]], place_of(store))
        assert manifest["snapshots"] == alone.facts["snapshots"]
        steps.append(f"{alone.metrics['selected_step']} of {alone.curve['steps'][-1]}")
    rule = "weights selected by label_val: an oracle, it saw validation labels"
    assert row.marks == (f"{rule} (steps {', '.join(steps)})",)


def test_the_mirror_has_the_curve_of_measures(oracle: tuple[Plan, Store]) -> None:
    """MLflow's run of a selected stage holds each measure at its step, and the step selected."""
    plan, store = oracle
    cell = next(one for one in plan.cells if one.variant == "rotation + none (label_val)")
    spec = plan.stages[cell.stages["pretrain"]]
    child, manifest = stage_child(spec), store.manifest("pretrain", spec.key)
    held = mirrored(store, child)
    assert held is not None
    measured = {step: v for (name, step), v in held.points.items() if name == "pretrain/selection"}
    assert list(measured) == manifest["snapshots"]["steps"] == [2, 4, 6]
    assert list(measured.values()) == manifest["snapshots"]["selection"]
    assert held.points[("selected_step", 0)] == manifest["metrics"]["selected_step"]
    assert child.params["selection"] == "label_val"
    assert json.loads(child.params["selection.episodes"]) == 12


def test_an_export_names_the_rule(oracle: tuple[Plan, Store]) -> None:
    """The frame of cells has the rule of each row, and training images of the budget alone."""
    frame = cell_frame(*oracle).set_index("variant")
    rules = frame["selection"].groupby(level=0).first().to_dict()
    assert rules == {
        "random_init": "last",
        "rotation + none": "last",
        "rotation + none (label_val)": "label_val",
        "rotation + none (pretext_val)": "pretext_val",
    }
    trained = frame[frame["pretext"] == "rotation"]
    assert set(trained["cost.examples"]) == {6 * 4 * 8}
