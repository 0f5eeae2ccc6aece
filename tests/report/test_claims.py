"""What a report claims holds: marks on every verdict, families as declared, no word too many."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.report import words
from bench.report.analysis import Analysis, analyse, whole_rows
from bench.report.answer import overall, sentences
from bench.report.audit.finding import FAILED
from bench.report.comparison import Block, blocks
from bench.report.evidence.looks import note_looks, read_looks
from bench.report.figures.factorial_view import FactorialView
from bench.report.figures.style import Picture
from bench.report.gallery import gallery
from bench.report.paper.protocol import protocol
from bench.report.results import Results, read_results
from bench.report.tables import accuracy_table, detectable, power_table
from bench.report.text import write_text
from bench.report.views.all_pairs import all_pairs, pairs_table, wins_table
from bench.report.views.data_sets import data_sets
from bench.report.views.data_sets_text import differences_table, ranks_note
from bench.report.views.factorial import factorial
from bench.report.views.factorial_text import effects_table
from bench.report.views.factorial_text import sentences as effects_said
from bench.report.views.outlook import outlooks
from bench.report.views.speed_text import answer, loss_table
from bench.report.views.speed_text import pairs_table as speed_pairs_table
from bench.statistics.interval import Interval
from bench.statistics.power import components, seeds_needed
from bench.statistics.verdict import holm
from tests.report.conftest import METHODS, Bench, Method
from tests.report.test_across import over
from tests.report.test_factorial import GRID

Make = Callable[..., Bench]
RIVAL = Method(label="rival", mean=0.702, meta="reptile", labels="train")


def results_of(bench: Bench) -> Results:
    """Build a bench and read it."""
    return read_results(*bench.build())


def extended(make: Make, folder: Path, **changes: object) -> Analysis:
    """Look at three seeds, then analyse five."""
    plan, store = make(**changes).build()
    note_looks(plan, whole_rows(read_results(plan, store)), folder)
    plan, store = make(**changes, seeds=5).build()
    return analyse(replace(read_results(plan, store), extras={"looks": read_looks(plan, folder)}))


def test_every_verdict_on_added_seeds_is_marked(synthetic: Make, tmp_path: Path) -> None:
    """Tables and sentences of rows, effects and pairs say it, and so do numbers for programs."""
    found = extended(synthetic, tmp_path, methods=GRID)
    (block, other), grid, pairs = found.blocks, found.factorials[0], found.pairs[0]
    tables = [accuracy_table(block, found.results), effects_table(grid), pairs_table(pairs)]
    said = [*sentences(block, 0.01), *effects_said(grid), *overall((block, other))]

    for line in (row for table in tables for row in table.rows):
        for text in line:
            assert text not in {"better", "worse", "equivalent", "undecided"}, line
    for one in (one for one in said if "no verdict by itself" not in one):
        assert one.count("extended after looking") >= one.count(" ["), one
    assert "simclr + none (extended after looking)" in said[-1]
    assert wins_table(pairs).header[-1] == "of these after looking"
    assert wins_table(pairs).frame["after_looking"].tolist() == [3, 3, 3, 3, 1, 1]
    for table in tables:
        for column in (str(one) for one in table.frame if str(one).endswith("_verdict")):
            marks = table.frame[column.replace("_verdict", "_looked_at")]
            assert marks[table.frame[column] != ""].str.startswith("extended after looking").all()
    assert "extended after looking" in write_text(found, gallery(found), "0" * 64).answer[0]


def test_verdicts_on_new_tasks_are_marked_too(held: Make, tmp_path: Path) -> None:
    """So is the answer whether meta-learning beats joint training, and every loss."""
    found = extended(held, tmp_path)
    block, plan = found.blocks[0], found.results.plan
    said, table = answer(found.blocks, plan), speed_pairs_table(block, plan)
    assert table is not None

    assert said[1].count("(extended)") == said[1].count("**") / 2
    assert all(
        row[4].endswith("(extended)") and row[6].endswith("(extended)") for row in table.rows
    )
    losses = [row[-1] for row in loss_table(block, plan).rows]
    assert all(one in {"-", "other labels"} or one.endswith("(extended)") for one in losses)


def test_a_row_against_an_extended_one_is_marked(synthetic: Make, tmp_path: Path) -> None:
    """A verdict rests on the seeds of both its rows: a new row's baseline has been looked at."""
    plan, store = synthetic(shots=(1,)).build()
    note_looks(plan, whole_rows(read_results(plan, store)), tmp_path)
    plan, store = synthetic(shots=(1,), methods=(*METHODS, RIVAL), seeds=5).build()
    looks = read_looks(plan, tmp_path)
    (block,) = analyse(replace(read_results(plan, store), extras={"looks": looks})).blocks

    row = next(row for row in block.rows if row.group.variant == "rival")

    assert row.group.looked_at == ""
    assert row.baseline is not None
    assert row.baseline.looked_at.startswith("extended after looking")


