"""What ``bench list`` prints: plug-ins as their source describes them; none is imported."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from bench.catalogue import KINDS, Entry, entries, find, split_name
from bench.errors import UserError, suggest


def listing(what: str | None) -> str:
    """Return what ``bench list`` prints: all plug-ins, those of a kind, or one in full.

    Raises:
        UserError: no such kind or plug-in.
    """
    if what and "/" in what:
        return _in_full(*split_name(what))
    if what and what not in KINDS:
        raise UserError(repr(what), "no such kind", suggest(what, KINDS))
    lines = []
    for kind in [what] if what else KINDS:
        width = max(len(name) for name in entries(kind))
        for name, entry in entries(kind).items():
            package = "" if entry.package == "bench" else f" [{entry.package}]"
            lines.append(f"{kind}/{name:<{width}}  {describe(entry).summary}{package}")
    return "\n".join(lines)


def _in_full(kind: str, name: str) -> str:
    entry = find(kind, name, f"{kind}/{name}")
    described = describe(entry)
    lines = [f"{kind}/{name}: {described.summary}"]
    lines += [f"  source: {described.reference}"] if described.reference else []
    lines += [f"  package: {entry.package} ({entry.origin})"]
    lines += [f"  {key}: {text}" for key, text in described.parameters.items()]
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a plug-in's source says of it, read without importing it."""

    summary: str
    reference: str
    parameters: Mapping[str, str]  # name -> "type = default", as written


def describe(entry: Entry) -> Description:
    """Read a plug-in's summary, reference and parameters from its source (``bench list``)."""
    nothing = Description(summary="(its source cannot be read)", reference="", parameters={})
    if entry.path is None or not entry.path.is_file():
        return nothing
    try:
        body = ast.parse(entry.path.read_bytes()).body
    except (SyntaxError, ValueError):  # a third party's file may be broken
        return nothing
    classes = [
        node for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    wanted = entry.origin.partition(":")[2]
    chosen = next((node for node in classes if not wanted or node.name == wanted), None)
    if chosen is None:
        return nothing
    parameters, reference = {}, ""
    for node in chosen.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        kind = ast.unparse(node.annotation)
        value = "" if node.value is None else f" = {ast.unparse(node.value)}"
        if not kind.startswith("ClassVar"):
            parameters[node.target.id] = kind + value
        elif node.target.id == "reference" and isinstance(node.value, ast.Constant):
            reference = str(node.value.value)
    summary = (ast.get_docstring(chosen) or "").split("\n")[0]
    return Description(summary=summary, reference=reference, parameters=parameters)
