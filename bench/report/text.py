"""The report's markdown: what the template prints, gathered from plan, results and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from bench.published import UNSTATED, published
from bench.report import certificate, speed_text, words
from bench.report.answer import overall, sentences
from bench.report.audit import Audit, audit, marked
from bench.report.bibliography import Citation, cited, link
from bench.report.comparison import Block, is_floor
from bench.report.compute import compute_table
from bench.report.figures.style import Picture
from bench.report.guessed import guessed_table
from bench.report.method import Paragraph, method
from bench.report.reproduction import Beside, beside, tally
from bench.report.results import Results
from bench.report.tables import (
    Table,
    accuracy_table,
    across_table,
    cost_table,
    power_table,
    provenance_table,
    published_table,
    unfinished_table,
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One setting's part of the report."""

    title: str
    sentences: Sequence[str]
    references: str
    accuracy: Table
    cost: Table
    across: Table | None
    guessed: Table | None
    marks: Sequence[str]
    loss: Table | None = None
    pairs: Table | None = None
    without: str = ""
    edge: str = ""

    @property
    def tables(self) -> list[Table]:
        """The tables that are there."""
        every = (self.accuracy, self.cost, self.across, self.guessed, self.loss, self.pairs)
        return [table for table in every if table]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The finished markdown, the tables behind it, and what its other forms say too.

    ``banners`` and ``answer`` (of the suite as a whole) are markdown, a sentence each.
    """

    markdown: str
    tables: Sequence[Table]
    banners: Sequence[str]
    answer: Sequence[str]
    sections: Sequence[Section]
    method: Sequence[Paragraph]
    citations: Sequence[Citation]


def write_text(
    results: Results, blocks: Sequence[Block], pictures: Sequence[Picture], content_hash: str
) -> Report:
    """Write the whole report as markdown that GitHub and a terminal can show."""
    plan, settings = results.plan, results.plan.settings
    audited = audit(results, blocks)
    blocks = marked(blocks, audited)
    sections = [_section(block, results, float(settings["margin"])) for block in blocks]
    found = beside(blocks, plan, published())
    literature, power = published_table(found), power_table(blocks)
    provenance, unfinished = provenance_table(results), unfinished_table(results)
    compute = compute_table(results)
    whole = [literature, power, compute, provenance, unfinished, *audited.tables]
    whole = [table for table in whole if table]
    tables = [t for section in sections for t in section.tables] + whole
    shown = [table.name for table in tables] + [picture.name for picture in pictures]
    citations, paragraphs = cited(plan.cards, found, shown), method(results, blocks)
    warned, said, new = banners(results), overall(blocks), speed_text.answer(blocks, plan)
    source = str(settings["source"]).rstrip()
    markdown = _template().render(
        name=plan.name,
        banners=warned,
        audited=audited,
        overall=said,
        new_tasks=new,
        blocks=sections,
        tables=[table.name for table in tables],
        pictures=pictures,
        published=literature,
        tally=tally(found),
        margin=words.within(float(settings["margin"])),
        sources=_sources(found),
        unfinished=unfinished,
        num_cells=len(plan.cells),
        dropped=plan.dropped,
        warnings=plan.warnings,
        notes=results.notes,
        power=power,
        assumed="assumed" in power.markdown,
        sign_flip=_sign_flip(blocks),
        method=paragraphs,
        compute=compute,
        of_classes=not settings.get("held_out"),
        bibliography=citations,
        provenance=provenance,
        origins=_origins(results),
        certificate=certificate.lines(results.extras.get("certificate"), plan),
        file=settings.get("file"),
        source=source,
        fence="~~~~" if "```" in source else "```",
        hash=content_hash,
    )
    return Report(
        markdown=markdown,
        tables=tables,
        banners=warned,
        answer=[*new, *said],
        sections=sections,
        method=paragraphs,
        citations=citations,
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # this is markdown: ``words.escape`` escapes it
    )
    environment.filters["md"] = words.escape
    return environment.get_template("index.md.jinja")


def _section(block: Block, results: Results, margin: float) -> Section:
    plan = results.plan
    return Section(
        loss=speed_text.loss_table(block, plan) if block.held_out else None,
        pairs=speed_text.pairs_table(block, plan) if block.held_out else None,
        edge=speed_text.edge(block, plan) if block.held_out else "",
        without=speed_text.without_mean(results) if block.is_mean else "",
        title=block.title,
        sentences=sentences(block, margin),
        references=_references(block),
        accuracy=accuracy_table(block, results),
        cost=cost_table(block, results),
        across=across_table(block),
        guessed=guessed_table(block),
        marks=[
            f"{words.escape(row.group.variant)}: {', '.join(row.marks)}"
            for row in block.rows
            if row.marks
        ],
    )


def _references(block: Block) -> str:
    named = [f"{words.escape(name)} (labels: {labels})" for labels, name in block.baselines.items()]
    floors = [words.escape(row.group.variant) for row in block.rows if is_floor(row.group)]
    which = " (each row against that of its own network)" if len(floors) > 1 else ""
    return (
        f"Baseline: {words.listing(named) or 'none'}. "
        f"Floor: {words.listing(floors) or 'none'}{which}."
    )


def banners(results: Results, audited: Audit) -> list[str]:
    """Return what a reader must know before any number."""
    found, left = [], results.unfinished()
    if left:
        failed = sum(one.status == "failed" for one in left)
        found.append(
            f"Incomplete: of {len(results.cells)} cells {failed} failed and "
            f"{len(left) - failed} are missing; what they belong to is not averaged."
        )
    for setting, banks in _banks(results).items():
        if len(banks) > 1:
            found.append(
                f"Different test episodes: {setting} was tested on {len(banks)} banks; "
                "variants that met different episodes are not compared."
            )
    if results.suite_changed:
        found.append("The suite file has changed since this was planned; this is the old one.")
    return found + audited.banners


def _banks(results: Results) -> dict[str, set[str]]:
    """Return the digests of the banks that each setting, in words, was tested on."""
    banks: dict[str, set[str]] = {}
    for group in results.groups:
        new = f", new {group.held_out}" if group.held_out else ""
        banks.setdefault(f"{group.data}, {group.ways}-way{new}", set()).update(group.banks)
    return banks


def _sign_flip(blocks: Sequence[Block]) -> str:
    """Say where the exact check disagrees with a verdict, or that it is not attainable."""
    judged = [
        (block, row, one)
        for block in blocks
        for row in block.rows
        for one in {one.reference: one for one in (row.baseline, row.floor) if one}.values()
        if one.verdict in {"better", "worse"}
    ]
    checked = [found for found in judged if found[2].sign_flip is not None]
    if not checked:
        return "not attainable (with fewer than six seeds no p below .05 exists)."
    against = [
        f"{words.escape(row.group.variant)} against {words.escape(one.reference)} ({block.title}): "
        f"p = {one.sign_flip:.3f}"
        for block, row, one in checked
        if one.sign_flip is not None and one.sign_flip >= 0.05
    ]
    if against:
        return f"does not support {words.listing(against)}."
    return f"p < .05 for all {len(checked)} verdicts of better or worse."


def _sources(found: Sequence[Beside]) -> list[str]:
    """One line a method and source of published numbers: protocol, what +- is, where read."""
    lines: dict[str, None] = {}
    for number in (one.number for one in found):
        known = number.plus_minus is not None and number.plus_minus_is != UNSTATED
        reach = f"+- is {number.plus_minus_is}" if known else ""
        read = f"read in {number.read_in}" if number.read_in else ""
        said = "; ".join(part for part in (number.protocol, reach, read) if part)
        cited = ", ".join(part for part in (number.title, number.identifier) if part)
        lines[link(words.escape(f"{cited}: {said}" if said else cited))] = None
    return list(lines)


def _origins(results: Results) -> list[str]:
    """Digests of data and test banks, and a warning where machines or versions mix."""
    lines = [f"data {d}: `{h}`" for d, h in results.plan.settings["data"].items()]
    for setting, banks in _banks(results).items():
        shown = ", ".join(f"`{bank}`" for bank in sorted(banks)) or "none yet"
        lines.append(f"test episodes of {setting}: {shown}")
    started = sorted(one.manifest["provenance"]["started"] for one in results.cells if one.manifest)
    if started:
        lines.append(f"evaluated between {started[0]} and {started[-1]}")
    for name in ("torch", "hardware", "device"):
        values = {one.manifest["provenance"][name] for one in results.cells if one.manifest}
        if len(values) > 1:
            listed = words.listing(sorted(map(str, values)))
            lines.append(f"**mixed {name}**: cells of one table were computed with {listed}")
    return lines
