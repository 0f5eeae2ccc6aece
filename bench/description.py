"""What a plug-in's source says of it: summary, parameters, claims; read without importing it."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bench import space
from bench.catalogue import Entry

PACKAGE = Path(__file__).parent
CLAIMS = (
    *("norm", "transductive", "frozen_encoder"),
    *("uses_labels", "guesses_classes", "augments", "views", "validates", "values", "keeps_head"),
    *("oracle", "rated"),
)
FOLLOWS = "follows from the parameters"  # a claim that is a property
SPACES = {"Reals": space.Reals, "Whole": space.Whole, "OneOf": space.OneOf}
FOR_TOOLS = ("type:", "noqa", "fmt:")  # comments that are not for readers


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A hyper-parameter as written: its type, its default ("" for none), the comment beside it."""

    kind: str
    default: str
    comment: str


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Within which bounds tuning may set a parameter, in words, and the comment beside them."""

    within: str
    comment: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a plug-in's source says of it; ``text`` is the whole docstring of its class.

    ``tuned``: the parameters that tuning may change; with ``tuned_follows`` it depends on other
    parameters which of them.
    """

    text: str
    reference: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    tuned: Mapping[str, Tuned] = field(default_factory=dict)
    tuned_follows: bool = False

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.text.split("\n")[0]


def describe(entry: Entry) -> Description:
    """Read a plug-in's docstring, reference, parameters and claims from its source."""
    nothing = Description(text="(its source cannot be read)")
    if entry.path is None or not entry.path.is_file():
        return nothing
    try:
        module = _Module.read(entry.path)
    except (SyntaxError, ValueError, tokenize.TokenError):  # a third party's file may be broken
        return nothing
    wanted = entry.origin.partition(":")[2]
    public = [wanted] if wanted else [name for name in module.classes if not name.startswith("_")]
    if not public or public[0] not in module.classes:
        return nothing
    node = module.classes[public[0]]
    home, stated = _space(node, module)
    return Description(
        text=ast.get_docstring(node) or "",
        reference=_reference(node),
        parameters=_parameters(node, module),
        claims=_claims(node, module),
        tuned=dict(_tuned(stated, home)) if stated else {},
        tuned_follows=isinstance(stated, ast.FunctionDef),
    )


@dataclass(frozen=True, kw_only=True)
class _Module:
    """A source file: classes, names of types, where imported names come from, comments."""

    classes: Mapping[str, ast.ClassDef]
    types: Mapping[str, ast.expr]
    imported: Mapping[str, Path]  # only from this package
    comments: Mapping[int, str]  # line -> its comment
    pure: frozenset[int]  # the lines that hold nothing but a comment

    @classmethod
    @cache
    def read(cls, path: Path) -> "_Module":
        source = path.read_bytes()
        tree = ast.parse(source)
        tokens = list(tokenize.tokenize(io.BytesIO(source).readline))
        found = [one for one in tokens if one.type == tokenize.COMMENT]
        return cls(
            classes={node.name: node for node in tree.body if isinstance(node, ast.ClassDef)},
            types=dict(_types(tree)),
            imported=dict(_imported(tree)),
            comments={one.start[0]: _for_readers(one.string) for one in found},
            pure=frozenset(one.start[0] for one in found if one.line.lstrip().startswith("#")),
        )


def _types(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a module gives to types: ``Turned = Literal["train", "all"]``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
            yield from ((one.id, node.value) for one in node.targets if isinstance(one, ast.Name))


def _imported(tree: ast.Module) -> Iterator[tuple[str, Path]]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench."):
            _, *parts = str(node.module).split(".")
            place = PACKAGE.joinpath(*parts)
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if path.is_file():
                    yield from ((one.asname or one.name, path) for one in node.names)


def _for_readers(comment: str) -> str:
    parts = [part.strip() for part in re.split(r"\s#\s", comment.removeprefix("#"))]
    return " ".join(part for part in parts if part and not part.startswith(FOR_TOOLS))


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign, bool]]:
    """Yield each annotated name, its statement, and whether it belongs to the class alone."""
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            yield line.target.id, line, ast.unparse(line.annotation).startswith("ClassVar")


