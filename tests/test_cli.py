"""The command line: what it answers, what it costs to ask, and what it leaves behind."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pandas as pd
import pytest

from bench import cli, load
from bench.cli import main
from bench.dataset import Dataset, facts
from bench.plan import make_plan
from bench.suite import read_suite

ROOT = Path(__file__).parents[1]
COMMANDS = (
    *("plan", "run", "report", "export", "list", "why", "check", "ui", "sync", "schema"),
    "verify",
)
HEAVY = (
    *("torch", "torchvision", "mlflow", "pandas", "numpy", "scipy", "sklearn", "matplotlib"),
    *("seaborn", "pydantic", "rich", "jinja2", "ruamel", "pyarrow"),
)
COORDINATES = ["variant", "data", "encoder", "pretext", "init", "tasks", "auxiliary", "meta"]
COORDINATES += ["labels", "ways", "shots", "seed", "control", "status", "accuracy"]


class TinyRun(Protocol):
    """The fixture ``finished``."""

    suite: Path
    results: Path
    reports: Path

    def options(self) -> list[str]:
        """Return the options that name its folders."""


@pytest.fixture
def copy(tmp_path: Path, finished: TinyRun) -> list[str]:
    """Return the suite and the options of a finished run whose folders may change."""
    shutil.copytree(finished.results, tmp_path / "results")
    shutil.copytree(finished.reports, tmp_path / "reports")
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    return [str(finished.suite), *folders]


def blocked(code: str, names: tuple[str, ...], *arguments: str) -> str:
    """Run code in a process where some packages cannot be imported; return what it prints."""
    head = f"import sys\nfor name in {names!r}: sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def contents(folder: Path) -> dict[str, int]:
    """Return every file below a folder but databases, and when it was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and "mlflow" not in path.name
    }


# --- help and list


def test_help_answers_at_once() -> None:
    """Every --help has an example, and answers where nothing heavy can be imported."""
    code = (
        "from bench.cli import main\n"
        "for arguments in [['--help']] + [[name, '--help'] for name in sys.argv[1:]]:\n"
        "    try: main(arguments)\n"
        "    except SystemExit as end: print('exit', end.code, '\\f')\n"
    )
    texts = blocked(code, HEAVY, *COMMANDS).split("\f\n")[:-1]
    assert len(texts) == 1 + len(COMMANDS)
    for name, text in zip(("", *COMMANDS), texts, strict=True):
        assert text.endswith("exit 0 ")
        assert f"example: bench {name}" in text


