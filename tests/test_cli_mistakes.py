"""What a user gets wrong: one line on stderr, exit 2, no traceback, nothing half-written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch

from bench.cli import main
from bench.contract import Examples
from bench.data.glyphs import Glyphs

HEAD = "name: bad\nencoder: {name: conv4, width: 4}\nseeds: 1\nshots: 1\n"  # four lines


class TinyRun(Protocol):
    """The fixture ``finished``."""

    suite: Path
    results: Path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glyphs: object) -> Path:
    """Work in an empty folder, without a data root and without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "no data"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that is the user's mistake; return its one line of complaint."""
    capsys.readouterr()
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("bench: ")
    assert shown.err.count("\n") == 1
    return shown.err.strip()


SUITES = [
    # not a suite at all
    ("", "bad.yaml:1: the file holds nothing. Write a mapping that begins with name:"),
    ("- a\n- b\n", "bad.yaml:1: the file holds a list, ['a', 'b']."),
    ("hello", "bad.yaml:1: the file holds 'hello' (text)."),
    ("name: [unclosed\n", "this is not YAML: "),
    ("\tname: a\n", "this is not YAML: "),
    ("name: a\n---\nname: b\n", "a second document"),
    ("name: !!python/object:os.system x\n", "bad.yaml:1: a tag, tag:yaml.org,2002:python/object"),
    ("a: &x {b: 1}\nc: *x\n", "bad.yaml:1: an anchor, &x."),
    ("name: a\nname: b\n", "bad.yaml:2: the key name stands here again (first in line 1)."),
    # names and parameters
    (
        HEAD + "meta: mamml\n",
        "bad.yaml:5: meta: no meta is named 'mamml'. Did you mean maml or imaml?",
    ),
    (HEAD + "pretext: rotatoin\n", "no pretext is named 'rotatoin'. Did you mean rotation"),
    (HEAD + "meta: {name: maml, ordr: 1}\n", "meta/maml has no parameter 'ordr'. Did you mean"),
    (HEAD + "meta: {name: maml, order: first}\n", "order: 'first'. Input should be 1 or 2."),
    (HEAD + "mta: maml\n", "bad.yaml:5: mta: unknown key 'mta'. Did you mean meta?"),
    # sizes
    (HEAD + "ways: 111\nmeta: none\n", ":5: ways: 111 ways, but glyphs has 110 test classes."),
    (
        HEAD + "evaluate: {queries: 24}\nmeta: none\n",
        "1 shots + 24 queries a class, but the smallest test class of glyphs has 24 examples.",
    ),
    (HEAD + "meta: {name: protonet, task_ways: 999}\n", "trains on 999-way tasks, but glyphs"),
    # what does not add up
    (HEAD + "grid: {}\n", "bad.yaml:5: grid: an empty mapping."),
    (HEAD + "grid: {meta: []}\n", "bad.yaml:5: grid.meta: an empty list."),
    (HEAD, "an empty suite, which names no pretext and no meta."),
    (HEAD + "grid: {pretext: [rotation], init: [scratch]}\n", "no combination is left"),
    (HEAD + "grid: {meta: [maml, maml]}\n", "grid.meta[1]: the same as"),
    (
        HEAD + "variants: [{label: a, meta: maml}, {label: b, meta: {name: maml, order: 2}}]\n",
        "variants[1]: 'b' comes to the same as what stands at",
    ),
    (HEAD + "variants: [{label: a, meta: maml}, {label: a, meta: none}]\n", "the same as"),
    (HEAD + "meta: maml\nbaseline: {meta: reptile}\n", ":6: baseline: this baseline matches no"),
    (
        HEAD + "grid: {meta: [maml, protonet]}\nbaseline: {pretext: none, tasks: labels}\n",
        "this baseline matches several variants, none + maml, none + protonet.",
    ),
    ("name: a\nmeta: none\nseeds: [3, 4, 3]\n", "bad.yaml:3: seeds[2]: the same as"),
    # data
    (HEAD + "data: cifar_fs\nmeta: none\n", "data cifar_fs: no root folder is set. Unpack https"),
    (HEAD + "data: glyps\nmeta: none\n", "no data is named 'glyps'. Did you mean glyphs?"),
    (HEAD + "data: image_folder\nmeta: none\n", "data/image_folder needs the parameter 'path'."),
]


