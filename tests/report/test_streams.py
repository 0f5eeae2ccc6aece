"""A report on streams: accuracy matrices, forgetting, pairs of strategies and of starts."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.plan import Plan
from bench.report import write
from bench.report.audit.fairness import of_results
from bench.report.comparison import blocks
from bench.report.figures.continual import continual_figures
from bench.report.frame import cell_frame
from bench.report.gallery import Gallery
from bench.report.results import Group, Results, read_results
from bench.report.verify import verify
from bench.report.views.continual import Along, Pair, Stream, matrices, streams
from bench.report.views.continual_text import along_table, answer, pairs_table
from bench.report.views.factorial import factorial
from bench.report.write import write_report
from bench.statistics.interval import crossed_interval, paired_difference
from bench.statistics.verdict import holm
from bench.store import Store
from tests.report.streamed import (
    JOINT,
    NAIVE,
    PROTOTYPES,
    REPLAY,
    STARTS,
    Start,
    Streams,
    with_steps,
)

Make = Callable[..., Streams]
MARGIN = 0.01


@pytest.fixture
def streaming(tmp_path: Path) -> Make:
    """A maker of suites of streams in this test's folder; keywords change what the default has."""
    return lambda **changes: Streams(**({"results": tmp_path / "results"} | changes))


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: these tests are of text and tables."""
    monkeypatch.setattr(write, "gallery", lambda found: Gallery())


def stream_of(built: tuple[Plan, Store]) -> tuple[Results, Stream]:
    """Return the results of a plan of one setting, and what they say of it."""
    results = read_results(*built)
    (found,) = streams(blocks(results), results.plan)
    return results, found


def group_of(results: Results, variant: str) -> Group:
    """Return a row by its name."""
    return next(one for one in results.groups if one.variant == variant)


def row_of(stream: Stream, variant: str) -> Along:
    """Return what a stream says of a row."""
    return next(one for one in stream.rows if one.row.group.variant == variant)


def pair_of(stream: Stream, variant: str, kind: str) -> Pair:
    """Return the one comparison of a kind that a row has."""
    (found,) = [p for p in stream.pairs if (p.group.variant, p.kind) == (variant, kind)]
    return found


def test_matrices_are_what_was_measured(streaming: Make) -> None:
    """M[s, e, t, j] is the accuracy on group j after group t, in each seed's own stream."""
    suite = streaming(seeds=2)
    results, _ = stream_of(suite.build())
    M = matrices(group_of(results, "simclr + none (replay)"))
    expected = [suite.matrices(STARTS[1], REPLAY, seed) for seed in range(2)]
    np.testing.assert_array_equal(M, np.stack(expected))


def test_metrics_have_crossed_intervals_over_seeds_and_streams(streaming: Make) -> None:
    """Each metric is taken of every stream's matrix, and its interval is the crossed one."""
    suite = streaming(groups=3)
    _, stream = stream_of(suite.build())
    M = np.stack([suite.matrices(STARTS[0], NAIVE, seed) for seed in range(5)])
    first, last = M[..., 0, 0] - M[..., 2, 0], M[..., 1, 1] - M[..., 2, 1]
    learned = (M[..., 0, 0] + M[..., 1, 1] + M[..., 2, 2]) / 3
    expected = {
        "accuracy": M[..., 2, :].mean(-1),
        "learning": learned,
        "forgetting": (first + last) / 2,
        "backward_transfer": -(first + last) / 2,
    }
    own = row_of(stream, "random_init (naive)").metrics
    for name, a_SE in expected.items():
        interval = crossed_interval(a_SE)
        shown = (own[name].mean, own[name].low, own[name].high)
        np.testing.assert_allclose(shown, (interval.mean, interval.low, interval.high))


