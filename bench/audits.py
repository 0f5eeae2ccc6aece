"""What is audited with every suite: each data set, and each row at its first seed and shots."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.cell import Cell, Json, StageSpec
from bench.variant import Variant

DATA, ROW = 1, 1  # revisions of the two audits; raised when they find something else on purpose
EPISODES = 8  # of a row's audit: each is answered several times, in float64


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A stage of kind ``audit`` (``key``), and what it is about.

    Of data ``variant`` is empty and ``ways`` 0; of a row they are those of its cells.
    """

    subject: Literal["data", "row"]
    data: str
    variant: str = ""
    ways: int = 0
    held_out: str = ""
    key: str

    @property
    def title(self) -> str:
        """Name the subject: ``glyphs``, or ``simclr + maml (glyphs, 5-way)``, and a new task."""
        if self.subject == "data":
            return self.data
        new = f", new {self.held_out}" if self.held_out else ""
        return f"{self.variant} ({self.data}, {self.ways}-way{new})"


def audit_of_data(
    name: str, digest: str, known: Iterable[str], elsewhere: Mapping[str, Json] | None = None
) -> tuple[Audit, StageSpec]:
    """Plan the audit of a set; ``known``: the sha256 of duplicates that its plug-in lists.

    ``elsewhere``: name and digest of the sets of other roles, which are audited with it; of the
    set of ``pretrain`` also its ``splits``, where more than the training split are looked at.
    """
    inputs: dict[str, Json] = {
        "subject": "data",
        "revision": DATA,
        "data": {"name": name, "digest": digest},
        "known": sorted(known),
        "needs": {},
    }
    if elsewhere:
        inputs["elsewhere"] = elsewhere
    spec = StageSpec(kind="audit", inputs=inputs)
    return Audit(subject="data", data=name, key=spec.key), spec


def audit_of_row(cell: Cell, evaluate: StageSpec) -> tuple[Audit, StageSpec]:
    """Plan the audit of a row, from its cell and the stage that tests it."""
    own: Mapping[str, Json] = {"subject": "row", "episodes": EPISODES, "revision": ROW}
    spec = StageSpec(kind="audit", inputs={**evaluate.inputs, **own})
    audit = Audit(
        subject="row",
        data=cell.data,
        variant=cell.variant,
        ways=cell.ways,
        held_out=cell.held_out,
        key=spec.key,
    )
    return audit, spec


def audits_of_data(variants: Sequence[Variant]) -> list[tuple[Audit, StageSpec]]:
    """Plan the audit of each set, or of sets together, that rows are trained and tested on."""
    found: dict[str, tuple[Audit, StageSpec]] = {}
    for one in variants:
        known = {sha256 for each in one.domains for sha256 in each.source.known_duplicates}
        others: dict[str, Json] = {
            role: {"name": each.name, "digest": each.facts.digest}
            for role, each in one.elsewhere.items()
        }
        if "pretrain" in others and any(o.data == one.data and o.prevalidated for o in variants):
            others["pretrain"]["splits"] = ["train", "val"]
        found[one.data] = audit_of_data(one.data, one.facts.digest, known, others)
    return list(found.values())


def audits_of_rows(
    cells: Sequence[Cell], stages: Mapping[str, StageSpec]
) -> list[tuple[Audit, StageSpec]]:
    """Plan the audit of each row that the cells of one seed hold, at the shots that come first.

    Held-out tasks are answered by the same code, whichever it is: the first of them stands for all.
    """
    first: dict[tuple[str, str, int], Cell] = {}
    for cell in cells:
        first.setdefault((cell.variant, cell.data, cell.ways), cell)
    return [audit_of_row(cell, stages[cell.stages["evaluate"]]) for cell in first.values()]
