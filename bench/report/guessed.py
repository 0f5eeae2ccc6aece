"""The table of rows whose tasks guess what a class is: how often they were wrong."""

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from bench.cell import Json
from bench.report import words
from bench.report.comparison import Block
from bench.report.results import Group
from bench.report.tables import NAN, Table

PLANNED = "task.collisions"  # the parameter of a cell that holds what was planned


def guessed_table(block: Block) -> Table | None:
    """Return how often two ways of a task were of one true class; None where labels always tell.

    Shares and counts are means over the finished seeds.
    """
    groups = [row.group for row in block.rows if _guesses(row.group)]
    if not groups:
        return None
    numbers = [_numbers(group) for group in groups]
    header = ["variant", "planned %", "observed %", "wrong pairs %", "clusters large enough"]
    rows = [
        [
            group.variant,
            *(_percent(one[name]) for name in ("planned", "observed", "wrong_pairs")),
            _usable(one["clusters_usable"], one["clusters"]),
            _shown(one["purity"], ".2f"),
        ]
        for group, one in zip(groups, numbers, strict=True)
    ]
    frame = pd.DataFrame(numbers)
    frame.insert(0, "variant", [group.variant for group in groups])
    return Table(
        name=f"pseudo-classes-{block.slug}",
        header=[*header, "purity"],
        rows=rows,
        frame=frame,
        right=(1, 2, 3, 4, 5),
    )


def collision_rates(block: Block) -> list[tuple[Group, float, float]]:
    """Return the rows that guess classes, with how often they were to be wrong, and were.

    The shares of tasks, in [0, 1], are NaN where nothing is known.
    """
    groups = [row.group for row in block.rows if _guesses(row.group)]
    numbers = [_numbers(group) for group in groups]
    return [(g, n["planned"], n["observed"]) for g, n in zip(groups, numbers, strict=True)]


def _guesses(group: Group) -> bool:
    return PLANNED in group.first.params or bool(_facts(group, "metatrain", "collisions"))


def _numbers(group: Group) -> dict[str, float]:
    usable = [count for seed in _facts(group, "metatrain", "clusters") for count in seed]
    return {
        "planned": group.first.params.get(PLANNED, NAN),
        "observed": _mean(_facts(group, "metatrain", "collisions", "share")),
        "wrong_pairs": _mean(_facts(group, "metatrain", "collisions", "pairs")),
        "clusters_usable": _mean(usable),
        "clusters": group.first.params.get("tasks.k", NAN),
        "purity": _mean(_facts(group, "cluster", "metrics", "purity")),
    }


def _facts(group: Group, role: str, *names: str) -> list[Json]:
    """Return what a stage's manifest holds under these names, of every seed that has it."""
    found: list[Json] = [
        part.trained.get(role, {}) for one in group.done for part in one.parts or (one,)
    ]
    for name in names:
        found = [one[name] for one in found if name in one]
    return found


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else NAN


def _percent(share: float) -> str:
    return _shown(100 * share, ".3g")


def _usable(usable: float, clusters: float) -> str:
    return words.NONE if usable != usable else f"{usable:.0f} of {clusters:.0f}"


def _shown(value: float, form: str) -> str:
    return words.NONE if value != value else f"{value:{form}}"
