"""All pairs of a setting, several data sets, what more seeds would buy, and earlier looks."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.report.analysis import analyse, whole_rows
from bench.report.comparison import Block, blocks
from bench.report.evidence.looks import note_looks, read_looks
from bench.report.results import Results, read_results
from bench.report.section import sections_of
from bench.report.views.all_pairs import all_pairs, pairs_table, wins_table
from bench.report.views.data_sets import DataSets, data_sets
from bench.report.views.data_sets_text import (
    aggregates_table,
    differences_table,
    profiles_table,
    ranks_note,
)
from bench.report.views.outlook import _family, outlook_table, outlooks
from bench.statistics.verdict import holm
from tests.report.conftest import METHODS, Bench, Method

Make = Callable[..., Bench]
CLOSE = (*METHODS, Method(label="rival", mean=0.702, meta="reptile", labels="train"))


def results_of(bench: Bench) -> Results:
    """Build a bench and read it."""
    return read_results(*bench.build())


def accuracy(block: Block, variant: str) -> np.ndarray:
    """Return a row's accuracies [S, E]."""
    return next(row.group.accuracy() for row in block.rows if row.group.variant == variant)


def test_every_pair_is_compared_once_both_ways(synthetic: Make) -> None:
    """The matrix has signs turned below its diagonal, and the verdict turned with them."""
    block = blocks(results_of(synthetic(methods=CLOSE, seeds=6)))[0]
    found = all_pairs(block, 0.01)
    assert found is not None

    there = found.compared["simclr + maml", "none + protonet"]
    back = found.compared["none + protonet", "simclr + maml"]

    assert len(found.compared) == 5 * 4
    assert there.difference is not None
    assert back.difference is not None
    expected = accuracy(block, "simclr + maml") - accuracy(block, "none + protonet")
    assert there.difference.mean == pytest.approx(expected.mean())
    assert (back.difference.low, back.difference.high) == (
        -there.difference.high,
        -there.difference.low,
    )
    assert (there.verdict, back.verdict) == ("better", "worse")


def test_all_pairs_of_a_class_of_labels_are_one_family(synthetic: Make) -> None:
    """Holm's adjustment is over the pairs of rows that saw the same labels; others have none."""
    block = blocks(results_of(synthetic(methods=CLOSE)))[0]
    found = all_pairs(block, 0.01)
    assert found is not None
    trained = ("simclr + maml", "none + protonet", "rival")

    family = [
        found.compared[one, other]
        for place, one in enumerate(found.variants)
        for other in found.variants[place + 1 :]
        if {one, other} <= set(trained)
    ]

    p = [one.difference.p for one in family if one.difference]
    assert len(p) == 3
    assert [one.p_holm for one in family] == holm([one for one in p if one is not None])
    across = found.compared["simclr + none", "rival"]
    assert (across.p_holm, across.verdict) == (None, None)


def test_wins_and_losses_are_counted_within_labels(synthetic: Make) -> None:
    """Wins of all rows together are their losses; each row meets the others of its class."""
    block = blocks(results_of(synthetic(methods=CLOSE)))[0]
    found = all_pairs(block, 0.01)
    assert found is not None

    frame = wins_table(found).frame.set_index("variant")

    assert frame["better"].sum() == frame["worse"].sum() > 0
    assert frame[["better", "equivalent", "undecided", "worse"]].sum(axis=1).to_dict() == {
        **dict.fromkeys(("simclr + maml", "none + protonet", "rival"), 2),
        **dict.fromkeys(("simclr + none", "random_init"), 1),
    }
    assert len(pairs_table(found).rows) == 10


def test_a_row_without_a_mean_makes_no_verdict_easier(synthetic: Make) -> None:
    """Pairs with a row that is not whole count in the family, are not shown, and it is named."""
    analysis = analyse(results_of(synthetic(methods=CLOSE, missing=frozenset({"rival"}))))
    found = analysis.pairs[0]
    assert found is not None
    assert found.left_out == ("rival",)

    own = found.compared["simclr + maml", "none + protonet"]

    assert own.difference is not None
    assert own.difference.p is not None
    assert own.p_holm == pytest.approx(3 * own.difference.p)
    assert not [pair for pair in found.compared if "rival" in pair]
    assert sections_of(analysis)[0].without_pairs == "rival"


def test_two_rows_have_no_matrix(synthetic: Make) -> None:
    """Of two rows the table of accuracies says all; an incomplete row is in no pair."""
    gone = frozenset({"none + protonet", "simclr + maml"})

    assert all_pairs(blocks(results_of(synthetic(missing=gone)))[0], 0.01) is None


