"""A YAML file as plain values, each with its line; what could be read two ways is refused.

YAML 1.2, without tags, anchors, aliases, merge keys, directives and second documents: ``no`` is
text, ``1e-3`` and ``5_000_000`` are numbers, and a key stands once.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from bench.cell import Json
from bench.errors import UserError, suggest

Route = tuple[str | int, ...]  # from the top of a file to a value: keys, and indices of lists
MOST_NESTED = 20
MOST_EXACT = 2**53  # a larger integer is not exact in JSON (RFC 8785)


@dataclass(frozen=True)
class Places:
    """Where each key and list item of a file stands."""

    file: str
    lines: dict[Route, int] = field(default_factory=lambda: {(): 1})

    def known(self, route: Route) -> Route:
        """Return the route without the steps that the file does not have."""
        found: Route = ()
        for step in route:
            if (*found, step) in self.lines:
                found = (*found, step)
        return found

    def line(self, *route: str | int) -> int:
        """Return the line of the nearest key or item on a route; the first line is 1."""
        return self.lines[self.known(route)]

    def where(self, *route: str | int, line: int | None = None) -> str:
        """Name a place as ``file:line: dotted.key[2]``; ``line`` is the route's unless given."""
        steps = [f"[{s}]" if isinstance(s, int) else f".{_word(s)}" for s in self.known(route)]
        key = "".join(steps).removeprefix(".")
        return f"{self.file}:{line or self.line(*route)}" + (f": {key}" if key else "")


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises:
        UserError: it is missing, a folder, unreadable, or not UTF-8.
    """
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        near = [str(other) for other in path.parent.glob("*.yaml")]
        works = suggest(str(path), near) if near else "Name a YAML file."
        raise UserError(str(path), "there is no such file", works) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}", "this is not UTF-8 text", "Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        found = f"it cannot be read ({reason})"
        raise UserError(str(path), found, "Name a YAML file.") from error


def parse(text: str, places: Places) -> dict[str, Json]:
    """Turn YAML whose top is a mapping into plain values; ``places`` learns the lines.

    Raises:
        UserError: it is not YAML, or holds what this module refuses.
    """
    try:
        _refuse_constructs(text, places)
        node = YAML(typ="safe", pure=True).compose(text)
    except (YAMLError, ValueError, OverflowError) as error:
        raise _not_yaml(error, text, places) from error
    if not isinstance(node, MappingNode):
        holds = "nothing" if node is None else describe(_plain(node, (), places))
        found = f"the file holds {holds}"
        raise UserError(places.where(), found, "Write a mapping that begins with name: my_suite.")
    return _mapping(node, (), places)


def describe(value: Json) -> str:
    """Say what a value is, shortly, in a user's words."""
    words = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return f"{str(value).lower()} (a boolean)"
        case str():
            return f"{words} (text)"
        case int() | float():
            return words
    kind = "list" if isinstance(value, list) else "mapping"
    return f"a {kind}, {words}" if value else f"an empty {kind}"


def _word(key: str) -> str:
    return key if key.replace("-", "_").isidentifier() and len(key) <= 60 else describe(key)


def _refuse_constructs(text: str, places: Places) -> None:
    depth = documents = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        documents += isinstance(event, DocumentStartEvent)
        found = _construct(event)
        if depth > MOST_NESTED:
            found = f"values nested more than {MOST_NESTED} deep"
        if documents > 1:
            found = "a second document"
        if found:
            where = places.where(line=event.start_mark.line + 1)
            raise UserError(where, found, "Write plain YAML, each value where it is used.")


def _construct(event: Event) -> str:
    anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
    if anchor:
        return f"an alias, *{anchor}" if isinstance(event, AliasEvent) else f"an anchor, &{anchor}"
    if tag:
        return f"a tag, {tag}"
    is_directive = getattr(event, "version", None) or getattr(event, "tags", None)
    return "a directive" if is_directive else ""


def _not_yaml(error: Exception, text: str, places: Places) -> UserError:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
    reason = str(getattr(error, "problem", None) or error).partition("\n")[0]
    where = places.where(line=line + 1)
    return UserError(where, f"this is not YAML: {reason}", "Mend it at or above this line.")


def _plain(node: Node, route: Route, places: Places) -> Json:
    if isinstance(node, MappingNode):
        return _mapping(node, route, places)
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            places.lines[*route, index] = item.start_mark.line + 1
        return [_plain(item, (*route, index), places) for index, item in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    return _scalar(node, places.where(*route))


def _mapping(node: MappingNode, route: Route, places: Places) -> dict[str, Json]:
    mapping: dict[str, Json] = {}
    for key_node, value in node.value:
        line = key_node.start_mark.line + 1
        where = places.where(*route, line=line)
        key = _key(key_node, where)
        if key in mapping:
            first = places.line(*route, key)
            found = f"the key {_word(key)} stands here again (first in line {first})"
            raise UserError(where, found, "Keep one.")
        places.lines[*route, key] = line
        mapping[key] = _plain(value, (*route, key), places)
    return mapping


def _key(node: Node, where: str) -> str:
    if node.value == "<<" and str(node.tag).endswith(":merge"):
        raise UserError(where, "a merge key, <<", "Write each value where it is used.")
    key = _scalar(node, where) if isinstance(node, ScalarNode) else None
    if not isinstance(key, str):
        found = describe(key) if isinstance(node, ScalarNode) else "a list or mapping"
        raise UserError(where, f"{found} as a key", "A key is text.")
    return key


def _scalar(node: ScalarNode, where: str) -> bool | int | float | str | None:
    kind = str(node.tag).rpartition(":")[2]
    if kind not in {"null", "bool", "int", "float", "str"}:
        raise UserError(where, f"{node.value!r} reads as a {kind}", "Put it in quotes.")
    try:
        node.value.encode()
        value = YAML(typ="safe", pure=True).constructor.construct_object(node)
    except (ValueError, OverflowError) as error:  # half a surrogate pair; thousands of digits
        raise UserError(where, f"unreadable text, {error}", "Write it plainly.") from error
    limit = MOST_EXACT if kind == "int" else sys.float_info.max
    if kind in {"int", "float"} and not abs(value) <= limit:
        raise UserError(where, f"{describe(value)} is too large or no number", "Use a finite one.")
    return value  # type: ignore[no-any-return]  # ruamel's constructor is not annotated
