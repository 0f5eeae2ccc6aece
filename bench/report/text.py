"""The report's markdown: what the template prints, gathered from plan, results and tables."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from bench.cell import Json
from bench.published import UNSTATED, published
from bench.report import certificate, speed_text, words
from bench.report.answer import one_seed, overall, sentences
from bench.report.audit import Audit, audit, marked
from bench.report.comparison import Block, is_floor
from bench.report.figures.style import Picture
from bench.report.guessed import guessed_table
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
    """The finished markdown and the tables behind it."""

    markdown: str
    tables: Sequence[Table]


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
    whole = [
        table for table in (literature, power, provenance, unfinished, *audited.tables) if table
    ]
    tables = [t for section in sections for t in section.tables] + whole
    source = str(settings["source"]).rstrip()
    markdown = _template().render(
        name=plan.name,
        banners=banners(results, audited),
        audited=audited,
        overall=overall(blocks),
        new_tasks=speed_text.answer(blocks, plan),
        blocks=sections,
        csv=["cells.csv", *(f"{table.name}.csv" for table in tables)],
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
        method=_method(results, blocks),
        of_classes=not settings.get("held_out"),
        bibliography=_bibliography(plan.cards, found),
        provenance=provenance,
        origins=_origins(results),
        certificate=certificate.lines(results.extras.get("certificate"), plan),
        file=settings.get("file"),
        source=source,
        fence="~~~~" if "```" in source else "```",
        hash=content_hash,
    )
    return Report(markdown=markdown, tables=tables)


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


def _method(results: Results, blocks: Sequence[Block]) -> str:
    settings = results.plan.settings
    seeds = sorted({one.cell.seed for one in results.cells})
    one = "With one seed intervals are over episodes of one model. " if one_seed(blocks) else ""
    return (
        f"Each variant was trained with {len(seeds)} seeds ({words.ranges(seeds)}) and tested on "
        f"{settings['episodes']} episodes ({settings['queries']} queries a class; "
        f"{_steps(results)}) drawn from the test "
        f"classes of {words.listing(list(settings['data']))}; every variant and seed meets the "
        "same episodes. Intervals are 95 % over both seeds and episodes: SE^2 = max(V_s + V_e - "
        "V_r, V_s) of the two-way layout, t with S - 1 degrees of freedom. Differences are paired "
        f"by seed and episode and get the same interval. {one}p-values are Holm-adjusted within "
        "all comparisons with one reference for a data set, ways and shots. A difference is "
        f"equivalent if its interval lies within +- {100 * settings['margin']:g} points, better or "
        "worse if the interval excludes 0 and the adjusted p is below .05, else undecided. "
        f"Variants are compared with a baseline that saw the same labels.{_selection(results)}"
        f"{speed_text.method(results.plan)}"
    )


def _steps(results: Results) -> str:
    """Say how many steps of adaptation the variants take before their accuracy counts."""
    taken: dict[int, list[str]] = {}
    for group in results.groups:
        last = max((one.steps[-1] for one in group.done), default=0)
        if last and group.variant not in taken.setdefault(last, []):
            taken[last].append(group.variant)
    parts = [
        f"{number} steps of adaptation for {words.listing(names)}"
        for number, names in sorted(taken.items())
    ]
    return words.listing(parts) or "no variant adapts by steps"


def _selection(results: Results) -> str:
    """Say whose weights were tested, where it is not always the last."""
    rules = {one.cell.params.get("selection", "last") for one in results.cells} - {"last"}
    if not rules:
        return ""
    by = words.listing(sorted(rules))
    return f" Weights are those of the last step, but in rows marked as selected by {by}."


def _sources(found: Sequence[Beside]) -> list[str]:
    """One line a method and source of published numbers: protocol, what +- is, where read."""
    lines: dict[str, None] = {}
    for number in (one.number for one in found):
        known = number.plus_minus is not None and number.plus_minus_is != UNSTATED
        reach = f"+- is {number.plus_minus_is}" if known else ""
        read = f"read in {number.read_in}" if number.read_in else ""
        said = "; ".join(part for part in (number.protocol, reach, read) if part)
        cited = ", ".join(part for part in (number.title, number.identifier) if part)
        lines[_link(words.escape(f"{cited}: {said}" if said else cited))] = None
    return list(lines)


def _bibliography(cards: Mapping[str, Json], found: Sequence[Beside]) -> list[str]:
    """One line a source: which plug-ins follow it, and whether it gave published numbers."""
    sources: dict[str, list[str]] = {}
    for name, card in sorted(cards.items()):
        if card.get("reference"):
            sources.setdefault(card["reference"], []).append(name)
    for identifier in dict.fromkeys(one.number.identifier for one in found):
        if identifier:
            sources.setdefault(identifier, []).append("published numbers")
    own = {"arXiv:2409.02850": ["crossed intervals"], "doi:10.2307/4615733": ["Holm's adjustment"]}
    return [
        f"{_link(reference)}: {words.escape(', '.join(names))}"
        for reference, names in sorted((sources | own).items(), key=lambda item: item[1])
    ]


def _link(reference: str) -> str:
    """Turn each arXiv identifier or DOI of a reference into a link."""
    text = re.sub(
        r"arXiv:([\w.\-/]+\w)", r"[arXiv:\1](https://arxiv.org/abs/\1)", reference, flags=re.I
    )
    return re.sub(r"\bdoi:(\S+[\w)])", r"[doi:\1](https://doi.org/\1)", text)


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
