"""Own rows beside published numbers: which may be compared, and how close they come.

A published number enters no mean, no figure and no verdict between variants.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bench.cell import Json
from bench.plan import Plan
from bench.published import UNSTATED, Published, dashed
from bench.report.comparison import Block, Row
from bench.report.marks import is_transductive
from bench.report.results import Group
from bench.statistics.interval import Interval

Closeness = Literal["reproduced", "below", "above", "not comparable"]
WIDEST = 0.02  # half an interval: methods differ by less, so what a wider one meets is no wonder
WHOLE = 0.995  # a share of a training that reads 100 %


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One published number beside a row of ours.

    ``difference`` is own minus published, in [-1, 1]; None where they are of two protocols.
    ``remark`` says why they cannot be compared, and how much of the authors' training the row had.
    """

    block: Block
    row: Row
    number: Published
    closeness: Closeness
    difference: float | None
    remark: str

    @property
    def verdict(self) -> str:
        """The verdict in words, with its remark."""
        if self.closeness == "not comparable":
            return f"not comparable because {self.remark}"
        return f"{self.closeness} ({self.remark})" if self.remark else self.closeness


def beside(blocks: Sequence[Block], plan: Plan, numbers: Sequence[Published]) -> tuple[Beside, ...]:
    """Put each row beside those of the published numbers that are of its method and setting."""
    return tuple(
        _placed(block, row, number, plan)
        for block in blocks
        for row in block.rows
        for number in numbers
        if _is_of(number, row.group)
    )


def tally(found: Sequence[Beside]) -> str:
    """Count the verdicts: ``3 published numbers: 1 reproduced, 2 not comparable.``."""
    counts = Counter(one.closeness for one in found)
    parts = [f"{counts[each]} {each}" for each in get_args(Closeness) if counts[each]]
    return f"{len(found)} published number{'s' * (len(found) != 1)}: {', '.join(parts)}."


def _is_of(number: Published, group: Group) -> bool:
    """Whether a number is of this row's method and setting, whatever the protocol."""
    names = ("data", "ways", "shots", "pretext", "init", "tasks", "auxiliary", "meta")
    cell = group.first
    if group.held_out:  # published numbers are of episodes of classes
        return False
    return all(getattr(number, name) == getattr(cell, name) for name in names) and all(
        cell.params.get(name) == value for name, value in number.params.items()
    )


def _placed(block: Block, row: Row, number: Published, plan: Plan) -> Beside:
    reasons, own = list(_obstacles(row, number, plan)), row.accuracy
    closeness: Closeness = "not comparable"
    difference = None
    if own is not None and not reasons:
        accuracy, reach = number.accuracy / 100, (number.plus_minus or 0.0) / 100
        difference = own.mean - accuracy
        closeness = close(own, accuracy, reach, float(plan.settings["margin"]))
        half = own.high - own.mean
        if closeness == "reproduced" and half > WIDEST:
            closeness = "not comparable"
            reasons = [f"its interval is too wide to tell (+- {100 * half:.1f} points)"]
    budget = _budget(row.group, number, closeness, plan)
    remarks = ["; ".join(reasons), budget]
    return Beside(
        block=block,
        row=row,
        number=number,
        closeness=closeness,
        difference=difference,
        remark=", ".join(part for part in remarks if part),
    )


def close(own: Interval, accuracy: float, reach: float, margin: float) -> Closeness:
    """Judge an own interval by ``accuracy`` +- ``reach``: they meet, or the means nearly do."""
    difference = own.mean - accuracy
    meet = own.low <= accuracy + reach and accuracy - reach <= own.high
    if meet or abs(difference) <= margin + 1e-9:  # 0.99 - 0.98 is a little over 0.01
        return "reproduced"
    return "below" if difference < 0 else "above"


def _obstacles(row: Row, number: Published, plan: Plan) -> Iterator[str]:
    """Say what stands in the way of a comparison, if anything does."""
    cell = row.group.first
    if row.accuracy is None:
        yield f"it is {row.group.trouble}"
    if cell.labels != number.labels:
        yield f"the labels seen are {cell.labels} here, {number.labels} there"
    if cell.encoder != number.encoder["name"]:
        yield f"the encoder is {cell.encoder} here, {number.encoder['name']} there"
    else:
        for name, value in number.encoder.items():
            if name != "name":
                yield from _unequal(row.group, f"encoder.{name}", value)
    if cell.norm == "group":
        yield "features are normalised in groups here, in batches there"
    yield from _transduction(row.group, number, plan)
    for name, value in number.conditions.items():
        yield from _unequal(row.group, name, value)


def _unequal(group: Group, name: str, value: Json) -> Iterator[str]:
    own = group.first.params.get(name)
    if value == UNSTATED:
        yield f"the source does not state {name}"
    elif own != value:
        yield f"{name} is {dashed(own)} here, {dashed(value)} there"


def _transduction(group: Group, number: Published, plan: Plan) -> Iterator[str]:
    """Compare whether a prediction depends on the other queries, by statistics or by method."""
    own = is_transductive(group, plan)
    if number.transductive == UNSTATED:
        yield "the source does not state whether queries shared statistics"
    elif own != (number.transductive == "yes"):
        here, there = ("here", "there") if own else ("there", "here")
        yield f"queries share statistics {here} and not {there}"


def _budget(group: Group, number: Published, closeness: Closeness, plan: Plan) -> str:
    """Say how much of the authors' training a row had, where that is less or not known."""
    share, of = _share(group, number), "the authors' training tasks"
    if share is None:
        share, of = float(plan.settings.get("budget_scale", 1.0)), "the suite's own budget"
    if share < WHOLE:
        amount = f"{100 * share:.2g} % of {of}"
        return f"reduced budget: {amount}" if closeness == "below" else f"with {amount}"
    if closeness == "below" and number.training_tasks is None:
        return "the source fixes no training length"
    return ""


def _share(group: Group, number: Published) -> float | None:
    """Return own meta-training tasks over the authors'; None where either is not known."""
    params = group.first.params
    steps, tasks = params.get("metatrain.steps"), params.get("meta.tasks_per_step")
    if number.training_tasks is None or steps is None or tasks is None:
        return None
    return float(steps * tasks / number.training_tasks)
