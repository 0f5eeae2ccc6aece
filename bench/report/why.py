"""What ``bench why`` prints: for each stage of a cell, whether it is cached, and if not, why."""

from collections.abc import Callable, Iterator, Mapping

from bench.cell import ROLES, Cell, Json, StageSpec
from bench.errors import UserError, suggest
from bench.plan import Plan
from bench.report.preview import stored
from bench.store import Store

Below = Callable[[str, str], Mapping[str, Json]]
COORDINATES = ("seed", "ways", "shots", "task.ways", "task.shots", "data.split")


def find_cell(plan: Plan, name: str) -> Cell:
    """Return the cell with this id (``simclr + maml/5-way 1-shot/seed 0``).

    Raises:
        UserError: no cell, or several (one a data set), have it.
    """
    found = [cell for cell in plan.cells if cell.id == name]
    if not found:
        raise UserError("CELL", f"no cell is called {name!r}", suggest(name, _ids(plan)))
    if len(found) > 1:
        data = ", ".join(cell.data for cell in found)
        raise UserError("CELL", f"{name!r} stands for several data sets ({data})", "Fix `data`.")
    return found[0]


def why_text(plan: Plan, store: Store, cell: Cell) -> str:
    """Say for each stage of a cell: cached, failed, never run, or which inputs changed."""
    lines = [cell.id]
    for role in (*ROLES, "evaluate"):
        key = cell.stages.get(role)
        if key is not None:
            lines += _stage(role, plan.stages[key], plan, store)
    return "\n".join(lines) + "\n"


def _ids(plan: Plan) -> list[str]:
    return list(dict.fromkeys(cell.id for cell in plan.cells))


def _stage(role: str, spec: StageSpec, plan: Plan, store: Store) -> list[str]:
    head = f"{role} {spec.key[:12]}:"
    if store.has(spec.kind, spec.key):
        manifest = stored(store, spec.kind, spec.key)
        if manifest is None:
            return [f"{head} damaged in the store; it will be computed again"]
        return [f"{head} cached, started {manifest['provenance']['started']}"]
    failures = store.failures(spec.key)
    if failures:
        times = "once" if len(failures) == 1 else f"{len(failures)} times"
        return [f"{head} failed {times}: {failures[-1]['reason']}"]
    nearest = _nearest(spec, plan, store)
    if nearest is None:
        return [f"{head} never run"]
    changes = _changes(flat(nearest["inputs"]), flat(spec.inputs))
    return [f"{head} not cached; against {nearest['key'][:12]}:", *(f"  {c}" for c in changes)]


def _nearest(spec: StageSpec, plan: Plan, store: Store) -> Mapping[str, Json] | None:
    """Return the newest stored manifest of equal kind and coordinates, those below included."""

    def planned(kind: str, key: str) -> Mapping[str, Json]:
        return plan.stages[key].inputs

    def finished(kind: str, key: str) -> Mapping[str, Json]:
        manifest = stored(store, kind, key) if store.has(kind, key) else None
        return manifest["inputs"] if manifest else {}

    wanted = coordinates(spec.inputs, planned)
    found = [
        manifest
        for key in store.keys(spec.kind)
        if (manifest := stored(store, spec.kind, key)) is not None
        and coordinates(manifest["inputs"], finished) == wanted
    ]
    return max(found, key=lambda manifest: manifest["provenance"]["started"], default=None)


def coordinates(inputs: Mapping[str, Json], below: Below) -> list[tuple[str, Json]]:
    """Return what tells stages apart beside their numbers: plug-ins, seed, ways and shots.

    ``below`` finds the inputs of a stage (kind, key) that this one builds on.
    """
    own = [
        (name, value)
        for name, value in sorted(flat(inputs).items())
        if name in COORDINATES or name.endswith(".name")
    ]
    for kind, key in sorted(inputs.get("needs", {}).items()):
        own += [] if key is None else coordinates(below(kind, key), below)
    return own


def _changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        before, after = old.get(name, "absent"), new.get(name, "absent")
        if before != after:
            yield f"{name}: {_short(before)} -> {_short(after)}"


def _short(value: Json) -> str:
    """Return a value as one reads it; a key or digest by its first twelve digits."""
    text = str(value)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def flat(value: Json, prefix: str = "") -> dict[str, Json]:
    """Name every leaf of nested mappings by its dotted path."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    leaves: dict[str, Json] = {}
    for key, inner in value.items():
        leaves |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return leaves
