"""What every plug-in has: typed parameters, defaults that can be written down, a source."""

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import ClassVar, get_origin

from bench.catalogue import build, load_class, rebuild, resolved
from bench.cell import Json
from bench.conformance.subject import Subject, require
from bench.contract import AbstractTrained
from bench.errors import UserError

REFERENCE = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4,9}/\S+")
NONSENSE: Json = [{"no": "parameter", "is": ["like", "this"]}]


def parameters_are_keywords(subject: Subject) -> None:
    """It is a frozen dataclass whose fields are given by keyword, and a hashable value."""
    cls = type(subject.plugin)
    positional = [field.name for field in fields(cls) if not field.kw_only]  # type: ignore[arg-type]
    require(
        not positional,
        f"the parameters {', '.join(positional)} can be given by position",
        "Decorate the class with @dataclass(frozen=True, kw_only=True).",
    )
    try:
        hash(subject.plugin)
    except TypeError as error:
        require(
            False,
            f"it cannot be hashed ({error})",
            "Use tuples for lists, and leave eq and __hash__ to the dataclass.",
        )


def parameters_are_typed(subject: Subject) -> None:
    """A mistyped or misspelt parameter is refused when a suite is planned."""
    params = resolved(subject.kind, subject.name, subject.plugin)["params"]
    for name, value in params.items():
        for wrong in _wrong_values(value):
            require(
                _refused(subject, params | {name: wrong}),
                f"the parameter {name} accepts {json.dumps(wrong)} (its value here is"
                f" {json.dumps(value)})",
                f"Annotate {name} with what it may be: PositiveInt, PositiveFloat, Literal[...],"
                " from pydantic and typing.",
            )
    require(
        _refused(subject, params | {"misspelt_parameter": 1}),
        "a parameter that does not exist is accepted",
        "Leave __pydantic_config__ as AbstractPlugin has it: extra='forbid', strict=True.",
    )


def _wrong_values(value: Json) -> Iterator[Json]:
    yield NONSENSE
    if isinstance(value, int | float):
        yield "12"
    if isinstance(value, str):
        yield 12.5


def _refused(subject: Subject, params: Json) -> bool:
    try:
        build(subject.kind, subject.name, params, subject.title)
    except UserError:
        return True
    return False


def parameters_are_annotated(subject: Subject) -> None:
    """Every attribute of the class is a parameter or says that it is not one (ClassVar)."""
    cls = type(subject.plugin)
    known = {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
    loose = [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and name not in known and not _is_code(value)
    ]
    require(
        not loose,
        f"{', '.join(loose)} has no annotation, so no suite can set it",
        "Write `name: type = default` for a parameter, `name: ClassVar[type] = value` otherwise.",
    )


def _is_code(value: object) -> bool:
    return callable(value) or isinstance(value, property | classmethod | staticmethod)


def what_is_asked_for_is_there(subject: Subject) -> None:
    """It declares every attribute that the contract names, as what the contract says it is."""
    cls, names = type(subject.plugin), {field.name for field in fields(type(subject.plugin))}  # type: ignore[arg-type]
    for base in cls.__mro__:
        if not base.__module__.startswith("bench.contract."):
            continue
        for name, kind in inspect.get_annotations(base).items():
            require(
                hasattr(subject.plugin, name),
                f"{name} is missing, which {base.__name__} asks for",
                f"Declare it in the class: see {base.__name__} in bench/contract.",
            )
            origin: object = get_origin(kind)
            require(
                origin is not ClassVar or name not in names,
                f"{name} is a parameter, but it is a claim about the whole method",
                f"Annotate it as ClassVar: {name}: ClassVar[...] = ...",
            )


def defaults_can_be_written_down(subject: Subject) -> None:
    """Its parameters are JSON, and the plug-in made of them again is the same one."""
    described = resolved(subject.kind, subject.name, subject.plugin)
    try:
        described = json.loads(json.dumps(described, allow_nan=False))
        again = rebuild(subject.kind, described)
    except (ValueError, UserError) as error:
        require(
            False,
            f"its parameters {described['params']} cannot be read back: {error}",
            "Use finite numbers, text, booleans, None and tuples of them, and defaults that fit"
            " their own annotation.",
        )
    require(
        again == subject.plugin and resolved(subject.kind, subject.name, again) == described,
        f"read back from its parameters it is another: {again}, not {subject.plugin}",
        "Keep parameters as they were given: do not change them in __post_init__.",
    )


def the_source_is_named(subject: Subject) -> None:
    """Its reference is an arXiv number or a DOI, and its revision a number from 1."""
    reference, revision = subject.plugin.reference, subject.plugin.revision
    require(
        isinstance(reference, str) and REFERENCE.fullmatch(reference),
        f"its reference is {reference!r}",
        "The bibliography is made from it: write arXiv:1703.03400 or doi:10.1126/science.aab3050.",
    )
    require(
        type(revision) is int and revision > 0,
        f"its revision is {revision!r}",
        "Write revision: ClassVar[int] = 1, and raise it when its numbers change on purpose.",
    )


def the_summary_is_a_sentence(subject: Subject) -> None:
    """The first line of its docstring is one sentence, which lists and reports show."""
    cls = load_class(subject.kind, subject.name)
    first = inspect.cleandoc(cls.__doc__ or "").split("\n")[0]
    require(
        first.endswith(".") and not first.startswith(f"{cls.__name__}("),
        f"the first line of its docstring is {first!r}",
        'Begin with one line that says what it does and ends with a full stop: """Name ... .""".',
    )


def the_optimizer_can_be_set(subject: Subject) -> None:
    """Where the engine trains it: a known optimizer, a positive rate, a schedule of factors."""
    plugin = subject.plugin
    if not isinstance(plugin, AbstractTrained):
        return
    require(
        plugin.optimizer in ("adam", "sgd"),
        f"its optimizer is {plugin.optimizer!r}",
        "Write optimizer: ClassVar[...] = 'adam' or 'sgd'.",
    )
    require(
        isinstance(plugin.rate, float) and 0 < plugin.rate < float("inf"),
        f"its rate is {plugin.rate!r}",
        "Write rate: PositiveFloat = 1e-3 or what the method's authors used.",
    )
    for progress in (0.0, 0.5, 0.999):
        factor = plugin.schedule(progress)
        require(
            isinstance(factor, float) and 0 <= factor < float("inf"),
            f"schedule({progress}) is {factor!r}",
            "Return the factor on rate as a float from 0: 1.0 for none.",
        )