def over(results: Results, number: int, *, lacking: str = "", shift: float = 0.0) -> Results:
    """Repeat results on so many data sets, each shifted by an amount of its own."""
    rng = np.random.default_rng(number)
    cells = []
    for data in range(number):
        for one in results.cells:
            if one.cell.shots == 1 and not (data == 1 and one.cell.variant == lacking):
                moved = one.accuracy_TE + rng.normal(0, 0.01)
                moved = moved + shift * (one.cell.variant == "simclr + maml")
                cell = replace(one.cell, data=f"set{data}")
                cells.append(replace(one, cell=cell, measured_TE={"accuracy": moved}))
    return replace(results, cells=tuple(cells))


def one_setting(results: Results) -> DataSets:
    """Return the one setting of some data sets."""
    (found,) = data_sets(blocks(results), results.plan)
    return found


def test_a_mean_over_data_sets_counts_each_once(synthetic: Make) -> None:
    """The mean difference and its interval are those of one value a data set, t(B - 1)."""
    found = one_setting(over(results_of(synthetic()), 4))

    row = next(one for one in found.rows if one.variant == "simclr + maml")
    each = [one.difference.mean for one in row.compared if one and one.difference]
    expected = stats.ttest_1samp(each, 0.0)
    bounds = expected.confidence_interval()

    assert row.mean is not None
    assert row.tally is not None
    assert (row.reference, len(each)) == ("none + protonet", 4)
    assert row.mean.mean == pytest.approx(np.mean(each))
    assert (row.mean.low, row.mean.high) == pytest.approx((bounds.low, bounds.high))
    assert row.tally.win + row.tally.tie + row.tally.loss == 4


def test_a_row_that_lacks_a_data_set_has_no_mean(synthetic: Make) -> None:
    """Nothing is averaged over the sets that happen to be there."""
    found = one_setting(over(results_of(synthetic()), 3, lacking="simclr + maml"))

    row = next(one for one in found.rows if one.variant == "simclr + maml")
    table = differences_table(found)
    shown = next(line for line in table.rows if line[0] == "simclr + maml (!)")

    assert (row.mean, row.tally) == (None, None)
    assert (shown[4], shown[6], shown[7]) == ("-", "incomplete", "-")
    assert "simclr + maml" not in found.scores


@pytest.mark.parametrize(("number", "attainable"), [(2, False), (7, False), (8, True)])
def test_ranks_are_tested_where_that_is_attainable(
    synthetic: Make, number: int, attainable: bool
) -> None:
    """Four rows make six pairs, whose smallest p asks for eight data sets; else it says so."""
    same = tuple(replace(one, labels="none") for one in METHODS)
    found = one_setting(over(results_of(synthetic(methods=same)), number))

    assert [one.found is not None for one in found.rankings] == [attainable]
    assert ("not attainable" in ranks_note(found)) != attainable


def test_aggregates_need_eight_data_sets(synthetic: Make) -> None:
    """Interquartile means and profiles are there from eight on, the same every time."""
    results = results_of(synthetic())
    few, many = one_setting(over(results, 7)), one_setting(over(results, 8))

    means, profiles = aggregates_table(many), profiles_table(many)
    again = aggregates_table(one_setting(over(results, 8)))

    assert (aggregates_table(few), profiles_table(few)) == (None, None)
    assert means is not None
    assert profiles is not None
    assert again is not None
    assert means.rows == again.rows
    assert len(profiles.frame) == 4 * 101
    assert (profiles.frame["low"] <= profiles.frame["share"] + 1e-9).all()


def test_one_data_set_has_no_section(synthetic: Make) -> None:
    """Two numbers of shots of one set are no blocks."""
    results = results_of(synthetic())

    assert data_sets(blocks(results), results.plan) == ()


def test_the_outlook_prices_what_is_undecided(synthetic: Make) -> None:
    """Seeds that are lacking cost the stages of both rows, each once, as the seeds so far did."""
    results = results_of(synthetic(methods=CLOSE, shots=(1,)))
    (one,) = (o for o in outlooks(blocks(results), results) if o.group.variant == "simclr + maml")

    assert one.compared.reference == "none + protonet"
    assert one.needed is not None
    assert one.needed > one.seeds == 3
    a_seed = (30 + 30 + 20) + (30 + 5)  # maml reads out four times, protonet once
    assert one.seconds == pytest.approx((one.needed - 3) * a_seed)
    assert 0 <= one.episodes <= 1


