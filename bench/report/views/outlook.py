"""What more seeds or more episodes would buy where nothing is decided, and what they would cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.report import words
from bench.report.comparison import Block, Comparison
from bench.report.results import Group, Results
from bench.report.tables import NAN, Table
from bench.statistics.power import components, seeds_needed, share_of_episodes

MOST = 100  # seeds that anybody would run


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """An undecided comparison: seeds that a true difference of its size asks for, and their price.

    They are those for a test at .05 / comparisons with its reference, Holm's first step.
    ``needed`` is None beyond ``MOST``. ``seconds`` (of the seeds that are lacking, both rows,
    stages that they share once) is NaN where that is so or a cost is not known; ``episodes`` is
    the share (0 to 1) of the variance that more episodes would remove.
    """

    block: Block
    group: Group
    compared: Comparison
    seeds: int
    needed: int | None
    seconds: float
    episodes: float


def outlooks(blocks: Sequence[Block], results: Results) -> list[Outlook]:
    """Return the undecided comparisons of more than one seed, in the report's order."""
    return [
        _outlook(block, group, one, results)
        for block in blocks
        for group, one in _undecided(block)
        if one.parts is not None
    ]


def _undecided(block: Block) -> Iterator[tuple[Group, Comparison]]:
    for row in block.rows:
        for one in {one.reference: one for one in (row.baseline, row.floor) if one}.values():
            if one.verdict == "undecided" and not one.turned:
                yield row.group, one


def _family(block: Block, one: Comparison) -> int:
    """Return how many comparisons with its reference share Holm's adjustment, done or not."""
    return sum(
        own.reference == one.reference and bool(own.verdict or own.trouble) and not own.turned
        for row in block.rows
        for own in {c.reference: c for c in (row.baseline, row.floor) if c}.values()
    )


def _outlook(block: Block, group: Group, one: Comparison, results: Results) -> Outlook:
    assert one.difference is not None
    assert one.parts is not None
    seeds, episodes = one.difference.seeds, group.accuracy().shape[1]
    found = components(one.parts, seeds, episodes)
    level = 0.05 / _family(block, one)
    needed = seeds_needed(one.difference.mean, found, episodes, level=level, most=MOST)
    reference = next(r.group for r in block.rows if r.group.variant == one.reference)
    each = _seconds(group, reference, results)
    return Outlook(
        block=block,
        group=group,
        compared=one,
        seeds=seeds,
        needed=needed,
        seconds=NAN if needed is None else max(needed - seeds, 0) * each,
        episodes=share_of_episodes(found, seeds, episodes),
    )


def _seconds(group: Group, reference: Group, results: Results) -> float:
    """Return what one more seed of both rows costs, as the mean over the seeds that are there."""
    keys = dict.fromkeys(
        key
        for one in (*group.done, *reference.done)
        for part in one.parts or (one,)
        for key in part.cell.stages.values()
    )  # in order: a set's would be another in each process, and so the last digit of the sum
    if not keys.keys() <= results.manifests.keys():
        return NAN
    total = sum(float(results.manifests[key]["cost"]["seconds"]) for key in keys)
    return total / len(group.done)


def outlook_table(blocks: Sequence[Block], results: Results) -> Table | None:
    """Return the outlooks as a table; None where everything is decided, or has one seed."""
    found = outlooks(blocks, results)
    if not found:
        return None
    header = ["setting", "variant", "minus", "difference", "seeds", "seeds for power .8"]
    header += ["cost of those", "variance that more episodes remove"]
    rows = [
        [
            one.block.title,
            one.group.variant,
            one.compared.reference,
            words.points(one.compared.difference) if one.compared.difference else words.NONE,
            str(one.seeds),
            f"over {MOST}" if one.needed is None else str(one.needed),
            words.duration(one.seconds),
            f"{100 * one.episodes:.0f} %",
        ]
        for one in found
    ]
    return Table(
        name="outlook",
        header=header,
        rows=rows,
        frame=pd.DataFrame([_numbers(one) for one in found]),
        right=(3, 4, 5, 6, 7),
    )


def _numbers(one: Outlook) -> dict[str, object]:
    difference = one.compared.difference
    return {
        "setting": one.block.title,
        "variant": one.group.variant,
        "reference": one.compared.reference,
        "difference": difference.mean if difference else NAN,
        "seeds": one.seeds,
        "seeds_needed": NAN if one.needed is None else one.needed,
        "seconds_more": one.seconds,
        "episodes_share": one.episodes,
    }
