"""The mean over the held-out tasks of a suite: an episode of it is one of each of them, averaged.

So every interval and verdict is made as for one task, and what tells the tasks apart, which are
these and no sample of others, adds nothing to the variance over episodes: averaging the e-th
episodes of M tasks gives the variance sum_m V_m / M^2 of a stratified mean.
A row that lacks a task has no mean; several tasks held out at once take no part in it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.cell import digest
from bench.plan import Plan
from bench.report.results import CellResult, Group, Results


def members(plan: Plan) -> tuple[str, ...]:
    """Return the tasks that were held out alone: those that the mean is over, if several."""
    held = plan.settings.get("held_out", ())
    return tuple(one["title"] for one in held if len(one["members"]) == 1)


def title(plan: Plan) -> str:
    """Name the mean as a held-out task is named."""
    return f"tasks (mean of {len(members(plan))})"


def pooled(results: Results) -> tuple[Group, ...]:
    """Return the mean of each row that met every held-out task, in the plan's order."""
    wanted = members(results.plan)
    if len(wanted) < 2:
        return ()
    means = []
    for groups in _rows(results).values():
        named = {group.held_out: group for group in groups}
        if named.keys() >= set(wanted):
            means.append(_mean([named[one] for one in wanted], title(results.plan)))
    return tuple(means)


def lacking(results: Results) -> dict[str, tuple[str, ...]]:
    """Return the rows that have no mean, and the held-out tasks that each was dropped for."""
    wanted = members(results.plan)
    found = {}
    for (variant, *_), groups in _rows(results).items():
        missing = tuple(one for one in wanted if one not in {group.held_out for group in groups})
        if missing and len(wanted) > 1:
            found[variant] = missing
    return found


def _rows(results: Results) -> dict[tuple[str, str, int, int], list[Group]]:
    rows: dict[tuple[str, str, int, int], list[Group]] = {}
    for group in results.groups:
        place = (group.variant, group.data, group.ways, group.shots)
        rows.setdefault(place, []).append(group)
    return rows


def _mean(groups: Sequence[Group], held_out: str) -> Group:
    by_seed = [{one.cell.seed: one for one in group.results} for group in groups]
    seeds = [one.cell.seed for one in groups[0].results]
    results = tuple(_joined([found[seed] for found in by_seed], held_out) for seed in seeds)
    looked_at = next((group.looked_at for group in groups if group.looked_at), "")
    return replace(groups[0], held_out=held_out, results=results, looked_at=looked_at)


def _joined(parts: Sequence[CellResult], held_out: str) -> CellResult:
    """Average the episodes of several tasks, one of each; where one is not done, nothing is."""
    cell = replace(parts[0].cell, held_out=held_out)
    unfinished = next((one for one in parts if one.status != "done"), None)
    if unfinished is not None:
        reason = f"{unfinished.cell.held_out}: {unfinished.reason}"
        return CellResult(cell=cell, status=unfinished.status, reason=reason, parts=tuple(parts))
    bank = digest([one.manifest["bank"] for one in parts])
    return replace(
        parts[0],
        cell=cell,
        manifest={**parts[0].manifest, "bank": bank},
        measured_TE={
            name: np.mean([one.measured_TE[name] for one in parts], axis=0)
            for name in parts[0].measured_TE
        },
        parts=tuple(parts),
    )
