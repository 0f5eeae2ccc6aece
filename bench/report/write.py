"""Writes a report: markdown, figures and tables in one folder, the index last."""

import hashlib
import re
from pathlib import Path

from bench import published
from bench.cell import digest
from bench.plan import Plan
from bench.report.comparison import blocks
from bench.report.figures.accuracy import accuracy_figures
from bench.report.figures.adaptation import adaptation_figures
from bench.report.figures.cost import cost_figures
from bench.report.figures.coverage import coverage_figures
from bench.report.figures.episodes import episode_figures
from bench.report.figures.forest import forest_figures
from bench.report.figures.learning import learning_figure
from bench.report.figures.speed import speed_figures
from bench.report.figures.weights import weights_figure
from bench.report.frame import csv_bytes, frame_of
from bench.report.results import read_results
from bench.report.text import suite_changed, write_text
from bench.store import Store, write_atomic

REVISION = 6  # raised when a report of the same results reads differently
MARK = re.compile(r"<!-- bench report (?P<hash>[0-9a-f]{64})(?P<files>( [^ /]+)*) -->")


def write_report(plan: Plan, store: Store, reports: Path) -> Path:
    """Write ``reports/<plan's name>/index.md`` and what it shows; return its path.

    Each file is replaced whole, the index last; files of an earlier report that this one lacks
    are removed.
    """
    folder = reports / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    files, markdown = _contents(plan, store)
    stale = _written(folder) - set(files)
    for name, content in files.items():
        write_atomic(folder / name, content)
    mark = f"\n<!-- bench report {content_hash(plan, store)} {' '.join(sorted(files))} -->\n"
    write_atomic(folder / "index.md", (markdown + mark).encode())
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return folder / "index.md"


def is_current(plan: Plan, store: Store, reports: Path) -> bool:
    """Whether the report on disk is the one that ``write_report`` would write."""
    folder = reports / plan.name
    found = _mark(folder)
    return (
        found is not None
        and found["hash"] == content_hash(plan, store)
        and all((folder / name).is_file() for name in found["files"].split())
    )


def content_hash(plan: Plan, store: Store) -> str:
    """Hash all that a report is made from: plan, finished stages, failures, published numbers.

    Its own revision is in it too.
    """
    described = plan.to_json()
    stages = [
        [key, _sums(store, spec.kind, key), [one["reason"] for one in store.failures(key)]]
        for key, spec in plan.stages.items()
    ]
    numbers = hashlib.sha256(published.FILE.read_bytes()).hexdigest()
    return digest([REVISION, numbers, described, stages, suite_changed(plan.settings)])


def _sums(store: Store, kind: str, key: str) -> str | None:
    path = store.folder(kind, key) / "SHA256SUMS"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _contents(plan: Plan, store: Store) -> tuple[dict[str, bytes], str]:
    """Return every file beside the index by its name, and the index's markdown."""
    results = read_results(plan, store)
    compared = blocks(results)
    over_training = (learning_figure(results), weights_figure(results))
    pictures = coverage_figures(results) + speed_figures(results, compared)
    pictures += accuracy_figures(results, compared) + forest_figures(results, compared)
    pictures += episode_figures(results, compared) + adaptation_figures(results, compared)
    pictures += cost_figures(results, compared)
    pictures += [one for one in over_training if one]
    report = write_text(results, compared, pictures, content_hash(plan, store))
    files = {f"{picture.name}.png": picture.png for picture in pictures}
    files |= {f"{picture.name}.svg": picture.svg for picture in pictures}
    files |= {f"{table.name}.csv": csv_bytes(table.frame) for table in report.tables}
    files["cells.csv"] = csv_bytes(frame_of(results))
    return files, report.markdown


def _mark(folder: Path) -> re.Match[str] | None:
    index = folder / "index.md"
    return MARK.search(index.read_text(encoding="utf-8")) if index.is_file() else None


def _written(folder: Path) -> set[str]:
    """Name the files that an earlier report wrote here, and nothing that it did not."""
    found = _mark(folder)
    return set(found["files"].split()) if found else set()
