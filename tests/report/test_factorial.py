"""The factorial view: which rows make the grid, what is contrasted, what is judged."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.cell import Json
from bench.report.comparison import Block, blocks
from bench.report.results import read_results
from bench.report.views.factorial import (
    LEARNING_SET,
    Factorial,
    _learning_name,
    _names,
    _on_tasks,
    factorial,
)
from bench.report.views.factorial_text import effects_table, sentences
from bench.statistics.interval import crossed_interval
from bench.statistics.verdict import holm
from tests.report.conftest import Bench, Method
from tests.report.invented import record, trial

Make = Callable[..., Bench]
GRID = tuple(
    Method(
        label="random_init" if (start, meta) == ("none", "none") else f"{start} + {meta}",
        mean=0.4 + 0.1 * (start == "simclr") + 0.2 * (meta != "none") + 0.05 * (meta == "maml"),
        control="random_init" if (start, meta) == ("none", "none") else "",
        pretext=start,
        meta=meta,
        labels="none" if meta == "none" else "train",
    )
    for start in ("none", "simclr")
    for meta in ("none", "protonet", "maml")
)


def seen(bench: Bench) -> tuple[Block, Factorial | None]:
    """Return the first block of a bench and its factorial view."""
    plan, store = bench.build()
    block = blocks(read_results(plan, store))[0]
    return block, factorial(block, plan)


def of(bench: Bench) -> Factorial:
    """Return the factorial view of a bench's first block, which has one."""
    found = seen(bench)[1]
    assert found is not None
    return found


def accuracy(block: Block, variant: str) -> np.ndarray:
    """Return a row's accuracies [S, E]."""
    return next(row.group.accuracy() for row in block.rows if row.group.variant == variant)


def test_effects_are_contrasts_of_rows(synthetic: Make) -> None:
    """A main effect is the mean over the other factor of paired differences; likewise the rest."""
    block, found = seen(synthetic(methods=GRID))
    assert found is not None
    gains = [
        accuracy(block, f"simclr + {meta}")
        - accuracy(block, "random_init" if meta == "none" else f"none + {meta}")
        for meta in ("none", "protonet", "maml")
    ]

    (start,) = found.of_start
    by_level = {one.level: one for one in found.interactions}

    assert (start.level, start.compared.reference) == ("simclr", "none")
    assert start.compared.difference is not None
    expected = crossed_interval(np.mean(gains, axis=0))
    assert start.compared.difference.mean == pytest.approx(expected.mean, abs=1e-12)
    assert start.compared.difference.se == pytest.approx(expected.se, rel=1e-9)
    maml = by_level["simclr before maml"].compared
    assert maml.reference == "simclr before protonet"
    assert maml.difference is not None
    assert maml.difference.mean == pytest.approx((gains[2] - gains[1]).mean(), abs=1e-12)
    assert np.sum([[one.mean for one in row] for row in found.departures]) == pytest.approx(0)


def test_only_fair_effects_are_judged(synthetic: Make) -> None:
    """What sets rows with labels against rows without has a difference and no verdict."""
    found = of(synthetic(methods=GRID))

    judged = {one.level: one.compared.verdict for one in found.of_learning}

    assert judged["none"] is None
    assert judged["maml"] is not None
    assert found.of_start[0].compared.verdict is not None
    assert all(one.compared.verdict is not None for one in found.interactions)


def test_p_values_are_adjusted_within_a_kind_of_effect(synthetic: Make) -> None:
    """Both interactions are one family, the single pretext is a family of its own."""
    found = of(synthetic(methods=GRID))

    p = [one.compared.difference.p for one in found.interactions if one.compared.difference]
    adjusted = [one.compared.p_holm for one in found.interactions]

    assert len(p) == 2
    assert min(one for one in p if one is not None) * 2 == pytest.approx(
        min(one for one in adjusted if one is not None)
    )
    (start,) = found.of_start
    assert start.compared.difference is not None
    assert start.compared.p_holm == start.compared.difference.p


def test_a_missing_cell_leaves_no_effect(synthetic: Make) -> None:
    """An effect with a missing cell is missing: nothing is averaged over what is there."""
    found = of(synthetic(methods=GRID, missing=frozenset({"simclr + maml"})))

    assert found.trouble.startswith("simclr + maml is incomplete")
    assert (found.of_start, found.interactions, found.departures) == ((), (), ())
    assert sentences(found) == []


def test_the_largest_complete_grid_is_taken(synthetic: Make) -> None:
    """A start that lacks a row of the others is left out; its rows stay in the other tables."""
    partial = Method(label="mae + none", mean=0.5, pretext="mae")
    found = of(synthetic(methods=(*GRID, partial)))

    assert found.starts == ("none", "simclr")
    assert sorted(found.learnings) == ["maml", "none", "protonet"]


