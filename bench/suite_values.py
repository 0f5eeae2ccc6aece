"""The values that a suite's keys take, and how each is brought to one form."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import no_info_before_validator_function

from bench.cell import Json
from bench.errors import suggest
from bench.strict_yaml import describe

AXES = ("data", "encoder", "pretext", "init", "tasks", "auxiliary", "meta", "strategy")
ROLES: Mapping[str, str] = {"data": "train", "data.pretrain": "pretrain", "data.test": "test"}
"""The axes of data: the set that is trained on, and those of two roles that may have another."""
LABELS = ("none", "validation", "train")  # what a row's training and selection may have seen
Control = Literal[
    "random_init",
    "raw_neighbour",
    "scratch_support",
    "ssl_prototypes",
    "ssl_logistic",
    "supervised_logistic",
    "supervised_protonet",
    "joint_pretexts",
    "scratch_summed",
]
CONTROLS: tuple[str, ...] = get_args(Control)
ALWAYS: Control = "random_init"  # the floor that every row is judged against
Rule = Literal["last", "pretext_val", "pseudo_val", "label_val"]
_SNAPSHOTS = {"snapshots": 10}
_EPISODES = {**_SNAPSHOTS, "episodes": 100, "shots": 5, "queries": 15, "steps": 5}
RULES: Mapping[str, Mapping[str, int]] = {
    "last": {},
    "pretext_val": {**_SNAPSHOTS, "batches": 20},
    "pseudo_val": {**_EPISODES, "cluster_size": 60},
    "label_val": _EPISODES,
}
"""The rules by which the weights that are tested are selected: their parameters' defaults."""
MOST_SEEDS = 1000
NAME = "^[A-Za-z0-9][A-Za-z0-9_-]*$"


def mistake(found: str, works: str) -> PydanticCustomError:
    """Return the error that says what was found and what would work."""
    return PydanticCustomError("mistake", "{found}", {"found": found, "works": works})


def _as_mapping(value: Json) -> Json:
    """Write a bare name as a mapping, and see that a mapping has its name."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        works = "Write none, a name, or a mapping of name and parameters; several go under grid."
        raise mistake(describe(value), works)
    name = value.get("name")
    if not isinstance(name, str) or not name.strip():
        found = f"the name is {describe(name)}" if "name" in value else "the name is missing"
        raise mistake(found, "Write {name: ..., and parameters beside it}.")
    return value


def _as_data(value: Json) -> Json:
    """Write each set as a mapping: the one that there is, or one for each role."""
    if not isinstance(value, dict) or "name" in value or value.keys().isdisjoint(ROLES.values()):
        return _as_mapping(value)
    roles = tuple(ROLES.values())
    if unknown := [key for key in value if key not in roles]:
        raise mistake(f"unknown role {unknown[0]!r} of data", suggest(unknown[0], roles))
    works = "Write {train: ..., test: ...}, and pretrain: ... where pre-training has another set."
    if lacking := [role for role in ("train", "test") if role not in value]:
        raise mistake(f"data has no {lacking[0]}", works)
    return {role: _as_mapping(value[role]) for role in roles if role in value}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A rule and every parameter of it: which weights of the last trained stage are tested."""

    name: Rule
    params: Mapping[str, int]
    where: str = field(default="", compare=False)

    @property
    def described(self) -> dict[str, Json]:
        """The rule as JSON."""
        return {"name": self.name, "params": dict(self.params)}

    @property
    def is_last(self) -> bool:
        """Whether nothing is selected: the weights after the last step are tested."""
        return self.name == "last"


LAST = Selection(name="last", params={})
Score = Literal["label_val", "pseudo_val"]  # what parameters were chosen by


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Exactly one of examples and steps for each phase; both are multiplied by ``scale``."""

    pretrain_examples: int | None = None
    pretrain_steps: int | None = None
    metatrain_examples: int | None = None
    metatrain_steps: int | None = None
    scale: float = 1.0


Scenario = Literal["class", "task", "domain"]  # van de Ven and Tolias (2019), arXiv:1904.07734


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A test that is not on episodes of classes: along a stream, or by control.

    ``groups``: of a stream, 0 where they are the classes of ``domains``, a pretext that shows
    every example as each of them. ``planner``: of control.
    """

    name: Literal["continual", "control"]
    groups: int = 0
    scenario: Scenario = "class"
    domains: Json = None
    planner: Mapping[str, int] = field(default_factory=dict)
    where: str = field(default="", compare=False)  # the place of ``domains``


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Test episodes, queries of each class, and the adaptation step whose accuracy counts.

    An episode of a protocol is a whole stream, or an environment.
    """

    episodes: int = 600
    queries: int = 15
    test_steps: int = 10
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)  # of the steps that all starts take
    rate_tasks: int = 60  # kept for it, on which one of the rates is chosen
    protocol: Protocol | None = None


def as_selection(value: Json) -> Json:
    """Write a bare rule as a mapping, and see that the rule is one."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        raise mistake(describe(value), f"Write one of {', '.join(RULES)}, or a mapping of name.")
    if "name" not in value:
        raise mistake("the name is missing", "Write {name: ..., and parameters beside it}.")
    name = value["name"]
    if not isinstance(name, str) or name not in RULES:
        works = suggest(name, RULES) if isinstance(name, str) else f"Use one of {', '.join(RULES)}."
        raise mistake(describe(name), works)
    return value


