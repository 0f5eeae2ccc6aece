"""A line of the audit: what was checked of what, what was found, and how that ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.report.results import Group

Outcome = Literal["passed", "failed", "advice", "not done"]
Place = tuple[str, str, int, str]  # a row's variant, data, ways, and held-out task
NAN = float("nan")
FAILED = "**audit failed**"  # how the mark of a row begins


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found. ``rows`` get a mark where it failed; ``value`` is what was measured."""

    check: str
    subject: str
    found: str
    outcome: Outcome
    value: float = NAN
    rows: tuple[Place, ...] = ()


def place_of(group: Group) -> Place:
    """Return what tells the rows of a report apart, whatever their shots."""
    return (group.variant, group.data, group.ways, group.held_out)


def failed(marks: Sequence[str]) -> bool:
    """Whether an audit failed, of a row with these marks."""
    return any(mark.startswith(FAILED) for mark in marks)


def titled(group: Group) -> str:
    """Name a row: ``simclr + maml (glyphs, 5-way)``, and a new task."""
    new = f", new {group.held_out}" if group.held_out else ""
    return f"{group.variant} ({group.headline.task(group.data, group.ways)}{new})"


def folded(findings: Sequence[Finding]) -> list[tuple[str, str, str, Outcome]]:
    """Return one line a finding; those alike in all but their subject share a line."""
    lines: dict[tuple[str, str, Outcome], list[str]] = {}
    for one in findings:
        subjects = lines.setdefault((one.check, one.found, one.outcome), [])
        if one.subject not in subjects:
            subjects.append(one.subject)
    return [
        (check, "; ".join(subjects) if len(subjects) < 4 else f"{len(subjects)} rows", found, end)
        for (check, found, end), subjects in lines.items()
    ]
