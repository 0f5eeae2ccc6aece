"""The data of a row by what it is for: one set, or others to pre-train and to be tested on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.catalogue import build, resolved
from bench.cell import Json
from bench.choice import Choice
from bench.errors import UserError

if TYPE_CHECKING:
    from bench.contract import AbstractData
    from bench.dataset import Facts


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One data set of a row: its plug-in, what the suite gave for it, and what it holds."""

    name: str
    source: "AbstractData"
    given: Mapping[str, Json]
    facts: "Facts"

    @property
    def title(self) -> str:
        """What the report calls it: the source's title, or the name of the plug-in."""
        return self.source.title or self.name

    @property
    def described(self) -> dict[str, Json]:
        """The plug-in as identities hold it."""
        return resolved("data", self.name, self.source)

    def split(self, split: str) -> dict[str, Json]:
        """Name one of its splits, as the inputs of stages do."""
        return {"name": self.name, "digest": self.facts.digest, "split": split}


def title_of(trained: Domain, elsewhere: Mapping[str, Domain]) -> str:
    """Name the sets of a row: ``omniglot``, ``omniglot to glyphs``, ``x then omniglot to glyphs``.

    ``elsewhere``: the sets of the roles ``pretrain`` and ``test``, where they are others. It is a
    part of cells' ids, which are typed, and of files' names: no arrow.
    """
    first = f"{elsewhere['pretrain'].title} then " if "pretrain" in elsewhere else ""
    last = f" to {elsewhere['test'].title}" if "test" in elsewhere else ""
    return f"{first}{trained.title}{last}"


def refuse_role(role: str, source: "AbstractData", choice: Choice) -> None:
    """Refuse a set without classes anywhere but in pre-training (UserError)."""
    if source.unlabelled and role != "pretrain":
        found = f"{choice.name} has no classes to make episodes of"
        works = f"Write data: {{pretrain: {{name: {choice.name}, ...}}, train: ..., test: ...}}."
        raise UserError(choice.where, found, works)


def refuse_other_form(trained: Domain, other: Domain, where: str) -> None:
    """Refuse a set that an encoder of the one that is trained on cannot read (UserError)."""
    own, form = trained.facts.form, other.facts.form
    if form == own:
        return
    found = f"{trained.title} holds {own}, but {other.title} {form}"
    found += ", of another vocabulary" if str(form) == str(own) else ""
    works = _advice(own.modality) if form.modality == own.modality else "Take one kind of data."
    raise UserError(where, found, works)


def _advice(modality: str) -> str:
    """Return what to do where examples of two sets differ, as their modality says it."""
    from bench.contract import AbstractModality

    kind = build("modality", modality, {}, f"modality/{modality}")
    assert isinstance(kind, AbstractModality)
    return kind.unlike
