"""One row a cell: the frame that notebooks load and ``bench export`` writes."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.cell import Json
from bench.errors import UserError
from bench.plan import Plan
from bench.report.evidence.episodes import HEADLINES
from bench.report.results import CellResult, Results, read_results
from bench.store import Store, write_atomic

COORDINATES = (
    *("variant", "data", "encoder", "pretext", "init", "tasks", "auxiliary", "meta", "labels"),
    *("ways", "shots", "seed", "control"),
)
PROVENANCE = ("torch", "hardware", "device", "started")


def cell_frame(plan: Plan, store: Store) -> pd.DataFrame:
    """Return one row a cell in the plan's order.

    Coordinates, ``status`` (done, failed, missing), ``accuracy`` in [0, 1], ``norm`` and the
    parameters that vary between cells, then ``cost.*`` and ``provenance.*``. Beside accuracy each
    other measure that manifests state: query ``loss`` in nats where tasks were held out (which:
    ``held_out``). Where a ``rate`` of steps at test was chosen: that.
    Where rows were tuned: of which row a cell is what it was before (``default_of``).
    """
    return frame_of(read_results(plan, store))


def frame_of(results: Results) -> pd.DataFrame:
    """As ``cell_frame``, of results that were read already."""
    cells = results.every_cell
    new = any(one.cell.held_out for one in cells)
    rated = new or any("rate" in one.manifest for one in cells)
    names = (*COORDINATES, *(["held_out"] * new), *(["default_of"] * bool(results.default_cells)))
    coordinates = {name: [getattr(one.cell, name) for one in cells] for name in names}
    outcome: dict[str, list[Any]] = {
        "status": [one.status for one in cells],
        **{name: [_metric(one, name) for one in cells] for name in _measures(cells, new)},
    }
    if rated:
        outcome["rate"] = [_rate(one) for one in cells]
    return pd.DataFrame(
        coordinates | outcome | _varying(cells) | _costs(results) | _provenance(cells)
    )


def write_export(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as CSV or parquet, by the file's suffix; equal frames give equal bytes.

    Raises:
        UserError: another suffix, or a folder that cannot be written.
    """
    if path.suffix == ".csv":
        content = csv_bytes(frame)
    elif path.suffix == ".parquet":
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False, engine="pyarrow")
        content = buffer.getvalue()
    else:
        works = "Name a file that ends in .csv or .parquet."
        raise UserError(f"--out {path}", f"the suffix {path.suffix!r} is no known format", works)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        found = f"the file cannot be written ({error.strerror})"
        raise UserError(f"--out {path}", found, "Name a file in a folder you may write.") from error


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Return a frame as CSV: numbers in full, no index, one kind of line end everywhere."""
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()


def _measures(cells: Sequence[CellResult], new: bool) -> list[str]:
    """Name what manifests state of the headline read-out, and what is due where none is done."""
    stated = dict.fromkeys(name for one in cells for name in one.manifest.get("metrics", ()))
    first = [name for name in HEADLINES if name in stated]
    return list(dict.fromkeys([*first, *stated])) or ["accuracy", *(["loss"] * new)]


def _rate(result: CellResult) -> float:
    found = result.manifest.get("rate")  # None of what takes no steps
    return float("nan") if found is None else float(found)


def _metric(result: CellResult, name: str) -> float:
    return float(result.manifest.get("metrics", {}).get(name, "nan"))


def _varying(cells: Sequence[CellResult]) -> dict[str, pd.Series]:
    """Parameters that differ between cells or that some cells lack; ``norm`` always."""
    names = sorted({name for one in cells for name in one.cell.params} - {*COORDINATES, "norm"})
    columns = {name: [one.cell.params.get(name) for one in cells] for name in names}
    varying = {n: c for n, c in columns.items() if len({json.dumps(v) for v in c}) > 1}
    norm = pd.Series([one.cell.norm for one in cells], dtype="str")
    return {"norm": norm} | {name: _column(values) for name, values in varying.items()}


def _column(values: Sequence[Json]) -> pd.Series:
    """One type a column, so that parquet takes it: numbers, truth values, or text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    text = [v if v is None or isinstance(v, str) else json.dumps(v, sort_keys=True) for v in values]
    return pd.Series(text, dtype="str")


def _costs(results: Results) -> dict[str, list[float]]:
    cells, sharing = results.every_cell, results.sharing
    return {
        "cost.seconds": [one.seconds for one in cells],
        "cost.seconds_shared_split": [one.seconds_shared(sharing) for one in cells],
        "cost.examples": [one.examples for one in cells],
        "cost.peak_memory_bytes": [one.peak_memory for one in cells],
        "cost.parameters": [
            float(one.manifest["cost"]["parameters"]) if one.manifest else float("nan")
            for one in cells
        ],
    }


def _provenance(cells: Sequence[CellResult]) -> dict[str, list[str]]:
    def texts(name: str) -> list[str]:
        return [str(_where(one).get(name, "")) for one in cells]

    return {
        "provenance.evaluate_key": [one.cell.stages["evaluate"] for one in cells],
        "provenance.bank": [str(one.manifest.get("bank", "")) for one in cells],
        **{f"provenance.{name}": texts(name) for name in PROVENANCE},
        "provenance.reason": [one.reason for one in cells],
    }


def _where(result: CellResult) -> Mapping[str, Json]:
    provenance: Mapping[str, Json] = result.manifest.get("provenance", {})
    return provenance
