"""Somebody else's package: installed with pip, then listed, planned, run, reported, judged."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bench.dataset import Dataset

PACKAGES = Path(__file__).parent / "third_party"
SUITE = """\
name: others
data: glyphs
encoder: {name: conv4, width: 8}
grid:
  pretext: [none, {name: half_turn, batch_size: 16}]
  meta: [none, {name: cosine, temperature: 5.0}]
  shots: 1
  seeds: 2
baseline: {train: {pretext: none, meta: {name: cosine, temperature: 5.0}}, none: random_init}
budget: {pretrain_steps: 3, metatrain_steps: 3}
evaluate: {episodes: 4, queries: 5, test_steps: 1}
margin: 0.01
"""
VARIANTS = {"random_init", "half_turn + none", "none + cosine", "half_turn + cosine"}
OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation")
Run = Callable[..., "subprocess.CompletedProcess[str]"]
FAULTS = {
    "pretext/careless": [
        "its loss writes into what it was given: x",
        "its loss draws from, or seeds, numpy's or Python's global generator",
        "views is 4, but each image of a batch is encoded 1 times",
        "its reference is 'Gidaris et al. 2018'",
    ],
    "meta/peeking": [
        "predict() reads the labels of the queries, task.query_y",
        "a query's prediction changes when other queries are removed or altered",
        "adapt() writes into what it was given: encoder.",
    ],
}


def _install(package: str, folder: Path) -> dict[str, str]:
    """Install a package with pip into a folder; return the environment that sees it."""
    shutil.copytree(PACKAGES / package, folder / "source")  # building leaves files beside it
    command = [sys.executable, "-m", "pip", "install", "--quiet", *OFFLINE]
    command += ["--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    paths = [str(folder / "site"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _bench(folder: Path, environment: Mapping[str, str]) -> Run:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "bench.cli", *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, glyphs: Dataset) -> Run:
    """Return the command line of an environment that has the good package."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "others.yaml").write_text(SUITE)
    return _bench(folder, _install("good", folder))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the command line of an environment that has the faulty package."""
    folder = tmp_path_factory.mktemp("faulty")
    return _bench(folder, _install("faulty", folder))


def test_methods_of_a_package_are_listed(good: Run) -> None:
    """``bench list`` shows them beside our own, with their summary and their package."""
    listed = good("list").stdout.splitlines()
    assert any(
        line.startswith("pretext/half_turn")
        and line.endswith("Say whether an image is upside down. [example-methods]")
        for line in listed
    )
    described = good("list", "meta/cosine").stdout
    assert "source: arXiv:2003.04390" in described
    assert "temperature: PositiveFloat = 10.0" in described


def test_methods_of_a_package_are_planned_run_and_reported(good: Run, tmp_path: Path) -> None:
    """A suite that names them goes the whole way, and its rows are in report and export."""
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    plan = json.loads(good("plan", "others.yaml", "--json", *folders).stdout)
    assert len(plan["cells"]) == len(VARIANTS) * 2
    assert not any(stage["cached"] for stage in plan["stages"])

    ran = good("run", "others.yaml", "--workers", "1", *folders)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text = (tmp_path / "reports" / "others" / "index.md").read_text()
    assert all(variant in text for variant in VARIANTS)
    assert "arXiv:2003.04390" in text

    assert good("export", "others.yaml", "--out", str(tmp_path / "o.csv"), *folders).returncode == 0
    with (tmp_path / "o.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"done"}
    assert {(row["pretext"], row["meta"]) for row in rows if not row["control"]} == {
        ("none", "cosine"),
        ("half_turn", "none"),
        ("half_turn", "cosine"),
    }


@pytest.mark.parametrize("plugin", ["pretext/half_turn", "meta/cosine"])
def test_good_methods_conform(good: Run, plugin: str) -> None:
    """``bench check`` finds nothing, says so, and exits 0."""
    checked = good("check", plugin)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.endswith(f"checks passed: {plugin} conforms.\n")
    assert "FAULT" not in checked.stdout


@pytest.mark.parametrize("plugin", FAULTS)
def test_faulty_methods_are_told_what_is_wrong(faulty: Run, plugin: str) -> None:
    """``bench check`` names every fault in words, without a traceback, and exits 1."""
    checked = faulty("check", plugin)
    assert checked.returncode == 1, checked.stderr
    assert [words for words in FAULTS[plugin] if words not in checked.stdout] == []
    assert "Traceback" not in checked.stdout + checked.stderr
    assert checked.stdout.endswith(f"{plugin} does not conform.\n")


def test_a_plug_in_that_is_not_there_is_a_mistake(good: Run) -> None:
    """``bench check`` of an unknown name exits 2 and suggests the nearest one."""
    checked = good("check", "pretext/half_turns")
    assert checked.returncode == 2
    assert "Did you mean half_turn?" in checked.stderr
