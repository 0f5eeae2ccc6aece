"""The tuning of a suite: as many trials for every row, the same ones however it is run."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cell import Json
from bench.contract import AbstractData
from bench.dataset import Facts
from bench.errors import UserError
from bench.rows import rows_of
from bench.rungs import is_whole
from bench.store import Store
from bench.suite import with_options
from bench.tuned import record_path
from bench.tuner import tune
from tests.tuning import ROWS, Pretender, facts_of, suite_of, tuned

TPE = "tune: {trials: 12}\n"
HALVING = "tune: {trials: 12, sampler: random, pruner: halving}\n"
HYPERBAND = "tune: {trials: 12, pruner: hyperband, parallel: 3}\n"
RANDOM = "tune: {trials: 8, sampler: random}\n"
GRID = "tune: {trials: 9, sampler: grid, points: 3}\n"
KINDS = [TPE, HALVING, HYPERBAND, RANDOM, GRID]


def record_of(folder: Path, text: str, name: str = "results", **how: Json) -> Json:
    """Return the record of a tuning that stages pretend to run."""
    store = Store(folder / name)
    return tuned(suite_of(folder, ROWS + text), store, Pretender(store, **how)).record


def trials_of(record: Json, variant: str) -> list[Json]:
    """Return the trials of a row."""
    (row,) = [one for one in record["rows"] if one["variant"] == variant]
    return list(row["trials"])


def test_every_row_has_as_many_trials_and_the_first_is_the_row_as_it_stands(tmp_path: Path) -> None:
    """Baseline or not, with labels or without; what has nothing to tune is named."""
    record = record_of(tmp_path, TPE)
    rows = {one["variant"]: one for one in record["rows"]}
    assert list(rows) == ["none + protonet", "rotation + none", "rotation + protonet"]
    assert {len(one["trials"]) for one in rows.values()} == {12}
    first = rows["rotation + protonet"]["trials"][0]["params"]
    assert first == {
        "pretext.rate": 1e-3,
        "meta.rate": 1e-3,
        "meta.halve_every": pytest.approx(0.2),
    }
    assert [one["variant"] for one in record["untuned"]] == ["random_init"]
    assert not record["untuned"][0]["trained"]


def test_rows_without_labels_are_scored_without_them(tmp_path: Path) -> None:
    """Unless the suite says otherwise, which makes them rows that saw validation labels."""
    found = {row["variant"]: row for row in record_of(tmp_path, TPE)["rows"]}
    assert found["rotation + none"]["score"] == "pseudo_val"
    assert found["rotation + none"]["labels"] == "none"
    assert found["rotation + protonet"]["score"] == "label_val"
    forced = record_of(tmp_path, "tune: {trials: 2, score: label_val}\n", "other")
    found = {row["variant"]: row for row in forced["rows"]}
    assert found["rotation + none"]["labels"] == "validation"
    assert found["rotation + protonet"]["labels"] == "train"


def test_the_winner_is_the_best_finished_trial(tmp_path: Path) -> None:
    """TPE finds the rate that scores best, near 0.01."""
    for row in record_of(tmp_path, TPE)["rows"]:
        scores = [one["score"] for one in row["trials"]]
        assert scores[row["winner"]] == max(scores)
        assert scores.index(max(scores)) == row["winner"]
        best = row["trials"][row["winner"]]["params"]
        assert best.get("meta.rate", best.get("pretext.rate")) == pytest.approx(0.01, rel=0.8)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_and_their_order_change_no_trial(tmp_path: Path, kind: str) -> None:
    """Whoever is ready first: what is asked, what is pruned, scores and winners are the same."""
    records = [
        record_of(tmp_path, kind, f"{slots} {order}", slots=slots, order=order)
        for slots, order in ((1, 0), (7, 1))
    ]
    assert records[0] == records[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", [6, 40])
def test_a_tuning_that_was_interrupted_comes_to_the_same(
    tmp_path: Path, kind: str, after: int
) -> None:
    """Again and again: no stage runs twice, and the trials and the best ones are the same."""
    whole = record_of(tmp_path, kind, "whole")
    suite, store = suite_of(tmp_path, ROWS + kind), Store(tmp_path / "parts")
    ran: list[str] = []
    for part in itertools.count():
        executor = Pretender(store, slots=2, order=part, interrupted_after=after + 1)
        done = tuned(suite, store, executor)
        ran += [spec.key for spec in executor.ran]
        if done.record is not None:
            break
        assert done.tally.interrupted
        assert not record_path(suite.name, tmp_path / "parts").exists()
    assert done.record == whole
    assert len(ran) == len(set(ran))
    assert {cell.stages["evaluate"] for cell in done.plan.cells} <= done.plan.stages.keys()
    tested = [key for key, spec in done.plan.stages.items() if spec.kind == "evaluate"]
    assert set(tested) == {key for key in ran if store.has("evaluate", key)}


def test_failures_are_taken_over_as_they_were_told(tmp_path: Path) -> None:
    """A tuning that goes on shuns the places of earlier failures as one at once does."""
    whole = record_of(tmp_path, TPE, "whole", diverging=3e-3)
    suite, store = suite_of(tmp_path, ROWS + TPE), Store(tmp_path / "parts")
    record = None
    while record is None:
        executor = Pretender(store, diverging=3e-3, interrupted_after=12)
        record = tuned(suite, store, executor).record
    assert record == whole
    assert any(one["state"] == "failed" for one in trials_of(record, "none + protonet"))


def test_of_equal_trials_the_first_wins(tmp_path: Path) -> None:
    """Where nothing that is tuned matters, every row keeps its default."""
    space = "space: {meta/protonet: {halve_every: [0.2, 0.4, 0.8]}, pretext/rotation: {}}"
    record = record_of(tmp_path, f"tune: {{trials: 4, sampler: random, {space}}}\n")
    for row in record["rows"]:
        assert len({one["score"] for one in row["trials"]}) == 1
        assert row["winner"] == 0


def test_no_trial_sees_the_test_split(tmp_path: Path) -> None:
    """Every stage that a tuning runs is of the training or of the validation split."""
    store = Store(tmp_path / "results")
    executor = Pretender(store)
    tuned(suite_of(tmp_path, ROWS + HYPERBAND), store, executor)
    splits = {(spec.kind, spec.inputs["data"]["split"]) for spec in executor.ran}
    assert splits == {
        ("pretrain", "train"),
        ("metatrain", "train"),
        ("cluster", "val"),
        ("evaluate", "val"),
    }


def test_trials_train_with_seeds_of_their_own(tmp_path: Path) -> None:
    """None of the suite's, which results are reported on."""
    store = Store(tmp_path / "results")
    executor = Pretender(store)
    tuned(suite_of(tmp_path, ROWS + "tune: {trials: 2, seeds: [7, 8]}\n"), store, executor)
    assert {spec.inputs["seed"] for spec in executor.ran} == {7, 8}


