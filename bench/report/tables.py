"""The report's tables: numbers for CSV, and the same in words for markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import pandas as pd

from bench.cell import ROLES, Cell
from bench.report import words
from bench.report.comparison import Block, Comparison, Row, is_floor
from bench.report.evidence.looks import judged
from bench.report.reproduction import Beside
from bench.report.results import CellResult, Group, Results
from bench.statistics.interval import Interval
from bench.statistics.power import ASSUMED_SEED_SD, detectable_difference

SEED_COUNTS = (3, 5, 10, 20)
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as a reader meets it, and the numbers behind it under the name of their files.

    ``rows`` are texts, unescaped; ``right`` are the columns of numbers among them; ``frame`` is
    what the CSV holds.
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    frame: pd.DataFrame
    right: Sequence[int] = ()

    @property
    def markdown(self) -> str:
        """The table as GitHub and a terminal show it."""
        return words.table(self.header, self.rows, self.right)


def accuracy_table(block: Block, results: Results) -> Table:
    """The headline, differences from the baseline and from the floor, and the verdicts."""
    header = ["variant", "labels", f"{block.headline.noun} %", "minus baseline", "verdict"]
    header += ["minus floor", "against floor", "norm"]
    rows = [
        [
            row.group.variant,
            row.group.first.labels,
            words.percent(row.accuracy) if row.accuracy else row.group.trouble,
            *_against(row, row.baseline, "baseline" if row.is_baseline else words.NONE),
            *_against(row, row.floor, "floor" if is_floor(row.group) else words.NONE),
            _norm(row),
        ]
        for row in block.rows
    ]
    frame = pd.DataFrame([_numbers(row, results) for row in block.rows])
    name = f"{block.headline.name}-{block.slug}"
    return Table(name=name, header=header, rows=rows, frame=frame, right=(2, 3, 5))


def _norm(row: Row) -> str:
    return f"{row.group.first.norm} (!)" if row.marks else row.group.first.norm


def _against(row: Row, comparison: Comparison | None, itself: str) -> tuple[str, str]:
    if comparison is None:
        return words.NONE, itself
    if comparison.difference is None:
        return words.NONE, words.NONE if row.group.trouble else comparison.trouble
    verdict = judged(comparison.verdict, comparison.looked_at) or "other labels"
    return words.points(comparison.difference), verdict


def cost_table(block: Block, results: Results) -> Table:
    """Seconds alone and with sharing, examples, batches, memory, parameters, legacy interval."""
    header = ["variant", "seconds", "with sharing", "training examples", "examples a step"]
    header += ["peak memory", "parameters", "legacy: 95 % over episodes of one model"]
    frame = pd.DataFrame([_costs(row.group, results) for row in block.rows])
    rows = [
        [
            row.group.variant,
            words.duration(cost["seconds"]),
            words.duration(cost["seconds_shared_split"]),
            words.count(cost["training_examples"]),
            cost["examples_a_step"] or words.NONE,
            words.size(cost["peak_memory_bytes"]),
            words.count(cost["parameters"]),
            _legacy(row),
        ]
        for row, cost in zip(block.rows, frame.to_dict("records"), strict=True)
    ]
    return Table(
        name=f"cost-{block.slug}", header=header, rows=rows, frame=frame, right=(1, 2, 3, 5, 6, 7)
    )


def _legacy(row: Row) -> str:
    if row.legacy is None:
        return row.group.trouble
    return f"{100 * row.legacy.mean:.2f} +- {100 * (row.legacy.high - row.legacy.mean):.2f}"


def _costs(group: Group, results: Results) -> dict[str, object]:
    """Return means over the seeds; NaN where a cell is not done."""

    def mean(value: Callable[[CellResult], float]) -> float:
        return mean_over_seeds(group, value)

    return {
        "variant": group.variant,
        "seconds": mean(lambda one: one.seconds),
        "seconds_shared_split": mean(lambda one: one.seconds_shared(results.sharing)),
        "training_examples": mean(lambda one: one.examples),
        "examples_a_step": _batches(group.first),
        "peak_memory_bytes": mean(lambda one: one.peak_memory),
        "parameters": mean(lambda one: float(one.manifest["cost"]["parameters"])),
    }


def mean_over_seeds(group: Group, value: Callable[[CellResult], float]) -> float:
    """Return the mean of a number of each cell; NaN where a cell is not done."""
    return NAN if group.trouble else fmean(value(one) for one in group.results)


def _batches(cell: Cell) -> str:
    """Say how many examples a step of each training is given: ``pretrain 64, metatrain 4 x 80``.

    Of meta-training they are tasks x examples of a task; views and inner steps are no examples.
    """
    batches = {role: cell.params.get(f"{role}.batch") for role in ROLES}
    return ", ".join(f"{role} {batch}" for role, batch in batches.items() if batch)


def _numbers(row: Row, results: Results) -> dict[str, object]:
    group = row.group
    coordinates = {
        "variant": group.variant,
        "labels": group.first.labels,
        "control": group.first.control,
        "norm": group.first.norm,
        "marks": "; ".join(row.marks),
        "looked_at": row.group.looked_at,
        "seeds_done": len(group.done),
        "seeds_planned": len(group.results),
    }
    return (
        coordinates
        | interval_columns(group.headline.name, row.accuracy)
        | comparison_columns("baseline", row.baseline)
        | comparison_columns("floor", row.floor)
        | interval_columns("legacy", row.legacy)
    )


def interval_columns(name: str, interval: Interval | None) -> dict[str, object]:
    """Return a mean and its bounds as columns of a CSV; NaN where there is none."""
    return {
        name: interval.mean if interval else NAN,
        f"{name}_low": interval.low if interval else NAN,
        f"{name}_high": interval.high if interval else NAN,
    }


def comparison_columns(name: str, one: Comparison | None) -> dict[str, object]:
    """Return a comparison as columns of a CSV: reference, difference, p-values, verdict."""
    difference = one.difference if one else None
    return {
        name: one.reference if one else "",
        **interval_columns(f"{name}_difference", difference),
        f"{name}_p": difference.p if difference else None,
        f"{name}_p_holm": one.p_holm if one else None,
        f"{name}_p_sign_flip": one.sign_flip if one else None,
        f"{name}_verdict": (one.verdict or "") if one else "",
        f"{name}_trouble": one.trouble if one else "",
        f"{name}_looked_at": one.looked_at if one else "",
    }


def across_table(block: Block) -> Table | None:
    """Differences between classes of labels, without verdicts; None where there are none."""
    if not block.across:
        return None
    rows = [
        [
            group.variant,
            group.first.labels,
            one.reference,
            words.points(one.difference) if one.difference else one.trouble,
        ]
        for group, one in block.across
    ]
    numbers = [
        {"variant": group.variant, "labels": group.first.labels}
        | comparison_columns("reference", one)
        for group, one in block.across
    ]
    frame = pd.DataFrame(numbers)
    return Table(
        name=f"across-labels-{block.slug}",
        header=["variant", "labels", "minus", "difference"],
        rows=rows,
        frame=frame,
        right=(3,),
    )


def published_table(found: Sequence[Beside]) -> Table | None:
    """Own accuracies and published ones, each in a column of its own; None where there are none."""
    if not found:
        return None
    header = ["setting", "variant", "own accuracy %", "published %", "difference"]
    rows = [
        [
            one.block.title,
            one.row.group.variant,
            words.percent(one.row.accuracy) if one.row.accuracy else one.row.group.trouble,
            one.number.shown,
            words.NONE if one.difference is None else f"{100 * one.difference:+.1f}",
            one.verdict,
            one.number.title,
        ]
        for one in found
    ]
    frame = pd.DataFrame([_beside(one) for one in found])
    return Table(
        name="published",
        header=[*header, "verdict", "source"],
        rows=rows,
        frame=frame,
        right=(2, 3, 4),
    )


def _beside(one: Beside) -> dict[str, object]:
    reach = one.number.plus_minus
    return {
        "data": one.block.data,
        "ways": one.block.ways,
        "shots": one.block.shots,
        "variant": one.row.group.variant,
        **interval_columns("accuracy", one.row.accuracy),
        "published": round(one.number.accuracy / 100, 6),  # 98.27 is 0.9827
        "published_plus_minus": NAN if reach is None else round(reach / 100, 6),
        "difference": NAN if one.difference is None else one.difference,
        "verdict": one.closeness,
        "remark": one.remark,
        "method": one.number.method,
        "source": one.number.source,
        "identifier": one.number.identifier,
    }


def unfinished_table(results: Results) -> Table | None:
    """Every failed or missing cell and why; None when all are done."""
    columns = ["cell", "data", "status", "reason"]
    rows = [[one.cell.id, one.cell.data, one.status, one.reason] for one in results.unfinished()]
    frame = pd.DataFrame(rows, columns=pd.Index(columns))
    return Table(name="unfinished", header=columns, rows=rows, frame=frame) if rows else None


def power_table(blocks: Sequence[Block]) -> Table:
    """The smallest difference from the baseline that numbers of seeds detect, per setting."""
    numbers = [_detectable(block) for block in blocks]
    header = ["setting", "spread taken from", *(f"{seeds} seeds" for seeds in SEED_COUNTS)]
    rows = [
        [block.title, str(row["spread"]), *(f"{100 * float(str(row[h])):.1f}" for h in header[2:])]
        for block, row in zip(blocks, numbers, strict=True)
    ]
    return Table(
        name="detectable", header=header, rows=rows, frame=pd.DataFrame(numbers), right=(2, 3, 4, 5)
    )


def _detectable(block: Block) -> dict[str, object]:
    found = {f"{seeds} seeds": detectable((block,), seeds) for seeds in SEED_COUNTS}
    spread = next(source for _, source in found.values())
    return {"setting": block.title, "spread": spread} | {
        seeds: difference for seeds, (difference, _) in found.items()
    }


def detectable(blocks: Sequence[Block], seeds: int) -> tuple[float | None, str]:
    """Return the smallest true difference that seeds detect (power .8, level .05), and from what.

    The median over the stored comparisons with a baseline; where none is complete, it is taken
    from a seed SD of 0.8 points of either variant. None with one seed.
    """
    stored = [
        (one.parts.seeds * one.difference.seeds, one.parts.shared)
        for block in blocks
        for row in block.rows
        for one in (row.baseline or row.floor,)
        if one is not None
        and one.difference is not None
        and one.parts is not None
        and not one.difference.without_variance  # equal rows: of no spread
    ]
    found = [detectable_difference(v**0.5, seeds, shared=shared) for v, shared in stored]
    values = [value for value in found if value is not None]
    if values:
        some = "1 stored comparison" if len(values) == 1 else f"{len(values)} stored comparisons"
        return median(values), some
    assumed = detectable_difference(2**0.5 * ASSUMED_SEED_SD, seeds)
    return assumed, f"assumed: seed SD {100 * ASSUMED_SEED_SD:.1f} points"


def provenance_table(results: Results) -> Table:
    """Which versions and machines computed how many cells."""
    columns = ["bench", "python", "torch", "numpy", "hardware", "device"]
    seen: dict[tuple[str, ...], int] = {}
    for one in results.every_cell:
        if one.status == "done":
            where: Mapping[str, object] = one.manifest["provenance"]
            key = tuple(str(where.get(name, "")) for name in columns)
            seen[key] = seen.get(key, 0) + 1
    rows = [[*key, str(cells)] for key, cells in seen.items()]
    frame = pd.DataFrame(rows, columns=pd.Index([*columns, "cells"]))
    return Table(name="provenance", header=[*columns, "cells"], rows=rows, frame=frame)
