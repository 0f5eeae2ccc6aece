"""The parts of a report that are about one setting, or about one setting over several data sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.report import words
from bench.report.analysis import Analysis
from bench.report.answer import sentences
from bench.report.comparison import Block, is_floor
from bench.report.guessed import guessed_table
from bench.report.tables import Table, accuracy_table, across_table, cost_table
from bench.report.views import (
    control_text,
    data_sets_text,
    factorial_text,
    speed_text,
    tuning_words,
)
from bench.report.views.all_pairs import pairs_table, wins_table
from bench.report.views.continual_text import StreamSection, stream_section
from bench.report.views.control import control, is_control
from bench.report.views.data_sets import DataSets
from bench.report.views.speed import of_blocks


@dataclass(frozen=True, kw_only=True)
class Section:
    """One setting's part of the report; ``in_files`` are tables that stand in files alone.

    ``of_one_task``: it is about a held-out task that is part of a mean.
    """

    title: str
    sentences: Sequence[str]
    references: str
    accuracy: Table
    cost: Table
    across: Table | None
    guessed: Table | None
    marks: Sequence[str]
    loss: Table | None = None
    pairs: Table | None = None
    errors: Table | None = None
    returns: Table | None = None
    without: str = ""
    edge: str = ""
    effects: Table | None = None
    no_effects: str = ""
    wins: Table | None = None
    of_one_task: bool = False
    stream: StreamSection | None = None
    without_pairs: str = ""
    in_files: Sequence[Table] = field(default_factory=tuple)

    @property
    def tables(self) -> list[Table]:
        """The tables that are there."""
        every = (self.accuracy, self.cost, self.across, self.guessed, self.loss, self.pairs)
        own = (self.errors, self.returns, *(self.stream.tables if self.stream else ()))
        return [table for table in (*every, *own, self.effects, self.wins, *self.in_files) if table]


@dataclass(frozen=True, kw_only=True)
class AcrossDataSets:
    """What is said of one number of ways and shots over all data sets."""

    title: str
    differences: Table
    ranks: str
    means: Table | None
    profiles: Table | None
    too_few: str

    @property
    def tables(self) -> list[Table]:
        """The tables that are there."""
        return [table for table in (self.differences, self.means, self.profiles) if table]


def sections_of(found: Analysis) -> list[Section]:
    """Return one section a setting, in the order of the blocks."""
    return [_section(block, found) for block in found.blocks]


def _section(block: Block, found: Analysis) -> Section:
    results, plan = found.results, found.results.plan
    margin = float(plan.settings["margin"])
    grid = next((one for one in found.factorials if one.block is block), None)
    every = next((one for one in found.pairs if one.block is block), None)
    effects = grid is not None and not grid.trouble
    said, main = sentences(block, margin), of_blocks(found.blocks)
    said += _tuned(block, found)
    unseen = control(block) if is_control(plan) else None
    stream = next((one for one in found.streams if one.block is block), None)
    return Section(
        title=block.title,
        sentences=[*said, *(factorial_text.sentences(grid) if grid else [])],
        references=_references(block),
        accuracy=accuracy_table(block, results),
        cost=cost_table(block, results),
        across=across_table(block),
        guessed=guessed_table(block),
        marks=_marks(block),
        loss=speed_text.loss_table(block, plan) if block.held_out else None,
        pairs=speed_text.pairs_table(block, plan) if block.held_out else None,
        errors=control_text.errors_table(unseen, plan) if unseen else None,
        returns=control_text.returns_table(unseen) if unseen else None,
        without=speed_text.without_mean(results) if block.is_mean else "",
        edge=speed_text.edge(block, plan) if block.held_out or unseen else "",
        effects=factorial_text.effects_table(grid) if grid and effects else None,
        no_effects=words.escape(grid.trouble) if grid else "",
        wins=wins_table(every) if every else None,
        without_pairs=words.listing([words.escape(one) for one in every.left_out]) if every else "",
        in_files=(pairs_table(every),) if every else (),
        stream=stream_section(stream) if stream else None,
        of_one_task=bool(block.held_out) and all(one is not block for one in main),
    )


def _tuned(block: Block, found: Analysis) -> list[str]:
    bought = found.tuning.bought if found.tuning else ()
    return [s for own, rows in bought if own is block for s in tuning_words.sentences(own, rows)]


def _marks(block: Block) -> list[str]:
    return [
        f"{words.escape(row.group.variant)}: {', '.join(row.marks)}"
        for row in block.rows
        if row.marks
    ]


def _references(block: Block) -> str:
    named = [f"{words.escape(name)} (labels: {labels})" for labels, name in block.baselines.items()]
    floors = [words.escape(row.group.variant) for row in block.rows if is_floor(row.group)]
    which = " (each row against that of its own network)" if len(floors) > 1 else ""
    return (
        f"Baseline: {words.listing(named) or 'none'}. "
        f"Floor: {words.listing(floors) or 'none'}{which}."
    )


def looked_at(blocks: Sequence[Block]) -> list[str]:
    """Say which verdicts rest on seeds that were added, or chosen, after a report was read."""
    names: dict[str, dict[str, None]] = {}
    for row in (row for block in blocks for row in block.rows if row.group.looked_at):
        names.setdefault(row.group.looked_at, {})[words.escape(row.group.variant)] = None
    return [
        f"**Verdicts of {words.listing(list(rows))} are {how}.** More seeds until a difference is "
        "settled settle 14 to 17 % that are not there; a run on fresh seeds alone confirms."
        for how, rows in names.items()
    ]


def across_data_sets(found: DataSets) -> AcrossDataSets:
    """Return what is said of one setting over its data sets."""
    return AcrossDataSets(
        title=found.title,
        differences=data_sets_text.differences_table(found),
        ranks=data_sets_text.ranks_note(found),
        means=data_sets_text.aggregates_table(found),
        profiles=data_sets_text.profiles_table(found),
        too_few="" if found.has_aggregates else data_sets_text.too_few(),
    )
