"""``bench tune`` with real trainings: killed and gone on with, written, mirrored."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from bench import load
from bench.cell import Event, Failed, Finished, Json, StageSpec
from bench.cli import main
from bench.dataset import Dataset, Part
from bench.execute.protocol import AbstractExecutor
from bench.options import Options
from bench.rows import rows_of
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.store import Store
from bench.suite import read_suite
from bench.tuner import tune

SUITE = """\
name: tried
data: glyphs
encoder: {name: conv4, width: 4}
shots: 1
seeds: 2
grid:
  pretext: [none, {name: rotation, batch_size: 8}]
  meta: [none, {name: protonet, task_ways: 5, task_shots: 1, task_queries: 2}]
baseline: {train: {pretext: none, meta: protonet}, none: random_init}
budget: {pretrain_steps: 9, metatrain_steps: 9}
evaluate: {episodes: 8, queries: 3}
tune: {trials: 3, episodes: 20, queries: 5}
"""


def record_of(results: Path) -> Json:
    """Return the tuning that a results folder holds, without what the clock decides."""
    record = json.loads((results / "tuning" / "tried.json").read_bytes())
    for row in record["rows"]:
        for trial in row["trials"]:
            assert trial.pop("seconds") > 0
    return record


def command(folder: Path, name: str, *words: str) -> list[str]:
    """Return ``bench tune`` with folders of its own."""
    results, reports = folder / name / "results", folder / name / "reports"
    own = ["--results", str(results), "--reports", str(reports)]
    return [str(folder / "tried.yaml"), *own, *words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, glyphs: Dataset) -> Path:
    """Return a folder in which a suite was tuned twice: at once, and killed in the middle."""
    folder = tmp_path_factory.mktemp("tried")
    (folder / "tried.yaml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        written = str(folder / "tried.tuned.yaml")
        assert main(["tune", *command(folder, "whole", "--workers", "1", "--write", written)]) == 0
        _killed(folder)
        assert main(["tune", *command(folder, "killed", "--workers", "2")]) == 0
    return folder


def _killed(folder: Path) -> None:
    """Begin a tuning, and kill its driver once some stages are in the store."""
    words = [sys.executable, "-m", "bench.cli", "tune", *command(folder, "killed")]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        store, deadline = folder / "killed" / "results" / "store", time.monotonic() + 120
        while len(list(store.glob("stages/evaluate/*/*/SHA256SUMS"))) < 4:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)


def test_a_tuning_that_was_killed_comes_to_the_same(folder: Path) -> None:
    """The same trials, scores and best ones as at once, and on another number of workers."""
    assert record_of(folder / "killed" / "results") == record_of(folder / "whole" / "results")


def test_the_written_suite_has_the_numbers_of_the_tuned_rows(folder: Path) -> None:
    """Run where nothing of it is cached, every accuracy is that of the row of the suite."""
    elsewhere = command(folder, "written")[1:]
    assert main(["run", str(folder / "tried.yaml"), *command(folder, "whole")[1:]]) == 0
    assert main(["run", str(folder / "tried.tuned.yaml"), *elsewhere]) == 0
    tuned = load(folder / "tried.yaml", results=folder / "whole" / "results")
    again = load(folder / "tried.tuned.yaml", results=folder / "written" / "results")
    both = tuned.merge(again, on=["variant", "seed"], suffixes=("", "_again"))
    assert len(both) == len(again) == 8
    assert (both["accuracy"] == both["accuracy_again"]).all()
    assert (both["labels"] == both["labels_again"]).all()


def test_trials_are_mirrored_under_their_variant(folder: Path) -> None:
    """An experiment of its own; each trial a run with variant, number, parameters and score."""
    from mlflow import MlflowClient

    results = folder / "whole" / "results"
    client = MlflowClient(tracking_uri=f"sqlite:///{results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tried-tuning")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'cell'")
    found = {(run.data.params["variant"], run.data.params["trial"]): run for run in runs}
    rows = record_of(results)["rows"]
    for row in rows:
        for trial in row["trials"]:
            if trial["state"] == "finished":
                run = found[row["variant"], str(trial["number"])]
                assert run.data.metrics["accuracy"] == pytest.approx(trial["score"])
                for name, value in trial["params"].items():
                    assert float(run.data.params[name]) == value
    assert len(found) == sum(len(trial["rungs"]) for row in rows for trial in row["trials"])


def test_a_finished_tuning_runs_nothing_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what it found: for each row trials, scores and parameters."""
    assert main(["tune", *command(folder, "killed")]) == 0
    said = capsys.readouterr()
    assert "finished" not in said.err
    assert said.out.splitlines()[1].split()[:3] == ["none", "+", "protonet"]
    assert "not tuned: random_init" in said.out


def test_a_suite_without_a_tuning_cannot_be_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what to write."""
    (tmp_path / "plain.yaml").write_text("name: plain\nmeta: protonet\n")
    assert main(["tune", str(tmp_path / "plain.yaml"), "--results", str(tmp_path / "r")]) == 2
    assert "no tune. Write tune: {trials: 20}" in capsys.readouterr().err


class Here(AbstractExecutor):
    """Runs stages in this process, one at a time."""

    slots = 1

    def __init__(self, store: Store) -> None:
        """Nothing runs yet."""
        self._place = Place(
            store=store, device=torch.device("cpu"), emit=lambda event: None, checkpoint_seconds=99
        )
        self._ended: list[Event] = []

    def submit(self, spec: StageSpec) -> None:
        """Run it."""
        try:
            perform(spec, self._place)
        except PermissionError as error:
            self._ended.append(Failed(key=spec.key, reason=str(error)))
        else:
            self._ended.append(Finished(key=spec.key))

    def events(self, timeout: float) -> Sequence[Event]:
        """Return what ended."""
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Do nothing."""


def test_tuning_works_where_nobody_may_read_the_test_split(
    tmp_path: Path, glyphs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every trial of every row finishes though the images of that split are out of reach."""
    (tmp_path / "tried.yaml").write_text(SUITE)
    suite, options = read_suite(tmp_path / "tried.yaml"), Options(results=tmp_path / "results")
    variants = rows_of(suite, options.facts_of()).variants
    part = Dataset.part

    def guarded(self: Dataset, split: str) -> Part:
        if split == "test":
            raise PermissionError("the test split was asked for")
        return part(self, split)

    monkeypatch.setattr(Dataset, "part", guarded)
    options.store.prepare()
    record = tune(suite, variants, options.store, Here(options.store), []).record
    trials = [trial for row in record["rows"] for trial in row["trials"]]
    assert [trial["reason"] for trial in trials] == [""] * 9
