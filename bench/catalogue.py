"""From a name in a suite to a plug-in: this package's files, and entry points of any other."""

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cell import Json
from bench.errors import UserError, suggest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from bench.contract import AbstractPlugin

KINDS = ("pretext", "init", "meta", "tasks", "strategy", "encoder", "data", "augment", "modality")


CLAIMS = (
    "transductive",
    "norm",
    "frozen_encoder",
    "uses_labels",
    "second_order",
    "oracle",
    "rated",
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A name in a suite, and where its class lives; nothing is imported yet."""

    kind: str
    name: str
    origin: str  # the module, or module:Class of an installed package
    path: Path | None  # its source file, where that can be told without importing
    package: str = "bench"
    entry_point: EntryPoint | None = None


@cache
def entries(kind: str) -> Mapping[str, Entry]:
    """List every plug-in of a kind by name; imports none.

    Raises:
        UserError: two packages give one name.
    """
    found = {
        path.stem: Entry(kind=kind, name=path.stem, origin=f"bench.{kind}.{path.stem}", path=path)
        for path in sorted((Path(__file__).parent / kind).glob("[!_]*.py"))
    }
    for point in entry_points(group=f"bench.{kind}"):
        if point.name in found:
            raise UserError(
                f"{kind}/{point.name}",
                f"two packages give this name: {found[point.name].origin} and {point.value}",
                "Uninstall one, or rename its entry point.",
            )
        package = point.dist.name if point.dist else point.module
        found[point.name] = Entry(
            kind=kind,
            name=point.name,
            origin=point.value,
            path=_source_of(point),
            package=package,
            entry_point=point,
        )
    return found


def _source_of(point: EntryPoint) -> Path | None:
    """Return the file of an entry point's module, without importing its package."""
    if point.module in sys.modules:
        origin = sys.modules[point.module].__file__
        return Path(origin) if origin else None
    top, *rest = point.module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    if not rest:
        return Path(spec.origin)
    base = Path(spec.origin).parent.joinpath(*rest)
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def find(kind: str, name: str, where: str) -> Entry:
    """Look a plug-in up; raises UserError with the nearest names when there is none."""
    known = entries(kind)
    if name not in known:
        raise UserError(where, f"no {kind} is named {name!r}", suggest(name, known))
    return known[name]


@cache
def load_class(kind: str, name: str) -> type["AbstractPlugin"]:
    """Import a plug-in's class and check its outer form.

    Raises:
        UserError: it cannot be imported, or is not a concrete plug-in of its kind.
    """
    entry = find(kind, name, f"{kind}/{name}")
    where = f"{kind}/{name} ({entry.origin})"
    try:
        if entry.entry_point is not None:
            found = entry.entry_point.load()
        else:
            found = _only_class(importlib.import_module(entry.origin), where)
    except UserError:
        raise
    except Exception as error:  # a third party's module may raise anything while it is imported
        raise UserError(
            where, f"it cannot be imported: {type(error).__name__}: {error}", "Mend the package."
        ) from error
    return _checked(found, kind, where)


def _only_class(module: object, where: str) -> object:
    name = getattr(module, "__name__", "")
    classes = [
        cls
        for cls_name, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == name and not cls_name.startswith("_")
    ]
    if len(classes) != 1:
        names = ", ".join(cls.__name__ for cls in classes) or "none"
        raise UserError(where, f"public classes: {names}", "Define exactly one in the file.")
    return classes[0]


def _checked(found: object, kind: str, where: str) -> type["AbstractPlugin"]:
    from bench import contract

    bases: dict[str, type[contract.AbstractPlugin]] = {
        "pretext": _pretext_base(found),
        "init": contract.AbstractInit,
        "meta": contract.AbstractMeta,
        "tasks": contract.AbstractTasks,
        "strategy": contract.AbstractStrategy,
        "encoder": contract.AbstractEncoder,
        "data": contract.AbstractData,
        "augment": contract.AbstractAugment,
        "modality": contract.AbstractModality,
    }
    base = bases[kind]
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise UserError(
            where, f"{found!r} is not a {base.__name__}", f"Derive from {base.__name__}."
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise UserError(where, f"{found.__name__} does not define {missing}", "Define it.")
    if not is_dataclass(found) or not found.__dataclass_params__.frozen:
        raise UserError(
            where,
            f"{found.__name__} is not a frozen dataclass",
            "Decorate it with @dataclass(frozen=True, kw_only=True).",
        )
    lacking = _lacking(found)
    if lacking:
        works = f"Declare it: see {base.__name__} in bench/contract."
        raise UserError(where, f"{found.__name__} has no {', '.join(lacking)}", works)
    return found


def _pretext_base(found: object) -> type["AbstractPlugin"]:
    """Return what a pretext has to be: a search among pretexts stands under the same key."""
    from bench.contract import AbstractPretext, AbstractSearch

    searches = inspect.isclass(found) and issubclass(found, AbstractSearch)
    return AbstractSearch if searches else AbstractPretext


def _lacking(cls: type["AbstractPlugin"]) -> list[str]:
    """Return what the contract declares without a value, and a class leaves open."""
    declared = {
        name: None
        for base in cls.__mro__
        if base.__module__.startswith("bench.contract.")
        for name in inspect.get_annotations(base)
    }
    return [name for name in declared if name not in _fields(cls) and not hasattr(cls, name)]


def build(kind: str, name: str, params: Mapping[str, Json], where: str) -> "AbstractPlugin":
    """Make a plug-in from its parameters, typed and complete.

    Raises:
        UserError: no such plug-in, or a misspelt, mistyped or impossible parameter.
    """
    from pydantic import ValidationError

    entry = find(kind, name, where)
    cls = load_class(kind, name)
    _check_extra(cls, entry, where)
    try:
        context = {"build": partial(_nested, where)}
        return _adapter(cls).validate_json(json.dumps(params), context=context)
    except ValidationError as error:
        first = error.errors()[0]
        parts = map(str, first["loc"])  # those of no name or number are alternatives of its type
        key = ".".join(part for part in parts if part.isidentifier() or part.isdigit())
        known = sorted(_fields(cls))
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            found, works = f"{kind}/{name} has no parameter {key!r}", suggest(key, known)
        elif first["type"] == "missing":
            found, works = f"{kind}/{name} needs the parameter {key!r}", f"Give {key}."
        else:
            own = [one["msg"] for one in error.errors() if one["loc"][:1] == first["loc"][:1]]
            message = "; or ".join(dict.fromkeys(one.removeprefix("Value error, ") for one in own))
            what = key or f"{kind}/{name}"  # several parameters may be impossible together alone
            found, works = f"{what}: {first['input']!r}", f"{message}."
        raise UserError(where, found, works) from error
    except ValueError as error:  # raised by a plug-in's own check in __post_init__
        raise UserError(where, str(error), f"See `bench list {kind}/{name}`.") from error


def _check_extra(cls: type["AbstractPlugin"], entry: Entry, where: str) -> None:
    extra, module = cls.extra, lacking(cls)
    if module is not None:
        works = (
            f"Run uv pip install '{entry.package}[{extra}]'."
            if entry.entry_point
            else f"Run uv pip install -e '.[{extra}]' in the checkout, or see Extras in the README."
        )
        found = f"{entry.kind}/{entry.name} needs {module}, which is not installed"
        raise UserError(where, found, works)


def lacking(cls: type["AbstractPlugin"]) -> str | None:
    """Return the module that a plug-in's extra would bring and that is not installed, or None."""
    module = cls.brings or cls.extra
    return module if module is not None and importlib.util.find_spec(module) is None else None


def resolved(kind: str, name: str, plugin: "AbstractPlugin") -> dict[str, Json]:
    """Describe a plug-in as the keys hold it: name, revision, every parameter with its value.

    A field that came later is left out at the value that means what was meant without it.
    """
    params = parameters(plugin)
    later = {key for key, value in plugin.added.items() if params[key] == value}
    return {
        "name": name,
        "revision": plugin.revision,
        "params": {key: value for key, value in params.items() if key not in later},
    }


def parameters(plugin: "AbstractPlugin") -> dict[str, Json]:
    """Return every parameter of a plug-in with its value, as JSON."""
    context = {"describe": described}
    params: dict[str, Json] = _adapter(type(plugin)).dump_python(
        plugin, mode="json", context=context
    )
    return params


def _nested(where: str, kind: str, value: Json) -> "AbstractPlugin":
    """Make a plug-in that is a parameter of another: a name, a mapping, or what keys hold."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        works = f"Write the name of a {kind}, or {{name: ..., and parameters beside it}}."
        raise UserError(where, f"{value!r} is no {kind}", works)
    if value.keys() == {"name", "revision", "params"}:
        return build(kind, value["name"], value["params"], where)
    return build(kind, value["name"], {k: v for k, v in value.items() if k != "name"}, where)


def described(kind: str, plugin: "AbstractPlugin") -> dict[str, Json]:
    """Describe a plug-in that is a part of another, whose name its class tells."""
    cls = type(plugin)
    origins = (cls.__module__, f"{cls.__module__}:{cls.__qualname__}")
    name = next(name for name, entry in entries(kind).items() if entry.origin in origins)
    return resolved(kind, name, plugin)


@cache
def _adapter(cls: type["AbstractPlugin"]) -> "TypeAdapter[AbstractPlugin]":
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def rebuild(kind: str, described: Mapping[str, Json]) -> "AbstractPlugin":
    """Make the plug-in that ``resolved`` described."""
    return build(kind, described["name"], described["params"], f"{kind}/{described['name']}")


def card(kind: str, name: str, plugin: "AbstractPlugin") -> dict[str, Json]:
    """Describe a plug-in for the report: summary, source, revision, claims, parameters."""
    claims = {claim: getattr(plugin, claim) for claim in CLAIMS if hasattr(plugin, claim)}
    return {
        "summary": (inspect.getdoc(type(plugin)) or "").split("\n")[0],
        "reference": plugin.reference,
        "revision": plugin.revision,
        "package": entries(kind)[name].package,
        "claims": claims,
        "name": name,
        "params": parameters(plugin),
    }


def _fields(cls: type["AbstractPlugin"]) -> list[str]:
    return [field.name for field in fields(cls)]  # type: ignore[arg-type]  # no ClassVars


def split_name(what: str) -> tuple[str, str]:
    """Split ``meta/maml`` into its kind and name; raises UserError for another form."""
    kind, slash, name = what.partition("/")
    if kind not in KINDS or not slash:
        raise UserError(repr(what), "not KIND/NAME", suggest(kind, KINDS))
    return kind, name