def test_replay_is_paired_with_naive_from_the_same_start(streaming: Make) -> None:
    """Forgetting is compared stream by stream with the naive row's; less is better."""
    suite = streaming()
    results, stream = stream_of(suite.build())
    one = pair_of(stream, "simclr + none (replay)", "strategy")
    assert one.reference.variant == "simclr + none (naive)"

    def lost(variant: str) -> np.ndarray:
        M = matrices(group_of(results, variant))
        first = np.diagonal(M, axis1=-2, axis2=-1)
        return np.asarray((first - M[..., -1, :])[..., :-1].mean(-1))

    expected = paired_difference(lost("simclr + none (replay)"), lost("simclr + none (naive)"))
    found = one.compared["forgetting"].difference
    assert found is not None
    np.testing.assert_allclose((found.mean, found.low), (expected.mean, expected.low))
    assert found.high < 0
    assert one.compared["forgetting"].verdict == "better"
    assert row_of(stream, "simclr + none (replay)").naive == one.compared["forgetting"]


def test_a_start_is_compared_with_the_floor_of_its_own_strategy(streaming: Make) -> None:
    """What pre-training gives is told strategy by strategy, as in the table of accuracies."""
    _, stream = stream_of(streaming().build())
    pairs = stream.of_kind("start")
    assert {(p.group.variant, p.reference.variant) for p in pairs} == {
        (f"{start.name} ({strategy.name})", f"random_init ({strategy.name})")
        for start in STARTS[1:]
        for strategy in (NAIVE, REPLAY, JOINT, PROTOTYPES)
    }
    for pair in pairs:
        assert pair.compared["accuracy"] == row_of(stream, pair.group.variant).row.floor


def test_a_family_is_all_pairs_of_strategies_in_one_measure(streaming: Make) -> None:
    """p-values of replay and joint against naive are adjusted over all starts together."""
    weak = replace(REPLAY, loses=0.118)
    _, stream = stream_of(streaming(strategies=(NAIVE, weak, JOINT), seeds=3).build())
    pairs = stream.of_kind("strategy")
    assert len(pairs) == 2 * len(STARTS)
    raw = [p.compared["forgetting"].difference for p in pairs]
    adjusted = holm([one.p for one in raw if one is not None and one.p is not None])
    assert [p.compared["forgetting"].p_holm for p in pairs] == adjusted


def test_rows_of_other_labels_get_no_verdict(streaming: Make) -> None:
    """Prototypes choose no rate and so see no labels of validation: naive did, where it was chosen.

    After meta-training on labels both have seen those of training. Against the floor all have one.
    """
    _, stream = stream_of(streaming().build())
    one = pair_of(stream, "simclr + none (prototypes)", "strategy").compared["forgetting"]
    assert (one.verdict, one.difference is None) == (None, False)
    other = pair_of(stream, "none + maml (prototypes)", "strategy").compared["forgetting"]
    assert other.verdict == "better"
    assert all(p.compared["accuracy"].verdict for p in stream.of_kind("start"))


def test_pre_training_that_goes_on_is_compared_with_itself_without(streaming: Make) -> None:
    """Rows that differ in pretext_steps alone are a pair; replay meets the naive row with it."""
    strategies = (NAIVE, REPLAY, with_steps(NAIVE, 5), with_steps(REPLAY, 5))
    _, stream = stream_of(streaming(starts=STARTS[1:2], strategies=strategies).build())
    found = {(p.kind, p.group.variant, p.reference.variant) for p in stream.pairs}
    own = "simclr + none"
    assert found == {
        ("strategy", f"{own} (replay)", f"{own} (naive)"),
        ("strategy", f"{own} (replay pretext_steps=5)", f"{own} (naive pretext_steps=5)"),
        ("further", f"{own} (naive pretext_steps=5)", f"{own} (naive)"),
        ("further", f"{own} (replay pretext_steps=5)", f"{own} (replay)"),
    }
    assert stream.strategies == (
        "naive (pretext_steps=0)",
        "replay (pretext_steps=0)",
        "naive (pretext_steps=5)",
        "replay (pretext_steps=5)",
    )
    assert len({one.start for one in stream.rows}) == 1


