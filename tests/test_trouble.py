"""What goes wrong with a run: methods that fail, a driver that is killed, Ctrl-C."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pandas as pd
import pytest
import torch

from bench import load
from bench.catalogue import entries, load_class
from bench.cli import main
from bench.execute.local import Local
from bench.pipeline import Options, saved
from bench.report.frame import cell_frame
from bench.run import run
from bench.store import Store

BAD = '''
import ctypes, os, signal
from dataclasses import dataclass
from typing import ClassVar
import torch
from torch import nn
from bench.contract import AbstractPretext

def faulty(name, act):
    @dataclass(frozen=True, kw_only=True)
    class Faulty(AbstractPretext):
        """Fails in its own way."""
        reference: ClassVar[str] = "arXiv:0000.00000"
        views: ClassVar[int] = 1
        batch_size: int = 8
        rate: float = 0.001
        def head(self, width, shape):
            return nn.Identity()
        def loss(self, net, state, x_BCHW, rng):
            return act(net.encode(x_BCHW).mean()), state
    return Faulty

def raises(loss):
    raise ValueError("no\\nsecond line")

def hungry(loss):
    raise MemoryError("1 TiB")

def asks_too_much(loss):
    return torch.zeros(2**50).sum() + loss

def sleeps(loss):
    ctypes.PyDLL(None).sleep(60)  # no other thread of the process runs meanwhile

def dies(loss):
    os.kill(os.getpid(), signal.SIGKILL)

def leaves(loss):
    raise SystemExit(3)

Raises = faulty("raises", raises)
Nan = faulty("nan", lambda loss: loss * float("nan"))
Hungry = faulty("hungry", hungry)
TooMuch = faulty("too_much", asks_too_much)
Sleeps = faulty("sleeps", sleeps)
Dies = faulty("dies", dies)
Leaves = faulty("leaves", leaves)
'''
NAMES = {
    "raises": "Raises",
    "nan": "Nan",
    "hungry": "Hungry",
    "too_much": "TooMuch",
    "sleeps": "Sleeps",
    "dies": "Dies",
    "leaves": "Leaves",
}
SUITE = f"""
name: trouble
encoder: {{name: conv4, width: 4}}
shots: 1
seeds: 1
budget: {{pretrain_steps: 2}}
evaluate: {{episodes: 2, queries: 1, test_steps: 1}}
grid:
  pretext: [none, {", ".join(NAMES)}, {{name: rotation, batch_size: 8}}]
"""


class TinyRun(Protocol):
    """The fixture ``finished``."""

    suite: Path
    results: Path


@pytest.fixture
def mirror(tmp_path: Path, finished: TinyRun) -> None:
    """Give the results folder an MLflow mirror to go on with: making one takes seconds."""
    (tmp_path / "results").mkdir()
    shutil.copy(finished.results / "mlflow.db", tmp_path / "results")


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_main: None) -> Iterator[None]:
    """Install a package of pretexts that fail, each in its own way."""
    info = tmp_path / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    lines = [f"{name} = faulty_pretexts:{cls}" for name, cls in NAMES.items()]
    (info / "entry_points.txt").write_text("\n".join(["[bench.pretext]", *lines]))
    (tmp_path / "faulty_pretexts.py").write_text(BAD)
    monkeypatch.syspath_prepend(tmp_path)
    for cache in (entries, load_class):
        cache.cache_clear()
    yield
    sys.modules.pop("faulty_pretexts", None)
    for cache in (entries, load_class):
        cache.cache_clear()


REASONS = {
    "raises + none": "ValueError: no",
    "nan + none": "not finite: the loss is nan after 1 of 2 steps",
    "hungry + none": "out of memory: 1 TiB",
    "too_much + none": "out of memory: ",
    "sleeps + none": "time-out after 5 s",
    "dies + none": "its process died 2 times, last by signal 9",
    "leaves + none": "its process died 2 times, last by exit code 3",
}


def test_methods_that_fail_are_outcomes(
    tmp_path: Path, faulty: None, mirror: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a method does, it is a failed outcome in store and export; the rest is done."""
    suite = tmp_path / "trouble.yaml"
    suite.write_text(SUITE)
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "p")]
    command = ["run", str(suite), *folders, "--workers", "2", "--time-limit", "5"]
    started = time.monotonic()
    assert main(command) == 1
    assert time.monotonic() - started < 55, "a stage beyond its time was waited for"
    frame = load(suite, results=tmp_path / "results").set_index("variant")
    done = frame.index[frame["status"] == "done"]
    assert sorted(done) == ["random_init", "rotation + none"]
    assert set(frame.loc[frame["status"] == "failed"].index) == set(REASONS)
    assert frame["accuracy"].notna().sum() == 2
    for variant, reason in REASONS.items():
        assert reason in str(frame.loc[variant, "provenance.reason"])
    store = Store(tmp_path / "results")
    kept = [store.failures(path.name) for path in (store.root / "failures").iterdir()]
    assert len(kept) == len(REASONS)
    raised = next(one for [one] in kept if one["reason"].startswith("ValueError"))
    assert "second line" in raised["traceback"]
    assert "faulty_pretexts.py" in raised["traceback"]
    shown = capsys.readouterr()
    for reason in REASONS.values():
        assert f"failed: {reason}" in shown.out
    assert "Traceback" not in shown.out + shown.err
    assert (tmp_path / "p" / "trouble" / "index.md").is_file()
    assert main(command) == 1  # again: nothing runs, and it is said again
    assert "failed: ValueError: no" in capsys.readouterr().out
    assert len(store.failures(next(iter((store.root / "failures").iterdir())).name)) == 1


