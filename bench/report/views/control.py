"""Whether steps on few transitions of an unseen environment help: to predict, and to plan.

An error is judged with its sign turned, so that more is better, and shown as it is. No margin is
declared for errors or returns: an interval that excludes 0, and the adjusted p-value, decide.
Shapes: S seeds, E environments, T read-outs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bench.plan import Plan
from bench.report.comparison import Block, Comparison, Row, floor_of, judge, judge_all
from bench.report.results import Group
from bench.statistics.interval import (
    Interval,
    crossed_interval,
    one_model_interval,
    paired_difference,
    variances,
)
from bench.statistics.verdict import sign_flip

ERROR, RETURN, RANDOM = "error", "return", "random_return"
BEFORE = "before any step"
RANDOM_POLICY = "random policy"
NO_MARGIN = 0.0  # zero alone decides, as no size of an error or a return is declared to be nothing
Values = Callable[[Group], np.ndarray]  # [S, E]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One measure of a row, and what it is compared with.

    ``before`` and ``after`` all steps; ``change``: after minus before, paired within the row;
    ``baseline`` and ``floor``: after all steps, minus these.
    """

    before: Interval | None
    after: Interval | None
    change: Comparison
    baseline: Comparison | None
    floor: Comparison | None


@dataclass(frozen=True, kw_only=True)
class Controlled:
    """A row: mean squared ``errors`` after each of ``steps``, and what a planner earned with it.

    ``random``: the return of its planner after all steps, minus that of the random policy.
    """

    row: Row
    steps: tuple[int, ...]
    errors: tuple[Interval, ...]
    error: Judged
    planned: Judged
    random: Comparison


@dataclass(frozen=True, kw_only=True)
class Control:
    """All rows of a setting in its order, and what the random policy earned there."""

    block: Block
    rows: tuple[Controlled, ...]
    random: Interval | None

    @property
    def steps(self) -> tuple[int, ...]:
        """The read-outs, from that before any step; none where no row is whole."""
        return next((one.steps for one in self.rows if one.steps), ())


def is_control(plan: Plan) -> bool:
    """Whether rows of a plan predict environments and plan in them."""
    return plan.settings.get("protocol") == "control"


def control(block: Block) -> Control:
    """Compare the rows of a setting with what they were before any step, and with each other.

    A family of p-values is: all rows' changes of one measure; all that are compared with one
    reference in one measure; all rows against the random policy.
    """
    groups = [row.group for row in block.rows]
    errors, returns = _judged(block, ERROR, sign=-1), _judged(block, RETURN, sign=1)
    over = [_paired(group, _at(RETURN, -1), _at(RANDOM, -1), RANDOM_POLICY) for group in groups]
    rows = zip(block.rows, errors, returns, judge(over, NO_MARGIN), strict=True)
    return Control(
        block=block,
        rows=tuple(
            Controlled(
                row=row,
                steps=() if row.group.trouble else row.group.done[0].steps,
                errors=_over_steps(row.group),
                error=error,
                planned=planned,
                random=random,
            )
            for row, error, planned, random in rows
        ),
        random=next((_of_random(group) for group in groups if not group.trouble), None),
    )


def _of_random(group: Group) -> Interval:
    """Return what the random policy earned, over environments: it has no seeds."""
    value_E = _at(RANDOM, -1)(group).mean(0)
    return replace(one_model_interval(value_E), one_model=False)


def _over_steps(group: Group) -> tuple[Interval, ...]:
    return () if group.trouble else tuple(map(crossed_interval, group.measured(ERROR)))


def _judged(block: Block, measure: str, sign: int) -> list[Judged]:
    """Judge one measure of all rows, of which more is better with this sign."""
    groups = [row.group for row in block.rows]
    named = {group.variant: group for group in groups}
    baselines = {labels: named[name] for labels, name in block.baselines.items()}

    def last(group: Group, seeds: frozenset[int]) -> np.ndarray:
        value_SE: np.ndarray = sign * group.measured(measure, seeds)[-1]
        return value_SE

    against = judge_all(groups, baselines, NO_MARGIN, last)
    changes = judge([_change(group, measure, sign) for group in groups], NO_MARGIN)
    found = []
    for group, change in zip(groups, changes, strict=True):
        floor = floor_of(group, groups)
        own = against.get((group.variant, block.baselines.get(group.first.labels, "")))
        least = against.get((group.variant, floor.variant)) if floor else None
        found.append(
            Judged(
                before=_interval(group, _at(measure, 0)),
                after=_interval(group, _at(measure, -1)),
                change=_as_measured(change, sign),
                baseline=_as_measured(own, sign) if own else None,
                floor=_as_measured(least, sign) if least else None,
            )
        )
    return found


def _as_measured(one: Comparison, sign: int) -> Comparison:
    """Return a comparison of gains as one of the measure itself; its verdict stays."""
    if sign > 0 or one.difference is None:
        return one
    return replace(one, difference=one.difference.opposite)


def _change(group: Group, measure: str, sign: int) -> Comparison:
    """Pair a row with itself before any step, environment by environment."""
    return _paired(group, _at(measure, -1, sign), _at(measure, 0, sign), BEFORE)


def _paired(group: Group, one: Values, other: Values, reference: str) -> Comparison:
    """Pair two measures of one row by seed and environment."""
    if group.trouble:
        return Comparison(reference=reference, trouble=group.trouble)
    a_SE, b_SE = one(group), other(group)
    return Comparison(
        reference=reference,
        difference=paired_difference(a_SE, b_SE),
        parts=variances(a_SE - b_SE) if len(a_SE) > 1 else None,
        sign_flip=sign_flip((a_SE - b_SE).mean(1)),
        looked_at=group.looked_at,
    )


def _at(measure: str, place: int, sign: int = 1) -> Values:
    """Return what takes the values [S, E] of a measure at a read-out."""

    def values(group: Group) -> np.ndarray:
        value_SE: np.ndarray = sign * group.measured(measure)[place]
        return value_SE

    return values


def _interval(group: Group, of: Values) -> Interval | None:
    return None if group.trouble else crossed_interval(of(group))
