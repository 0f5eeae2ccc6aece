"""Which keys a suite may hold; every mistake becomes one UserError."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal, Required

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from bench.cell import Json, Norm
from bench.errors import UserError, suggest
from bench.strict_yaml import Places, Route, describe
from bench.suite_values import (
    AXES,
    LABELS,
    NAME,
    Control,
    Count,
    Data,
    Init,
    Pick,
    Rule,
    Scenario,
    Score,
    Seeds,
    Several,
    Ways,
    as_auxiliary,
    as_members,
    as_selection,
    is_by_class,
    mistake,
    not_empty,
    row_name,
    whole_selection,
)
from bench.tune_form import AskedTune

_exact = with_config(ConfigDict(extra="forbid", strict=True))


def _one_unit(budget: "AskedBudget") -> "AskedBudget":
    for phase in ("pretrain", "metatrain"):
        if {f"{phase}_examples", f"{phase}_steps"} <= budget.keys():
            raise mistake(f"both {phase}_examples and {phase}_steps", "Keep one of the two.")
    return budget


@_exact
class AskedAuxiliary(TypedDict, total=False):
    """A self-supervised loss added to the loss of meta-training."""

    pretext: Required[Pick]
    weight: Annotated[float, Field(gt=0, description="1.0 unless given.")]


Auxiliary = Annotated[
    AskedAuxiliary,
    BeforeValidator(as_auxiliary, json_schema_input_type=AskedAuxiliary | Literal["none"]),
]


@_exact
class AskedSelection(TypedDict, total=False):
    """A rule that picks the weights that are tested; ``RULES`` says what each has, by default."""

    name: Required[Rule]
    snapshots: Annotated[int, Field(ge=2, le=1000, description="Equally spaced in training.")]
    batches: Annotated[Count, Field(description="Of the validation split, in a training loss.")]
    episodes: Annotated[Count, Field(description="Of the validation split; ways are the suite's.")]
    shots: Annotated[Count, Field(description="Support examples of each class.")]
    queries: Annotated[Count, Field(description="Query examples of each class.")]
    steps: Annotated[int, Field(ge=0, description="Of adaptation, unless the method fixes them.")]
    cluster_size: Annotated[Count, Field(description="Examples of a pseudo-class, about.")]


Selection = Annotated[
    AskedSelection,
    BeforeValidator(as_selection, json_schema_input_type=AskedSelection | Rule),
    AfterValidator(whole_selection),
]


@_exact
class AskedBudget(TypedDict, total=False):
    """Examples passed forward in training, or optimizer steps: one of the two for each phase."""

    pretrain_examples: Count
    pretrain_steps: Count
    metatrain_examples: Count
    metatrain_steps: Count


@_exact
class AskedPlanner(TypedDict, total=False):
    """The cross-entropy method that acts by an adapted model."""

    horizon: Annotated[Count, Field(description="Steps that are looked ahead.")]
    population: Annotated[int, Field(ge=2, description="Plans that are tried in a round.")]
    elites: Annotated[int, Field(ge=2, description="The best, around which new ones are drawn.")]
    iterations: Annotated[Count, Field(description="Rounds before each step.")]
    real_steps: Annotated[Count, Field(description="Taken in the true environment.")]


@_exact
class AskedEvaluate(TypedDict, total=False):
    """How every variant is tested."""

    episodes: Annotated[Count, Field(description="Test episodes, shared by all variants.")]
    queries: Annotated[Count, Field(description="Query examples of each class.")]
    test_steps: Annotated[Count, Field(description="Adaptation steps before accuracy counts.")]
    rates: Annotated[
        list[Annotated[float, Field(gt=0)]],
        Field(min_length=1, description="With held_out or a protocol: one of them is chosen."),
    ]
    rate_tasks: Annotated[Count, Field(description="Tasks or streams to choose it on.")]
    protocol: Annotated[
        Literal["continual", "control"],
        Field(description="A test that is not on episodes: along a stream, or by control."),
    ]
    groups: Annotated[int, Field(ge=2, description="Of classes that a stream brings.")]
    scenario: Annotated[Scenario, Field(description="What a stream brings, and is asked.")]
    domains: Annotated[Pick, Field(description="The pretext whose classes are a stream's domains.")]
    planner: Annotated[AskedPlanner, Field(description="The cross-entropy method of control.")]


@_exact
class AskedPattern(TypedDict, total=False):
    """Axes, each with one value; as a baseline, those of exactly one variant."""

    data: Annotated[Data, Field(description="Where examples come from; or train and test.")]
    encoder: Annotated[Pick, Field(description="The network, such as conv4.")]
    pretext: Annotated[Pick, Field(description="What the encoder is pre-trained on, or none.")]
    init: Annotated[Init, Field(description="Where training starts, such as scratch or pretext.")]
    tasks: Annotated[Pick, Field(description="Where meta-training episodes come from.")]
    auxiliary: Annotated[Auxiliary, Field(description="A loss added in meta-training, or none.")]
    meta: Annotated[Pick, Field(description="The meta-learning algorithm, or none.")]
    strategy: Annotated[Pick, Field(description="How a stream is learned, with its protocol.")]


class AskedOne(AskedPattern, total=False):
    """What the top level and a variant may both hold."""

    ways: Annotated[Ways, Field(description="Classes of a test episode; 5 unless given.")]
    augment: Annotated[Pick, Field(description="The policy by which views are made.")]
    norm: Annotated[Norm, Field(description="Whose batch statistics a prediction uses.")]
    selection: Annotated[Selection, Field(description="Which weights are tested.")]
    budget: Annotated[AskedBudget, AfterValidator(_one_unit), Field(description="Training.")]


@_exact
class AskedVariant(AskedOne, total=False):
    """One more row: inherits the top level, seeds and shots, but no axis of the grid."""

    label: Annotated[str, AfterValidator(row_name), Field(description="Names the row.")]
    trials: Annotated[Count, Field(description="Of this row's tuning, in place of all rows'.")]
    tuned_on: Annotated[Score, Field(description="What its parameters were chosen by before.")]


@_exact
class AskedGrid(TypedDict, total=False):
    """Values of which every combination is made; one value may stand without its list."""

    data: Several[Data]
    encoder: Several[Pick]
    pretext: Several[Pick]
    init: Several[Init]
    tasks: Several[Pick]
    auxiliary: Several[Auxiliary]
    meta: Several[Pick]
    strategy: Several[Pick]
    ways: Several[Ways]
    augment: Several[Pick]
    norm: Several[Norm]
    selection: Several[Selection]
    shots: Several[Count]
    seeds: Seeds


Members = Annotated[list[str], BeforeValidator(as_members, json_schema_input_type=str | list[str])]


Row = Annotated[
    Annotated[str, Tag("label")]
    | Annotated[AskedPattern, AfterValidator(not_empty), Tag("pattern")],
    Discriminator(lambda value: "pattern" if isinstance(value, dict) else "label"),
]


@_exact
class AskedBaseline(TypedDict, total=False):
    """The row each class of labels is compared with."""

    none: Row
    validation: Row
    train: Row


@_exact
class AskedSuite(AskedOne, total=False):
    """A suite of meta-ssl-bench: one question."""

    name: Required[Annotated[str, Field(pattern=NAME, description="Names report and plan.")]]
    shots: Annotated[Several[Count], Field(description="Support examples of each class.")]
    seeds: Annotated[Seeds, Field(description="5 means 0 to 4; a list is taken as it is.")]
    evaluate: Annotated[AskedEvaluate, Field(description="Test episodes and steps.")]
    margin: Annotated[float, Field(gt=0, lt=1, description="Accuracies this close are equal.")]
    grid: Annotated[AskedGrid, AfterValidator(not_empty), Field(description="Combinations.")]
    variants: Annotated[list[AskedVariant], Field(min_length=1, description="Further rows.")]
    baseline: Annotated[
        Annotated[Row, Tag("bare")] | Annotated[AskedBaseline, Tag("by class")],
        Discriminator(lambda value: "by class" if is_by_class(value) else "bare"),
        Field(description="A label, a control or a pattern of axes; or one per class of labels."),
    ]
    controls: Annotated[
        list[Control],
        Field(min_length=1, description="Rows that every comparison should survive."),
    ]
    held_out: Annotated[
        list[Members],
        Field(min_length=1, description="Members of the family kept out of training, then met."),
    ]
    tune: Annotated[AskedTune, Field(description="Tune every row before it is compared.")]


KEYS = {
    "": set(AskedSuite.__annotations__),
    "grid": set(AskedGrid.__annotations__),
    "variants": set(AskedVariant.__annotations__),
    "budget": set(AskedBudget.__annotations__),
    "evaluate": set(AskedEvaluate.__annotations__),
    "planner": set(AskedPlanner.__annotations__),
    "auxiliary": set(AskedAuxiliary.__annotations__),
    "selection": set(AskedSelection.__annotations__),
    "baseline": {*AskedBaseline.__annotations__, *AXES},
    "tune": set(AskedTune.__annotations__),
}  # what may stand under a key; elsewhere the axes of a pattern


@cache
def _form() -> TypeAdapter[AskedSuite]:
    return TypeAdapter(AskedSuite)


def schema() -> dict[str, Json]:
    """Return the JSON schema of a suite, for editors."""
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Suite"}
    return _form().json_schema() | title


def check(written: Mapping[str, Json], places: Places) -> dict[str, Json]:
    """Return the values of a suite in their checked form: names as mappings, lists as lists.

    Raises:
        UserError: the first mistake, by line.
    """
    try:
        return dict(_form().validate_python(written))
    except ValidationError as error:
        problems = sorted(error.errors(include_url=False), key=lambda p: places.line(*p["loc"]))
        found, works = _words(problems[0], places)
        more = f" (And {len(problems) - 1} more.)" if len(problems) > 1 else ""
        raise UserError(places.where(*problems[0]["loc"]), found, works + more) from error


def _words(problem: ErrorDetails, places: Places) -> tuple[str, str]:
    kind, value, last = problem["type"], problem["input"], str(problem["loc"][-1])
    if kind == "mistake":
        return problem["ctx"]["found"], problem["ctx"]["works"]
    if kind == "extra_forbidden":
        return f"unknown key {last!r}", _advice(last, places.known(problem["loc"]))
    if kind == "missing":
        return f"{last} is missing", f"Write {last}: and its value."
    if kind == "literal_error" and isinstance(value, str):
        return describe(value), suggest(value, re.findall("'([^']*)'", problem["ctx"]["expected"]))
    works = re.sub("^(Input|String|List) should", "It should", problem["msg"])
    works = works.replace("valid dictionary", "mapping").replace("a valid string", "text")
    return describe(value), works.removesuffix(" after validation, not 0") + "."


def _advice(key: str, known: Route) -> str:
    parent = next((step for step in reversed(known[:-1]) if isinstance(step, str)), "")
    if parent in {"grid", "variants"} and key in KEYS[""]:
        return "It belongs at the top level."
    if parent == "baseline" and key in AXES:
        return f"Write axes alone, or classes of labels alone: {', '.join(LABELS)}."
    return suggest(key, KEYS.get(parent, AXES))
