"""What the store holds of a plan: each cell's outcome, and cells grouped over their seeds.

Shapes: S seeds, E test episodes, T read-outs (numbers of test-time steps).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Literal

import numpy as np

from bench.cell import ROLES, Cell, Json
from bench.plan import Plan
from bench.report.evidence.episodes import headline
from bench.report.evidence.evidence import Evidence, gather
from bench.report.evidence.looks import row_name, standing
from bench.report.headline import ACCURACY, Headline, headline_of
from bench.store import Store

Status = Literal["done", "failed", "missing"]


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One cell's outcome; ``reason`` says why it is not done.

    ``measured_TE``: accuracy in [0, 1], and what else its protocol measures, as ``Episodes`` has
    it: loss (nats) where a held-out task was tested. ``parts``: the outcomes that one is the mean
    of, with all their episodes.
    """

    cell: Cell
    status: Status
    reason: str = ""
    manifest: Mapping[str, Json] = field(default_factory=dict)
    trained: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)  # role -> manifest
    steps: tuple[int, ...] = ()
    measured_TE: Mapping[str, np.ndarray] = field(default_factory=dict)
    parts: tuple["CellResult", ...] = ()

    @property
    def accuracy_TE(self) -> np.ndarray:  # noqa: N802  # a shape suffix
        """The headline, which verdicts are of: accuracies, or shares of variance explained."""
        return headline(self.measured_TE)

    @property
    def seconds(self) -> float:
        """Own evaluation and every stage it builds on; NaN when one of these is not stored."""
        if self.parts:
            return fmean(one.seconds for one in self.parts)
        return self._seconds({role: 1 for role in ROLES})

    def _seconds(self, sharers: Mapping[str, int]) -> float:
        if self.status != "done" or len(self.trained) != len(self.cell.stages) - 1:
            return float("nan")
        seconds = float(self.manifest["cost"]["seconds"])
        for role, manifest in self.trained.items():
            seconds += float(manifest["cost"]["seconds"]) / sharers[role]
        return seconds

    def seconds_shared(self, sharing: Mapping[str, int]) -> float:
        """As ``seconds``, each trained stage divided by the cells that share it (key -> cells)."""
        if self.parts:
            return fmean(one.seconds_shared(sharing) for one in self.parts)
        return self._seconds({role: sharing[key] for role, key in self.cell.stages.items()})

    @property
    def examples(self) -> float:
        """Training examples passed forward; NaN when a trained stage is not stored."""
        if self.parts:
            return fmean(one.examples for one in self.parts)
        if self.status != "done" or len(self.trained) != len(self.cell.stages) - 1:
            return float("nan")
        return float(sum(one["cost"]["examples"] for one in self.trained.values()))

    @property
    def peak_memory(self) -> float:
        """The most bytes that any of the cell's stages held; NaN when the cell is not done."""
        if self.parts:
            return max(one.peak_memory for one in self.parts)
        stages = [self.manifest, *self.trained.values()] if self.status == "done" else []
        return float(max((one["cost"]["peak_memory_bytes"] for one in stages), default=np.nan))