def test_help_and_list_import_nothing_heavy() -> None:
    """Asked for help or the list, bench does not even try to import what takes long."""
    code = (
        "from bench.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert main(['list']) == 0\n"
        "assert main(['list', 'meta/maml']) == 0\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    assert blocked(code, ()).endswith("loaded: []\n")


def examples() -> list[list[str]]:
    """Return the example of every command's help, as words."""
    found = []
    for name in COMMANDS:
        parser = cli._parser()._subparsers._group_actions[0].choices[name]  # type: ignore
        found.append(shlex.split(parser.epilog.removeprefix("example: bench ").split(" > ")[0]))
    return found


def test_the_examples_of_the_help_are_right(glyphs: Dataset) -> None:
    """Each example is accepted as it stands, and the cell of `why` is one of quickstart's."""
    for words in examples():
        asked = cli._parser().parse_args(words)
        assert not hasattr(asked, "suite") or (ROOT / asked.suite).is_file()
    plan = make_plan(read_suite(ROOT / "suites" / "quickstart.yaml"), lambda n, s: facts(glyphs))
    assert next(words[-1] for words in examples() if words[0] == "why") in {
        c.id for c in plan.cells
    }


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """`bench list` prints every plug-in with its summary, each on one line."""
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "meta/protonet" in {line.split()[0] for line in lines}
    assert all(re.fullmatch(r"\w+/\w+ +\S.*\.( \[.*\])?", line) for line in lines)


# --- a finished run


def test_a_second_run_does_nothing(finished: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    """Run again, a finished suite exits 0, says so, and writes neither store nor report."""
    before = contents(finished.results) | contents(finished.reports)
    assert main(["run", str(finished.suite), *finished.options()]) == 0
    shown = capsys.readouterr().out
    assert "tiny: nothing to do, every stage is in the store\n" in shown
    assert f"report: {finished.reports / 'tiny' / 'index.md'}\n" in shown
    after = contents(finished.results) | contents(finished.reports)
    assert {name: time for name, time in after.items() if before.get(name) != time}.keys() <= {
        "plans/tiny.json"
    }


def test_report_export_and_why_need_no_torch(
    tmp_path: Path, copy: list[str], finished: TinyRun
) -> None:
    """What reads the store works where torch cannot be imported, and gives the same."""
    code = (
        "from bench.cli import main\n"
        "suite, out, cell, *folders = sys.argv[1:]\n"
        "assert main(['why', suite, *folders]) == 0\n"
        "assert main(['why', suite, cell, *folders]) == 0\n"
        "assert main(['report', suite, *folders]) == 0\n"
        "assert main(['export', suite, '--out', out, *folders]) == 0\n"
    )
    suite, *folders = copy
    shutil.rmtree(tmp_path / "reports")
    cell = "rotation + maml/glyphs 5-way 1-shot/seed 1"
    out = str(tmp_path / "cells.csv")
    shown = blocked(code, ("torch", "torchvision"), suite, out, cell, *folders).splitlines()
    assert shown[:8].count(cell) == 1
    assert [line.split()[0] for line in shown[9:12]] == ["pretrain", "metatrain", "evaluate"]
    assert all("cached" in line for line in shown[9:12])
    assert shown[-1] == f"8 cells in {out}"
    index = "tiny/index.md"
    assert (tmp_path / "reports" / index).read_text() == (finished.reports / index).read_text()
    assert Path(out).read_bytes() == (finished.reports / "tiny" / "cells.csv").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_export_and_load_are_one(
    tmp_path: Path, finished: TinyRun, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bench export` writes what `bench.load` returns: one row a cell, the documented columns."""
    out = tmp_path / "new folder" / f"cells.{suffix}"
    command = ["export", str(finished.suite), *finished.options(), "--out", str(out)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"8 cells in {out}\n"
    frame = load(str(finished.suite), results=str(finished.results))
    if suffix == "parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(out), frame)
    assert out.read_bytes() if suffix == "parquet" else out.read_text() == frame.to_csv(index=False)
    assert list(frame.columns[: len(COORDINATES)]) == COORDINATES
    assert set(frame["status"]) == {"done"}
    assert frame["accuracy"].between(0, 1).all()
    assert {"cost.seconds", "provenance.torch"} <= set(frame.columns)
    before = out.read_bytes()
    assert main(command) == 0
    assert out.read_bytes() == before


def test_plan_for_machines(finished: TinyRun, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan --json` has cells, stages and what was dropped, with the documented fields."""
    assert main(["plan", str(finished.suite), *finished.options(), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["cells"]) == 8
    keys = {stage["key"] for stage in plan["stages"]}
    for cell in plan["cells"]:
        assert set(COORDINATES[:-2]) <= set(cell)
        assert set(cell["stages"].values()) <= keys
    for stage in plan["stages"]:
        assert {"key", "kind", "cached", "needs"} <= set(stage)
        assert stage["cached"] is True
        assert set(stage["needs"]) <= keys
    assert plan["dropped"] == []


def test_plan_says_what_is_not_cached(
    tmp_path: Path, finished: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """With another results folder nothing is cached, and the folder is not made by asking."""
    folders = ["--results", str(tmp_path / "none")]
    assert main(["plan", str(finished.suite), *folders, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not any(stage["cached"] for stage in plan["stages"])
    assert not (tmp_path / "none").exists()


def test_options_name_a_report_of_their_own(tmp_path: Path, copy: list[str]) -> None:
    """A run with fewer seeds or a smaller budget never touches the full run's report and plan."""
    full = tmp_path / "reports" / "tiny"
    before = contents(full), (tmp_path / "results" / "plans" / "tiny.json").read_bytes()
    assert main(["run", *copy, "--seeds", "1"]) == 0
    assert main(["plan", *copy, "--budget-scale", "0.5", "--seeds", "3,4", "--episodes", "2"]) == 0
    assert (contents(full), (tmp_path / "results/plans/tiny.json").read_bytes()) == before
    assert (tmp_path / "reports" / "tiny-s1" / "index.md").is_file()
    plans = {path.stem for path in (tmp_path / "results" / "plans").glob("*.json")}
    assert {"tiny", "tiny-s1"} < plans
    (scaled,) = plans - {"tiny", "tiny-s1"}
    assert scaled.startswith("tiny-x0.5-s3_4") and scaled.endswith("-e2")  # noqa: PT018


def test_fewer_episodes_are_the_first_of_the_bank(
    tmp_path: Path, copy: list[str], finished: TinyRun, no_main: None
) -> None:
    """Fewer episodes mean a prefix: their accuracies are those of the full run's first ones."""
    only = ["--seeds", "1", "--only", "random_init", "--episodes", "2"]
    assert main(["run", *copy, *only]) == 0
    full = load(finished.suite, results=finished.results).set_index(["variant", "seed"])
    keys = [full.loc[("random_init", 0), "provenance.evaluate_key"]]
    keys.append(
        load(finished.suite, results=tmp_path / "results", seeds=1, only="random_init", episodes=2)
        .set_index("variant")
        .loc["random_init", "provenance.evaluate_key"]
    )
    stages = tmp_path / "results" / "store" / "stages" / "evaluate"
    many, few = (pd.read_parquet(stages / str(k)[:2] / str(k) / "episodes.parquet") for k in keys)
    assert len(few) == len(many) / 2
    pd.testing.assert_frame_equal(many.head(len(few)), few)


def test_why_says_what_changed(
    tmp_path: Path, copy: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """After a change of the suite, `why` names the input that changed, old and new."""
    suite, *folders = copy
    other = tmp_path / "tiny.yaml"
    other.write_text(Path(suite).read_text().replace("metatrain_steps: 4", "metatrain_steps: 6"))
    assert main(["plan", str(other), *folders]) == 0
    capsys.readouterr()
    assert main(["why", str(other), "none + maml/glyphs 5-way 1-shot/seed 0", *folders]) == 0
    shown = capsys.readouterr().out
    assert "budget.steps: 4 -> 6" in shown
    assert "metatrain" in shown
    assert "cached" in shown
