"""Own rows beside published numbers: what is compared, the verdict, the words, the section."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench import published
from bench.cell import Cell, Json
from bench.plan import Plan
from bench.published import UNSTATED, Published
from bench.report.analysis import analyse
from bench.report.comparison import Block, Row
from bench.report.gallery import Gallery
from bench.report.reproduction import Beside, beside, close, tally
from bench.report.results import CellResult, Group, read_results
from bench.report.text import write_text
from bench.report.write import content_hash, write_report
from bench.statistics.interval import Interval, crossed_interval
from bench.store import Store

Make = Callable[..., Any]
NUMBER = Published(
    method="ProtoNet",
    data="omniglot",
    ways=5,
    shots=1,
    accuracy=98.8,
    tasks="labels",
    meta="protonet",
    encoder={"name": "conv4", "width": 64},
    conditions={"data.rotations": "all"},
    transductive="no",
    labels="train",
    source="Snell et al. (2017)",
)
PARAMS: dict[str, Json] = {
    "encoder.width": 64,
    "data.rotations": "all",
    "meta.tasks_per_step": 4,
    "metatrain.steps": 250,
}


def row(mean: float = 0.988, spread: float = 0.001, seeds: int = 3, **changes: object) -> Row:
    """A row of three seeds and 4 episodes around a mean, of a cell with some changes."""
    fields: dict[str, Any] = {
        "variant": "own",
        "data": "omniglot",
        "encoder": "conv4",
        "pretext": "none",
        "init": "scratch",
        "tasks": "labels",
        "auxiliary": "none",
        "meta": "protonet",
        "norm": "running",
        "labels": "train",
        "ways": 5,
        "shots": 1,
        "params": PARAMS,
    }
    cells = [Cell(seed=seed, **(fields | changes)) for seed in range(3)]
    a_SE = mean + spread * np.array([[-1.0], [0.0], [1.0]]) + np.array([[-1, 1, -1, 1]]) * 1e-4
    results = [
        CellResult(
            cell=cell,
            status="done",
            manifest={"bank": "b"},
            measured_TE={"accuracy": a_SE[[cell.seed]]},
        )
        if cell.seed < seeds
        else CellResult(cell=cell, status="missing")
        for cell in cells
    ]
    first = cells[0]
    setting = {"data": first.data, "ways": first.ways, "shots": first.shots}
    group = Group(variant="own", results=tuple(results), **setting)  # type: ignore[arg-type]
    whole = not group.trouble
    return Row(
        group=group,
        accuracy=crossed_interval(group.accuracy()) if whole else None,
        legacy=None,
        baseline=None,
        floor=None,
        is_baseline=False,
    )


def placed(
    own: Row,
    number: Published = NUMBER,
    settings: Mapping[str, Json] | None = None,
    cards: Mapping[str, Json] | None = None,
) -> tuple[Beside, ...]:
    """The row beside one number, in a plan with some settings and cards."""
    block = Block(
        data=own.group.data,
        ways=own.group.ways,
        shots=own.group.shots,
        rows=(own,),
        across=(),
        baselines={},
    )
    made = Plan(
        name="made",
        cells=(),
        stages={},
        dropped=(),
        warnings=(),
        settings={"margin": 0.01, **(settings or {})},
        cards=cards or {},
    )
    return beside([block], made, [number])


def verdict(
    own: Row,
    number: Published = NUMBER,
    settings: Mapping[str, Json] | None = None,
    cards: Mapping[str, Json] | None = None,
) -> str:
    """The verdict, in words, of a row that has one number beside it."""
    (one,) = placed(own, number, settings, cards)
    return one.verdict


@pytest.mark.parametrize(
    ("low", "mean", "high", "accuracy", "reach", "expected"),
    [
        (0.50, 0.52, 0.54, 0.54, 0.0, "reproduced"),  # it touches the interval
        (0.50, 0.52, 0.54, 0.57, 0.031, "reproduced"),  # the two intervals meet
        (0.50, 0.52, 0.54, 0.47, 0.031, "reproduced"),
        (0.50, 0.52, 0.54, 0.57, 0.029, "below"),
        (0.50, 0.52, 0.54, 0.47, 0.029, "above"),
        (0.989, 0.99, 0.991, 0.98, 0.0, "reproduced"),  # the means differ by the margin
        (0.979, 0.98, 0.981, 0.9901, 0.0, "below"),  # by a little more
        (0.979, 0.98, 0.981, 0.9699, 0.0, "above"),
    ],
)
def test_intervals_that_meet_or_means_within_the_margin_reproduce(
    low: float, mean: float, high: float, accuracy: float, reach: float, expected: str
) -> None:
    """Reproduced when own interval and published +- meet, or the means differ by the margin."""
    own = Interval(mean=mean, low=low, high=high, se=0.01, p=None, seeds=3)

    assert close(own, accuracy, reach, 0.01) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"data": "glyphs"},
        {"ways": 20},
        {"shots": 5},
        {"pretext": "simclr"},
        {"init": "supervised"},
        {"tasks": "instances"},
        {"auxiliary": "rotation"},
        {"meta": "maml"},
    ],
)
def test_a_number_of_another_method_or_setting_is_not_shown(changes: dict[str, Any]) -> None:
    """A number stands beside a row only where every axis agrees."""
    assert len(placed(row())) == 1
    assert placed(row(**changes)) == ()


def test_parameters_can_make_the_method() -> None:
    """A number that names parameters is of the rows that have these, and of no other."""
    first_order = replace(NUMBER, params={"meta.order": 1})

    (one,) = placed(row(params=PARAMS | {"meta.order": 1}), first_order)

    assert placed(row(params=PARAMS | {"meta.order": 2}), first_order) == ()
    assert placed(row(), first_order) == ()

    assert (one.number, one.verdict) == (first_order, "reproduced")
    assert one.difference == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("changes", "number", "reason"),
    [
        ({"seeds": 2}, {}, "it is incomplete (2 of 3 seeds)"),
        ({"labels": "validation"}, {}, "the labels seen are validation here, train there"),
        ({"encoder": "resnet12"}, {}, "the encoder is resnet12 here, conv4 there"),
        (
            {"params": PARAMS | {"encoder.width": 32}},
            {},
            "encoder.width is 32 here, 64 there",
        ),
        (
            {},
            {"encoder": {"name": "conv4", "width": [96, 192, 384, 512]}},
            "encoder.width is 64 here, 96-192-384-512 there",
        ),
        (
            {},
            {"encoder": {"name": "conv4", "width": UNSTATED}},
            "the source does not state encoder.width",
        ),
        (
            {"norm": "group"},
            {},
            "features are normalised in groups here, in batches there",
        ),
        ({}, {"transductive": "yes"}, "queries share statistics there and not here"),
        ({"norm": "transductive"}, {}, "queries share statistics here and not there"),
        (
            {},
            {"transductive": UNSTATED},
            "the source does not state whether queries shared statistics",
        ),
        (
            {"params": PARAMS | {"data.rotations": "train"}},
            {},
            "data.rotations is train here, all there",
        ),
        (
            {},
            {"conditions": {"data.rotations": UNSTATED}},
            "the source does not state data.rotations",
        ),
    ],
)
def test_why_a_number_is_not_comparable(
    changes: dict[str, Any], number: dict[str, Any], reason: str
) -> None:
    """One thing that differs, or that the source leaves open, and there is no difference shown."""
    (one,) = placed(row(**changes), replace(NUMBER, **number))

    assert one.verdict == f"not comparable because {reason}"
    assert one.difference is None


def test_a_wide_interval_reproduces_nothing() -> None:
    """What it meets it cannot tell from others; what lies outside of it, it can."""
    (one,) = placed(row(0.95, spread=0.03), replace(NUMBER, training_tasks=32_000))
    (far,) = placed(row(0.85, spread=0.03))

    assert one.verdict == (
        "not comparable because its interval is too wide to tell (+- 7.5 points), "
        "with 3.1 % of the authors' training tasks"
    )
    assert one.difference == pytest.approx(-0.038)
    assert far.closeness == "below"


def test_tuned_prototypes_are_not_the_published_protonet() -> None:
    """Steps at test time are part of the method: shipped numbers of ProtoNet have none."""
    shipped = next(one for one in published.published() if one.title.startswith("ProtoNet, Snell"))
    assert placed(row(params=PARAMS | {"meta.tune_steps": 15}), shipped) == ()
    assert len(placed(row(params=PARAMS | {"meta.tune_steps": 0}), shipped)) == 1


def test_every_reason_is_said() -> None:
    """Where several things differ, all are named."""
    own = row(norm="transductive", params=PARAMS | {"data.rotations": "none"})

    assert verdict(own) == (
        "not comparable because queries share statistics here and not there; "
        "data.rotations is none here, all there"
    )


def test_transductive_rows_compare_with_transductive_numbers() -> None:
    """By its norm, or by what its method claims, a row is transductive."""
    number = replace(NUMBER, transductive="yes")
    cards = {"meta/protonet": {"claims": {"transductive": True}}}

    assert verdict(row(norm="transductive"), number) == "reproduced"
    assert verdict(row(), number, cards=cards) == "reproduced"


@pytest.mark.parametrize(
    ("mean", "tasks", "settings", "expected"),
    [
        (0.988, 1000, {}, "reproduced"),
        (0.988, 500, {}, "reproduced"),  # more than the authors' is no reduction
        (0.988, 32_000, {}, "reproduced (with 3.1 % of the authors' training tasks)"),
        (0.95, 32_000, {}, "below (reduced budget: 3.1 % of the authors' training tasks)"),
        (0.999, 32_000, {}, "above (with 3.1 % of the authors' training tasks)"),
        (0.95, 1000, {}, "below"),
        (0.95, None, {}, "below (the source fixes no training length)"),
        (0.988, None, {}, "reproduced"),
        (
            0.95,
            None,
            {"budget_scale": 0.002},
            "below (reduced budget: 0.2 % of the suite's own budget)",
        ),
        (0.988, None, {"budget_scale": 0.5}, "reproduced (with 50 % of the suite's own budget)"),
        (0.95, 1000, {"budget_scale": 0.5}, "below"),  # half the suite's is all of theirs
    ],
)
def test_a_reduced_budget_is_said(
    mean: float, tasks: int | None, settings: dict[str, Json], expected: str
) -> None:
    """250 steps of 4 tasks beside the authors' tasks; else the suite's scale; else unknown."""
    number = replace(NUMBER, training_tasks=tasks)

    assert verdict(row(mean, spread=1e-5), number, settings=settings) == expected


def test_without_meta_training_there_are_no_tasks_to_count() -> None:
    """A row that was not meta-trained has no share of the authors' tasks, and none is made up."""
    own = row(0.95, params={"encoder.width": 64, "data.rotations": "all"})

    assert verdict(own, replace(NUMBER, training_tasks=10)) == "below"


