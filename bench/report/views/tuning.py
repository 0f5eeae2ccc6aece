"""What tuning bought on the test, what it spent, and what the best of fewer trials is worth.

Shapes: n trials of a row, K numbers of trials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import log

import numpy as np

from bench.cell import Json
from bench.report.comparison import Block, Comparison, Row, compare, judge
from bench.report.results import Group, Results
from bench.report.trials import STATES, Trials, TunedRow, trials_of
from bench.statistics.best_of import best_of, best_so_far
from bench.statistics.interval import Interval, crossed_interval

NEAR = 0.05  # of a range, from its end: a chosen value there may lie beyond it
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Bought:
    """A tuned row in one setting beside its default.

    ``compared`` is tuned minus default; None where the row is its own default, since tuning kept
    it or no trial finished. ``default`` is None there, and where the plan lacks it.
    """

    row: Row
    tuning: TunedRow
    default: Group | None
    before: Interval | None
    compared: Comparison | None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The best of a row's trials by their number: ``[K]`` each; no spread where they are in order.

    With ``low`` and ``high`` it is the expected best of k independent trials, else the best so far.
    """

    row: TunedRow
    best_K: np.ndarray
    low_K: np.ndarray | None = None
    high_K: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """All that a report says of tuning; ``bought`` by setting, in the order of the blocks."""

    trials: Trials
    bought: tuple[tuple[Block, tuple[Bought, ...]], ...]

    @property
    def curves(self) -> tuple[Curve, ...]:
        """One curve a row that was given trials."""
        made = (_curve(row, self.trials) for row in self.trials.rows)
        return tuple(one for one in made if len(one.best_K))


def tuning(results: Results, blocks: Sequence[Block]) -> Tuning | None:
    """Compare every tuned row with its default, a family of p-values a setting; None without."""
    trials = trials_of(results.plan)
    if trials is None:
        return None
    margin = float(results.plan.settings["margin"])
    settings = [block for block in blocks if not block.held_out]
    found = [(block, _bought(block, trials, results, margin)) for block in settings]
    return Tuning(trials=trials, bought=tuple((block, own) for block, own in found if own))


def _bought(block: Block, trials: Trials, results: Results, margin: float) -> tuple[Bought, ...]:
    found = []
    for row in block.rows:
        own = trials.of(row.group.variant, block.data, block.ways)
        if own is not None:
            found.append(_beside(row, own, results))
    compared = [one.compared for one in found if one.compared]
    judged = iter(judge(compared, margin))
    return tuple(replace(one, compared=next(judged)) if one.compared else one for one in found)


def _beside(row: Row, own: TunedRow, results: Results) -> Bought:
    """Set a row beside its default, which is itself where tuning changed nothing."""
    if own.kept_default or own.winner is None:
        return Bought(row=row, tuning=own, default=None, before=row.accuracy, compared=None)
    group = row.group
    place = (group.variant, group.data, group.ways, group.shots, group.held_out)
    default = results.defaults.get(place)
    if default is None:
        lacking = Comparison(reference=f"{group.variant}, default", trouble="not in the plan")
        return Bought(row=row, tuning=own, default=None, before=None, compared=lacking)
    before = None if default.trouble else crossed_interval(default.accuracy())
    compared = compare(group, default)
    return Bought(row=row, tuning=own, default=default, before=before, compared=compared)


def _curve(row: TunedRow, trials: Trials) -> Curve:
    """Return what k of a row's trials are worth; trial 0 is no draw: no expectation has it."""
    if not trials.independent:
        return Curve(row=row, best_K=best_so_far(row.scores(row.trials)))
    if not row.drawn:
        return Curve(row=row, best_K=np.empty(0))
    found = best_of(row.scores(row.drawn))
    return Curve(row=row, best_K=found.expected_K, low_K=found.low_K, high_K=found.high_K)


def by_seconds(row: TunedRow) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds that each trial had ended by, those before included, and the best then."""
    seconds = np.array(list(accumulate(one.seconds for one in row.trials)))
    return seconds, best_so_far(row.scores(row.trials))


def cheapest(trials: Trials) -> Mapping[tuple[str, int], float]:
    """Return the seconds of the row that took the fewest, by data and ways.

    A row of which no trial finished is none to go by where others are: it took next to nothing.
    """
    found: dict[tuple[str, int], list[tuple[bool, float]]] = {}
    for row in trials.rows:
        found.setdefault((row.data, row.ways), []).append((row.winner is None, row.seconds))
    return {place: min(spent)[1] for place, spent in found.items()}


def best_within(row: TunedRow, seconds: float) -> float | None:
    """Return the best score among the first trials that these seconds pay for; None without one."""
    ends = accumulate(one.seconds for one in row.trials)
    paid = [
        one.score
        for one, end in zip(row.trials, ends, strict=True)
        if end <= seconds * (1 + ROUNDING) and one.score is not None
    ]
    return max(paid, default=None)


def where_in(space: Mapping[str, Json], value: Json) -> str:
    """Say where in its range a value lies: ``at the edge``, ``outside``, or nothing of note.

    The edge is what lies within 5 % of an end, of the range of logarithms where that is searched.
    """
    if "values" in space:
        known = any(value == one and type(value) is type(one) for one in space["values"])
        return "" if known else "outside"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "outside"
    low, high = float(space["low"]), float(space["high"])
    if not low <= value <= high:
        return "outside"
    if space["log"]:
        low, high, value = log(low), log(high), log(value)
    share = (value - low) / (high - low)
    return "at the edge" if min(share, 1 - share) <= NEAR + ROUNDING else ""


def counts(row: TunedRow) -> dict[str, int]:
    """Return how many trials there are, and how many ended in each way."""
    return {"trials": len(row.trials), **{state: len(row.in_state(state)) for state in STATES}}


def uneven(trials: Trials) -> bool:
    """Whether rows had different numbers of trials, or other than were asked for."""
    return bool({len(row.trials) for row in trials.rows} - {trials.asked})
