"""Where the output goes: narrow, colourless, closed or without letters, it is never a crash."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from bench.cli import main


class TinyRun(Protocol):
    """The fixture ``finished``."""

    suite: Path

    def options(self) -> list[str]:
        """Return the options that name its folders."""


@pytest.mark.parametrize("columns", ["20", "500", "0", "-1", "x"])
def test_off_a_terminal_lines_are_whole_and_plain(
    finished: TinyRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: str,
) -> None:
    """Whatever the width and colours of a terminal that is not there, lines stay as they are."""
    command = ["plan", str(finished.suite), *finished.options()]
    assert main(command) == 0
    usual = capsys.readouterr().out
    for name, value in {"COLUMNS": columns, "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FORCE_COLOR", "")
    assert main(command) == 0
    assert capsys.readouterr().out == usual
    assert "\x1b" not in usual
    assert any(line.startswith("random_init") and "glyphs" in line for line in usual.splitlines())


def bench(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run bench in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "bench.cli", *arguments],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_a_terminal_without_letters(tmp_path: Path, glyphs: object) -> None:
    """A label beyond ASCII on a terminal that has ASCII alone is shown somehow, not a crash."""
    suite = tmp_path / "tiny.yaml"
    suite.write_text("name: t\nvariants: [{label: 'naïve ✓', meta: protonet}]\n", encoding="utf-8")
    command = ["plan", str(suite), "--results", str(tmp_path / "none")]
    done = bench(*command, PYTHONIOENCODING="ascii", COLUMNS="20")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"na\\xefve" in done.stdout


def test_a_reader_that_has_seen_enough() -> None:
    """When the reader of the output goes away, as `head` does, bench ends without a word."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", "list"],
        stdout=writer,
        env=buffered,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
