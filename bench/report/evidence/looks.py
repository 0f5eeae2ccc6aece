"""Which seeds a report has shown before: a verdict on seeds that were added after it says so.

Adding seeds until a difference is settled finds one that is not there 14 to 17 % of the time. So
every report notes the seeds of its complete rows in ``<results>/looks.json``; a later one that
adds to them, or takes some of them, marks its verdicts. One on fresh seeds alone confirms.
A row with one seed has no verdict, so to look at it is no look.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.cell import Cell, Json, StageSpec, digest
from bench.errors import UserError
from bench.plan import Plan
from bench.report import words
from bench.store import Store, write_atomic

FILE = "looks.json"


def of_store(plan: Plan, store: Store, sums: Mapping[str, str]) -> Json:
    """Return the looks at a plan's rows that a store's folder knows of; None where there is none.

    ``sums`` are the plan's finished stages, whatever they are.
    """
    return read_looks(plan, store.root.parent) or None


def read_looks(plan: Plan, folder: Path) -> dict[str, list[list[int]]]:
    """Return the looks at the rows of a plan that were there before the present one.

    Rows are known by all that decides them but the seed, so another suite's look counts too.
    """
    noted = _noted(folder)
    found = {}
    for name, cells in _rows(plan).items():
        own = sorted(cell.seed for cell in cells)
        looks = noted.get(_identity(cells[0], plan), [])
        before = looks[: looks.index(own)] if own in looks else looks
        if before:
            found[name] = before
    return found


def note_looks(plan: Plan, shown: Mapping[str, Sequence[int]], folder: Path) -> None:
    """Note the seeds of the rows (by name) that a report has shown whole, once each."""
    noted = _noted(folder)
    before = json.dumps(noted)
    for name, cells in _rows(plan).items():
        seeds = sorted(shown.get(name, ()))
        if len(seeds) > 1:
            looks = noted.setdefault(_identity(cells[0], plan), [])
            if seeds not in looks:
                looks.append(seeds)
    if json.dumps(noted) != before:
        write_atomic(folder / FILE, json.dumps(noted, indent=1, sort_keys=True).encode())


def standing(seeds: frozenset[int], looks: Sequence[Sequence[int]]) -> str:
    """Say how seeds stand to those that were looked at before; empty if they are fresh."""
    for look in map(frozenset, looks):
        shown = words.ranges(sorted(look))
        if look < seeds:
            added = words.ranges(sorted(seeds - look))
            return f"extended after looking: seeds {added} came after a report on {shown}"
        if look & seeds and look != seeds:
            return f"chosen after looking: a report had shown seeds {shown}"
    return ""


def judged(verdict: str | None, looked_at: str) -> str:
    """Return a verdict as tables print it: ``better (extended)``; empty without one."""
    word = looked_at.partition(" ")[0]  # extended, or chosen
    return f"{verdict} ({word})" if verdict and word else verdict or ""


def row_name(cell: Cell) -> str:
    """Name a row and its setting: a cell's id without its seed."""
    return cell.id.rpartition("/seed ")[0]


def _rows(plan: Plan) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in plan.cells:
        found.setdefault(row_name(cell), []).append(cell)
    return found


def _noted(folder: Path) -> dict[str, list[list[int]]]:
    path = folder / FILE
    try:
        noted: dict[str, list[list[int]]] = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        works = "Restore it: without it no verdict on added seeds is marked. Or remove it."
        raise UserError(str(path), f"it is no JSON ({error})", works) from error
    return noted


def _identity(cell: Cell, plan: Plan) -> str:
    """Hash all that decides a cell, but for its seed."""
    return digest(_without_seed(plan.stages[cell.stages["evaluate"]], plan))


def _without_seed(spec: StageSpec, plan: Plan) -> dict[str, Json]:
    own = {name: value for name, value in spec.inputs.items() if name not in ("seed", "needs")}
    needs = {
        role: key and _without_seed(plan.stages[key], plan)
        for role, key in spec.inputs["needs"].items()
    }
    return {"kind": spec.kind, "inputs": own, "needs": needs}