# --- a driver of its own, in a session of its own

SLOW = """
name: slow
encoder: {name: conv4, width: 4}
shots: 1
seeds: 2
budget: {pretrain_steps: 150}
evaluate: {episodes: 2, queries: 1, test_steps: 1}
grid:
  pretext: [none, {name: rotation, batch_size: 8}]
"""
Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, mirror: None) -> Iterator[Start]:
    """Return a function that starts `bench run` on the slow suite, in a session of its own."""
    (tmp_path / "slow.yaml").write_text(SLOW)
    begun: list[subprocess.Popen[str]] = []

    def popen() -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "bench.cli", "run", "slow.yaml", "--workers", "1"]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        return process

    yield popen
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def of_session(session: int) -> set[int]:
    """Return the processes of a session that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def is_server(pid: int) -> bool:
    """Whether a process is the one that those of stages are forked from."""
    try:
        return b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_until(what: Callable[[], bool], seconds: float) -> None:
    """Wait for something to be true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def manifests(results: Path) -> dict[Path, int]:
    """Return every finished stage and when it was written, in nanoseconds."""
    found = (results / "store" / "stages").glob("*/*/*/manifest.json")
    return {path: path.stat().st_mtime_ns for path in found}


def in_training(results: Path) -> bool:
    """Whether the second training has begun, with the first in the store."""
    trained = list((results / "store" / "stages" / "pretrain").glob("*/*"))
    if len(trained) != 1:
        return False
    stages = json.loads((results / "plans" / "slow.json").read_text())["stages"]
    keys = {one["key"] for one in stages if one["kind"] == "pretrain"} - {trained[0].name}
    return any((results / "store" / "partial" / key).is_dir() for key in keys)


def test_killed_in_the_middle_and_run_again(tmp_path: Path, start: Start, no_main: None) -> None:
    """After SIGKILL of the driver its children end; the next run repeats no finished stage.

    Before that comes Ctrl-C while the server still imports, which ends cleanly with exit 130. In
    the end the export is as if nothing had happened.
    """
    results = tmp_path / "results"
    interrupted = start()
    wait_until(lambda: any(is_server(pid) for pid in of_session(interrupted.pid)), 90)
    os.killpg(interrupted.pid, signal.SIGINT)
    out, err = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert "interrupted: the same command goes on from here" in out
    assert "Traceback" not in out + err
    wait_until(lambda: not of_session(interrupted.pid), 10)
    assert manifests(results) == {}

    killed = start()
    wait_until(lambda: in_training(results), 90)
    children = of_session(killed.pid) - {killed.pid}
    assert children
    killed.kill()
    wait_until(lambda: not of_session(killed.pid), 10)
    second = manifests(results)
    assert len(second) >= 2

    folders = ["--results", str(results), "--reports", str(tmp_path / "reports")]
    assert main(["run", str(tmp_path / "slow.yaml"), *folders]) == 0
    third = manifests(results)
    assert second.items() <= third.items()
    assert len(third) == 2 + 2 + 2 + 3  # trainings, two rows' tests, audits of the set and the rows
    assert not [path for path in (results / "store/partial").iterdir() if path.is_dir()]
    fresh = Store(tmp_path / "fresh")
    fresh.prepare()
    options = Options(results=results)
    plan = saved(tmp_path / "slow.yaml", options)
    executor = Local(results=tmp_path / "fresh", device=torch.device("cpu"), workers=1)
    assert run(plan, fresh, executor, []).failed == {}
    assert decisive(cell_frame(plan, options.store)).equals(decisive(cell_frame(plan, fresh)))


def decisive(frame: pd.DataFrame) -> pd.DataFrame:
    """Return an export without cost and provenance."""
    assert set(frame["status"]) == {"done"}
    names = [name for name in frame.columns if not name.startswith(("cost.", "provenance."))]
    return frame[names]


def test_damage_is_told_and_mended(
    tmp_path: Path, finished: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged stage is set aside with a word, computed again, and the results are the same."""
    copy = tmp_path / "results"
    shutil.copytree(finished.results, copy)
    folder = next(path.parent for path in manifests(copy) if "evaluate" in path.parts)
    before = (folder / "episodes.parquet").read_bytes()
    (folder / "episodes.parquet").write_bytes(before[:-1])
    folders = ["--results", str(copy), "--reports", str(tmp_path / "p")]
    assert main(["run", str(finished.suite), *folders]) == 0
    assert "set aside: " in capsys.readouterr().out
    assert (folder / "episodes.parquet").read_bytes() == before
