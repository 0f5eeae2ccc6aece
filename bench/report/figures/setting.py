"""What a figure shows together: the blocks of one data set and ways, a panel a number of shots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.report.comparison import Block, slug, stem
from bench.report.headline import Headline
from bench.report.views.speed import of_blocks

MOST_SAID = 3  # rows that a note names


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The blocks of one data set and ways; of held-out tasks the mean alone, if there is one."""

    data: str
    ways: int
    held_out: str
    blocks: tuple[Block, ...]

    @property
    def slug(self) -> str:
        """Name the setting in a file's name."""
        new = f"-new-{slug(self.held_out)}" if self.held_out else ""
        return f"{self.headline.stem(stem(self.data), self.ways)}{new}"

    @property
    def title(self) -> str:
        """Name the setting in words."""
        new = f", new {self.held_out}" if self.held_out else ""
        stream = f", {self.blocks[0].stream}" if self.blocks[0].stream else ""
        return f"{self.headline.task(self.data, self.ways)}{new}{stream}"

    @property
    def headline(self) -> Headline:
        """What its figures are of."""
        return self.blocks[0].headline


def settings(blocks: Sequence[Block]) -> list[Setting]:
    """Group the blocks into figures, in the plan's order."""
    drawn = [block for block in blocks if not block.held_out] + of_blocks(blocks)
    found: dict[tuple[str, int, str], list[Block]] = {}
    for block in drawn:
        found.setdefault((block.data, block.ways, block.held_out), []).append(block)
    return [
        Setting(data=data, ways=ways, held_out=held_out, blocks=tuple(chosen))
        for (data, ways, held_out), chosen in found.items()
    ]


def by_accuracy(blocks: Sequence[Block]) -> list[str]:
    """Variants from the best down, by mean accuracy over the panels; incomplete ones last."""
    found = {
        (number, row.group.variant): row.accuracy.mean if row.accuracy else None
        for number, block in enumerate(blocks)
        for row in block.rows
    }
    return from_best(found, len(blocks))


def from_best(found: Mapping[tuple[int, str], float | None], panels: int) -> list[str]:
    """Sort names by their mean over all panels, best first; those that lack one come last."""
    values: dict[str, list[float]] = {}
    for (_, name), value in found.items():
        values.setdefault(name, [])
        if value is not None:
            values[name].append(value)
    whole = {name: fmean(own) for name, own in values.items() if len(own) == panels}
    return sorted(values, key=lambda name: (name not in whole, -whole.get(name, 0.0), name))


def not_shown(blocks: Sequence[Block]) -> str:
    """Say which rows have no number, and why, where a figure has no line for them."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for block in blocks:
        for row in block.rows:
            if row.accuracy is None:
                own = reasons.setdefault(row.group.variant, {})
                own.setdefault(row.group.trouble, []).append(block.amount)
    said = []
    for name, own in reasons.items():
        why = [
            reason if len(amounts) == len(blocks) else f"{reason} at {amounts[0]}"
            for reason, amounts in own.items()
        ]
        said.append(f"{name}, {' and '.join(why)}")
    more = f"; and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
    return f"not shown: {'; '.join(said[:MOST_SAID])}{more}" if said else ""