def test_verdicts_are_counted() -> None:
    """The section begins with how many numbers came to which verdict."""
    found = [*placed(row()), *placed(row(norm="group")), *placed(row(norm="transductive"))]

    assert tally(found) == "3 published numbers: 1 reproduced, 2 not comparable."
    assert tally(found[:1]) == "1 published number: 1 reproduced."


# --- the section in the report


@pytest.fixture
def on_omniglot(synthetic: Make) -> tuple[Plan, Store]:
    """The synthetic plan as if it were Omniglot, with protonet under the published protocol."""
    plan, store = synthetic().build()
    params = {"encoder.width": 64, "data.rotations": "all", "meta.tune_steps": 0}
    cells = [
        replace(cell, data="omniglot", params={**cell.params, **params}) for cell in plan.cells
    ]
    return replace(plan, cells=tuple(cells)), store


def markdown(plan: Plan, store: Store) -> str:
    """The report's text, without its figures."""
    results = read_results(plan, store)
    return write_text(analyse(results), Gallery(), "0" * 64).markdown


def test_own_and_published_stand_in_columns_of_their_own(on_omniglot: tuple[Plan, Store]) -> None:
    """The section shows both, the difference, the verdict, the source, and says what +- is."""
    text = markdown(*on_omniglot)

    section = text.split("## Beside published numbers")[1].split("## Audit")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        *("setting", "variant", "own accuracy %", "published %", "difference", "verdict", "source")
    ]
    first = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert first[:2] == ["omniglot, 5-way 1-shot", "none + protonet"]
    assert first[3] == "98.8"
    assert first[4].startswith("-")
    assert first[5:] == [
        "below (the source fixes no training length)",
        "ProtoNet, Snell et al. (2017)",
    ]
    assert "nearly always over episodes of one model" in section
    assert "Snell et al. (2017), [arXiv:1703.05175](https://arxiv.org/abs/1703.05175): " in section
    assert "+- is SD of 10 means over 1000 episodes each, one model" in section
    assert "arXiv:1703.05175](https://arxiv.org/abs/1703.05175): meta/protonet, published" in text


