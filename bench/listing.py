"""What ``bench list`` prints: plug-ins as their source describes them; none is imported."""

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from bench.catalogue import KINDS, Entry, entries, find, split_name
from bench.description import FOLLOWS, Description, describe
from bench.errors import UserError, suggest
from bench.published import Published, dashed, published

HEAD = """\
# Methods

Every plug-in of this package: what it does, its source, its parameters with their defaults and
where these come from, what it claims (which the conformance suite tests), what tuning may change
of it and within which bounds, and what others published for it.
`bench list --markdown > docs/methods.md` makes this page, and a test checks it.

Published accuracies stand here, and beside own ones in reports, never among them.
[Read the report](reports.md#published-numbers) says when the two may be compared.
"""


def listing(what: str | None) -> str:
    """Return what ``bench list`` prints: all plug-ins, those of a kind, or one in full.

    Raises:
        UserError: no such kind or plug-in.
    """
    if what and "/" in what:
        return _in_full(*split_name(what))
    lines = []
    for kind in _kinds(what):
        width = max(len(name) for name in entries(kind))
        for name, entry in entries(kind).items():
            package = "" if entry.package == "bench" else f" [{entry.package}]"
            lines.append(f"{kind}/{name:<{width}}  {describe(entry).summary}{package}")
    return "\n".join(lines)


def _kinds(what: str | None) -> Sequence[str]:
    if what and what not in KINDS:
        raise UserError(repr(what), "no such kind", suggest(what, KINDS))
    return [what] if what else KINDS


def _in_full(kind: str, name: str) -> str:
    entry = find(kind, name, f"{kind}/{name}")
    described = describe(entry)
    lines = [f"{kind}/{name}: {described.summary}"]
    lines += [f"  source: {described.reference}"] if described.reference else []
    lines += [f"  package: {entry.package} ({entry.origin})"]
    for key, one in described.parameters.items():
        lines.append(f"  {key}: {one.kind}" + (f" = {one.default}" if one.default else ""))
    if described.tuned:
        lines.append(f"  tuned{_follows(described)}:")
        lines += [f"    {key}: {one.within}" for key, one in described.tuned.items()]
    return "\n".join(lines)


def page(what: str | None) -> str:
    """Return the same as markdown: of this package, as docs/methods.md; of a kind; or of one.

    Raises:
        UserError: no such kind or plug-in.
    """
    if what and "/" in what:
        kind, name = split_name(what)
        return "\n\n".join(_section(find(kind, name, what)))
    parts = [] if what else [HEAD.rstrip()]
    for kind in _kinds(what):
        parts += [f"## {kind}", _about(kind)]
        for entry in entries(kind).values():
            if entry.entry_point is None:
                parts += _section(entry)
    return "\n\n".join(parts)


def _about(kind: str) -> str:
    """Return what the folder of a kind says of itself."""
    folder = Path(__file__).parent / kind
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_bytes())) or ""


def _section(entry: Entry) -> Iterator[str]:
    described = describe(entry)
    yield f"### {entry.kind}/{entry.name}"
    yield described.text
    if described.reference:
        yield f"Source: {_linked(described.reference)}."
    if described.claims:
        claims = (f"`{name}` {value}" for name, value in described.claims.items())
        yield f"Claims: {', '.join(claims)}."
    if described.parameters:
        yield _parameters(described)
    if described.tuned:
        yield f"Tuned{_follows(described)}:"
        yield _tuned(described)
    yield from _numbers(entry)


def _linked(reference: str) -> str:
    text = re.sub(r"arXiv:([\w./-]+\w)", r"[arXiv:\1](https://arxiv.org/abs/\1)", reference)
    return re.sub(r"\bdoi:(\S+[\w)])", r"[doi:\1](https://doi.org/\1)", text)


def _parameters(described: Description) -> str:
    rows = [
        [f"`{name}`", f"`{one.kind}`", f"`{one.default}`" if one.default else "", one.comment]
        for name, one in described.parameters.items()
    ]
    return _table(["parameter", "type", "default", "meaning, or source of the default"], rows)


def _tuned(described: Description) -> str:
    rows = [[f"`{name}`", one.within, one.comment] for name, one in described.tuned.items()]
    return _table(["parameter", "within", "reason, or source of the bounds"], rows)


def _follows(described: Description) -> str:
    return f", and which of these {FOLLOWS}" if described.tuned_follows else ""


def _numbers(entry: Entry) -> Iterator[str]:
    """Yield a table of published accuracies, a row each protocol."""
    own = [one for one in published() if _home(one) == (entry.kind, entry.name)]
    if own:
        yield "Published, in %:"
        header = ["data", "method", "encoder", "transductive", "source", "accuracy"]
        rows = [
            [*key, "; ".join(f"{one.ways}-way {one.shots}-shot {one.shown}" for one in numbers)]
            for key, numbers in groupby(own, key=_protocol)
        ]
        yield _table(header, rows)


def _home(one: Published) -> tuple[str, str]:
    """Return the plug-in that makes a published method what it is."""
    if one.tasks not in ("labels", "none"):
        return "tasks", one.tasks
    if one.pretext != "none":
        return "pretext", one.pretext
    return ("meta", one.meta) if one.init == "scratch" else ("init", one.init)


def _protocol(one: Published) -> tuple[str, ...]:
    encoder = [str(one.encoder["name"])]
    encoder += [f"{name} {dashed(value)}" for name, value in one.encoder.items() if name != "name"]
    source = ", ".join(part for part in (one.source, _linked(one.identifier)) if part)
    return one.data, one.method, ", ".join(encoder), one.transductive, source


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table; a bar in a cell is escaped."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])
