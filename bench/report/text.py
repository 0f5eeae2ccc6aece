"""The report's markdown: what the template prints, gathered from plan, results and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from bench.published import UNSTATED, published
from bench.report import words
from bench.report.analysis import Analysis
from bench.report.answer import overall
from bench.report.comparison import Block
from bench.report.evidence import certificate
from bench.report.gallery import Gallery
from bench.report.headline import headline_of
from bench.report.paper.bibliography import Citation, cited, link
from bench.report.paper.compute import compute_table
from bench.report.paper.method import Paragraph, method
from bench.report.reproduction import Beside, beside, tally
from bench.report.results import Results
from bench.report.section import Section, across_data_sets, looked_at, sections_of
from bench.report.streams import episodes_of
from bench.report.tables import (
    Table,
    power_table,
    provenance_table,
    published_table,
    unfinished_table,
)
from bench.report.views import continual_text, control_text, speed_text, tuning_words
from bench.report.views.across_domains_text import answer as over_domains
from bench.report.views.across_domains_text import domains_section
from bench.report.views.outlook import outlook_table
from bench.report.views.tuning_text import TuningSection, tuning_section


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
    tuning: TuningSection | None = None


def write_text(found: Analysis, pictures: Gallery, content_hash: str) -> Report:
    """Write the whole report as markdown that GitHub and a terminal can show."""
    results, blocks = found.results, found.blocks
    plan, settings = results.plan, results.plan.settings
    sections = sections_of(found)
    over_sets = [across_data_sets(one) for one in found.data_sets]
    domains = [domains_section(one) for one in found.domains]
    numbers = beside(blocks, plan, published())
    power = power_table(blocks)
    whole = {
        "published": published_table(numbers),
        "power": power,
        "outlook": outlook_table(blocks, results),
        "compute": compute_table(results),
        "provenance": provenance_table(results),
        "unfinished": unfinished_table(results),
    }
    tuned = tuning_section(found.tuning, settings["seeds"]) if found.tuning else None
    tables = [table for one in sections for table in one.tables]
    tables += tuned.tables if tuned else []
    tables += [one.table for one in domains]
    tables += [table for one in over_sets for table in one.tables]
    tables += [*(one for one in whole.values() if one), *found.audit.tables]
    shown = [table.name for table in tables] + [picture.name for picture in pictures.every]
    shown += tuning_words.used(found.tuning)
    citations, paragraphs = cited(plan.cards, numbers, shown), method(results, blocks)
    warned, new = banners(found), speed_text.answer(blocks, plan)
    new += control_text.answer(blocks, plan)
    new += continual_text.answer(found.streams)
    tuned_ones = tuning_words.overall(found.tuning.trials) if found.tuning else []
    said = [*looked_at(blocks), *tuned_ones, *overall(blocks), *over_domains(found.domains)]
    source = str(settings["source"]).rstrip()
    markdown = _template().render(
        whole,
        name=plan.name,
        banners=warned,
        audited=found.audit,
        overall=said,
        headline=headline_of(plan),
        new_tasks=new,
        blocks=sections,
        tuning=tuned,
        domains=domains,
        data_sets=over_sets,
        tables=[table.name for table in tables],
        pictures=pictures,
        tally=tally(numbers),
        margin=words.within(float(settings["margin"])),
        sources=_sources(numbers),
        num_cells=len(plan.cells),
        dropped=plan.dropped,
        warnings=plan.warnings,
        notes=results.notes,
        assumed="assumed" in power.markdown,
        sign_flip=_sign_flip(blocks),
        method=paragraphs,
        of_classes=not (settings.get("held_out") or found.streams),
        streams=bool(found.streams),
        bibliography=citations,
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
        tuning=tuned,
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


def banners(analysed: Analysis) -> list[str]:
    """Return what a reader must know before any number."""
    results = analysed.results
    found, left, kind = [], results.unfinished(), episodes_of(results.plan)
    if left:
        failed = sum(one.status == "failed" for one in left)
        found.append(
            f"Incomplete: of {len(results.every_cell)} cells {failed} failed and "
            f"{len(left) - failed} are missing; what they belong to is not averaged."
        )
    for setting, banks in _banks(results).items():
        if len(banks) > 1:
            found.append(
                f"Different test {kind}: {setting} was tested on {len(banks)} banks; "
                f"variants that met different {kind} are not compared."
            )
    if results.suite_changed:
        found.append("The suite file has changed since this was planned; this is the old one.")
    if analysed.tuning:
        found += tuning_words.banners(analysed.tuning.trials)
    found += certificate.banners(results.extras.get("certificate"))
    return found + analysed.audit.banners


def _banks(results: Results) -> dict[str, set[str]]:
    """Return the digests of the banks that each setting, in words, was tested on."""
    banks: dict[str, set[str]] = {}
    for group in results.groups:
        new = f", new {group.held_out}" if group.held_out else ""
        setting = f"{group.headline.task(group.data, group.ways)}{new}"
        banks.setdefault(setting, set()).update(group.banks)
    return banks


def _sign_flip(blocks: Sequence[Block]) -> str:
    """Say where the exact check disagrees with a verdict, or that it is not attainable."""
    judged = [
        (block, row, one)
        for block in blocks
        for row in block.rows
        for one in {one.reference: one for one in (row.baseline, row.floor) if one}.values()
        if one.verdict in {"better", "worse"} and not one.turned
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
        lines.append(f"test {episodes_of(results.plan)} of {setting}: {shown}")
    made = [one.manifest["provenance"] for one in results.every_cell if one.manifest]
    started = sorted(one["started"] for one in made)
    if started:
        lines.append(f"evaluated between {started[0]} and {started[-1]}")
    for name in ("torch", "hardware", "device"):
        values = {one[name] for one in made}
        if len(values) > 1:
            listed = words.listing(sorted(map(str, values)))
            lines.append(f"**mixed {name}**: cells of one table were computed with {listed}")
    return lines