@dataclass(frozen=True, kw_only=True)
class Group:
    """The seeds of one variant in one setting: what an aggregate is made of, whole or not.

    ``looked_at`` says how they stand to seeds that earlier reports had shown; empty if fresh.
    """

    variant: str
    data: str
    ways: int
    shots: int
    results: tuple[CellResult, ...]
    held_out: str = ""
    looked_at: str = ""
    headline: Headline = ACCURACY

    @property
    def done(self) -> tuple[CellResult, ...]:
        """The finished cells, in the plan's order of seeds."""
        return tuple(one for one in self.results if one.status == "done")

    @property
    def first(self) -> Cell:
        """A cell to read the coordinates from that all seeds share."""
        return self.results[0].cell

    @property
    def banks(self) -> frozenset[str]:
        """The digests of the test banks that the finished cells met; one if all is well."""
        return frozenset(one.manifest["bank"] for one in self.done)

    @property
    def trouble(self) -> str:
        """Why these cells cannot be averaged: ``incomplete (3 of 5 seeds)``; empty if they can."""
        if len(self.done) < len(self.results):
            return f"incomplete ({len(self.done)} of {len(self.results)} seeds)"
        if len(self.banks) > 1 or len({one.accuracy_TE.shape for one in self.done}) > 1:
            return "withheld (seeds met different test episodes)"
        return "withheld (one episode)" if self.done[0].accuracy_TE.shape[1] < 2 else ""

    def accuracy(self, seeds: frozenset[int] | None = None) -> np.ndarray:
        """Headline accuracies [S, E], of the named seeds alone where some are named."""
        return np.stack([r.accuracy_TE[-1] for r in self._chosen(seeds)])

    def measured(self, name: str, seeds: frozenset[int] | None = None) -> np.ndarray:
        """One measure [T, S, E], as ``loss`` in nats; of the named seeds alone where some are."""
        return np.stack([one.measured_TE[name] for one in self._chosen(seeds)], axis=1)

    def accuracies(self, seeds: frozenset[int] | None = None) -> np.ndarray:
        """Accuracies [T, S, E] after each read-out, of the named seeds alone where some are."""
        return np.stack([one.accuracy_TE for one in self._chosen(seeds)], axis=1)

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates of the steps at test that were chosen, each once."""
        outcomes = [part for one in self.done for part in (one.parts or (one,))]
        found = {one.manifest.get("rate") for one in outcomes}  # None of what takes no steps
        return tuple(sorted(rate for rate in found if rate is not None))

    def seeds(self) -> frozenset[int]:
        """The planned replicate numbers."""
        return frozenset(one.cell.seed for one in self.results)

    def _chosen(self, seeds: frozenset[int] | None) -> list[CellResult]:
        chosen = [one for one in self.done if seeds is None or one.cell.seed in seeds]
        return sorted(chosen, key=lambda one: one.cell.seed)


@dataclass(frozen=True, kw_only=True)
class Results:
    """A plan and every outcome of it; ``notes`` are for the audit (damaged folders).

    ``default_cells`` are tuned rows as they were before tuning: no part of ``cells``, nor of
    anything that is made from these.
    """

    plan: Plan
    cells: tuple[CellResult, ...]
    default_cells: tuple[CellResult, ...] = ()
    notes: tuple[str, ...] = ()
    manifests: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)  # key -> manifest
    failures: Mapping[str, str] = field(default_factory=dict)  # key -> why it failed last
    suite_changed: bool = False  # the suite's file no longer holds what was planned
    extras: Mapping[str, Json] = field(default_factory=dict)  # what else the report shows

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Cells grouped by variant and setting, in the plan's order."""
        return self._grouped(self.cells)

    @cached_property
    def defaults(self) -> Mapping[tuple[str, str, int, int, str], Group]:
        """What tuned rows were before: (label, data, ways, shots, held out) -> its cells."""
        groups = self._grouped(self.default_cells)
        return {(g.first.default_of, g.data, g.ways, g.shots, g.held_out): g for g in groups}

    @property
    def every_cell(self) -> tuple[CellResult, ...]:
        """The cells of the rows, and those of rows before tuning."""
        return (*self.cells, *self.default_cells)

    def _grouped(self, cells: tuple[CellResult, ...]) -> tuple[Group, ...]:
        found: dict[tuple[str, str, int, int, str], list[CellResult]] = {}
        for one in cells:
            cell = one.cell
            setting = (cell.variant, cell.data, cell.ways, cell.shots, cell.held_out)
            found.setdefault(setting, []).append(one)
        groups = (
            Group(variant=v, data=d, ways=w, shots=k, held_out=h, results=tuple(results))
            for (v, d, w, k, h), results in found.items()
        )
        looks, headline = self.extras.get("looks") or {}, headline_of(self.plan)
        return tuple(
            replace(
                one,
                looked_at=standing(one.seeds(), looks.get(row_name(one.first), ())),
                headline=headline,
            )
            for one in groups
        )

    @cached_property
    def sharing(self) -> Mapping[str, int]:
        """How many cells of the plan build on each stage.

        What rows before tuning build on counts where no other cell does.
        """
        return _counted(self.default_cells) | _counted(self.cells)

    @property
    def variants(self) -> tuple[str, ...]:
        """Every variant once, in the plan's order."""
        return tuple(dict.fromkeys(one.cell.variant for one in self.cells))

    def unfinished(self) -> tuple[CellResult, ...]:
        """The cells that failed or are missing, those of rows before tuning too."""
        return tuple(one for one in self.every_cell if one.status != "done")


def _counted(cells: tuple[CellResult, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in cells:
        for key in one.cell.stages.values():
            counts[key] = counts.get(key, 0) + 1
    return counts


def read_results(plan: Plan, store: Store) -> Results:
    """Read every manifest and every episode of a plan once; a damaged stage counts as missing."""
    return results_of(gather(plan, store))


def results_of(evidence: Evidence) -> Results:
    """Return what a plan has come to, from the evidence alone."""
    manifests = {key: evidence.manifest(key) for key in evidence.manifests}
    failures = {key: why[-1] for key, why in evidence.failures.items() if key not in manifests}
    cells = tuple(_cell(cell, evidence, manifests, failures) for cell in evidence.plan.cells)
    return Results(
        plan=evidence.plan,
        cells=tuple(one for one in cells if not one.cell.default_of),
        default_cells=tuple(one for one in cells if one.cell.default_of),
        notes=evidence.notes,
        manifests=manifests,
        failures=failures,
        suite_changed=evidence.suite_changed,
        extras=evidence.extras,
    )


def _cell(
    cell: Cell,
    evidence: Evidence,
    manifests: Mapping[str, Mapping[str, Json]],
    failures: Mapping[str, str],
) -> CellResult:
    key = cell.stages["evaluate"]
    if key not in manifests:
        return _unfinished(cell, failures)
    if key in evidence.damaged:
        return CellResult(cell=cell, status="missing", reason="its folder is damaged")
    measured = evidence.episodes[key]
    roles = [role for role in ROLES if cell.stages.get(role) in manifests]
    return CellResult(
        cell=cell,
        status="done",
        manifest=manifests[key],
        trained={role: manifests[cell.stages[role]] for role in roles},
        steps=measured.steps,
        measured_TE=measured.measured_TE,
    )


def _unfinished(cell: Cell, failures: Mapping[str, str]) -> CellResult:
    for role in (*ROLES, "evaluate"):
        key = cell.stages.get(role)
        if key is not None and key in failures:
            return CellResult(cell=cell, status="failed", reason=f"{role}: {failures[key]}")
    return CellResult(cell=cell, status="missing", reason="not run")
