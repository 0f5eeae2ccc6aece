"""The forms of a report beside its markdown, tables and figures: for LaTeX, papers and programs."""

from collections.abc import Mapping

from bench.report.analysis import Analysis
from bench.report.evidence.evidence import FILES
from bench.report.machine import Edition, report_json
from bench.report.paper.bibliography import bibtex
from bench.report.paper.latex import latex
from bench.report.paper.method import plain_text
from bench.report.text import Report
from bench.store import SUMS


def forms(
    found: Analysis, report: Report, edition: Edition, files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return these files by name; ``files`` are the others, which ``report.json`` lists too."""
    origin = f"the report {found.results.plan.name}, content hash {edition.content_hash}"
    texts = {f"{table.name}.tex": latex(table, origin) for table in report.tables}
    texts["references.bib"] = bibtex(report.citations, origin)
    texts["method.txt"] = plain_text(report.method)
    made = {name: text.encode() for name, text in texts.items()}
    every = ["index.md", "report.json", *FILES, SUMS, *files, *made]
    return made | {"report.json": report_json(found, report, edition, every)}
