"""Writes a suite whose rows have the parameters that a tuning found: to publish, to run again."""

import json
import os
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from bench.budget import CEILING
from bench.cell import Json
from bench.errors import UserError
from bench.rows import Rows
from bench.store import write_atomic
from bench.suite import LAST, Suite
from bench.suite_values import ALWAYS, CONTROLS
from bench.variant import Variant

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # but for these, a word to YAML:
SPECIAL = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
AXES = ("data", "encoder", "pretext", "init", "tasks", "auxiliary", "meta", "augment")


def refuse_file(path: Path, suite: Suite) -> None:
    """Refuse a file that cannot be written, or is the suite itself (UserError)."""
    if os.path.exists(path) and os.path.samefile(path, suite.file):
        raise UserError(f"--write {path}", "the suite itself", "Name another file.")
    if os.path.isdir(path) or not os.path.isdir(path.parent):
        found = "a folder" if os.path.isdir(path) else f"there is no folder {path.parent}"
        raise UserError(f"--write {path}", found, "Name a file in a folder that is there.")


def write_tuned(path: Path, suite: Suite, rows: Rows, record: Json) -> None:
    """Write the suite: its tuned rows as variants, each with every parameter that was tuned.

    Raises:
        UserError: the file cannot be written, or is the suite itself.
    """
    refuse_file(path, suite)
    try:
        write_atomic(path, ("\n".join(_lines(suite, rows, record)) + "\n").encode())
    except OSError as error:
        found = f"it cannot be written ({error.strerror})"
        raise UserError(f"--write {path}", found, "Name a file that you may write.") from error


def _lines(suite: Suite, rows: Rows, record: Json) -> Iterator[str]:
    written = [one for one in rows.variants if _is_written(one)]
    left = dict.fromkeys(one.control for one in rows.variants if one.control and not one.tuned_on)
    yield f"# {suite.name}, each row with the parameters that its tuning found:"
    yield f"# `bench tune {suite.file} --write ...`, {record['trials']} trials a row,"
    yield f"# sampler {record['sampler']} (pruner: {record['pruner']}), scored on validation:"
    yield "# tuned_on says by what."
    yield f"name: {re.sub('[^A-Za-z0-9_-]', '_', suite.name)}_tuned"
    yield f"shots: {_flow(list(suite.shots))}"
    yield f"seeds: {_flow(list(suite.seeds))}"
    tuned = {one.label for one in rows.variants if one.tuned_on}
    own = asdict(suite.evaluate)
    yield f"evaluate: {_flow({key: own[key] for key in ('episodes', 'queries', 'test_steps')})}"
    yield f"margin: {suite.margin!r}"
    yield f"baseline: {_flow({of: _label(name, tuned) for of, name in rows.baseline.items()})}"
    if controls := [name for name in left if name != ALWAYS]:
        yield f"controls: {_flow(controls)}"
    if written:
        yield "variants:"
    for one in written:
        for number, (key, value) in enumerate(_fields(one, tuned).items()):
            yield f"  {' ' if number else '-'} {key}: {_flow(value)}"


def _is_written(variant: Variant) -> bool:
    """Whether a row is a variant of its own; others come with their row, or as a control."""
    own = bool(variant.tuned_on) or not variant.control or variant.named
    return own and not variant.beside


def _label(name: str, tuned: Container[str]) -> str:
    """Return how a row is called: a control that is tuned is a control no more."""
    return f"{name}, tuned" if name in CONTROLS and name in tuned else name


def _fields(variant: Variant, tuned: Container[str]) -> dict[str, Json]:
    """Return a row as ``variants`` has it, its budget as it was scaled."""
    fields: dict[str, Json] = {"label": _label(variant.label, tuned)}
    for axis in AXES:
        if axis == "data" and variant.elsewhere:
            sets = {"train": variant.trained, **variant.elsewhere}
            fields[axis] = {role: {"name": o.name, **o.given} for role, o in sets.items()}
        elif axis in variant.given:
            params = dict(variant.given[axis])
            named = axis != "auxiliary" and "checkpoint" not in params
            fields[axis] = {"name": variant.names[axis], **params} if named else params
    fields |= {"ways": variant.ways, "norm": variant.norm}
    if variant.selection != LAST:
        fields["selection"] = {"name": variant.selection.name, **variant.selection.params}
    spent = asdict(variant.budget)
    scale = spent.pop("scale")
    fields["budget"] = {
        key: max(1, int(value * scale + CEILING)) for key, value in spent.items() if value
    }
    return fields | ({"tuned_on": variant.tuned_on} if variant.tuned_on else {})


def _flow(value: Json) -> str:
    """Write a value in YAML's flow style; words are quoted where they could be read otherwise."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in SPECIAL:
        return value
    return json.dumps(value, ensure_ascii=False)
