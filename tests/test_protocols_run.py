"""Streams and control by the one line that every suite takes: run, report, verify, export."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from bench.cell import Json
from bench.cli import main

SUITES = {
    "stream": """\
name: stream
encoder: {name: conv4, width: 4}
ways: 2
shots: 2
seeds: 2
grid:
  pretext: [none, {name: rotation, batch_size: 8}]
  strategy: [naive, {name: replay, kept: 1}, joint, {name: prototypes, pretext_steps: 1}]
budget: {pretrain_steps: 3}
evaluate: {protocol: continual, groups: 2, episodes: 3, queries: 2, test_steps: 2, rates: [0.1, 1],
  rate_tasks: 2}
""",
    "turned": """\
name: turned
encoder: {name: conv4, width: 4}
ways: 2
shots: 1
seeds: 2
meta: {name: maml, order: 1, steps: 1}
budget: {metatrain_steps: 3}
evaluate: {protocol: continual, scenario: domain, domains: rotation, episodes: 3, queries: 1,
  test_steps: 2, rates: [0.1]}
""",
    "pendulums": """\
name: pendulums
data: {name: control, family: pendulum, train: 4, val: 2, test: 3, transitions: 40}
tasks: environments
shots: 5
seeds: 2
grid: {pretext: [none, {name: next_state, batch_size: 8}], meta: [none, {name: maml, order: 1}]}
budget: {pretrain_steps: 3, metatrain_steps: 3}
evaluate: {protocol: control, episodes: 3, queries: 10, test_steps: 2, rates: [0.01, 0.1],
  rate_tasks: 2,
  planner: {horizon: 2, population: 4, elites: 2, iterations: 1, real_steps: 3}}
""",
}
MEASURED = {
    "stream": ("forgetting", "backward_transfer", "learning"),
    "turned": ("forgetting", "backward_transfer", "learning"),
    "pendulums": ("explained", "error", "return", "random_return"),
}


@pytest.mark.usefixtures("no_main")
@pytest.mark.parametrize("name", SUITES)
def test_a_protocol_goes_from_suite_to_report_and_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run, report, its evidence, cells from nothing, export and why: as for any other suite."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    suite, reports = tmp_path / f"{name}.yaml", tmp_path / "reports"
    suite.write_text(SUITES[name])
    where = ["--results", str(tmp_path / "results"), "--reports", str(reports)]

    assert main(["run", str(suite), *where, "--workers", "1"]) == 0

    report: Mapping[str, Json] = json.loads((reports / name / "report.json").read_text())
    assert report["complete"]
    assert main(["verify", str(reports / name), *where]) == 0
    assert main(["verify", str(suite), "--cells", "2", *where, "--workers", "1"]) == 0
    assert "equal bit for bit" in capsys.readouterr().out
    out = tmp_path / "cells.csv"
    assert main(["export", str(suite), "--out", str(out), *where]) == 0
    cells = pd.read_csv(out)
    assert cells[list(MEASURED[name])].notna().all(axis=None)
    assert main(["why", str(suite), *where]) == 0
    cell = capsys.readouterr().out.splitlines()[-1]
    assert main(["why", str(suite), cell, *where]) == 0
    assert main(["run", str(suite), *where, "--workers", "1"]) == 0
    assert "nothing" in capsys.readouterr().out