@pytest.mark.parametrize("kind", [HALVING, HYPERBAND])
def test_pruned_trials_end_before_the_whole_budget(tmp_path: Path, kind: str) -> None:
    """They have scores of the rungs before; the first trial is never pruned."""
    rows = record_of(tmp_path, kind)["rows"]
    trials = [one for row in rows for one in row["trials"]]
    pruned = [one for one in trials if one["state"] == "pruned"]
    assert pruned
    assert all(one["score"] is None and 1 <= len(one["rungs"]) < 3 for one in pruned)
    finished = [one for one in trials if one["state"] == "finished"]
    assert all([share for share, _ in one["rungs"]] == [1 / 9, 1 / 3, 1] for one in finished)
    assert all(row["trials"][0]["state"] == "finished" for row in rows)


def test_halving_prunes_what_lags_behind(tmp_path: Path) -> None:
    """A pruned trial was not among the best third of those that reached its rung before it."""
    for row in record_of(tmp_path, HALVING)["rows"]:
        for one in row["trials"]:
            if one["state"] != "pruned":
                continue
            rung, score = len(one["rungs"]) - 1, one["rungs"][-1][1]
            before = [
                other["rungs"][rung][1]
                for other in row["trials"][: one["number"]]
                if len(other["rungs"]) > rung
            ]
            better = sum(value > score for value in before)
            assert better >= (len(before) + 1) // 3 or better >= 1


def test_a_trial_that_fails_counts_and_does_not_win(tmp_path: Path) -> None:
    """It has its reason; the others go on, and none of those that failed is the best."""
    record = record_of(tmp_path, RANDOM, diverging=5e-3)
    trials = trials_of(record, "none + protonet")
    failed = [one for one in trials if one["state"] == "failed"]
    assert len(trials) == 8
    assert failed
    assert {one["reason"] for one in failed} == {"not finite: the loss"}
    assert all(one["score"] is None and one["params"]["meta.rate"] > 5e-3 for one in failed)


def test_a_row_of_which_every_trial_fails_has_no_winner(tmp_path: Path) -> None:
    """Nothing is made up in its place."""
    record = record_of(tmp_path, RANDOM, diverging=0.0)
    assert {row["winner"] for row in record["rows"]} == {None}


