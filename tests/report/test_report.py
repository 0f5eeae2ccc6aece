"""A report on a synthetic store: verdicts, incomplete rows, files, and equal bytes."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from PIL import Image

from bench.errors import UserError
from bench.plan import Plan
from bench.report.analysis import analyse
from bench.report.answer import sentences
from bench.report.comparison import Block, Row, blocks, is_floor
from bench.report.figures import adaptation
from bench.report.figures.learning import _panels, learning_figure
from bench.report.frame import cell_frame, write_export
from bench.report.gallery import Gallery
from bench.report.results import read_results
from bench.report.tables import cost_table
from bench.report.text import write_text
from bench.report.write import content_hash, is_current, write_report
from bench.store import Store
from tests.report.conftest import METHODS, Method

Make = Callable[..., Any]
BROKEN = frozenset({("simclr + maml", 5, 1)})


def markdown(plan: Plan, store: Store) -> str:
    """The report's text, without its figures."""
    results = read_results(plan, store)
    return write_text(analyse(results), Gallery(), "0" * 64).markdown


def row(block: Block, variant: str) -> Row:
    """The row of a variant in a block."""
    return next(one for one in block.rows if one.group.variant == variant)


def test_verdicts_stand_within_a_class_of_labels(synthetic: Make) -> None:
    """A row is judged by its class's baseline and by the floor; across classes none is given."""
    one_shot, five_shot = blocks(read_results(*synthetic().build()))

    maml = row(five_shot, "simclr + maml")
    assert maml.baseline is not None
    assert maml.floor is not None
    assert maml.baseline.reference == "none + protonet"
    assert (maml.floor.reference, maml.floor.verdict) == ("random_init", "better")
    assert row(one_shot, "none + protonet").is_baseline
    assert row(one_shot, "random_init").floor is None
    ((group, across),) = one_shot.across
    assert (group.variant, across.reference, across.verdict) == (
        "simclr + none",
        "none + protonet",
        None,
    )


def test_one_family_per_reference(synthetic: Make) -> None:
    """Holm's adjustment counts all variants that one reference judges."""
    block = blocks(read_results(*synthetic().build()))[0]

    compared = [one.floor for one in block.rows if one.floor]
    smallest = min((one for one in compared), key=lambda one: one.difference.p or 0.0)  # type: ignore[union-attr]

    assert len(compared) == 3
    assert smallest.difference is not None
    assert smallest.p_holm == pytest.approx(3 * (smallest.difference.p or 0.0))


def test_missing_and_failed_cells_are_never_averaged_over(synthetic: Make) -> None:
    """A variant that lacks a seed has no mean and no verdict, and the report counts its seeds."""
    plan, store = synthetic(broken=BROKEN, missing=frozenset({"simclr + none"})).build()
    block = blocks(read_results(plan, store))[1]

    text = markdown(plan, store)

    assert row(block, "simclr + maml").accuracy is None
    assert row(block, "simclr + maml").floor.verdict is None  # type: ignore[union-attr]
    assert "incomplete (2 of 3 seeds)" in text
    assert "incomplete (0 of 3 seeds)" in text
    assert "Incomplete: of 24 cells 1 failed and 6 are missing" in text
    assert "evaluate: NaN in the loss" in text
    assert "mae + maml: mae needs a transformer" in text


def test_without_the_floor_nothing_is_compared_with_it(synthetic: Make) -> None:
    """An incomplete reference withholds every comparison with it, and says which it is."""
    plan, store = synthetic(missing=frozenset({"random_init"})).build()

    floor = row(blocks(read_results(plan, store))[0], "simclr + maml").floor

    assert floor is not None
    assert (floor.verdict, floor.trouble) == (None, "random_init is incomplete (0 of 3 seeds)")


