"""What every test runs under: no telemetry, no display, one thread, a cache of its own."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bench.data.glyphs import Glyphs
from bench.dataset import Dataset, open_dataset

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", MPLBACKEND="Agg")
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep mapped data sets in a folder of this session, shared by all its xdist workers."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "bench-cache"))
        yield


@pytest.fixture
def real_data() -> Path:
    """Return the folder of the real data sets; a test that needs them skips without it."""
    folder = os.environ.get("BENCH_DATA")
    if not folder:
        pytest.skip("BENCH_DATA is not set: it names the folder that holds the real data sets")
    return Path(folder)


TINY = """\
# A little of everything, in seconds.
name: tiny
data: glyphs
encoder: {name: conv4, width: 4}
shots: 1
seeds: 2
grid:
  pretext: [none, {name: rotation, batch_size: 8}]
  meta: [none, {name: maml, order: 1, steps: 1, tasks_per_step: 1, task_shots: 1, task_queries: 2}]
baseline: {train: {pretext: none, meta: maml}, none: random_init}
budget: {pretrain_steps: 4, metatrain_steps: 4}
evaluate: {episodes: 4, queries: 3, test_steps: 1}
"""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A suite that was run once, on two workers; nobody may change its folders."""

    suite: Path
    results: Path
    reports: Path

    def options(self) -> list[str]:
        """Return the options that name its folders."""
        return ["--results", str(self.results), "--reports", str(self.reports)]


@pytest.fixture
def no_main() -> Iterator[None]:
    """Let the processes of stages start without importing pytest first, which takes a while."""
    main = sys.modules["__main__"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "__spec__", None)
        patch.delattr(main, "__file__", raising=False)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, glyphs: Dataset) -> Finished:
    """Return a suite that `bench run` has finished, with its report."""
    from bench.cli import main

    folder = tmp_path_factory.mktemp("tiny")
    made = Finished(
        suite=folder / "tiny.yaml", results=folder / "results", reports=folder / "reports"
    )
    made.suite.write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert main(["run", str(made.suite), *made.options(), "--workers", "2"]) == 0
    return made


@pytest.fixture(scope="session")
def glyphs(_private_cache: None) -> Dataset:
    """Return the embedded default set, rendered once a session."""
    return open_dataset(Glyphs(), "glyphs", None)