@pytest.mark.parametrize("methods", [GRID[:4], (GRID[0], GRID[1], GRID[3])])
def test_without_a_grid_there_is_no_view(synthetic: Make, methods: tuple[Method, ...]) -> None:
    """Rows that fill no grid of two by two have no factorial view."""
    settings = {"baseline": {"train": "none + protonet", "none": "random_init"}}
    rows = methods if len(methods) == 3 else tuple(one for one in methods if one != GRID[1])

    assert seen(synthetic(methods=rows, settings=settings))[1] is None


def test_levels_of_one_name_are_told_apart(synthetic: Make) -> None:
    """Two temperatures of one pretext are two levels, named by what differs."""
    hot = tuple(
        replace(one, label=f"hot {one.label}", params={"pretext.temperature": 1.0})
        for one in GRID[3:]
    )
    cold = tuple(replace(one, params={"pretext.temperature": 0.1}) for one in GRID[3:])
    found = of(synthetic(methods=(*GRID[:3], *cold, *hot)))

    assert found.starts == ("none", "simclr (temperature=0.1)", "simclr (temperature=1.0)")


def test_rows_that_were_tuned_are_levels_of_what_the_suite_compares(synthetic: Make) -> None:
    """A pretext that tuning gave another temperature in each row is one level, not three."""
    rows = tuple(
        replace(one, params={"pretext.temperature": 0.1 * (number + 1)})
        for number, one in enumerate(GRID[3:])
    )
    space = {"pretext.temperature": {"low": 0.1, "high": 1.0, "log": False}}
    tried: list[Json] = [
        {
            "variant": one.label,
            **{"data": "glyphs", "ways": 5, "score": "label_val", "asked": 2, "space": space},
            "trials": [trial(0, {"pretext.temperature": 0.5}, 0.5), trial(1, one.params, 0.6)],
            **{"winner": 1, "importances": None},
        }
        for one in rows
    ]
    plan, store = synthetic(methods=(*GRID[:3], *rows)).build()
    tuned = replace(plan, settings={**plan.settings, "tuning": record(tried)})
    block = blocks(read_results(plan, store))[0]
    found, plain = factorial(block, tuned), of(synthetic(methods=GRID))

    assert factorial(block, plan) is None
    assert found is not None
    assert (found.starts, found.learnings) == (plain.starts, plain.learnings)


def test_the_answer_and_the_table_tell_the_effects(synthetic: Make) -> None:
    """Sentences name levels, differences and verdicts; the CSV holds the same numbers."""
    found = of(synthetic(methods=GRID))
    table, said = effects_table(found), " ".join(sentences(found))

    assert "On average over meta none, protonet and maml: pretext simclr against none +1" in said
    assert "On average over pretext none and simclr: meta maml against protonet +" in said
    assert "none against protonet" not in said  # other labels: the table alone has it
    kinds = ["pretext", "meta", "meta", "interaction", "interaction"]
    assert list(table.frame["effect"]) == [*kinds, *["departure"] * 6]
    assert table.frame["reference_difference"].notna().all()
    assert len(table.rows) == 5
    departures = table.frame[table.frame["effect"] == "departure"]
    assert departures["reference_difference"].sum() == pytest.approx(0)
    assert departures["reference_p_holm"].tolist() == holm(departures["reference_p"].tolist())


def test_budgets_are_no_levels_where_none_is_shared(synthetic: Make) -> None:
    """Rows that spent a part of one total on pre-training make a grid, and their effects a mark."""
    spent = tuple(
        replace(
            one,
            params={
                **one.params,
                "metatrain.budget": "100 images" if one.pretext == "none" else "50 images",
            },
        )
        for one in GRID
    )
    found = of(synthetic(methods=spent))

    assert (found.starts, len(found.learnings)) == (("none", "simclr"), 3)
    assert all(one.marked for one in found.of_start)


def test_ways_of_learning_are_named_by_what_was_set(synthetic: Make) -> None:
    """By their tasks where these differ; what follows from a setting names nothing."""
    plan, _ = synthetic(methods=GRID).build()
    cells = {cell.variant: cell for cell in plan.cells}
    labels, maml = cells["none + protonet"], cells["none + maml"]
    guessed = {"task.collisions": 0.2, "task.ways": 50, "metatrain.steps": 7}
    instances = replace(labels, tasks="instances", params={**labels.params, **guessed})
    longer = replace(maml, params={**maml.params, **guessed, "meta.steps": 10})
    ways = [_learning_name, _on_tasks]

    assert _names([labels, instances, maml], ways, LEARNING_SET) == [
        *("protonet on labels", "protonet on instances", "maml")
    ]
    assert _names([maml, longer], ways, LEARNING_SET)[1] == "maml on labels (steps=10)"
