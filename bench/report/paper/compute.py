"""What a suite's results cost: seconds of its finished stages, each counted once, by hardware."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import pandas as pd

from bench.cell import TRAINED, Json
from bench.report import words
from bench.report.results import Results
from bench.report.tables import Table

TEST = "evaluate"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """The seconds of all finished stages of one kind on one machine class."""

    kind: str
    hardware: str
    seconds: tuple[float, ...]

    @property
    def total(self) -> float:
        """All of them together."""
        return sum(self.seconds)


def machine(manifest: Mapping[str, Json]) -> str:
    """Name what computed a stage: ``AMD EPYC (cpu)``."""
    where = manifest.get("provenance", {})
    return f"{where.get('hardware', 'unknown hardware')} ({where.get('device', 'unknown device')})"


def spent(results: Results) -> list[Spent]:
    """Return what each kind of stage took on each machine class: training, then testing, others."""
    found: dict[tuple[str, str], list[float]] = {}
    for key, manifest in results.manifests.items():
        place = (str(results.plan.stages[key].kind), machine(manifest))
        found.setdefault(place, []).append(float(manifest["cost"]["seconds"]))
    order = (*TRAINED, TEST)
    rank = {kind: number for number, kind in enumerate(order)}
    return [
        Spent(kind=kind, hardware=hardware, seconds=tuple(seconds))
        for (kind, hardware), seconds in sorted(
            found.items(), key=lambda one: (rank.get(one[0][0], len(order)), one[0])
        )
    ]


def hours(rows: Iterable[Spent]) -> float:
    """Return their seconds in hours."""
    return sum(one.total for one in rows) / 3600


def runs(results: Results) -> dict[str, list[float]]:
    """Return the seconds of each finished run (a cell and all it builds on), by what computed it.

    A run whose stages were computed on several machine classes is of all of them.
    """
    found: dict[str, list[float]] = {}
    for one in results.cells:
        if one.seconds == one.seconds:  # not NaN: every stage is stored
            places = dict.fromkeys(map(machine, (*one.trained.values(), one.manifest)))
            found.setdefault(" + ".join(sorted(places)), []).append(one.seconds)
    return found


def compute_table(results: Results) -> Table | None:
    """Seconds by kind of stage and hardware, and all together; None where nothing is finished."""
    every = spent(results)
    if not every:
        return None
    total = tuple(seconds for one in every for seconds in one.seconds)
    rows = [
        *every,
        *([Spent(kind="all", hardware="", seconds=total)] if len(every) > 1 else []),
    ]
    return Table(
        name="compute",
        header=["stages", "hardware", "finished", "median", "least", "most", "together"],
        rows=[
            [
                one.kind,
                one.hardware or words.NONE,
                str(len(one.seconds)),
                *map(
                    words.duration,
                    (median(one.seconds), min(one.seconds), max(one.seconds), one.total),
                ),
            ]
            for one in rows
        ],
        frame=pd.DataFrame([_numbers(one) for one in rows]),
        right=(2, 3, 4, 5, 6),
    )


def _numbers(one: Spent) -> dict[str, object]:
    return {
        "kind": one.kind,
        "hardware": one.hardware,
        "finished": len(one.seconds),
        "seconds_median": median(one.seconds),
        "seconds_least": min(one.seconds),
        "seconds_most": max(one.seconds),
        "seconds_together": one.total,
    }
