"""Members of a family of pretext tasks that a suite keeps out of training and tests as new."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.cell import Json
from bench.errors import UserError, suggest
from bench.strict_yaml import Places, describe

WANTED = "Write tasks: {name: pretext, family: [...]} at the top level."


@dataclass(frozen=True, kw_only=True)
class Held:
    """One new task: the member that is tested, and all members that training went without."""

    tested: str
    members: tuple[str, ...]
    where: str

    @property
    def title(self) -> str:
        """Name it: ``position``, or ``position (position + jigsaw held out)``."""
        alone = self.members == (self.tested,)
        return self.tested if alone else f"{self.tested} ({' + '.join(self.members)} held out)"

    @property
    def is_alone(self) -> bool:
        """Whether nothing else was held out with it."""
        return len(self.members) == 1


def read_held_out(asked: Mapping[str, Json], places: Places) -> tuple[Held, ...]:
    """Return the new tasks of a suite, one for each member of each entry of ``held_out``.

    Raises:
        UserError: the suite names no family at its top level, an entry is not of the family,
            stands twice, or leaves nothing to train on.
    """
    if "held_out" not in asked:
        return ()
    family = _family(asked, places)
    found: dict[frozenset[str], str] = {}
    for index, members in enumerate(asked["held_out"]):
        where = places.where("held_out", index)
        _refuse(members, family, where)
        first = found.setdefault(frozenset(members), where)
        if first is not where:
            raise UserError(where, f"the same as {first}", "Keep one of the two.")
    return tuple(
        Held(tested=one, members=tuple(members), where=places.where("held_out", index))
        for index, members in enumerate(asked["held_out"])
        for one in members
    )


def names_of(family: Json) -> list[str]:
    """Return the names of a family's members, as a suite writes or a key holds them."""
    return [str(one["name"]) if isinstance(one, dict) else str(one) for one in family]


def _family(asked: Mapping[str, Json], places: Places) -> list[str]:
    tasks = asked.get("tasks")
    if tasks is None:
        raise UserError(places.where("held_out"), "held_out without tasks", WANTED)
    if tasks["name"] != "pretext":
        found = f"held_out, but the tasks are {tasks['name']}"
        raise UserError(places.where("held_out"), found, WANTED)
    family = tasks.get("family")
    if not isinstance(family, list) or not all(_is_named(one) for one in family):
        found = "the family is missing" if family is None else describe(family)
        raise UserError(places.where("tasks", "family"), found, WANTED)
    return names_of(family)


def _is_named(member: Json) -> bool:
    return isinstance(member, str) or (isinstance(member, dict) and "name" in member)


def _refuse(members: list[str], family: list[str], where: str) -> None:
    for one in members:
        if one not in family:
            raise UserError(where, f"{one!r} is not in the family", suggest(one, family))
        if family.count(one) > 1:
            found = f"the family has {family.count(one)} members called {one}"
            raise UserError(where, found, "Keep one of them: it could not be told which is tested.")
    if set(family) <= set(members):
        works = "Leave a member of the family to train on."
        raise UserError(where, "the whole family is held out", works)