def test_transduction_is_marked_and_so_is_its_inductive_row(synthetic: Make) -> None:
    """A transductive row says so, its weights under running statistics too; others say nothing."""
    floor, protonet, *_ = synthetic().methods
    plain = replace(floor, meta="maml", norm="support", labels="train", control="")
    methods = (
        protonet,
        replace(plain, label="maml"),
        replace(plain, label="maml transductive", norm="transductive"),
        replace(
            plain,
            label="maml inductive",
            norm="running",
            params={"norm.trained": "transductive"},
        ),
    )
    block = blocks(read_results(*synthetic(methods=methods).build()))[0]

    marks = {one.group.variant: one.marks for one in block.rows}
    said = "transductive: what it says of a query depends on the other queries"
    assert said in marks["maml transductive"]
    assert marks["maml inductive"] == ("weights of transductive training, tested inductively",)
    assert [mark for mark in marks["maml"] if "transductive" in mark] == []


def test_a_budget_other_than_the_baseline_s_is_marked(synthetic: Make) -> None:
    """Where both are trained and one may cost more; a further phase is the method's business."""
    floor, protonet, *_ = synthetic().methods
    usual = {"metatrain.budget": "6400 examples"}
    methods = (
        floor,
        replace(protonet, params=usual),
        replace(protonet, label="more", params={"metatrain.budget": "9600 examples"}),
        replace(protonet, label="longer", params={**usual, "pretrain.budget": "6400 examples"}),
    )
    block = blocks(read_results(*synthetic(methods=methods).build()))[0]

    marked = {one.group.variant for one in block.rows if "budget" in " ".join(one.marks)}
    assert marked == {"more"}


def test_batches_stand_beside_the_examples_seen(synthetic: Make) -> None:
    """The cost table says what a step of each training is given; older plans do not know."""
    floor, protonet, *_ = synthetic().methods
    batches = {"pretrain.batch": "64", "embedding.batch": "16", "metatrain.batch": "4 x 80"}
    methods = (floor, protonet, replace(protonet, label="both", params=batches))
    results = read_results(*synthetic(methods=methods).build())
    table = cost_table(blocks(results)[0], results)
    shown = dict(zip(table.frame["variant"], table.frame["examples_a_step"], strict=True))
    assert shown == {
        "random_init": "",
        "none + protonet": "",
        "both": "pretrain 64, embedding 16, metatrain 4 x 80",
    }
    assert "| pretrain 64, embedding 16, metatrain 4 x 80 |" in table.markdown


def test_rows_that_start_from_a_file_are_marked(synthetic: Make) -> None:
    """Their seeds share the weights that they start from, which no interval over seeds shows."""
    results = read_results(*synthetic().build())
    named = "simclr + none"
    cells = [
        replace(one, cell=replace(one.cell, init="checkpoint"))
        if one.cell.variant == named
        else one
        for one in results.cells
    ]
    marks = {
        one.group.variant: " ".join(one.marks)
        for one in blocks(replace(results, cells=tuple(cells)))[0].rows
    }
    assert [name for name, said in marks.items() if "weights from one file" in said] == [named]


def test_each_network_has_a_floor_of_its_own(synthetic: Make) -> None:
    """A row under group norm is judged by the random encoder under group norm."""
    floor, _, _, row_ = synthetic().methods
    methods = (
        floor,
        replace(floor, label="random_init (norm group)", norm="group"),
        row_,
        replace(row_, label="grouped", norm="group"),
    )
    plan, store = synthetic(methods=methods, settings={"baseline": {}}).build()
    block = blocks(read_results(plan, store))[0]

    judged_by = {one.group.variant: one.floor.reference for one in block.rows if one.floor}
    assert judged_by == {"simclr + none": "random_init", "grouped": "random_init (norm group)"}
    assert "each row against that of its own network" in markdown(plan, store)


def test_a_training_for_each_number_of_shots_has_a_panel_of_its_own(synthetic: Make) -> None:
    """Its losses are those of other tasks: they are neither averaged nor drawn over each other."""
    results = read_results(*synthetic().build())
    both = [one for one in results.cells if one.cell.variant == "none + protonet"]
    other = {one.cell.stages["metatrain"]: f"{one.cell.stages['metatrain']}-5" for one in both}
    cells = [
        replace(one, cell=replace(one.cell, stages={"metatrain": other[key]}))
        if one in both and one.cell.shots == 5 and (key := one.cell.stages["metatrain"])
        else one
        for one in results.cells
    ]
    manifests = {**results.manifests, **{new: results.manifests[old] for old, new in other.items()}}

    found = _panels(replace(results, cells=tuple(cells), manifests=manifests))

    assert list(found) == [
        "pretrain: simclr",
        "metatrain: maml",
        "metatrain: protonet (1-shot tasks)",
        "metatrain: protonet (5-shot tasks)",
    ]
    assert [len(seeds) for panel in found.values() for seeds in panel.values()][-2:] == [3, 3]