def test_chosen_seeds_are_not_called_extended(synthetic: Make, tmp_path: Path) -> None:
    """Two of the three seeds that a report has shown are chosen, and no more seeds."""
    plan, store = synthetic().build()
    note_looks(plan, whole_rows(read_results(plan, store)), tmp_path)
    plan, store = synthetic(seeds=2).build()
    looks = read_looks(plan, tmp_path)
    found = analyse(replace(read_results(plan, store), extras={"looks": looks}))

    text = write_text(found, gallery(found), "0" * 64).markdown

    assert "(chosen)" in text
    assert ", chosen after looking" in text
    assert "extended" not in text


def test_unreadable_looks_are_no_look_forgotten(synthetic: Make, tmp_path: Path) -> None:
    """A damaged file of looks stops the report: without it no verdict would be marked."""
    plan, _ = synthetic().build()
    (tmp_path / "looks.json").write_text("{")

    with pytest.raises(UserError, match="no JSON"):
        read_looks(plan, tmp_path)


def marked(block: Block, mark: str, *variants: str) -> Block:
    """Put a mark onto some rows of a block."""
    rows = (
        replace(row, marks=(mark,)) if row.group.variant in variants else row for row in block.rows
    )
    return replace(block, rows=tuple(rows))


def test_failed_audits_are_named_beside_verdicts(synthetic: Make) -> None:
    """A row that failed an audit is not called the best, or better, without a word of it."""
    own = [
        marked(block, f"{FAILED}: naming: labels leak", "simclr + maml")
        for block in blocks(results_of(synthetic(methods=GRID)))
    ]

    said = sentences(own[0], 0.01)

    assert "(no verdict by itself, audit failed): simclr + maml" in said[1]
    assert any("simclr + maml (+" in one and "], audit failed" in one for one in said)
    assert "simclr + maml (audit failed)" in overall(own)[0]


def test_marks_of_rows_are_at_effects_and_pairs(synthetic: Make) -> None:
    """An effect is marked where its sides' marks differ; a pair and a win where a row has one."""
    bench = synthetic(methods=GRID)
    plan, store = bench.build()
    plain = blocks(read_results(plan, store))[0]
    maml = marked(plain, "norm support", "none + maml", "simclr + maml")
    leak = marked(plain, f"{FAILED}: leak", *(row.group.variant for row in plain.rows))

    def verdicts(block: Block) -> list[bool]:
        found = factorial(block, plan)
        assert found is not None
        return [row[-1].endswith("(!)") for row in effects_table(found).rows]

    assert verdicts(plain) == [False] * 5
    assert verdicts(maml) == [False, False, True, False, False]
    assert verdicts(leak) == [True] * 5
    pairs = all_pairs(maml, 0.01)
    assert pairs is not None
    assert {row[0] for row in wins_table(pairs).rows} >= {"none + maml (!)", "simclr + protonet"}
    assert any(row[1] == "none + maml (!)" for row in pairs_table(pairs).rows)


def test_an_interaction_is_a_larger_or_smaller_gain(synthetic: Make) -> None:
    """Nothing is better by itself because gains differ: the words say which gain is larger."""
    wide = tuple(replace(one, mean=one.mean + 0.2 * (one.label == "simclr + maml")) for one in GRID)
    plan, store = synthetic(methods=wide).build()
    found = factorial(blocks(read_results(plan, store))[0], plan)
    assert found is not None

    said, rows = effects_said(found)[-1], effects_table(found).rows

    assert "the gain of simclr over none is **larger** before maml than before protonet" in said
    assert [row[-1] for row in rows if row[1] == "simclr before maml"] == ["larger gain"]
    assert "better" not in said


def test_missing_rows_make_no_other_verdict_easier(synthetic: Make) -> None:
    """Pairs with a row that is not complete count in the family, as those with a baseline do."""
    lacking = frozenset({"rival"})
    block = blocks(results_of(synthetic(methods=(*METHODS, RIVAL), missing=lacking)))[0]
    found = all_pairs(block, 0.01)
    assert found is not None

    one = found.compared["simclr + maml", "none + protonet"]

    assert one.difference is not None
    assert one.difference.p is not None
    assert one.p_holm == holm([one.difference.p, 1.0, 1.0])[0]
    assert "rival" not in found.variants


def test_incomplete_rows_may_be_the_best(synthetic: Make) -> None:
    """Of an unfinished class of labels only the complete rows have a highest mean."""
    bench = synthetic(methods=GRID, broken=frozenset({("simclr + maml", 1, 1)}))
    one, five = blocks(results_of(bench))

    assert "of the complete variants that saw labels in training" in sentences(one, 0.01)[1]
    assert "of the variants that saw labels in training" in sentences(five, 0.01)[1]
    floor = synthetic(methods=METHODS[:2], missing=frozenset({"none + protonet"}), settings={})
    bad = Method(label="bad", mean=0.3, meta="reptile", labels="train")
    lost = replace(floor, methods=(*METHODS[:2], bad), results=floor.results / "other")
    assert overall(blocks(results_of(lost))) == [
        "No variant that is complete is better than the random-init floor in every setting."
    ]


