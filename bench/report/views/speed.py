"""How fast a held-out pretext task is learned, and whether meta-learning beats joint training.

A loss is judged with its sign turned, so that more is better, and shown as it is. Margins hold in
nats as they do in accuracy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.cell import Cell, Json
from bench.report.comparison import Block, Comparison, Row, compare, floor_of, judge, judge_all
from bench.report.results import Group
from bench.statistics.interval import Interval, crossed_interval

JOINT = "joint"  # the meta that trains on the same tasks without learning to learn
MEASURES = ("accuracy", "loss")
ROUNDED = 0.05  # of a budget: by less, whole steps make two equal ones differ


@dataclass(frozen=True, kw_only=True)
class Speed:
    """A row's query loss (nats) after each read-out, and the last one's comparisons."""

    row: Row
    steps: tuple[int, ...]
    losses: tuple[Interval, ...]
    baseline: Comparison | None
    floor: Comparison | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two rows of one start that were trained on the same tasks: a meta-algorithm, and jointly.

    ``compared``: (steps, measure) to the paired difference, for every read-out after the first.
    ``examples``: those that the two passed forward in training, where they are not about as many.
    """

    start: str
    group: Group
    reference: Group
    compared: Mapping[tuple[int, str], Comparison]
    examples: tuple[int, int] | None = None


def speeds(block: Block, margin: float) -> list[Speed]:
    """Return the rows of a held-out task in the block's order, with their losses and verdicts."""
    groups = [row.group for row in block.rows]
    named = {group.variant: group for group in groups}
    baselines = {labels: named[name] for labels, name in block.baselines.items()}
    judged = judge_all(groups, baselines, margin, _gain)
    found = []
    for row in block.rows:
        group, floor = row.group, floor_of(row.group, groups)
        whole = not group.trouble
        own = block.baselines.get(group.first.labels, "")
        found.append(
            Speed(
                row=row,
                steps=group.done[0].steps if whole else (),
                losses=tuple(map(crossed_interval, group.measured("loss"))) if whole else (),
                baseline=turned(judged.get((group.variant, own))),
                floor=turned(judged.get((group.variant, floor.variant))) if floor else None,
            )
        )
    return found


def turned(one: Comparison | None) -> Comparison | None:
    """Return a comparison of gains as one of losses; its verdict stays."""
    if one is None or one.difference is None:
        return one
    return replace(one, difference=one.difference.opposite)


def pairs(block: Block, margin: float) -> list[Pair]:
    """Pair each meta-algorithm with joint training from the same start on the same tasks.

    A family of p-values is all pairs at one number of steps, in one measure.
    """
    found = list(_found(block))
    readouts = _readouts(group for pair in found for group in pair[1:])
    compared: list[dict[tuple[int, str], Comparison]] = [{} for _ in found]
    for place, steps in readouts:
        for measure in MEASURES:
            family = [_compare(own, joint, place, measure) for _, own, joint in found]
            for number, one in enumerate(judge(family, margin)):
                shown = turned(one) if measure == "loss" else one
                assert shown is not None
                compared[number][steps, measure] = shown
    return [
        Pair(
            start=start,
            group=own,
            reference=joint,
            compared=compared[number],
            examples=_unequal(own.first, joint.first),
        )
        for number, (start, own, joint) in enumerate(found)
    ]


def _readouts(groups: Iterator[Group]) -> list[tuple[int, int]]:
    """Return the place and the steps of each read-out after the first."""
    steps = next((group.done[0].steps for group in groups if group.done), ())
    return list(enumerate(steps))[1:]


def _compare(group: Group, reference: Group, place: int, measure: str) -> Comparison:
    def values(of: Group, seeds: frozenset[int]) -> np.ndarray:
        curve_TSE = of.accuracies(seeds) if measure == "accuracy" else -of.measured("loss", seeds)
        at_SE: np.ndarray = curve_TSE[place]
        return at_SE

    return compare(group, reference, values)


def _found(block: Block) -> Iterator[tuple[str, Group, Group]]:
    rows = [row.group for row in block.rows if row.group.first.tasks == "pretext"]
    joint: dict[str, list[Group]] = {}
    for group in rows:
        if group.first.meta == JOINT:
            joint.setdefault(_trained_on(group.first), []).append(group)
    for group in rows:
        references = joint.get(_trained_on(group.first), [])
        if group.first.meta != JOINT and references:
            alike = [one for one in references if _budget(one.first) == _budget(group.first)]
            for reference in alike or references:  # every one: to choose would be after the fact
                yield start_of(group.first), group, reference


def _trained_on(cell: Cell) -> str:
    """Return what tells a start from another, with every parameter of it, and what followed.

    The two of a pair have the family of tasks, any auxiliary loss and the selection in common.
    """
    start = ("pretext.", "init.", "encoder.", "pretrain.budget")
    named = (*start, "tasks.family", "auxiliary.", "selection")
    own = {name: value for name, value in cell.params.items() if name.startswith(named)}
    axes = (cell.init, cell.pretext, cell.encoder, cell.norm, cell.auxiliary)
    return repr((*axes, sorted(own.items())))


def _budget(cell: Cell) -> Json:
    return cell.params.get("metatrain.budget")


def _unequal(one: Cell, other: Cell) -> tuple[int, int] | None:
    """Return the examples of both trainings, if they differ by more than whole steps explain."""
    mine, theirs = _examples(one), _examples(other)
    return (mine, theirs) if abs(mine - theirs) > ROUNDED * max(mine, theirs) else None


def _examples(cell: Cell) -> int:
    return sum(int(cell.params.get(f"{kind}.examples", 0)) for kind in ("pretrain", "metatrain"))


def start_of(cell: Cell) -> str:
    """Say where a row's training over tasks began."""
    if cell.init == "scratch":
        return "from scratch"
    if cell.init == "checkpoint":
        return "from weights of a file"
    return f"after {cell.pretext if cell.init == 'pretext' else cell.init} pre-training"


def _gain(group: Group, seeds: frozenset[int]) -> np.ndarray:
    last_SE: np.ndarray = -group.measured("loss", seeds)[-1]
    return last_SE


def of_blocks(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks that answer how fast a new task is learned: the means, where there are."""
    held = [block for block in blocks if block.held_out]
    return [block for block in held if block.is_mean] or held