def test_a_row_whose_pre_training_goes_on_has_the_floor_of_its_strategy(streaming: Make) -> None:
    """An untrained network has no pretext to go on with: the floor is the one that learns alike."""
    strategies = (NAIVE, REPLAY, with_steps(REPLAY, 5))
    plan, store = streaming(starts=STARTS[:2], strategies=strategies, seeds=2).build()
    kept = [cell for cell in plan.cells if cell.variant != "random_init (replay pretext_steps=5)"]
    _, stream = stream_of((replace(plan, cells=tuple(kept)), store))
    one = pair_of(stream, "simclr + none (replay pretext_steps=5)", "start")
    assert one.reference.variant == "random_init (replay)"
    assert one.compared["accuracy"].reference == "random_init (replay)"


def test_starts_of_one_name_are_told_apart(streaming: Make) -> None:
    """Two starts that differ in a parameter are two, each named by its first row."""
    other = Start(pretext="simclr", params={"pretext.temperature": 0.1})
    suite = streaming(starts=(STARTS[1], other), strategies=(NAIVE,), seeds=2)
    plan, store = suite.build()
    cells = tuple(
        replace(cell, variant="simclr colder") if "pretext.temperature" in cell.params else cell
        for cell in plan.cells
    )
    _, stream = stream_of((replace(plan, cells=cells), store))
    assert stream.starts == ("simclr + none (naive)", "simclr colder")


def test_the_answer_says_yes_by_how_much_and_no(streaming: Make) -> None:
    """What the verdicts are is what the sentences state, of replay and of every trained start."""
    _, stream = stream_of(streaming(strategies=(NAIVE, REPLAY)).build())
    said = answer([stream])
    assert said[0] == (
        "**Does replay forget less than naive fine-tuning?** (glyphs, 5-way 5-shot, 4 groups)"
    )
    assert said[1].startswith("* By forgetting in points, **yes**: random_init (-")
    assert all(start.name in said[1] for start in STARTS)
    assert said[2].startswith("* By average accuracy in points, **better**: random_init (+")
    assert said[3].startswith("**Does pre-training or meta-learning help along a stream?**")
    starts = dict(
        line.removeprefix("* By average accuracy in points, ").split(": ", 1)
        for line in said[4:]
        if line.startswith("* By average accuracy")
    )
    assert "simclr + none (naive) (+" in starts["**yes**"]
    assert "simclr + maml (replay) (-" in starts["**no, it is worse**"]
    assert "none + maml (replay) (" in starts["**undecided**"]


def test_forgetting_more_is_said_as_no(streaming: Make) -> None:
    """A strategy that loses more than naive gets no for an answer, in words."""
    worse = replace(REPLAY, loses=0.15)
    _, stream = stream_of(streaming(strategies=(NAIVE, worse)).build())
    assert answer([stream])[1].startswith("* By forgetting in points, **no, it forgets more**: ")


def test_one_seed_is_one_model(streaming: Make) -> None:
    """With one seed nothing is decided, and the figures say that they are of one model."""
    _, stream = stream_of(streaming(seeds=1).build())
    said = answer([stream])
    assert said[1].startswith("* By forgetting in points, **undecided with one seed**: ")
    assert not any("**yes**" in line for line in said)


def test_what_is_not_done_is_said(streaming: Make, tmp_path: Path) -> None:
    """A row that lacks a seed has no metrics, and its pairs no differences; nothing fails."""
    lost = frozenset({"none + maml (naive)"})
    built = streaming(missing=lost, strategies=(NAIVE, REPLAY), seeds=2).build()
    _, stream = stream_of(built)
    assert not row_of(stream, "none + maml (naive)").metrics
    text = write_report(*built, tmp_path / "reports").read_text()
    trouble = "none + maml (naive) is incomplete (1 of 2 seeds)"
    assert f"**nothing to tell, {trouble}**: none + maml." in text


