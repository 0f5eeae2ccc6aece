"""Trained here or elsewhere: rows on the same test episodes, trained on that set or on another.

A row is paired with the one of its name and axes that saw the tested set's own training split,
seed by seed and episode by episode; each other training once, whatever else its data are for. The
comparisons of one test set, number of ways and shots, those with all other sets, are one family of
p-values.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.cell import ROLES, Json
from bench.plan import Plan
from bench.report.audit.finding import failed
from bench.report.comparison import Block, Comparison, Row, compare, judge
from bench.report.results import Group

AXES = ("encoder", "pretext", "init", "tasks", "auxiliary", "meta", "norm", "labels", "control")
FOLLOWS = ("task.collisions",)  # parameters that follow from the data themselves


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What the report calls the sets of a cell's data, by what they are for."""

    pretrain: str
    train: str
    test: str

    @property
    def source(self) -> str:
        """Name what all training is on: ``omniglot``, or ``others then omniglot``."""
        return self.source_of(ROLES)

    def source_of(self, stages: Collection[str]) -> str:
        """Name what a row with these stages was trained on; empty where it was on nothing."""
        own = [role for role in ROLES if role in stages]
        first = ("pretrain", "embedding")
        return " then ".join(
            dict.fromkeys(self.pretrain if r in first else self.train for r in own)
        )

    @property
    def at_home(self) -> bool:
        """Whether all training was on the set of the test."""
        return self.pretrain == self.train == self.test


def roles_of(plan: Plan, data: str) -> Roles:
    """Return the sets of what cells call their data; of a plain one it is the same set thrice."""
    named: Mapping[str, str] = plan.settings.get("roles", {}).get(data, {})
    return Roles(**{role: named.get(role, data) for role in ("pretrain", "train", "test")})


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A row that was trained elsewhere, beside the one that was trained on the set of the test.

    ``source`` names what the row elsewhere was trained on, by its own stages; empty: nothing.
    ``compared`` is elsewhere minus here; None where both are the same trainings, or none.
    ``differing``: parameters in which the two differ besides their data, such as tuned ones.
    """

    here: Row
    elsewhere: Row
    source: str
    compared: Comparison | None
    differing: tuple[str, ...] = ()

    @property
    def marked(self) -> bool:
        """Whether an audit of one failed, their marks differ, or more than their data does."""
        here, elsewhere = self.here.marks, self.elsewhere.marks
        return bool(self.differing or here != elsewhere or failed((*here, *elsewhere)))


@dataclass(frozen=True, kw_only=True)
class Domains:
    """One test set, ways and shots: ``block`` holds the rows trained on it, ``rows`` all pairs."""

    block: Block
    rows: tuple[Moved, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The other sets that rows were trained on, each once."""
        return tuple(dict.fromkeys(one.source for one in self.rows if one.compared))


def across_domains(blocks: Sequence[Block], plan: Plan) -> tuple[Domains, ...]:
    """Return each setting whose test set was trained on, and in whose place another was."""
    roles = {block.data: roles_of(plan, block.data) for block in blocks}
    found = []
    for block in (one for one in blocks if roles[one.data].at_home):
        others = [
            (roles[other.data], other)
            for other in blocks
            if not roles[other.data].at_home
            and roles[other.data].test == block.data
            and (other.ways, other.shots, other.held_out)
            == (block.ways, block.shots, block.held_out)
        ]
        rows = _rows(block, others, float(plan.settings["margin"]))
        found += [Domains(block=block, rows=rows)] if rows else []
    return tuple(found)


def _rows(block: Block, others: Sequence[tuple[Roles, Block]], margin: float) -> tuple[Moved, ...]:
    """Pair the rows of a block with those of others, and judge what is compared as one family."""
    pairs = _pairs(block, others)
    trained = [one for one in pairs if not _same_weights(one.here.group, one.elsewhere.group)]
    compared = [compare(one.elsewhere.group, one.here.group) for one in trained]
    judged = dict(zip(map(id, trained), judge(compared, margin), strict=True))
    return tuple(replace(one, compared=judged.get(id(one))) for one in pairs)


def _pairs(block: Block, others: Sequence[tuple[Roles, Block]]) -> list[Moved]:
    """Pair each row of a block with those of its name, each training elsewhere once.

    Rows on several data share one where these differ in a set that no stage of theirs is for.
    """
    found: dict[tuple[int, frozenset[tuple[int, str, str]]], Moved] = {}
    for at, here in enumerate(block.rows):
        for roles, there in [(roles, row) for roles, other in others for row in other.rows]:
            if _are_alike(here.group, there.group):
                pair = Moved(
                    here=here,
                    elsewhere=there,
                    source=roles.source_of(there.group.first.stages),
                    compared=None,
                    differing=_differing(here.group, there.group),
                )
                found.setdefault((at, frozenset(_trained(there.group))), pair)
    return list(found.values())


def _are_alike(here: Group, there: Group) -> bool:
    """Whether two rows are of one name and one value on each axis but the data."""
    one, other = here.first, there.first
    return one.variant == other.variant and all(
        getattr(one, axis) == getattr(other, axis) for axis in AXES
    )


def _same_weights(here: Group, there: Group) -> bool:
    """Whether nothing of either was trained on the set of the other: all training is shared."""
    return _trained(here) == _trained(there)


def _trained(group: Group) -> set[tuple[int, str, str]]:
    """Return seed, role and key of all that the rows of a group were trained by."""
    return {
        (one.cell.seed, role, key)
        for one in group.results
        for role, key in one.cell.stages.items()
        if role != "evaluate"
    }


def _differing(here: Group, there: Group) -> tuple[str, ...]:
    """Name the parameters in which two rows differ besides their data and what follows from it."""
    one, other = here.first.params, there.first.params
    names = sorted(one.keys() | other.keys())
    return tuple(
        name
        for name in names
        if not name.startswith("data.") and name not in FOLLOWS and _unequal(one, other, name)
    )


def _unequal(one: Mapping[str, Json], other: Mapping[str, Json], name: str) -> bool:
    return bool(one.get(name) != other.get(name))
