"""Every test episode of a report in one parquet file, and the episodes of one evaluation.

Shapes: E test episodes, T read-outs (numbers of test-time steps).
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

EPISODES = "episodes.parquet"


class Unreadable(Exception):
    """A file of evidence is not what was written."""


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Accuracies in [0, 1] and losses (nats), where there are any, of one evaluation."""

    steps: tuple[int, ...]
    accuracy_TE: np.ndarray
    loss_TE: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


def said(error: Exception) -> str:
    """Return the first line of what an error says, cut."""
    return (str(error).splitlines() or [""])[0][:80] or type(error).__name__


def pack_episodes(episodes: Mapping[str, Episodes]) -> bytes:
    """Return key, episode, step, accuracy, and loss where there is one, as one parquet file."""
    sizes = [one.accuracy_TE.size for one in episodes.values()]
    key_K = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    columns: dict[str, pa.Array] = {
        "key": pa.DictionaryArray.from_arrays(key_K, pa.array(list(episodes), pa.string())),
        "episode": _joined(np.int32, [_numbers(one)[1] for one in episodes.values()]),
        "step": _joined(np.int32, [_numbers(one)[0] for one in episodes.values()]),
        "accuracy": _joined(np.float64, [one.accuracy_TE.ravel() for one in episodes.values()]),
    }
    if any(one.loss_TE.size for one in episodes.values()):
        losses = [
            one.loss_TE.ravel() if one.loss_TE.size else np.full(one.accuracy_TE.size, np.nan)
            for one in episodes.values()
        ]
        columns["loss"] = _joined(np.float64, losses)
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
    """Read one evaluation's file; its columns are episode, step, accuracy and perhaps loss."""
    table = parquet.read_table(io.BytesIO(content), use_threads=False)
    return _read_out({name: table[name].to_numpy() for name in table.column_names})


def _read_out(columns: Mapping[str, np.ndarray]) -> Episodes:
    """Turn columns into the read-outs, accuracies and losses, if any, [T, E]."""
    order = np.lexsort((columns["episode"], columns["step"]))
    steps = np.unique(columns["step"])
    accuracy_TE = columns["accuracy"][order].reshape(len(steps), -1)
    loss_TE = columns["loss"][order].reshape(len(steps), -1) if "loss" in columns else None
    if loss_TE is None or np.isnan(loss_TE).all():
        return Episodes(steps=tuple(steps.tolist()), accuracy_TE=accuracy_TE)
    return Episodes(steps=tuple(steps.tolist()), accuracy_TE=accuracy_TE, loss_TE=loss_TE)
