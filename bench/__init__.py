"""Compare ways of joining self-supervised learning and meta-learning, reproducibly."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load"]


def load(suite: str | Path, **options: object) -> "pd.DataFrame":
    """Return a suite's results for a notebook, one row a cell; see ``bench.pipeline.load``."""
    from bench import pipeline

    return pipeline.load(suite, **options)
