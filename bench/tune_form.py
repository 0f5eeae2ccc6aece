"""How rows are tuned: what a suite's ``tune`` may say, and what it comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, with_config
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from bench.cell import Json
from bench.errors import UserError
from bench.space import OneOf, Reals, Space, Whole
from bench.strict_yaml import Places, describe
from bench.suite_values import Count, Score, Seeds, mistake

Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["none", "halving", "hyperband"]


@dataclass(frozen=True, kw_only=True)
class Tune:
    """How the parameters of every row are tuned, all rows alike.

    ``space`` maps ``meta/maml`` and its like to what is tuned of it, in the place of what the
    plug-in declares.
    """

    trials: int = 20  # of each row; the first is the row as it stands
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    score: Literal["auto"] | Score = "auto"  # auto: pseudo_val for rows that saw no label
    seeds: tuple[int, ...] = (1000,)  # of the trials' trainings: none of the suite's
    seed: int = 0  # of the sampler
    parallel: int = 1  # trials of a row that are asked for at once
    points: int = 4  # of a range, in a grid
    episodes: int = 200  # of the validation split, for each of the suite's shots
    queries: int = 15
    cluster_size: int = 60  # examples of a pseudo-class, about
    space: Mapping[str, Mapping[str, Space]] = field(default_factory=dict)

    @property
    def independent(self) -> bool:
        """Whether no trial depends on another."""
        return self.sampler != "tpe" and self.pruner == "none"


def as_space(value: Json) -> Space:
    """Read ``{low, high, log}`` as a range, of whole numbers where both bounds are, or a list."""
    try:
        if isinstance(value, list):
            return OneOf(values=tuple(value))
        if _is_range(value):
            whole = type(value["low"]) is int and type(value["high"]) is int
            return Whole(**value) if whole else Reals(**value)
    except ValueError as error:
        raise mistake(str(error), WANTED) from error
    raise mistake(describe(value), WANTED)


def _is_range(value: Json) -> bool:
    """Whether a mapping holds two numbers as bounds, and nothing else but ``log``."""
    return (
        isinstance(value, dict)
        and {"low", "high"} <= value.keys() <= _BOUNDS
        and all(type(value[name]) in (int, float) for name in ("low", "high"))
        and type(value.get("log", False)) is bool
    )


WANTED = "Write {low: ..., high: ..., log: true}, or a list of values."
_BOUNDS = {"low", "high", "log"}
_RANGE = {
    "type": "object",
    "properties": {
        "low": {"type": "number"},
        "high": {"type": "number"},
        "log": {"type": "boolean"},
    },
    "required": ["low", "high"],
    "additionalProperties": False,
}
AskedSpace = Annotated[
    Json,
    BeforeValidator(as_space),
    WithJsonSchema({"anyOf": [{"type": "array", "minItems": 2}, _RANGE]}),
]


@with_config(ConfigDict(extra="forbid", strict=True))
class AskedTune(TypedDict, total=False):
    """How every row's parameters are tuned before the rows are compared."""

    trials: Annotated[Count, Field(description="Of each row; the first is the row as it stands.")]
    sampler: Annotated[Sampler, Field(description="Where trials come from.")]
    pruner: Annotated[Pruner, Field(description="Ends trials that lag after a part of training.")]
    score: Annotated[
        Literal["auto", "label_val", "pseudo_val"],
        Field(description="auto: pseudo_val for rows that saw no label, label_val for others."),
    ]
    seeds: Annotated[Seeds, Field(description="Of the trials' trainings: none of the suite's.")]
    seed: Annotated[int, Field(ge=0, description="Of the sampler.")]
    parallel: Annotated[Count, Field(description="Trials of a row that are asked for at once.")]
    points: Annotated[int, Field(ge=2, description="Of a range, in a grid.")]
    episodes: Annotated[Count, Field(description="Of the validation split, for each shots.")]
    queries: Annotated[Count, Field(description="Query examples of each class.")]
    cluster_size: Annotated[Count, Field(description="Examples of a pseudo-class, about.")]
    space: Annotated[
        dict[str, dict[str, AskedSpace]],
        Field(description="meta/maml: {inner_rate: {low, high, log}}, for its own."),
    ]


def read_tune(asked: Mapping[str, Json], places: Places) -> Tune | None:
    """Return how rows are tuned; None without it."""
    if "tune" not in asked:
        for index, variant in enumerate(asked.get("variants", ())):
            if "trials" in variant:
                works = "Write tune as well, or leave it out."
                raise UserError(places.where("variants", index, "trials"), "no tune", works)
        return None
    if "held_out" in asked:
        found = "tune beside held_out, whose tasks choose a rate of their own"
        raise UserError(places.where("tune"), found, "Write two suites.")
    own = asked["tune"]
    seeds = list(own.get("seeds", ()))
    if len(set(seeds)) < len(seeds):
        raise UserError(places.where("tune", "seeds"), "a seed that stands twice", "Remove it.")
    tune = Tune(**{**own, **({"seeds": tuple(own["seeds"])} if "seeds" in own else {})})
    for index, variant in enumerate(asked.get("variants", ())):
        if variant.get("tuned_on") == "label_val" and tune.score == "pseudo_val":
            found = "parameters from validation labels, which no other score takes back"
            works = "Leave it out, or tune with score: auto."
            raise UserError(places.where("variants", index, "tuned_on"), found, works)
    if tune.pruner != "none" and tune.sampler == "grid":
        works = "Use sampler: random or tpe, or pruner: none."
        raise UserError(places.where("tune", "pruner"), "a grid that is pruned", works)
    return tune


def refuse_known_seeds(tune: Tune | None, seeds: Sequence[int], where: str) -> None:
    """Refuse to tune on seeds that results are to be reported on (UserError)."""
    both = sorted(set(seeds) & set(tune.seeds)) if tune else []
    if both:
        found = f"the seeds {', '.join(map(str, both))} would be tuned on and reported"
        raise UserError(where, found, "Use seeds of its own, such as [1000].")