def test_nothing_done_is_a_report(streaming: Make, tmp_path: Path) -> None:
    """A report before any test is done says that everything is missing."""
    every = frozenset(f"{start.name} (naive)" for start in STARTS)
    built = streaming(missing=every, strategies=(NAIVE,), seeds=1).build()
    text = write_report(*built, tmp_path / "reports").read_text()
    assert "incomplete (0 of 1 seeds)" in text
    assert "stream-matrices" not in text


def test_tables_hold_every_number(streaming: Make) -> None:
    """The CSVs have metrics with bounds, the mean matrix below its diagonal, and both measures."""
    _, stream = stream_of(streaming().build())
    frame = along_table(stream).frame.set_index("variant")
    own = row_of(stream, "simclr + none (replay)")
    assert frame["forgetting_high"]["simclr + none (replay)"] == own.metrics["forgetting"].high
    assert frame["after_3_on_2"]["simclr + none (replay)"] == own.matrix_TT[2, 1]
    assert "after_2_on_3" not in frame
    assert frame["naive_forgetting_verdict"]["simclr + none (replay)"] == "better"
    table = pairs_table(stream)
    assert table is not None
    assert len(table.frame) == len(stream.pairs) == 3 * 4 + 3 * 4
    assert {"accuracy_p_holm", "forgetting_difference_low"} <= set(table.frame)


def test_tables_mark_the_oracle_and_the_edge_of_the_grid(streaming: Make) -> None:
    """Joint training is an oracle wherever it stands; a rate at an end of the grid has a mark."""
    edge = replace(REPLAY, rate=0.3)
    _, stream = stream_of(streaming(strategies=(NAIVE, edge, JOINT, PROTOTYPES)).build())
    rows = {row[0]: row for row in along_table(stream).rows}
    assert rows["random_init (joint)"][1:3] == ["joint (oracle)", "0.1"]
    assert rows["random_init (replay)"][1:3] == ["replay, keeps 2", "0.3 (!)"]
    assert rows["random_init (prototypes)"][1:3] == ["prototypes", "-"]
    table = pairs_table(stream)
    assert table is not None
    assert "random_init (joint) (oracle)" in [row[0] for row in table.rows]
    marks = {row.group.variant: row.marks for row in stream.block.rows}
    assert marks["random_init (joint)"] == (
        "an oracle: it keeps every example of the groups before",
    )
    assert marks["random_init (replay)"] == ()


def test_the_report_shows_streams_in_words_and_pictures(streaming: Make, tmp_path: Path) -> None:
    """Tables, figures, method and sources of streams are in it, and no steps of adaptation."""
    built = streaming(seeds=2).build()
    index = write_report(*built, tmp_path / "reports")
    text, folder = index.read_text(), index.parent
    for name in ("matrices", "curves", "forgetting"):
        assert f"](stream-{name}-glyphs-5way-5shot.png)" in text
    assert "adaptation-" not in text
    assert "steps of adaptation" not in text
    assert "test episodes" not in text
    assert "### glyphs, 5-way 5-shot, 4 groups" in text
    assert "tested on 60 streams (5-way 5-shot; 5 queries a class; 10 steps on each group" in text
    assert "is told apart among all the classes met so far (class-incremental)" in text
    assert "one of 0.03, 0.1 and 0.3: for each row and seed the one of the highest" in text
    assert "new seeds and new streams of these test classes" in text
    for number in ("1706.08840", "1801.10112", "1810.11910", "2302.01766", "1902.10486"):
        assert f"https://arxiv.org/abs/{number}" in (folder / "references.bib").read_text()
    frame = pd.read_csv(folder / "cells.csv")
    assert {"accuracy", "forgetting", "learning", "rate"} <= set(frame)


