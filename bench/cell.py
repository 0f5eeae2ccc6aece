"""The values that travel: a Cell and its StageSpecs go in, Events and Outcomes come out."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import rfc8785

from bench.errors import UserError

Json = Any  # what JSON can hold: None, bool, int, float, str, list and dict of these
StageKind = Literal["pretrain", "cluster", "metatrain", "evaluate", "audit"]
Norm = Literal["running", "support", "transductive", "group"]  # whose statistics normalise
Labels = Literal["none", "validation", "train"]  # that a training saw
TRAINED: tuple[StageKind, ...] = ("pretrain", "cluster", "metatrain")
ROLES: tuple[str, ...] = ("pretrain", "embedding", "cluster", "metatrain")
"""What the stages below ``evaluate`` are to a cell, in order. A role is called as its kind, but for
``embedding``: the pretrain stage whose features are clustered, where the encoder starts from none
or from another."""


def kind_of(role: str) -> StageKind:
    """Return the kind of the stage that has this role in a cell."""
    kinds: dict[str, StageKind] = {kind: kind for kind in (*TRAINED, "evaluate")}
    return kinds[{"embedding": "pretrain"}.get(role, role)]


def digest(value: Json) -> str:
    """Hash a JSON value in its canonical form (RFC 8785): 64 hex digits."""
    try:
        return hashlib.sha256(rfc8785.dumps(value)).hexdigest()
    except rfc8785.CanonicalizationError as error:  # not finite, or beyond what JSON holds exactly
        raise UserError("a number", str(error), "Use a finite one, within 2^53.") from error


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One unit of work: a stage function receives exactly this value, and its hash is its key.

    ``inputs`` is JSON: plug-ins as ``{"name", "revision", "params"}``, data as ``{"name",
    "digest", "split"}``, budgets, seed coordinates, and under ``needs`` the keys of the stages
    it builds on (a role to a key, or to None).
    """

    kind: StageKind
    inputs: Mapping[str, Json]

    @cached_property
    def key(self) -> str:
        """64 hex digits that change when, and only when, something that decides the result does."""
        return digest({"kind": self.kind, "inputs": dict(self.inputs)})

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the stages that must be finished first."""
        return tuple(key for key in self.inputs["needs"].values() if key is not None)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of every axis, seed included: a path through stages, and its coordinates.

    ``stages`` maps a role (see ``ROLES``) to a stage's key; every cell has ``evaluate``.
    ``params`` holds every resolved parameter by its dotted name (``meta.order``), defaults
    included.
    """

    variant: str
    data: str
    encoder: str
    pretext: str
    init: str
    tasks: str
    auxiliary: str
    meta: str
    norm: str
    labels: Literal["none", "validation", "train"]
    ways: int
    shots: int
    seed: int
    control: str = ""
    strategy: str = ""  # how it learns a stream, where it is tested along one
    held_out: str = ""  # the pretext task it is tested on as new; empty where classes are
    default_of: str = ""  # the tuned variant whose parameters before tuning it has
    trial: str = ""  # of a tuning: its number, and the share of the budget where that is not whole
    params: Mapping[str, Json] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)

    @property
    def described(self) -> dict[str, Json]:
        """The cell as JSON, with its id; without what came later where that is empty.

        Plans that have no use for it are thus equal to those written before it was there.
        """
        later = ("strategy", "held_out", "default_of", "trial")
        fields = asdict(self) | {"id": self.id}
        return {k: v for k, v in fields.items() if v or k not in later}

    @property
    def id(self) -> str:
        """Readable and unique in a suite: ``simclr + maml/glyphs 5-way 1-shot/seed 0``.

        On a held-out task: ``joint/glyphs 4-way 5-shot, new position/seed 0``. Of a tuning:
        ``protonet, trial 3/glyphs 5-way 1-shot/seed 1000``.
        """
        trial = f", trial {self.trial}" if self.trial else ""
        new = f", new {self.held_out}" if self.held_out else ""
        setting = f"{self.data} {self.ways}-way {self.shots}-shot{new}"
        return f"{self.variant}{trial}/{setting}/seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Started:
    """A stage's process has begun, at training step ``step`` (above 0 when it resumes)."""

    key: str
    step: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Values (losses, accuracies) at a step of a running stage."""

    key: str
    step: int
    total: int
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A stage lies whole in the store."""

    key: str


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A stage ended without a result, after so many ``seconds``; the store keeps this too.

    Seconds are those since its process last began; 0 where that is gone without a word.
    """

    key: str
    reason: str
    traceback: str = ""
    seconds: float = 0.0


Event = Started | Progress | Finished | Failed