@pytest.mark.parametrize("kind", [TPE, RANDOM])
def test_failures_run_again_when_asked(tmp_path: Path, kind: str) -> None:
    """Then the tuning is what it would have been without them; else they stand."""
    broken = record_of(tmp_path, kind, diverging=5e-3)
    assert record_of(tmp_path, kind) == broken
    suite, store = suite_of(tmp_path, ROWS + kind), Store(tmp_path / "results")
    mended = tuned(suite, store, Pretender(store), retry=True).record
    assert mended == record_of(tmp_path, kind, "fresh")
    assert mended != broken


def test_a_default_outside_the_space_is_the_first_trial_all_the_same(tmp_path: Path) -> None:
    """It is run and counted; what is tried after it lies within, and repairs it."""
    text = "variants: [{label: slow, meta: {name: protonet, rate: 1.0e-6}}]\n"
    store = Store(tmp_path / "results")
    for kind in KINDS:
        record = tuned(suite_of(tmp_path, text + kind), store, Pretender(store)).record
        first, *rest = trials_of(record, "slow")
        assert first["params"]["meta.rate"] == 1e-6
        assert (first["inside"], first["state"]) == (False, "finished")
        assert all(one["inside"] and one["params"]["meta.rate"] >= 1e-4 for one in rest)
        assert record["rows"][0]["winner"] > 0


def test_a_grid_has_its_points_each_once_and_the_default(tmp_path: Path) -> None:
    """Where it has fewer than trials are asked for, the row has fewer."""
    trials = trials_of(record_of(tmp_path, GRID), "rotation + none")
    rates = [one["params"]["pretext.rate"] for one in trials]
    assert rates[0] == 1e-3
    assert sorted(rates[1:]) == pytest.approx([1e-4, (1e-4 * 3e-2) ** 0.5, 3e-2])


def test_more_trials_go_on_from_those_that_are_there(tmp_path: Path) -> None:
    """The first ones stay as they are, and none of them runs again."""
    few = record_of(tmp_path, "tune: {trials: 3}\n")
    store = Store(tmp_path / "results")
    executor = Pretender(store)
    more = tuned(suite_of(tmp_path, ROWS + "tune: {trials: 5}\n"), store, executor).record
    for old, new in zip(few["rows"], more["rows"], strict=True):
        assert new["trials"][:3] == old["trials"]
        assert len(new["trials"]) == 5
    assert len([spec for spec in executor.ran if spec.kind == "evaluate"]) == 3 * 2


def test_other_seeds_of_the_report_ask_for_the_same_trials(tmp_path: Path) -> None:
    """A suite with more seeds has another name, and runs no trial again."""
    store = Store(tmp_path / "results")
    suite = suite_of(tmp_path, ROWS + TPE)
    first = tuned(suite, store, Pretender(store)).record
    executor = Pretender(store)
    again = tuned(with_options(suite, seeds=5), store, executor).record
    assert executor.ran == []
    assert again == first


def test_other_data_make_other_trials(tmp_path: Path) -> None:
    """Where a set has changed, no score of the one before is taken for its own."""
    store = Store(tmp_path / "results")
    suite = suite_of(tmp_path, ROWS + TPE)
    old = tuned(suite, store, Pretender(store)).record

    def changed(name: str, source: AbstractData) -> Facts:
        return replace(facts_of(name, source), digest="1" * 64)

    executor = Pretender(store)
    variants = rows_of(suite, changed).variants
    new = tune(suite, variants, store, executor, []).record
    assert len([spec for spec in executor.ran if spec.kind == "evaluate"]) == 3 * 12
    assert not is_whole(old, suite, variants)
    assert is_whole(new, suite, variants)


def test_a_row_may_have_trials_of_its_own_number(tmp_path: Path) -> None:
    """What was asked, and what was run, are both in the record."""
    text = "variants: [{meta: protonet}, {label: cut, meta: maml, trials: 2}]\ntune: {trials: 4}\n"
    store = Store(tmp_path / "results")
    record = tuned(suite_of(tmp_path, text), store, Pretender(store)).record
    assert [(row["asked"], len(row["trials"])) for row in record["rows"]] == [(4, 4), (2, 2)]


def test_seconds_count_a_shared_stage_once(tmp_path: Path) -> None:
    """All stages of a row's trials, each where it came first: here one second each."""
    store = Store(tmp_path / "results")
    executor = Pretender(store)
    record = tuned(suite_of(tmp_path, ROWS + RANDOM), store, executor).record
    labelled = trials_of(record, "none + protonet")
    assert [one["seconds"] for one in labelled] == [2.0] * 8
    unlabelled = trials_of(record, "rotation + none")
    assert [one["seconds"] for one in unlabelled] == [3.0, *[2.0] * 7]  # with the clusters