def _reference(node: ast.ClassDef) -> str:
    for name, line, of_class in _fields(node):
        if of_class and name == "reference" and isinstance(line.value, ast.Constant):
            return str(line.value.value)
    return ""


def _parameters(node: ast.ClassDef, module: _Module) -> dict[str, Parameter]:
    return {
        name: Parameter(
            kind=_written_out(line.annotation, module),
            default="" if line.value is None else ast.unparse(line.value),
            comment=_beside(line.lineno, line.end_lineno or line.lineno, module),
        )
        for name, line, of_class in _fields(node)
        if not of_class
    }


def _written_out(annotation: ast.expr, module: _Module) -> str:
    """Return a type as written, the module's own name for one replaced by what it stands for."""
    known = isinstance(annotation, ast.Name) and module.types.get(annotation.id)
    return ast.unparse(known or annotation)


def _beside(first: int, last: int, module: _Module) -> str:
    """Join the comments on these lines, and pure lines of comment right below them."""
    own = [module.comments.get(number, "") for number in range(first, last + 1)]
    while any(own) and last + 1 in module.pure:
        last += 1
        own.append(module.comments[last])
    return " ".join(one for one in own if one)


def _claims(node: ast.ClassDef, module: _Module) -> dict[str, str]:
    """Return the claims of a class, those of the classes that it derives from included."""
    found: dict[str, str] = {}
    for one, _ in _lineage(node, module):
        found = dict(_said(one)) | found
    return {name: found[name] for name in CLAIMS if name in found}


def _said(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name in CLAIMS:
            yield part.name, FOLLOWS
    for name, line, of_class in _fields(node):
        if of_class and name in CLAIMS and isinstance(line.value, ast.Constant):
            value = line.value.value
            if value is None:
                continue  # nothing is claimed
            yield name, {True: "yes", False: "no"}[value] if type(value) is bool else str(value)


def _space(node: ast.ClassDef, module: _Module) -> tuple[_Module, ast.stmt | None]:
    """Return what says in a class, or else in one that it derives from, what may be tuned."""
    for one, home in _lineage(node, module):
        for part in one.body:
            if isinstance(part, ast.FunctionDef) and part.name == "space":
                return home, part
        for name, line, of_class in _fields(one):
            if of_class and name == "space":
                return home, line
    return module, None


def _tuned(stated: ast.stmt, module: _Module) -> Iterator[tuple[str, Tuned]]:
    """Yield each parameter that a mapping within a statement or a property names."""
    for mapping in (node for node in ast.walk(stated) if isinstance(node, ast.Dict)):
        for key, value in zip(mapping.keys, mapping.values, strict=True):
            if isinstance(key, ast.Constant):
                comment = _beside(key.lineno, value.end_lineno or key.lineno, module)
                yield str(key.value), Tuned(within=_bounds(value), comment=comment)


def _bounds(value: ast.expr) -> str:
    """Return ``Reals(low=1, high=2)`` in words, anything else as it is written."""
    if isinstance(value, ast.Call) and (kind := SPACES.get(ast.unparse(value.func))):
        with suppress(TypeError, ValueError):  # computed, or no bounds: for the conformance suite
            given = {str(one.arg): ast.literal_eval(one.value) for one in value.keywords}
            return space.in_words(space.described(kind(**given)))
    return ast.unparse(value)


def _lineage(node: ast.ClassDef, module: _Module) -> Iterator[tuple[ast.ClassDef, _Module]]:
    """Yield a class, then what it derives from, as far as this file and this package tell.

    With each comes the source file that it stands in.
    """
    yield node, module
    for base in (ast.unparse(one) for one in node.bases):
        home = module
        while base not in home.classes and base in home.imported:  # a package hands names on
            home = _Module.read(home.imported[base])
        if base in home.classes:
            yield from _lineage(home.classes[base], home)
