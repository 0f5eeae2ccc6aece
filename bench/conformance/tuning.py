"""What every plug-in lets be tuned: parameters of its own, within bounds that all can be built."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from itertools import islice, product

from bench.catalogue import build, parameters, resolved
from bench.cell import Json
from bench.conformance.subject import Subject, require
from bench.contract import OneOf, Reals, Space, Whole
from bench.errors import UserError, suggest
from bench.space import described, in_words, landmarks

POINTS = 256  # built at most: all there are of five ranges


def what_is_tuned_is_a_parameter(subject: Subject) -> None:
    """What it lets be tuned are parameters of its own, and the defaults lie within the bounds."""
    defaults = {field.name: field.default for field in fields(type(subject.plugin))}  # type: ignore[arg-type]
    for name, space in _space(subject).items():
        require(
            name in defaults,
            f"space names {name}, which is no parameter",
            suggest(name, sorted(defaults)),
        )
        default = defaults[name]
        require(
            default is MISSING or space.holds(default),
            f"the default of {name}, {default!r}, is not within {in_words(described(space))}",
            f"Widen what space says of {name}: tuning begins with the default. Reals are for"
            " float, Whole for int.",
        )


def what_is_tuned_builds(subject: Subject) -> None:
    """It can be built at the corners and in the middle of what it lets be tuned, as anywhere."""
    space = _space(subject)
    params = resolved(subject.kind, subject.name, subject.plugin)["params"]
    for point in islice(_points(space), POINTS):
        words = json.dumps(point)
        try:
            made = build(subject.kind, subject.name, params | point, subject.title)
        except UserError as error:
            require(
                False,
                f"space lets {words} be tried, which cannot be built: {error}",
                "Narrow space to values, and combinations of them, that its annotations and"
                " __post_init__ accept; where other parameters decide, make it a property.",
            )
        kept = parameters(made)
        require(
            {name: kept[name] for name in point} == point and made.space == space,
            f"built at {words} it is {made}, to be tuned within {dict(made.space)}",
            "Keep parameters as they are given, and let space follow from none that it names: all"
            " trials of a row are of one space.",
        )


def _space(subject: Subject) -> Mapping[str, Space]:
    space = subject.plugin.space
    require(
        isinstance(space, Mapping),
        f"its space is {space!r}",
        "Write space: ClassVar[Mapping[str, Space]] = {'rate': Reals(low=1e-4, high=1e-1,"
        " log=True)}, or a property that returns such a mapping.",
    )
    for name, one in space.items():
        require(
            isinstance(one, Reals | Whole | OneOf),
            f"space says {one!r} of {name}",
            "Say Reals(low=..., high=...), Whole(low=..., high=...) or OneOf(values=(...)), from"
            " bench.contract.",
        )
    return space


def _points(space: Mapping[str, Space]) -> Iterator[dict[str, Json]]:
    """Yield every combination of each parameter's lowest, highest and middle value."""
    for values in product(*map(landmarks, space.values())):
        yield dict(zip(space, values, strict=True))
