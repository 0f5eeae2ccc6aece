"""A suite with held-out pretexts goes through every command, from the plan to the mirror."""

from pathlib import Path

import pandas as pd
import pytest

from bench.cli import main
from bench.dataset import Dataset

SUITE = """\
name: unseen
data: glyphs
encoder: {name: conv4, width: 4}
ways: 4
shots: 1
seeds: 1
tasks: {name: pretext, family: [rotation, recolour, jigsaw]}
held_out: [rotation, jigsaw]
variants:
  - {label: joint, meta: {name: joint, tasks_per_step: 1, task_shots: 1, task_queries: 1}}
  - label: reptile
    meta: {name: reptile, zero_head: true, steps: 2, tasks_per_step: 1, task_shots: 1}
baseline: {none: joint}
budget: {metatrain_steps: 2}
evaluate: {episodes: 2, queries: 1, test_steps: 1, rates: [0.1], rate_tasks: 1}
"""
CELL = "reptile/glyphs 4-way 1-shot, new jigsaw/seed 0"


@pytest.mark.usefixtures("no_main")
def test_every_command_takes_held_out_pretexts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    glyphs: Dataset,
) -> None:
    """Plan, run, report, why, export, export-model and sync do what they do for any suite."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("unseen.yaml").write_text(SUITE)
    assert main(["plan", "unseen.yaml"]) == 0
    assert "kept out of training" in capsys.readouterr().out
    assert main(["run", "unseen.yaml", "--workers", "2"]) == 0
    assert "Does meta-learning over pretexts beat" in Path("reports/unseen/index.md").read_text()
    assert main(["report", "unseen.yaml"]) == 0
    capsys.readouterr()

    assert main(["why", "unseen.yaml", CELL]) == 0
    assert capsys.readouterr().out.count("cached") == 2
    assert main(["export", "unseen.yaml", "--out", "cells.csv"]) == 0
    cells = pd.read_csv("cells.csv")
    assert sorted(zip(cells.variant, cells.held_out, strict=True)) == [
        (variant, new)
        for variant in ("joint", "random_init", "reptile")
        for new in ("jigsaw", "rotation")
    ]
    assert (cells.rate == 0.1).all()
    assert main(["export-model", "unseen.yaml", CELL, "--out", "encoder.safetensors"]) == 0
    assert Path("encoder.safetensors").is_file()
    capsys.readouterr()
    assert main(["sync", "unseen.yaml"]) == 0
    assert capsys.readouterr().out.startswith("0 MLflow runs")