@pytest.mark.parametrize(("text", "says"), SUITES)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_suite_with_a_mistake(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, says: str
) -> None:
    """Whatever is wrong with a suite, one line says where and what works; nothing is written."""
    (here / "bad.yaml").write_text(text)
    assert says in refused(capsys, command, "bad.yaml")
    assert os.listdir(here) == ["bad.yaml"]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_suite_that_needs_an_extra(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A method whose extra is not installed stops the plan with one line that says how."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (here / "bad.yaml").write_text(HEAD + "grid: {meta: [maml, learn2learn_maml]}\n")
    says = refused(capsys, command, "bad.yaml")
    assert "meta/learn2learn_maml needs learn2learn, which is not installed." in says
    assert "uv pip install -e '.[learn2learn]'" in says


@pytest.mark.parametrize("command", ["plan", "run", "report", "export", "why", "sync"])
def test_a_suite_that_cannot_be_read(
    here: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """A file that is missing, a folder, or not text is one clear error of every command."""
    (here / "folder.yaml").mkdir()
    (here / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    (here / "good.yaml").write_text("name: good\nmeta: none\n")
    more = ["--out", "x.csv"] if command == "export" else []
    missing = refused(capsys, command, "goood.yaml", *more)
    assert "goood.yaml: there is no such file. Did you mean good.yaml" in missing
    assert "it cannot be read (Is a directory)" in refused(capsys, command, "folder.yaml", *more)
    assert "binary.yaml:1: this is not UTF-8 text." in refused(
        capsys, command, "binary.yaml", *more
    )
    assert "there is no such file" in refused(capsys, command, "a\x7fb/é.yaml", *more)
    assert sorted(os.listdir(here)) == ["binary.yaml", "folder.yaml", "good.yaml"]


OPTIONS = [
    (["--seeds", "0"], "--seeds: '0' is given."),
    (["--seeds", "1,1"], "--seeds: '1,1' is given."),
    (["--seeds", "x"], "--seeds: 'x' is given."),
    (["--episodes", "0"], "--episodes: 0 is given. Use 1 to the suite's 600."),
    (["--episodes", "601"], "--episodes: 601 is given."),
    (["--budget-scale", "0"], "--budget-scale: 0.0 is given."),
    (["--budget-scale", "-1"], "--budget-scale: -1.0 is given."),
    (["--budget-scale", "nan"], "--budget-scale: nan is given."),
    (["--budget-scale", "inf"], "--budget-scale: inf is given."),
    (["--only", "zebra"], "--only: 'zebra' matches no variant."),
    (["--only", ""], "--only: nothing is named."),
    (["--data", "nowhere"], "--data: no folder nowhere."),
]
RUN_OPTIONS = [
    (["--workers", "0"], "--workers: '0'. Use auto, or a number from 1 to 1024."),
    (["--workers", "many"], "--workers: 'many'."),
    (["--device", "cuda"], "--device: 'cuda' was asked for, but torch sees 0 GPUs."),
    (["--device", "tpu9"], "--device: 'tpu9' is no device."),
    (["--time-limit", "0"], "--time-limit: 0. Use a number of seconds above 0."),
    (["--time-limit", "-3"], "--time-limit: -3."),
    (["--time-limit", "nan"], "--time-limit: nan."),
]


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [("plan", *one) for one in OPTIONS] + [("run", *one) for one in OPTIONS + RUN_OPTIONS],
)
def test_an_option_that_cannot_be(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, options: list[str], says: str
) -> None:
    """An option's impossible value is one line that names the option; nothing is written."""
    (here / "good.yaml").write_text("name: good\nmeta: protonet\n")
    assert says in refused(capsys, command, "good.yaml", *options)
    assert os.listdir(here) == ["good.yaml"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["pln"],
        ["plan"],
        ["export", "good.yaml"],
        ["run", "good.yaml", "--episodes", "x"],
        ["run", "good.yaml", "--budget-scale", "half"],
        ["run", "good.yaml", "--nothing"],
        ["plan", "good.yaml", "other.yaml"],
    ],
)
def test_words_that_are_no_command(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """What is not a command is answered with its usage and exit 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: bench" in capsys.readouterr().err
    assert os.listdir(here) == []


@pytest.mark.parametrize("blocked", ["results", "results/store", "results/plans"])
def test_results_that_cannot_be_written(
    here: Path, capsys: pytest.CaptureFixture[str], blocked: str
) -> None:
    """A file in the way of the results folder is one clear error, before anything runs."""
    (here / "good.yaml").write_text("name: good\nmeta: none\n")
    (here / blocked).parent.mkdir(exist_ok=True)
    (here / blocked).write_text("in the way")
    assert "cannot be written" in refused(capsys, "run", "good.yaml")
    assert (here / blocked).read_text() == "in the way"
    if blocked == "results/plans":
        assert "plans" in refused(capsys, "plan", "good.yaml")


def test_a_store_of_another_version(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results of another format are refused and left as they are."""
    (here / "good.yaml").write_text("name: good\nmeta: none\n")
    (here / "results" / "store").mkdir(parents=True)
    (here / "results" / "store" / "FORMAT").write_text("meta-ssl-bench store 9\n")
    assert "another format, 'meta-ssl-bench store 9'" in refused(capsys, "run", "good.yaml")
    assert [path.name for path in (here / "results").rglob("*")] == ["store", "FORMAT"]


def test_a_data_set_with_the_wrong_digest(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that is not the one that is known is refused, with both digests."""
    arrays = {name: np.full((2, 1, 28, 28), code, np.uint8) for code, name in enumerate("abc")}
    splits = {"train": ("a",), "val": ("b",), "test": ("c",)}
    monkeypatch.setattr(Glyphs, "read", lambda self, root: Examples(arrays=arrays, splits=splits))
    monkeypatch.setattr(Glyphs, "fingerprint", lambda self, root: "another")
    (here / "good.yaml").write_text("name: good\nmeta: none\n")
    said = refused(capsys, "run", "good.yaml")
    assert "data glyphs: the digest of this set is " in said
    assert f"expected {Glyphs.digest}." in said
    assert os.listdir(here) == ["good.yaml"]


@pytest.mark.parametrize("command", ["report", "export", "why", "sync"])
def test_what_was_never_run(here: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Asked for results that are not there, bench says which command makes them."""
    (here / "good.yaml").write_text("name: good\nmeta: none\n")
    more = ["--out", "x.csv"] if command == "export" else []
    said = refused(capsys, command, "good.yaml", "--seeds", "2", *more)
    assert "good-s2 was never run with this results folder. Run `bench run good.yaml`" in said
    assert os.listdir(here) == ["good.yaml"]


def test_an_export_that_cannot_be_written(
    here: Path, capsys: pytest.CaptureFixture[str], finished: TinyRun
) -> None:
    """An unknown format, a folder, or a file in the way is one clear error."""
    command = ["export", str(finished.suite), "--results", str(finished.results), "--out"]
    assert "the suffix '.xlsx' is no known format" in refused(capsys, *command, "cells.xlsx")
    (here / "file").write_text("in the way")
    assert "cannot be written" in refused(capsys, *command, "file/cells.csv")
    (here / "folder.csv").mkdir()
    assert "cannot be written" in refused(capsys, *command, "folder.csv")
    assert sorted(os.listdir(here)) == ["file", "folder.csv"]


def test_a_report_that_cannot_be_written(
    here: Path, capsys: pytest.CaptureFixture[str], finished: TinyRun
) -> None:
    """A file in the way of the reports is one clear error."""
    (here / "reports").write_text("in the way")
    folders = ["--results", str(finished.results), "--reports", "reports"]
    assert "cannot be written" in refused(capsys, "report", str(finished.suite), *folders)


def test_a_plan_on_disk_that_is_broken(
    here: Path, capsys: pytest.CaptureFixture[str], finished: TinyRun
) -> None:
    """A saved plan that cannot be read is one clear error, which planning again mends."""
    shutil.copytree(finished.results / "plans", here / "results" / "plans")
    for content in ("", "{", "[]", "{}"):
        (here / "results" / "plans" / "tiny.json").write_text(content)
        assert "tiny.json" in refused(capsys, "why", str(finished.suite))


def test_a_cell_that_is_not_there(
    here: Path, capsys: pytest.CaptureFixture[str], finished: TinyRun
) -> None:
    """An unknown cell is answered with the nearest ones."""
    cell = "none + maml/glyphs 5-way 1-shot/seed 9"
    said = refused(capsys, "why", str(finished.suite), cell, "--results", str(finished.results))
    assert "Did you mean none + maml/glyphs 5-way 1-shot/seed" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "metta"], "'metta': no such kind. Did you mean meta?"),
        (["list", "meta/mamml"], "no meta is named 'mamml'. Did you mean maml or imaml?"),
        (["check", "maml"], "'maml': not KIND/NAME."),
        (["check", "meta/mamml"], "no meta is named 'mamml'. Did you mean maml or imaml?"),
    ],
)
def test_plugins_that_are_not_there(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """`list` and `check` answer an unknown name with the nearest ones."""
    assert says in refused(capsys, *arguments)


def test_as_typed(here: Path) -> None:
    """The command itself, in a process of its own, exits 2 with the same one line."""
    (here / "bad.yaml").write_text("name: bad\nmeta: mamml\n")
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", "run", "bad.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = "bench: bad.yaml:2: meta: no meta is named 'mamml'. Did you mean maml or imaml?\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert os.listdir(here) == ["bad.yaml"]