def test_seconds_outlive_the_stages(tmp_path: Path) -> None:
    """A store that was cleared costs no trial its seconds, nor its scores."""
    whole = record_of(tmp_path, HALVING)
    shutil.rmtree(tmp_path / "results" / "store")
    assert record_of(tmp_path, HALVING) == whole


def test_a_default_of_another_kind_than_its_range_is_tried_first(tmp_path: Path) -> None:
    """Nothing, as the ways of a task may be, is a value that no range reaches."""
    text = (
        "meta: reptile\ntune: {trials: 3, space: {meta/reptile: {task_ways: {low: 5, high: 9}}}}\n"
    )
    store = Store(tmp_path / "results")
    records = [tuned(suite_of(tmp_path, text), store, Pretender(store)).record for _ in range(2)]
    assert records[0] == records[1]
    first, *others = trials_of(records[0], "none + reptile")
    assert (first["params"], first["inside"]) == ({"meta.task_ways": None}, False)
    assert all(5 <= one["params"]["meta.task_ways"] <= 9 for one in others)


def test_seconds_count_attempts_that_failed(tmp_path: Path) -> None:
    """A row whose trials diverge spends its seconds all the same."""
    record = record_of(tmp_path, RANDOM, diverging=5e-3)
    trials = trials_of(record, "none + protonet")
    assert {one["seconds"] for one in trials if one["state"] == "failed"} == {0.5}
    assert {one["seconds"] for one in trials if one["state"] == "finished"} == {2.0}


def test_one_process_at_a_time_tunes_a_suite(tmp_path: Path) -> None:
    """A second one is told so, and where."""
    from bench.tune import journal

    store = Store(tmp_path / "results")
    path = record_path("small", tmp_path / "results").with_suffix(".journal")
    with journal(path), pytest.raises(UserError, match="another process tunes this suite"):
        tuned(suite_of(tmp_path, ROWS + TPE), store, Pretender(store))


def test_parameters_that_the_data_cannot_fill_are_a_failed_trial(tmp_path: Path) -> None:
    """The reason is what a suite with them would be told; nothing runs for it."""
    text = (
        ROWS
        + "tune: {trials: 6, sampler: grid, space: {pretext/rotation: {batch_size: [128, 5000]}}}\n"
    )
    store = Store(tmp_path / "results")
    record = tuned(suite_of(tmp_path, text), store, Pretender(store)).record
    _, failed = trials_of(record, "rotation + none")
    assert failed["state"] == "failed"
    assert "batch_size 5000, but glyphs has 1920 training examples" in failed["reason"]
    assert failed["seconds"] == 0


def test_the_journal_is_one_that_optuna_reads(tmp_path: Path) -> None:
    """A study a row, named for people, with parameters, scores and states."""
    import optuna

    record = record_of(tmp_path, HALVING)
    path = record_path("small", tmp_path / "results").with_suffix(".journal")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    studies = {
        one.study_name.rsplit(" ", 1)[0]: one for one in optuna.get_all_study_summaries(storage)
    }
    assert list(studies) == [f"{row['variant']} (glyphs, 5-way)" for row in record["rows"]]
    for row, summary in zip(record["rows"], studies.values(), strict=True):
        trials = optuna.load_study(study_name=summary.study_name, storage=storage).trials
        assert [one.params for one in trials] == [one["params"] for one in row["trials"]]
        assert [one.value for one in trials if one.state.name == "COMPLETE"] == [
            one["score"] for one in row["trials"] if one["state"] == "finished"
        ]


@pytest.mark.parametrize("damage", ["a half", "no newline", "another line", "no text"])
def test_a_damaged_journal_costs_no_trial(tmp_path: Path, damage: str) -> None:
    """It is cut where the damage begins; the same trials are asked for again, and cached."""
    whole = record_of(tmp_path, HYPERBAND)
    path = record_path("small", tmp_path / "results").with_suffix(".journal")
    written = path.read_bytes()
    damaged = {
        "a half": written[: len(written) // 2],
        "no newline": written[:-1],
        "another line": written.replace(b"\n", b"\nnone\n", 3),
        "no text": b"\xff\0" * 50,
    }[damage]
    path.write_bytes(damaged)
    for _ in range(2):
        assert record_of(tmp_path, HYPERBAND) == whole
    assert path.with_suffix(".damaged").read_bytes() == damaged


def test_importances_name_what_moves_the_score(tmp_path: Path) -> None:
    """Of rate and schedule the rate alone decides here; of one parameter there is none to share."""
    rows = {row["variant"]: row for row in record_of(tmp_path, TPE)["rows"]}
    assert rows["rotation + none"]["importances"] is None
    shares = rows["none + protonet"]["importances"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["meta.rate"] > 0.8
