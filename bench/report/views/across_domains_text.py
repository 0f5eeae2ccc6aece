"""What a report says of training here or elsewhere: a table a test set, and sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report import words
from bench.report.comparison import Row
from bench.report.evidence.looks import judged
from bench.report.tables import Table, comparison_columns, interval_columns
from bench.report.views.across_domains import Domains, Moved

SAME = "same weights"  # both are the same trainings, or none
HEADER = ("variant", "labels", "trained on", "elsewhere %", "here %", "elsewhere minus here")
PHRASES = {  # by verdict
    "better": "**better** trained on {there} than on {here}",
    "equivalent": "**equivalent** trained on {there} and on {here}",
    "worse": "**worse** trained on {there} than on {here}",
    "undecided": "undecided, trained on {there} minus trained on {here}",
}


@dataclass(frozen=True, kw_only=True)
class DomainsSection:
    """One setting's part: its title, what holds, the table, and in what more rows differ."""

    title: str
    sentences: Sequence[str]
    table: Table
    notes: Sequence[str]


def domains_section(found: Domains) -> DomainsSection:
    """Return what is said of one test set, ways and shots."""
    return DomainsSection(
        title=found.block.title,
        sentences=sentences(found),
        table=domains_table(found),
        notes=list(dict.fromkeys(_note(one) for one in found.rows if one.differing)),
    )


def domains_table(found: Domains) -> Table:
    """Accuracy trained elsewhere and here, on the same episodes, and their paired difference."""
    rows = [
        [
            f"{one.here.group.variant} (!)" if one.marked else one.here.group.variant,
            one.here.group.first.labels,
            one.source or words.NONE,
            _accuracy(one.elsewhere),
            _accuracy(one.here),
            *_compared(one),
        ]
        for one in found.rows
    ]
    return Table(
        name=f"across-domains-{found.block.slug}",
        header=[*HEADER, "p", "verdict"],
        rows=rows,
        frame=pd.DataFrame([_numbers(one) for one in found.rows]),
        right=(3, 4, 5, 6),
    )


def sentences(found: Domains) -> list[str]:
    """Say for each other set which rows lose or gain by being trained on it, one a verdict."""
    here = words.escape(found.block.data)
    said = []
    for source in found.sources:
        own = [one for one in found.rows if one.source == source and one.compared]
        for verdict in PHRASES:
            names = [_named(one) for one in own if one.compared and one.compared.verdict == verdict]
            if names:
                be = "is" if len(names) == 1 else "are"
                told = PHRASES[verdict].format(there=words.escape(source), here=here)
                said.append(f"{words.listing(names)} {be} {told}.")
    return said


def answer(found: Sequence[Domains]) -> list[str]:
    """Say what is decided of training on another set, for the beginning of a report."""
    said = []
    for one in (each for each in found if each.sources):
        decided = [each for each in sentences(one) if "undecided" not in each]
        sources = words.listing([words.escape(source) for source in one.sources])
        nothing = f"of no row is it decided what training on {sources} does instead."
        said += [f"{one.block.title}: {each}" for each in decided or [nothing]]
    return said


def _named(one: Moved) -> str:
    assert one.compared is not None
    assert one.compared.difference is not None
    looked_at = one.compared.looked_at.partition(":")[0]
    said = [words.points(one.compared.difference), *([looked_at] if looked_at else [])]
    return f"{words.escape(one.here.group.variant)} ({', '.join(said)})"


def _note(one: Moved) -> str:
    name, trained = words.escape(one.here.group.variant), words.escape(one.source or "nothing")
    return f"{name}, trained on {trained}, also has other values of {', '.join(one.differing)}"


def _accuracy(row: Row) -> str:
    return words.percent(row.accuracy) if row.accuracy else row.group.trouble


def _compared(one: Moved) -> tuple[str, str, str]:
    """Return the difference, its p-value in the family, and the verdict."""
    if one.compared is None:
        return words.NONE, words.NONE, SAME
    if one.compared.difference is None:
        return words.NONE, words.NONE, one.compared.trouble
    verdict = judged(one.compared.verdict, one.compared.looked_at) or words.NONE
    return words.points(one.compared.difference), words.p_value(one.compared.p_holm), verdict


def _numbers(one: Moved) -> dict[str, object]:
    return {
        "variant": one.here.group.variant,
        "labels": one.here.group.first.labels,
        "trained_on": one.source,
        "same_weights": one.compared is None,
        **interval_columns("elsewhere", one.elsewhere.accuracy),
        **interval_columns("here", one.here.accuracy),
        **comparison_columns("minus", one.compared),
        "marks": "; ".join(dict.fromkeys((*one.elsewhere.marks, *one.here.marks))),
        "differing": "; ".join(one.differing),
    }
