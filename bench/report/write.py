"""Writes a report: markdown, figures, tables and its evidence in one folder, their sums last."""

import hashlib
import re
from pathlib import Path

from bench.plan import Plan
from bench.report.analysis import analyse, whole_rows
from bench.report.evidence.evidence import REVISION, Evidence, gather, outline, pack
from bench.report.evidence.looks import note_looks
from bench.report.forms import forms
from bench.report.frame import csv_bytes, frame_of
from bench.report.gallery import gallery
from bench.report.machine import Edition
from bench.report.results import results_of
from bench.report.text import write_text
from bench.store import SUMS, Store, read_sums, sums_file, write_atomic

INDEX = "index.md"
# Reports of earlier versions name their files here, and have no SHA256SUMS.
MARK = re.compile(r"<!-- bench report (?P<hash>[0-9a-f]{64})(?P<files>( [^ /]+)*) -->")


def write_report(plan: Plan, store: Store, reports: Path) -> Path:
    """Write ``reports/<plan's name>/index.md`` and what it shows; return its path.

    Each file is replaced whole, SHA256SUMS last; files of an earlier report that this one lacks
    are removed. That its seeds were shown is noted beside the store.
    """
    folder = reports / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    evidence = gather(plan, store)
    files = contents(evidence) | pack(evidence)
    stale = _written(folder) - files.keys()
    for name, content in files.items():
        write_atomic(folder / name, content)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    write_atomic(folder / SUMS, sums_file(files))
    note_looks(plan, whole_rows(results_of(evidence)), store.root.parent)
    return folder / INDEX


def is_current(plan: Plan, store: Store, reports: Path) -> bool:
    """Whether the report on disk is the one that ``write_report`` would write."""
    folder = reports / plan.name
    found, sums = _mark(folder), _sums(folder)
    return (
        found is not None
        and found["hash"] == content_hash(plan, store)
        and sums.get(INDEX) == hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()
        and all((folder / name).is_file() for name in sums)
    )


def content_hash(plan: Plan, store: Store) -> str:
    """Hash all that a report is made from: plan, finished stages, failures, published numbers.

    Its own revision and what else it shows are in it too.
    """
    return outline(plan, store).content_hash


def contents(evidence: Evidence) -> dict[str, bytes]:
    """Return every file of a report by its name: a function of the evidence alone."""
    found = analyse(results_of(evidence))
    pictures = gallery(found)
    edition = Edition(revision=REVISION, content_hash=evidence.content_hash)
    report = write_text(found, pictures, edition.content_hash)
    files = {f"{picture.name}.png": picture.png for picture in pictures.every}
    files |= {f"{picture.name}.svg": picture.svg for picture in pictures.every}
    files |= {f"{table.name}.csv": csv_bytes(table.frame) for table in report.tables}
    files["cells.csv"] = csv_bytes(frame_of(found.results))
    files |= forms(found, report, edition, files)
    mark = f"\n<!-- bench report {evidence.content_hash} -->\n"
    return files | {INDEX: (report.markdown + mark).encode()}


def _mark(folder: Path) -> re.Match[str] | None:
    index = folder / INDEX
    return MARK.search(index.read_text(encoding="utf-8")) if index.is_file() else None


def _sums(folder: Path) -> dict[str, str]:
    """Return the sums of an earlier report; none where there is none, or none that is one."""
    try:
        return {name: one for name, one in read_sums(folder).items() if name and "/" not in name}
    except (OSError, ValueError):
        return {}


def _written(folder: Path) -> set[str]:
    """Name the files that an earlier report wrote here, and nothing that it did not."""
    found = _mark(folder)
    return set(found["files"].split() if found else ()) | _sums(folder).keys()