def test_nothing_undecided_has_no_outlook(synthetic: Make) -> None:
    """Where every verdict is there, no table tells what more seeds would buy."""
    clear = tuple(replace(one, mean=0.3 + 0.15 * n) for n, one in enumerate(METHODS))
    results = results_of(synthetic(methods=clear, shots=(1,)))

    assert outlook_table(blocks(results), results) is None


def looked(bench: Bench, folder: Path) -> dict[str, str]:
    """Read a bench's results with the looks before it, note this look, return marks by row."""
    plan, store = bench.build()
    results, looks = read_results(plan, store), read_looks(plan, folder)
    note_looks(plan, whole_rows(results), folder)
    return {
        row.group.variant: row.group.looked_at
        for block in analyse(replace(results, extras={"looks": looks})).blocks
        for row in block.rows
    }


def test_seeds_added_after_a_report_are_marked(synthetic: Make, tmp_path: Path) -> None:
    """Three seeds were shown, five are: every row says so; the first report never does."""
    first = looked(synthetic(shots=(1,)), tmp_path)
    again = looked(synthetic(shots=(1,)), tmp_path)
    more = looked(synthetic(shots=(1,), seeds=5), tmp_path)
    back = looked(synthetic(shots=(1,)), tmp_path)

    assert set(first.values()) == set(again.values()) == set(back.values()) == {""}
    assert set(more.values()) == {"extended after looking: seeds 3-4 came after a report on 0-2"}


def test_a_look_needs_a_whole_row_of_two_seeds(synthetic: Make, tmp_path: Path) -> None:
    """One seed has no verdict, and an incomplete row no mean: neither is a look."""
    looked(synthetic(shots=(1,), seeds=1), tmp_path)
    looked(synthetic(shots=(1,), seeds=2, missing=frozenset({"simclr + maml"})), tmp_path)

    marks = looked(synthetic(shots=(1,), seeds=4), tmp_path)

    assert marks["simclr + maml"] == ""
    assert marks["random_init"].startswith("extended after looking: seeds 2-3")


def test_fewer_seeds_than_were_shown_are_marked(synthetic: Make, tmp_path: Path) -> None:
    """Who shows two of the five seeds that a report has shown may have chosen them."""
    looked(synthetic(shots=(1,), seeds=5), tmp_path)
    fewer = looked(synthetic(shots=(1,), seeds=2), tmp_path)

    assert set(fewer.values()) == {"chosen after looking: a report had shown seeds 0-4"}
    assert json.loads((tmp_path / "looks.json").read_text())


def test_a_baseline_and_its_floor_are_judged_once(synthetic: Make) -> None:
    """What the floor's family says of the baseline is what the floor's own row says, turned."""
    close = Method(label="rotation + none", mean=0.61, pretext="rotation")
    settings = {"baseline": {"train": "none + protonet", "none": "simclr + none"}}
    bench = synthetic(methods=(*METHODS, close), settings=settings, shots=(1,))
    (block,) = blocks(results_of(bench))
    rows = {row.group.variant: row for row in block.rows}

    floor, baseline = rows["random_init"].baseline, rows["simclr + none"].floor
    other = rows["rotation + none"].baseline

    assert floor is not None
    assert baseline is not None
    assert other is not None
    assert other.difference is not None
    assert (floor.verdict, baseline.verdict) == ("worse", "better")
    assert (floor.reference, floor.p_holm) == ("simclr + none", baseline.p_holm)
    assert other.p_holm == other.difference.p  # alone in the baseline's family


def test_the_outlook_lists_a_baseline_and_its_floor_once(synthetic: Make) -> None:
    """It was judged in the floor's family, which is the one that its seeds are reckoned by."""
    near = Method(label="simclr + none", mean=0.455, pretext="simclr")
    rotated = Method(label="rotation + none", mean=0.46, pretext="rotation")
    settings = {"baseline": {"train": "none + protonet", "none": "simclr + none"}}
    methods = (METHODS[0], METHODS[1], near, rotated)
    results = results_of(synthetic(methods=methods, settings=settings, shots=(1,)))
    found = blocks(results)

    pairs = [(one.group.variant, one.compared.reference) for one in outlooks(found, results)]

    assert ("simclr + none", "random_init") in pairs
    assert ("random_init", "simclr + none") not in pairs
    alone = next(row.baseline for row in found[0].rows if row.group.variant == "rotation + none")
    assert alone is not None
    assert _family(found[0], alone) == 1  # the floor is no part of the baseline's family
