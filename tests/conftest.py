"""What every test runs under: no telemetry, no display, one thread, a cache of its own."""

import os
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def glyphs(_private_cache: None) -> Dataset:
    """Return the embedded default set, rendered once a session."""
    return open_dataset(Glyphs(), "glyphs", None)