def test_where_nothing_is_published_one_sentence_says_so(synthetic: Make, tmp_path: Path) -> None:
    """Of glyphs nothing is published: no table, no CSV."""
    plan, store = synthetic().build()

    folder = write_report(plan, store, tmp_path).parent

    section = (folder / "index.md").read_text().split("## Beside published numbers")[1]
    expected = "No published number of these methods in these settings is known here."
    assert section.split("## Audit")[0].strip() == expected
    assert not (folder / "published.csv").exists()


def test_published_numbers_reach_no_other_file(
    on_omniglot: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without them, every figure and every other table is the same, byte for byte."""
    with_numbers = write_report(*on_omniglot, tmp_path / "with").parent
    monkeypatch.setattr("bench.report.text.published", tuple)
    without = write_report(*on_omniglot, tmp_path / "without").parent

    files = {path.name for path in with_numbers.iterdir()}
    others = {path.name for path in without.iterdir()}
    assert files - others == {"published.csv", "published.tex"}
    frame = pd.read_csv(with_numbers / "published.csv")
    assert frame.published.tolist() == [0.988, 0.9827, 0.997, 0.9937]
    assert frame.difference.tolist() == pytest.approx((frame.accuracy - frame.published).tolist())
    changed = {
        name
        for name in others
        if (with_numbers / name).read_bytes() != (without / name).read_bytes()
    }
    assert changed == {"index.md", "references.bib", "report.json", "SHA256SUMS"}


def test_other_numbers_make_a_report_stale(
    synthetic: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are part of what a report's hash is made of."""
    plan, store = synthetic().build()
    before = content_hash(plan, store)
    other = tmp_path / "published.toml"
    other.write_bytes(published.FILE.read_bytes() + b"\n")

    monkeypatch.setattr(published, "FILE", other)

    assert content_hash(plan, store) != before