def test_a_fresh_report_on_streams_is_verified(
    streaming: Make, tmp_path: Path, no_figures: None
) -> None:
    """What is recomputed from its evidence, NaN above the diagonal included, is the report."""
    plan, store = streaming(seeds=2, episodes=10).build()
    folder = write_report(plan, store, tmp_path / "reports").parent
    assert verify(folder, store).differences == []


def test_other_protocols_have_no_streams(synthetic: Callable[..., Any], tmp_path: Path) -> None:
    """A report on episodes of classes says nothing of streams."""
    plan, store = synthetic().build()
    results = read_results(plan, store)
    assert streams(blocks(results), plan) == ()
    text = write_report(plan, store, tmp_path / "reports").read_text()
    assert "stream" not in text


@pytest.mark.parametrize(
    ("scenario", "settings", "title", "says"),
    [
        ("task", {}, "4 groups", "a query is told its group"),
        ("domain", {"domains": "rotation"}, "4 domains of rotation", "shown as rotation answers"),
    ],
)
def test_each_scenario_is_named(
    streaming: Make,
    tmp_path: Path,
    no_figures: None,
    scenario: str,
    settings: Mapping[str, Any],
    title: str,
    says: str,
) -> None:
    """The title says what a stream brings, and the method what a query is told."""
    suite = streaming(scenario=scenario, settings=settings, seeds=1, strategies=(NAIVE, REPLAY))
    text = write_report(*suite.build(), tmp_path / "reports").read_text()
    assert f"### glyphs, 5-way 5-shot, {title}" in text
    assert says in text


@pytest.mark.parametrize(("scenario", "outcome"), [("class", "passed"), ("task", "failed")])
def test_the_floor_is_held_against_the_chance_of_its_scenario(
    streaming: Make, scenario: str, outcome: str
) -> None:
    """With 20 classes met 11 % is above the 5 % of chance; among 5 that a query is told, below."""
    low = (Start(learns=0.11),)
    still = replace(NAIVE, loses=0.0)
    built = streaming(scenario=scenario, starts=low, strategies=(still,), seeds=2).build()
    results = read_results(*built)
    found = [
        one for one in of_results(results, blocks(results)) if one.check == "random-init floor"
    ]
    assert [one.outcome for one in found] == [outcome]


def test_effects_are_never_mixed_over_strategies(streaming: Make) -> None:
    """A way of learning is a meta-algorithm and a strategy: each cell of the grid is one row."""
    built = streaming(strategies=(NAIVE, JOINT), seeds=2).build()  # whose parameters are the same
    _, stream = stream_of(built)
    found = factorial(stream.block, built[0])
    assert found is not None
    assert set(found.learnings) == {
        *("none (naive)", "none (joint)", "maml (naive)", "maml (joint)")
    }


def test_many_rows_are_chosen_and_said(streaming: Make) -> None:
    """Of more than twelve rows the baselines, floors and best are drawn, and the figure says so."""
    _, stream = stream_of(streaming(seeds=2, episodes=8).build())
    assert len(stream.rows) == 16
    pictures = {one.name: one for one in continual_figures([stream])}
    drawn = pictures["stream-matrices-glyphs-5way-5shot"].svg.decode()
    assert "4 of 16 rows left out" in drawn
    assert "random_init (naive)" in drawn
    assert "simclr + maml (naive)" not in drawn
    assert "simclr + maml (naive)" in pictures["stream-forgetting-glyphs-5way-5shot"].svg.decode()


def test_cells_are_exported_with_the_metrics_of_streams(streaming: Make) -> None:
    """The frame has every metric, and a rate where one was chosen."""
    frame = cell_frame(*streaming(seeds=2).build()).set_index("variant")
    naive = frame.loc["random_init (naive)"]
    np.testing.assert_allclose(naive.forgetting, -naive.backward_transfer)
    assert (naive.rate == 0.1).all()
    assert frame.loc["random_init (prototypes)"].rate.isna().all()
