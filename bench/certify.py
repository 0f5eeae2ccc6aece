"""Computes some cells of a suite again from nothing, and compares them with the store's.

The cells are chosen by hash, so nobody picks them. The certificate says what was compared, where
it was computed, and what differs; the report shows it (``bench/report/evidence/certificate.py``).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.cell import Cell, Json, StageSpec, digest
from bench.errors import UserError
from bench.execute.protocol import AbstractExecutor
from bench.plan import Plan
from bench.report.evidence.certificate import apart, because, described, path_of
from bench.report.evidence.episodes import EPISODES, read_episodes
from bench.report.evidence.evidence import sums_of
from bench.run import Listener, Tally
from bench.run import run as walk
from bench.store import Damaged, Store, read_sums, write_atomic

MANIFEST = "manifest.json"
TIMES = ("seconds", "peak_memory_bytes")  # of the cost; they are never twice the same


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was computed again, as JSON, and in lines."""

    value: Mapping[str, Json]

    @property
    def equal(self) -> bool:
        """Whether every stage came out bit for bit as it is in the store."""
        return bool(self.value["equal"])

    @property
    def lines(self) -> list[str]:
        """Say of each cell and of each stage what came out."""
        value = self.value
        lines = [f"cell {one['id']}" for one in value["cells"]]
        for one in value["stages"]:
            files = f"{len(one['files'])} files"
            said = "equal" if one["equal"] else f"{', '.join(one['differs'])}; {because(one)}"
            lines.append(f"{one['kind']} {one['key'][:12]}, {files}: {said}{apart(one)}")
        verdict = "equal bit for bit" if self.equal else "not equal"
        count = f"{len(value['cells'])} of {value['cells_planned']} cells"
        return [*lines, f"{count}, recomputed on {described(value['here'])}: {verdict}"]


def chosen(plan: Plan, store: Store, count: int) -> list[Cell]:
    """Return ``count`` finished cells in the order of a hash, each variant once before any twice.

    A cell is finished when every stage below it is stored.

    Raises:
        UserError: no cell is finished.
    """
    whole = digest(plan.to_json())
    finished = [
        cell
        for cell in plan.cells
        if all(store.has(spec.kind, spec.key) for spec in below(plan, [cell]))
    ]
    if not finished:
        works = "Run it first, with the same options: `bench run SUITE`."
        raise UserError(plan.name, "no cell of it is finished in this results folder", works)
    ranked = sorted(finished, key=lambda cell: digest([whole, cell.stages["evaluate"], cell.id]))
    turns: dict[str, int] = {}
    order: list[tuple[int, int, Cell]] = []
    for rank, cell in enumerate(ranked):
        turns[cell.variant] = turns.get(cell.variant, 0) + 1
        order.append((turns[cell.variant], rank, cell))
    return [cell for _, _, cell in sorted(order, key=lambda one: one[:2])[:count]]


def below(plan: Plan, cells: Sequence[Cell]) -> list[StageSpec]:
    """Return the stages that some cells are made of, down to the first, in running order."""
    needed = {cell.stages["evaluate"] for cell in cells}
    for key, spec in reversed(list(plan.stages.items())):
        needed |= set(spec.needs) if key in needed else set()
    return [spec for key, spec in plan.stages.items() if key in needed]


def certify(
    plan: Plan,
    cells: Sequence[Cell],
    store: Store,
    fresh: Store,
    executor: AbstractExecutor,
    listeners: Sequence[Listener],
) -> Certificate:
    """Compute the stages of some cells in the empty store ``fresh``; compare, keep a certificate.

    Raises:
        KeyboardInterrupt: it was interrupted; no certificate is written.
    """
    specs = below(plan, cells)
    part = replace(plan, cells=tuple(cells), stages={spec.key: spec for spec in specs})
    fresh.prepare()
    tally = walk(part, fresh, executor, listeners)
    if tally.interrupted:
        raise KeyboardInterrupt
    stages = [_stage(spec, store, fresh, tally) for spec in specs]
    here: Mapping[str, Json] = next((one["here"] for one in stages if one["here"]), {})
    value = {
        "plan": plan.name,
        "date": str(here.get("started", ""))[:10],
        "seconds": sum(_manifest(fresh, spec).get("cost", {}).get("seconds", 0) for spec in specs),
        "cells_planned": len(plan.cells),
        "cells": [{"id": cell.id, "key": cell.stages["evaluate"]} for cell in cells],
        "stages": stages,
        "here": here,
        "equal": all(one["equal"] for one in stages),
    }
    path = path_of(plan, store)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(value, indent=1).encode())
    return Certificate(value=value)


def _stage(spec: StageSpec, store: Store, fresh: Store, tally: Tally) -> dict[str, Json]:
    """Compare one stage's two folders: every file, and of the manifest all but times and place."""
    there = _manifest(store, spec)
    here = _manifest(fresh, spec)
    if spec.key in tally.failed:
        differs = [f"it failed: {tally.failed[spec.key]}"]
    else:
        differs = [*_files(spec, store, fresh), *_facts(there, here)]
    return {
        "kind": spec.kind,
        "key": spec.key,
        "sums": sums_of(store, spec.kind, spec.key),
        "files": sorted(read_sums(store.folder(spec.kind, spec.key))),
        "equal": not differs,
        "differs": differs,
        "largest_difference": _largest(spec, store, fresh),
        "there": there.get("provenance", {}),
        "here": here.get("provenance", {}),
    }


def _manifest(store: Store, spec: StageSpec) -> Mapping[str, Json]:
    try:
        return store.manifest(spec.kind, spec.key)
    except Damaged:
        return {}


def _files(spec: StageSpec, store: Store, fresh: Store) -> Iterator[str]:
    """Name the files that are not the same bytes, damaged ones included."""
    for one in (store, fresh):
        try:
            one.check(spec.kind, spec.key)
        except Damaged as damage:
            yield f"damaged: {damage}"
            return
    there, here = (read_sums(one.folder(spec.kind, spec.key)) for one in (store, fresh))
    for name in sorted((there.keys() | here.keys()) - {MANIFEST}):
        if there.get(name) != here.get(name):
            yield name


def _facts(there: Mapping[str, Json], here: Mapping[str, Json]) -> Iterator[str]:
    """Name what differs between two manifests beside times and provenance: ``metrics.accuracy``."""
    old, new = _flat(_timeless(there)), _flat(_timeless(here))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name, 'absent')} there, {new.get(name, 'absent')} here"


def _timeless(manifest: Mapping[str, Json]) -> dict[str, Json]:
    cost = {name: one for name, one in manifest.get("cost", {}).items() if name not in TIMES}
    return {name: v for name, v in manifest.items() if name != "provenance"} | {"cost": cost}


def _flat(value: Json, name: str = "") -> dict[str, str]:
    """Return the leaves of mappings by their dotted names, as text; a list is one leaf."""
    if not isinstance(value, dict):
        return {name: json.dumps(value, sort_keys=True)}
    leaves: dict[str, str] = {}
    for key, one in value.items():
        leaves |= _flat(one, f"{name}.{key}" if name else key)
    return leaves


def _largest(spec: StageSpec, store: Store, fresh: Store) -> float | None:
    """Return the largest difference of an episode's accuracy; None where there are not both."""
    if spec.kind != "evaluate":
        return None
    try:
        there, here = (
            read_episodes(one.read(spec.kind, spec.key, EPISODES)).accuracy_TE
            for one in (store, fresh)
        )
    except Damaged:
        return None
    return float(np.abs(there - here).max()) if there.shape == here.shape else None