def test_one_seed_has_no_p(synthetic: Make) -> None:
    """Where no p exists, none is adjusted: it is not printed as 1."""
    plan, store = synthetic(methods=GRID, seeds=1).build()
    block = blocks(read_results(plan, store))[0]
    found = factorial(block, plan)
    assert found is not None

    assert {row[4] for row in effects_table(found).rows} == {"-"}
    rows = [row.baseline for row in block.rows if row.baseline]
    assert {(one.p_holm, one.verdict) for one in rows} == {(None, "undecided")}


def test_equal_rows_tell_no_spread(synthetic: Make) -> None:
    """Rows of the same numbers do not detect a difference of 0.0 points; both are the highest."""
    twin = replace(METHODS[1], label="twin", meta="reptile")
    results = results_of(synthetic(methods=(METHODS[1], twin), shots=(1,)))
    same = {one.cell.seed: one.accuracy_TE for one in results.cells if one.cell.variant != "twin"}
    cells = [
        replace(one, measured_TE={"accuracy": same[one.cell.seed][-1:]}) for one in results.cells
    ]
    own = blocks(replace(results, cells=tuple(cells)))

    value, source = detectable(own, 5)

    assert value is not None
    assert value > 0.01
    assert source.startswith("assumed")
    assert "assumed" in power_table(own).markdown
    assert "none + protonet and twin, " in sentences(own[0], 0.01)[0]


def test_rows_of_other_labels_are_neither_ties_nor_ranked(synthetic: Make) -> None:
    """Over data sets, too, what is told apart or counted saw the same labels."""
    bench = synthetic(settings={"baseline": {"*": "none + protonet"}})
    results = over(results_of(bench), 8)
    (found,) = data_sets(blocks(results), results.plan)

    tallies = {(one.variant, one.reference): one.tally for one in found.rows}

    assert tallies["simclr + none", "none + protonet"] is None
    assert tallies["simclr + none", "random_init"] is not None
    assert {one.labels: set(one.variants) for one in found.rankings} == {
        "none": {"random_init", "simclr + none"},
        "train": {"none + protonet", "simclr + maml"},
    }
    assert "saw the same labels" in ranks_note(found)
    assert "-" in [row[-1] for row in differences_table(found).rows]


def test_the_outlook_counts_the_family(synthetic: Make) -> None:
    """Seeds that would settle a difference are those after Holm's adjustment at its worst."""
    rivals = tuple(replace(RIVAL, label=f"rival {n}", mean=0.5 + n / 50) for n in range(7))
    results = results_of(synthetic(methods=(*METHODS, *rivals), shots=(1,)))
    (one,) = (o for o in outlooks(blocks(results), results) if o.group.variant == "simclr + maml")
    assert one.compared.parts is not None
    assert one.compared.difference is not None
    parts, seeds, episodes = one.compared.parts, 3, 40

    found = components(parts, seeds, episodes)
    mean = one.compared.difference.mean
    assert one.needed == seeds_needed(mean, found, episodes, level=0.05 / 8)
    assert one.needed != seeds_needed(mean, found, episodes)


def test_other_episodes_are_not_called_the_same(synthetic: Make) -> None:
    """The protocol says that rows met the same episodes only where they did."""
    results = results_of(synthetic())
    first = results.cells[0]
    other = replace(first, manifest={**first.manifest, "bank": "c" * 64})

    assert "every variant and seed meets the same episodes" in protocol(results)
    mixed = protocol(replace(results, cells=(other, *results.cells[1:])))
    assert "not every variant and seed met the same episodes" in mixed


def test_many_departures_are_adjusted(synthetic: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many cells of an additive grid one departs by chance: bold are those after Holm."""
    seen: list[FactorialView] = []

    def keep(views: list[FactorialView]) -> list[Picture]:
        seen.extend(views)
        return []

    monkeypatch.setattr("bench.report.gallery.effects_figures", keep)
    found = analyse(results_of(synthetic(methods=GRID, shots=(1,))))
    one = Interval(mean=0.01, low=0.001, high=0.019, se=0.004, p=0.03, seeds=3)
    clear = replace(one, low=0.008, high=0.012, se=0.001, p=0.001)
    grid = replace(found.factorials[0], departures=((clear, one, one), (one, one, one)))

    gallery(replace(found, factorials=(grid,)))

    assert seen[0].certain_GH.tolist() == [[True, False, False], [False, False, False]]


def test_numbers_at_a_bound_are_on_their_side_of_it() -> None:
    """A p below .05 is not printed as .050, and what rounds to 0 has one sign."""
    assert words.p_value(0.0497) == ".049"
    assert words.p_value(0.0502) == ".050"
    assert (words.signed(-0.04), words.signed(0.04), words.signed(-0.06)) == (
        "+0.0",
        "+0.0",
        "-0.1",
    )


def test_a_label_is_not_struck_through() -> None:
    """Two tildes are text, for GitHub, and plain text has them again."""
    assert words.escape("~~x~~ ~y") == "\\~~x\\~~ ~y"
    assert words.plain(words.escape("~~x~~")) == "~~x~~"
