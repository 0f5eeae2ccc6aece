"""Every test episode of a report in one parquet file, and the episodes of one evaluation.

Of a file every column but episode and step (and key) is a measure; one without a single number
is none.

Shapes: E test episodes, T read-outs (numbers of test-time steps).
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from bench.report.headline import ACCURACY, EXPLAINED

EPISODES = "episodes.parquet"
PLACES = ("key", "episode", "step")  # columns that are no measures
HEADLINES = (EXPLAINED.name, ACCURACY.name)  # the first that was measured is what verdicts are of


class Unreadable(Exception):
    """A file of evidence is not what was written."""


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """What one evaluation measured: ``measured_TE`` [T, E] each, by name.

    Single numbers may be NaN, where a measure is not taken at a read-out.
    """

    steps: tuple[int, ...]
    measured_TE: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def accuracy_TE(self) -> np.ndarray:  # noqa: N802  # a shape suffix
        """The headline: accuracies in [0, 1], or shares of variance explained, at most 1."""
        return headline(self.measured_TE)


def headline(measured_TE: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what verdicts are of, [T, E]; [0, 0] where nothing was measured."""
    name = next((name for name in HEADLINES if name in measured_TE), None)
    return np.empty((0, 0)) if name is None else measured_TE[name]


def said(error: Exception) -> str:
    """Return the first line of what an error says, cut."""
    return (str(error).splitlines() or [""])[0][:80] or type(error).__name__


def pack_episodes(episodes: Mapping[str, Episodes]) -> bytes:
    """Return key, episode, step, and each measure of any evaluation, as one parquet file."""
    sizes = [one.accuracy_TE.size for one in episodes.values()]
    key_K = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    columns: dict[str, pa.Array] = {
        "key": pa.DictionaryArray.from_arrays(key_K, pa.array(list(episodes), pa.string())),
        "episode": _joined(np.int32, [_numbers(one)[1] for one in episodes.values()]),
        "step": _joined(np.int32, [_numbers(one)[0] for one in episodes.values()]),
    }
    for measure in dict.fromkeys(name for one in episodes.values() for name in one.measured_TE):
        values = [
            one.measured_TE.get(measure, np.full(size, np.nan)).ravel()
            for one, size in zip(episodes.values(), sizes, strict=True)
        ]
        columns[measure] = _joined(np.float64, values)
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, compression="zstd", compression_level=9)
    return sink.getvalue()


def _numbers(one: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """Return the step and the episode of each value of [T, E], row by row."""
    T, E = one.accuracy_TE.shape
    return np.repeat(np.array(one.steps, np.int32), E), np.tile(np.arange(E, dtype=np.int32), T)


def _joined(kind: type, parts: list[np.ndarray]) -> pa.Array:
    return pa.array(np.concatenate([np.empty(0, kind), *parts]))


def unpack_episodes(folder: Path) -> dict[str, Episodes]:
    """Read the episodes of every evaluation from a report's folder; raises Unreadable."""
    try:
        table = parquet.read_table(io.BytesIO((folder / EPISODES).read_bytes()), use_threads=False)
        keys = table.unify_dictionaries()["key"].combine_chunks()
        codes, names = keys.indices.to_numpy(), keys.dictionary.to_pylist()
        columns = {name: table[name].to_numpy() for name in table.column_names if name != "key"}
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
        return {
            name: _read_out({c: values[order[a:b]] for c, values in columns.items()})
            for name, a, b in zip(names, bounds[:-1], bounds[1:], strict=True)
        }
    except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException) as error:
        raise Unreadable(f"{EPISODES} cannot be read ({said(error)})") from error


def read_episodes(content: bytes) -> Episodes:
    """Read one evaluation's file; its columns are episode, step and what was measured."""
    table = parquet.read_table(io.BytesIO(content), use_threads=False)
    return _read_out({name: table[name].to_numpy() for name in table.column_names})


def _read_out(columns: Mapping[str, np.ndarray]) -> Episodes:
    """Turn columns into the read-outs and each measure [T, E] that has a number."""
    order = np.lexsort((columns["episode"], columns["step"]))
    steps = np.unique(columns["step"])
    measured_TE = {
        name: values[order].reshape(len(steps), -1)
        for name, values in columns.items()
        if name not in PLACES and not np.isnan(values).all()
    }
    return Episodes(steps=tuple(steps.tolist()), measured_TE=measured_TE)