def test_no_learning_curve_is_averaged_over_missing_seeds(
    synthetic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed that is not finished leaves thin lines of the others, and the words say so."""
    results = read_results(*synthetic().build())
    picture = learning_figure(results)
    assert picture is not None
    assert "not finished" not in picture.alt
    key = next(o for o in results.cells if o.cell.variant == "none + protonet").cell.stages[
        "metatrain"
    ]
    drawn: list[bool] = []
    monkeypatch.setattr(Axes, "fill_between", lambda *_, **__: drawn.append(True))
    left = {name: one for name, one in results.manifests.items() if name != key}
    half = replace(results, manifests=left)

    picture = learning_figure(half)

    assert picture is not None
    assert "a thin line for each that is" in picture.alt
    assert [one is None for one in _panels(half)["metatrain: protonet"]["none + protonet"]] == [
        True,
        False,
        False,
    ]
    assert len(drawn) == sum(len(panel) for panel in _panels(half).values()) - 1


def test_pre_training_on_labels_is_called_by_its_init(synthetic: Make) -> None:
    """Where there is no pretext, the panel has the name of what was trained."""
    results = read_results(*synthetic().build())
    cells = [
        replace(one, cell=replace(one.cell, pretext="none", init="supervised"))
        for one in results.cells
    ]

    assert "pretrain: supervised" in _panels(replace(results, cells=tuple(cells)))


def test_the_answer_names_verdicts_with_intervals(synthetic: Make) -> None:
    """What beats the floor is said in a sentence with points and an interval."""
    block = blocks(read_results(*synthetic().build()))[0]

    said = " ".join(sentences(block, 0.01))

    difference = row(block, "simclr + none").floor.difference  # type: ignore[union-attr]
    assert difference is not None
    low, high = 100 * difference.low, 100 * difference.high
    assert f"simclr + none (+{100 * difference.mean:.1f} [{low:.1f}, {high:.1f}])" in said
    assert "**better than the random-init floor**" in said


def test_one_seed_is_called_one_model(synthetic: Make) -> None:
    """With one seed intervals say "one model" and every verdict is undecided."""
    plan, store = synthetic(seeds=1).build()

    text = markdown(plan, store)

    assert "(one model)" in text
    assert "With one seed nothing is told of other trainings: every verdict is undecided." in text
    assert "**better" not in text


def test_different_test_banks_are_a_banner_and_are_not_compared(synthetic: Make) -> None:
    """Cells that met other episodes are neither averaged nor compared."""
    plan, store = synthetic().build()
    _rewrite(store.folder("evaluate", plan.cells[0].stages["evaluate"]), bank="c" * 64)

    text = markdown(plan, store)

    assert "Different test episodes: glyphs, 5-way was tested on 2 banks" in text
    assert "withheld (seeds met different test episodes)" in text


def test_a_damaged_stage_counts_as_missing(synthetic: Make) -> None:
    """A file that is not what was written makes its cell missing, with a note in the audit."""
    plan, store = synthetic().build()
    folder = store.folder("evaluate", plan.cells[0].stages["evaluate"])
    (folder / "episodes.parquet").write_bytes(b"other")

    text = markdown(plan, store)

    assert cell_frame(plan, store).status[0] == "missing"
    assert "is damaged and counts as missing" in text


def test_a_changed_suite_is_a_banner(synthetic: Make, tmp_path: Path) -> None:
    """When the suite's file no longer holds what was planned, the report says so."""
    file = tmp_path / "suite.yaml"
    file.write_text("name: synthetic\n")
    planned = hashlib.sha256(file.read_bytes()).hexdigest()
    plan, store = synthetic(settings={"file": str(file), "source_sha256": planned}).build()
    before = content_hash(plan, store)

    assert "has changed" not in markdown(plan, store)
    file.write_text("name: other\n")
    assert content_hash(plan, store) != before
    assert "has changed" in markdown(plan, store)


def test_mixed_versions_are_said(synthetic: Make) -> None:
    """Cells that other torch versions computed are pointed out under the provenance."""
    plan, store = synthetic().build()
    key = plan.cells[0].stages["evaluate"]
    provenance = store.manifest("evaluate", key)["provenance"] | {"torch": "2.14.1"}
    _rewrite(store.folder("evaluate", key), provenance=provenance)

    text = markdown(plan, store)

    assert "**mixed torch**: cells of one table were computed with 2.14.1 and 2.15.0" in text


def test_reports_are_equal_byte_for_byte(synthetic: Make, tmp_path: Path) -> None:
    """The same plan and store give the same files, each figure small and at twice the width."""
    plan, store = synthetic(broken=BROKEN).build()

    first, second = (write_report(plan, store, tmp_path / name).parent for name in "ab")

    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert all((first / n).read_bytes() == (second / n).read_bytes() for n in names)
    figures = [path for path in first.iterdir() if path.suffix == ".png"]
    assert {path.name.split("-")[0] for path in figures} == {
        *("accuracy", "seeds", "adaptation", "cost", "learning.png", "coverage.png"),
        *("forest", "episodes", "all"),
    }
    assert all(path.stat().st_size < 300_000 for path in figures)
    assert {_width(path) for path in figures} == {1760}


def test_many_rows_leave_level_lines_to_baselines_and_floor(
    synthetic: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figure of adaptation then has the rows that take steps, and those to measure them by."""
    results = read_results(*synthetic().build())
    compared = blocks(results)

    def named() -> set[str]:
        return set(adaptation._chosen(compared)[0])

    every = {row.group.variant for row in compared[0].rows}
    assert named() == every
    monkeypatch.setattr(adaptation, "MOST_LEVEL", len(every) - 1)
    left_out = every - named()
    rows = {row.group.variant: row for row in compared[0].rows}
    assert left_out
    assert not any(rows[one].is_baseline or is_floor(rows[one].group) for one in left_out)
    assert all(len(rows[one].group.done[0].steps) == 1 for one in left_out)


def test_a_report_is_current_until_something_changes(synthetic: Make, tmp_path: Path) -> None:
    """A new failure, a lost figure or another plan makes a report stale."""
    plan, store = synthetic(broken=BROKEN).build()
    assert not is_current(plan, store, tmp_path)

    index = write_report(plan, store, tmp_path)

    assert is_current(plan, store, tmp_path)
    assert content_hash(plan, store) in index.read_text()
    (index.parent / "learning.png").unlink()
    assert not is_current(plan, store, tmp_path)
    write_report(plan, store, tmp_path)
    store.add_failure(next(iter(plan.stages)), {"reason": "again", "traceback": ""})
    assert not is_current(plan, store, tmp_path)


def test_stale_files_go_and_foreign_files_stay(synthetic: Make, tmp_path: Path) -> None:
    """A report removes what an earlier one wrote and it lacks, and nothing else."""
    plan, store = synthetic(broken=BROKEN).build()
    folder = write_report(plan, store, tmp_path).parent
    (folder / "notes.txt").write_text("mine")
    assert (folder / "unfinished.csv").is_file()

    plan, store = synthetic(shots=(1,), results=tmp_path / "other").build()
    write_report(plan, store, tmp_path)

    assert not (folder / "unfinished.csv").exists()
    assert (folder / "notes.txt").read_text() == "mine"


def test_the_frame_has_one_row_a_cell(synthetic: Make) -> None:
    """Coordinates, status and accuracy, then parameters that vary, then cost and provenance."""
    plan, store = synthetic(broken=BROKEN).build()

    frame = cell_frame(plan, store)

    expected = "variant data encoder pretext init tasks auxiliary meta labels ways shots seed"
    assert list(frame.columns[:15]) == [*expected.split(), "control", "status", "accuracy"]
    assert list(frame.columns[15:17]) == ["norm", "meta.order"]
    assert all(name.startswith(("cost.", "provenance.")) for name in frame.columns[17:])
    assert len(frame) == len(plan.cells)
    assert frame.status.value_counts().to_dict() == {"done": 23, "failed": 1}
    failed = frame[frame.status == "failed"].iloc[0]
    assert (failed.seed, failed.shots) == (1, 5)
    assert failed["provenance.reason"] == "evaluate: NaN in the loss"
    maml = frame[(frame.variant == "simclr + maml") & (frame.shots == 1)].iloc[0]
    # 20 s of evaluation; pre-training shared by four cells, meta-training by two, 30 s each
    assert maml["cost.seconds"] == 20 + 30 + 30
    assert maml["cost.seconds_shared_split"] == 20 + 30 / 4 + 30 / 2
    assert maml["cost.examples"] == 12_800


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_exports_repeat_and_read_back(synthetic: Make, tmp_path: Path, suffix: str) -> None:
    """Two exports of one store are equal byte for byte, and hold the frame."""
    plan, store = synthetic(broken=BROKEN).build()
    first, second = tmp_path / f"a{suffix}", tmp_path / "new" / f"b{suffix}"

    for path in (first, second):
        write_export(cell_frame(plan, store), path)

    assert first.read_bytes() == second.read_bytes()
    content = io.BytesIO(first.read_bytes())
    frame = pd.read_csv(content) if suffix == ".csv" else pd.read_parquet(content)
    assert frame.accuracy.tolist()[0] == cell_frame(plan, store).accuracy.tolist()[0]
    assert list(frame.columns) == list(cell_frame(plan, store).columns)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    """An export names a format that is known, or is told which are."""
    with pytest.raises(UserError, match=r"\.csv or \.parquet"):
        write_export(pd.DataFrame(), tmp_path / "frame.xlsx")


def test_everything_works_where_torch_cannot_be_imported(synthetic: Make, tmp_path: Path) -> None:
    """Report, frame, plan and why import neither torch nor a plug-in."""
    plan, _ = synthetic().build()
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    script = f"""
import json, sys
from pathlib import Path
sys.modules["torch"] = None
from bench.plan import Plan
from bench.report.frame import cell_frame
from bench.report.preview import plan_text
from bench.report.why import why_text
from bench.report.write import write_report
from bench.store import Store
plan = Plan.from_json(json.loads(Path({str(tmp_path / "plan.json")!r}).read_text()))
store = Store(Path({str(tmp_path / "results")!r}))
write_report(plan, store, Path({str(tmp_path / "reports")!r}))
print(len(cell_frame(plan, store)), plan_text(plan, store), why_text(plan, store, plan.cells[0]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "synthetic" / "index.md").is_file()


def _width(path: Path) -> int:
    with Image.open(path) as image:
        return image.size[0]


def _rewrite(folder: Path, **changes: object) -> None:
    """Change a stage's manifest and its sum, as if it had been computed like that."""
    path, sums = folder / "manifest.json", folder / "SHA256SUMS"
    old = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    new = hashlib.sha256(path.read_bytes()).hexdigest()
    sums.write_text(sums.read_text().replace(old, new))


def test_reports_are_equal_from_one_process_to_another(synthetic: Make, tmp_path: Path) -> None:
    """No number hangs on the order of a set, which another hash seed changes."""
    close = Method(label="rival", mean=0.702, meta="reptile", labels="train")
    plan, store = synthetic(methods=(*METHODS, close)).build()
    for number, (key, spec) in enumerate(plan.stages.items(), 1):  # a sum of thirds rounds
        cost = store.manifest(spec.kind, key)["cost"] | {"seconds": number / 3}
        _rewrite(store.folder(spec.kind, key), cost=cost)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    script = f"""
import json, sys
from pathlib import Path
from bench.plan import Plan
from bench.report import gallery, write
from bench.store import Store
write.gallery = lambda _: gallery.Gallery()
plan = Plan.from_json(json.loads(Path({str(tmp_path / "plan.json")!r}).read_text()))
store = Store(Path({str(tmp_path / "results")!r}))
write.write_report(plan, store, Path({str(tmp_path)!r}) / sys.argv[1])
"""
    for seed in ("1", "2"):
        command = [sys.executable, "-c", script, seed]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})

    first, second = (tmp_path / seed / plan.name for seed in ("1", "2"))
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert "outlook.csv" in names
    assert [n for n in names if (first / n).read_bytes() != (second / n).read_bytes()] == []