def whole_selection(value: dict[str, Json]) -> dict[str, Json]:
    """Fill in what a rule leaves open; refuse what it has no use for, and what cannot be filled."""
    name, known = value["name"], RULES[value["name"]]
    surplus = next((key for key in value if key not in known and key != "name"), None)
    if surplus:
        works = f"It has {', '.join(known)}." if known else "It has none: write the name alone."
        raise mistake(f"{name} has no parameter {surplus!r}", works)
    whole = {**known, **value}
    size = whole.get("cluster_size")
    if size is not None and size < whole["shots"] + whole["queries"]:
        found = f"clusters of about {size} examples, but {whole['shots']} shots"
        works = "Write a larger cluster_size, or fewer shots and queries."
        raise mistake(f"{found} + {whole['queries']} queries of each", works)
    return {"name": name, "params": {key: whole[key] for key in known}}


def as_auxiliary(value: Json) -> Json:
    """Write ``none`` as the mapping that it stands for."""
    if value == "none":
        return {"pretext": "none"}
    if isinstance(value, str):
        raise mistake(describe(value), f"Write {{pretext: {value}, weight: 1.0}}, or none.")
    return value


def _as_init(value: Json) -> Json:
    """Write weights from a file as what they are: the init called checkpoint."""
    if isinstance(value, dict) and "checkpoint" in value and "name" not in value:
        value = {"name": "checkpoint", **value}
    return _as_mapping(value)


def _whole_init(value: dict[str, Json]) -> dict[str, Json]:
    """Check the words that name no plug-in."""
    if value["name"] in ("scratch", "pretext") and len(value) > 1:
        raise mistake(f"parameters of init {value['name']}", "It has none: write the name alone.")
    if value["name"] != "checkpoint":
        return value
    works = "Write {checkpoint: FILE, sha256: ...}; `bench export-model` prints the line."
    if not isinstance(value.get("checkpoint"), str):
        raise mistake(f"the file is {describe(value.get('checkpoint'))}", works)
    if not re.fullmatch("[0-9a-f]{64}", str(value.get("sha256"))):
        raise mistake(f"the sha256 is {describe(value.get('sha256'))}, not 64 hex digits", works)
    if value.get("labels", "none") not in LABELS:
        raise mistake(f"labels: {describe(value['labels'])}", f"Use one of {', '.join(LABELS)}.")
    if unknown := sorted(value.keys() - {"name", "checkpoint", "sha256", "labels"}):
        raise mistake(f"unknown key {unknown[0]!r}", suggest(unknown[0], ["sha256", "labels"]))
    return value


def _as_list(value: Json) -> Json:
    return value if isinstance(value, list) else [value]


def _as_seeds(value: Json) -> Json:
    """Write a count n as the seeds 0 to n-1."""
    is_count = type(value) is int and 1 <= value <= MOST_SEEDS
    if not is_count and not isinstance(value, list):
        raise mistake(describe(value), f"Write a count from 1 to {MOST_SEEDS}, or a list.")
    return list(range(value)) if is_count else value


def not_empty(value: dict[str, Json]) -> dict[str, Json]:
    """Refuse a mapping without keys."""
    if not value:
        raise mistake("an empty mapping", f"Name at least one of {', '.join(AXES)}.")
    return value


def row_name(value: str) -> str:
    """Refuse what cannot name a row of a table."""
    if value.strip() != value or not value or not value.isprintable() or len(value) > 80:
        raise mistake(describe(value), "Use one line of 1 to 80 characters, no space around it.")
    if value in CONTROLS:
        raise mistake(f"{value} is a control's name", "Choose another label.")
    return value


def is_by_class(value: Json) -> bool:
    """Whether a baseline names a row for each class of labels, not one row for all."""
    return isinstance(value, dict) and not value.keys().isdisjoint(LABELS)


def as_members(value: Json) -> Json:
    """Write one member that is held out as a list, and refuse one that stands twice."""
    members = [value] if isinstance(value, str) else value
    if not isinstance(members, list) or not members:
        raise mistake(describe(value), "Write a pretext's name, or a list of names.")
    if len(set(map(str, members))) < len(members):
        raise mistake(f"{describe(value)}, in which one stands twice", "Keep one of the two.")
    return members


class _OneOrMore:
    """Accept one item where a list may stand."""

    def __get_pydantic_core_schema__(self, kind: type, inner: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_before_validator_function(_as_list, inner(kind))

    def __get_pydantic_json_schema__(self, kind: CoreSchema, inner: GetJsonSchemaHandler) -> Json:
        return {"anyOf": [inner(kind)["items"], inner(kind)]}


T = TypeVar("T")
Several = Annotated[list[T], Field(min_length=1), _OneOrMore()]
_MAPPING = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
_SCHEMA = {"anyOf": [{"type": "string"}, _MAPPING]}
Pick = Annotated[dict[str, Json], BeforeValidator(_as_mapping), WithJsonSchema(_SCHEMA)]
_DOMAINS = {
    "type": "object",
    "properties": {role: _SCHEMA for role in ("pretrain", "train", "test")},
    "required": ["train", "test"],
    "additionalProperties": False,
}
Data = Annotated[
    dict[str, Json],
    BeforeValidator(_as_data),
    WithJsonSchema({"anyOf": [*_SCHEMA["anyOf"], _DOMAINS]}),
]
_CHECKPOINT = {
    "type": "object",
    "properties": {
        "checkpoint": {"type": "string"},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "labels": {"enum": list(LABELS)},
    },
    "required": ["checkpoint", "sha256"],
    "additionalProperties": False,
}
Init = Annotated[
    dict[str, Json],
    BeforeValidator(_as_init),
    AfterValidator(_whole_init),
    WithJsonSchema({"anyOf": [*_SCHEMA["anyOf"], _CHECKPOINT]}),
]
Ways = Annotated[int, Field(ge=2)]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Seeds = Annotated[
    list[Seed],
    Field(min_length=1),
    BeforeValidator(_as_seeds, json_schema_input_type=Count | list[Seed]),
]
