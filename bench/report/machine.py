"""The report for programs: ``report.json``, with every number that the markdown shows."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.cell import ROLES, Json
from bench.report import words
from bench.report.analysis import Analysis
from bench.report.comparison import Block, Comparison, Row
from bench.report.evidence.episodes import HEADLINES
from bench.report.paper.bibliography import folded
from bench.report.results import CellResult, Group, Results
from bench.report.tables import Table
from bench.report.text import Report
from bench.report.views.tuning_text import TuningSection
from bench.statistics.interval import Interval

FORM = 1  # raised when a key is renamed or means something else; new keys may come without
SETTINGS = (
    *("file", "source_sha256", "margin", "baseline", "seeds", "shots", "ways", "episodes"),
    *("queries", "test_steps", "readouts", "data", "classes", "budget_scale", "held_out", "rates"),
    *("rate_tasks", "roles", "protocol", "planner"),
)
AXES = ("encoder", "pretext", "init", "tasks", "auxiliary", "meta")


@dataclass(frozen=True, kw_only=True)
class Edition:
    """Which report it is: the revision of its form, and the hash of what it was made from."""

    revision: int
    content_hash: str


def report_json(found: Analysis, report: Report, edition: Edition, files: Sequence[str]) -> bytes:
    """Return the whole report as JSON: keys in one order, null where there is no number."""
    results, blocks = found.results, found.blocks
    tables = {table.name: table for table in report.tables}
    content = {
        "form": FORM,
        "name": results.plan.name,
        "content_hash": edition.content_hash,
        "revision": edition.revision,
        "complete": not results.unfinished(),
        "banners": _plain(report.banners),
        "answer": _answer(report, blocks),
        "settings": _settings(results),
        "blocks": [_block(block, tables) for block in blocks],
        "published": _records(tables.get("published")),
        "detectable": _records(tables.get("detectable")),
        "cells": {"planned": len(results.every_cell), "done": _done(results)},
        "unfinished": _records(tables.get("unfinished")),
        "dropped": [{"variant": o.variant, "reason": o.reason} for o in results.plan.dropped],
        "warnings": list(results.plan.warnings),
        "notes": list(results.notes),
        "audit": _records(tables.get("audit")),
        "certificate": results.extras.get("certificate"),
        "compute": _records(tables.get("compute")),
        "versions": _records(tables.get("provenance")),
        "tables": {name: _records(tables[name]) for name in tables if not _elsewhere(name)},
        "method": {one.title: words.plain(one.markdown) for one in report.method},
        "citations": [
            {"key": o.entry.key, "identifier": folded(o.reference), "used_by": list(o.uses)}
            for o in report.citations
        ],
        "files": sorted(files),
    }
    if report.tuning:
        content["tuning"] = _tuning(results, report.tuning)
    text = json.dumps(_clean(content), indent=1, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def _elsewhere(table: str) -> bool:
    """Whether its numbers stand under a key of their own, or in the rows of blocks."""
    rows = (
        *(f"{name}-" for name in HEADLINES),
        "cost-",
        "across-labels-",
        "tuning-",
        "expected-best",
        "best-so-far",
    )
    own = {"audit", "published", "detectable", "unfinished", "compute", "provenance"}
    return table in own or table.startswith(rows)


def _plain(sentences: Sequence[str]) -> list[str]:
    return [words.plain(one) for one in sentences]


def _answer(report: Report, blocks: Sequence[Block]) -> dict[str, Json]:
    verdicts = [
        {
            "setting": block.title,
            "variant": row.group.variant,
            "reference": one.reference,
            "verdict": one.verdict,
            "looked_at": one.looked_at or None,
        }
        for block in blocks
        for row in block.rows
        for one in {one.reference: one for one in (row.baseline, row.floor) if one}.values()
        if one.verdict
    ]
    settings = {section.title: _plain(section.sentences) for section in report.sections}
    return {"sentences": _plain(report.answer), "settings": settings, "verdicts": verdicts}


def _settings(results: Results) -> dict[str, Json]:
    settings = results.plan.settings
    return {name: settings[name] for name in SETTINGS if name in settings}


def _done(results: Results) -> int:
    return len(results.every_cell) - len(results.unfinished())


def _tuning(results: Results, section: TuningSection) -> dict[str, Json]:
    """Return how rows were tuned, and the rows of each table of that section."""
    record = results.plan.settings["tuning"]
    return {
        "rule": {name: value for name, value in record.items() if name not in ("rows", "untuned")},
        "sentences": _plain([*section.rule, *section.notes]),
        "bought": {title: _records(table) for title, table in section.settings},
        "budget": _records(section.budget),
        "chosen": _records(section.chosen),
        "curve": _records(section.curve),
        "seconds": _records(section.seconds),
    }


def _block(block: Block, tables: Mapping[str, Table]) -> dict[str, Json]:
    costs = _records(tables.get(f"cost-{block.slug}")) or [{} for _ in block.rows]
    return {
        "title": block.title,
        "slug": block.slug,
        "data": block.data,
        "ways": block.ways,
        "shots": block.shots,
        "held_out": block.held_out or None,
        "is_mean": block.is_mean,
        "baselines": dict(block.baselines),
        "rows": [_row(row, cost) for row, cost in zip(block.rows, costs, strict=True)],
        "across_labels": [
            {"variant": group.variant, "labels": group.first.labels, **_comparison(one)}
            for group, one in block.across
        ],
    }


def _row(row: Row, cost: Mapping[str, Json]) -> dict[str, Json]:
    group, cell = row.group, row.group.first
    return {
        "variant": group.variant,
        "axes": {axis: getattr(cell, axis) for axis in AXES},
        "labels": cell.labels,
        "norm": cell.norm,
        "control": cell.control or None,
        "is_baseline": row.is_baseline,
        "marks": _plain(row.marks),
        "looked_at": row.group.looked_at or None,
        "trouble": group.trouble or None,
        "seeds_planned": len(group.results),
        "seeds_done": len(group.done),
        group.headline.name: _interval(row.accuracy),
        "legacy": _interval(row.legacy),
        "baseline": _comparison(row.baseline) if row.baseline else None,
        "floor": _comparison(row.floor) if row.floor else None,
        "cost": {name: value for name, value in cost.items() if name != "variant"},
        "seeds": [_seed(one, group.headline.name) for one in _by_seed(group)],
    }


def _by_seed(group: Group) -> list[CellResult]:
    return sorted(group.results, key=lambda one: one.cell.seed)


def _seed(one: CellResult, headline: str) -> dict[str, Json]:
    done = one.status == "done"
    return {
        "seed": one.cell.seed,
        "status": one.status,
        "reason": one.reason or None,
        headline: float(one.accuracy_TE[-1].mean()) if done else None,
        "episodes": one.accuracy_TE.shape[1] if done else None,
        "seconds": one.seconds if done else None,
        "stages": {role: one.cell.stages.get(role) for role in (*ROLES, "evaluate")},
    }


def _interval(one: Interval | None) -> dict[str, Json] | None:
    if one is None:
        return None
    return {"mean": one.mean, "low": one.low, "high": one.high, "one_model": one.one_model}


def _comparison(one: Comparison) -> dict[str, Json]:
    difference = one.difference
    return {
        "reference": one.reference,
        "trouble": one.trouble or None,
        "difference": _interval(difference),
        "seeds": difference.seeds if difference else None,
        "p": difference.p if difference else None,
        "p_holm": one.p_holm,
        "p_sign_flip": one.sign_flip,
        "verdict": one.verdict,
        "looked_at": one.looked_at or None,
    }


def _records(table: Table | None) -> list[dict[str, Json]]:
    rows = [] if table is None else table.frame.to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _clean(value: Json) -> Json:
    """Return what JSON can hold: plain numbers, null for one that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _clean(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value
