"""The audit of a report: what could make its comparisons wrong, checked, with banners and marks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.report import words
from bench.report.audit.fairness import of_results
from bench.report.audit.finding import FAILED, Finding, Place, folded
from bench.report.audit.measured import of_stages, undone
from bench.report.comparison import Block, Row
from bench.report.results import Results
from bench.report.tables import Table

NAMED = 3  # findings of one check that a banner names
HEADER = ["check", "subject", "found", "outcome"]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the audit says: banners for the first screen, marks for rows, a table, notes."""

    banners: list[str]
    marks: Mapping[Place, list[str]]
    tables: tuple[Table, ...]
    notes: list[str]


def audit(results: Results, blocks: Sequence[Block]) -> Audit:
    """Check all that is checked, from the audit's stages and from the results themselves."""
    findings = [*of_stages(results), *of_results(results, blocks)]
    return Audit(
        banners=[*_failed(findings), *_not_audited(results)],
        marks=_marks(findings),
        tables=(_table(findings),),
        notes=_notes(results),
    )


def marked(blocks: Sequence[Block], found: Audit) -> tuple[Block, ...]:
    """Put the marks of failed audits onto the rows that they are about, before other marks."""
    return tuple(
        replace(block, rows=tuple(_marked(row, found.marks) for row in block.rows))
        for block in blocks
    )


def _marked(row: Row, marks: Mapping[Place, list[str]]) -> Row:
    group = row.group
    parts = [part for one in group.results for part in one.parts or (one,)]
    tasks = dict.fromkeys(part.cell.held_out for part in parts)
    places = [(group.variant, group.data, group.ways, task) for task in tasks]
    own = dict.fromkeys(mark for place in places for mark in marks.get(place, ()))
    return replace(row, marks=(*own, *row.marks)) if own else row


def _marks(findings: Sequence[Finding]) -> dict[Place, list[str]]:
    marks: dict[Place, list[str]] = {}
    for one in (finding for finding in findings if finding.outcome == "failed"):
        for place in one.rows:
            mark = f"{FAILED}: {one.check}: {words.escape(one.found)}"
            marks.setdefault(place, []).append(mark)
    return marks


def _failed(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield one banner for each check that failed."""
    failed: dict[str, list[str]] = {}
    for one in findings:
        if one.outcome == "failed":
            told = words.escape(f"{one.subject}: {one.found}")
            failed.setdefault(one.check, []).append(told)
    for check, all_told in failed.items():
        rest = len(all_told) - NAMED
        more = f"; and {rest} more (see Audit)" if rest > 0 else ""
        yield f"Audit failed, {check}: {'; '.join(all_told[:NAMED])}{more}."


def _not_audited(results: Results) -> list[str]:
    """Say what was not audited, once all else is done: before, the report is incomplete anyway."""
    reasons = undone(results)
    if not reasons or results.unfinished():
        return []
    of = len(results.plan.audits)
    told = "; ".join(words.escape(one) for one in dict.fromkeys(reasons))
    return [f"Not audited: {len(reasons)} of {of} audits have no result ({told})."]


def _notes(results: Results) -> list[str]:
    if results.plan.audits:
        return []
    return [
        "Data sets and rows were not audited: planned by an earlier version; run `bench run` again."
    ]


def _table(findings: Sequence[Finding]) -> Table:
    numbers = [
        {
            "check": one.check,
            "subject": one.subject,
            "found": one.found,
            "outcome": one.outcome,
            "value": one.value,
        }
        for one in findings
    ]
    frame = pd.DataFrame(numbers, columns=pd.Index([*HEADER, "value"]))
    return Table(name="audit", header=HEADER, rows=folded(findings), frame=frame)
