"""What a figure shows together: the blocks of one data set and ways, a panel a number of shots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from bench.report.comparison import Block, slug
from bench.report.figures.style import CONTROL, columns_of, panels, wrapped
from bench.report.speed import of_blocks

LINE = 0.165  # inches that a line of a label takes
GUIDE: Mapping[str, Any] = {"color": "#e4e4e4", "linewidth": 0.7, "zorder": 0.8}
SPACE = 1.3  # lines that a label of one line takes
MOST_SAID = 3  # rows that a note names
MOST_NUMBERED = 2  # panels side by side, beside which there is room for numbers


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
        return f"{self.data}-{self.ways}way{new}"

    @property
    def title(self) -> str:
        """Name the setting in words."""
        return f"{self.data}, {self.ways}-way" + (f", new {self.held_out}" if self.held_out else "")


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


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Where each name of a figure with one line a name stands, in lines of text from the top.

    ``headings``: name -> what is written above it, where a group begins.
    """

    names: tuple[str, ...]
    headings: Mapping[str, str]

    @property
    def place(self) -> dict[str, float]:
        """The middle of each name's line."""
        places, top = {}, 0.0
        for name in self.names:
            top += SPACE * (name in self.headings)
            own = _lines(name)
            places[name] = top + own / 2
            top += own
        return places

    @property
    def length(self) -> float:
        """Lines in all."""
        last = self.names[-1]
        return self.place[last] + _lines(last) / 2


def _lines(name: str) -> float:
    return 0.3 + len(wrapped(name).split("\n"))


def line_panels(
    lines: Lines,
    titles: Sequence[str],
    xlabel: str,
    *,
    extra: float = 0.0,
    around: float = 0.75,
    guides: bool = True,
) -> list[Axes]:
    """Lay out a panel a title, with the names at the left of each row of panels.

    ``around``: inches that titles, ticks and labels take; ``extra``: those of what is below;
    ``guides``: a pale rule on each line.
    """
    columns, places = columns_of(len(titles)), lines.place
    axes = panels(len(titles), around + LINE * lines.length, extra=extra)
    for index, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        axis.set(title=title, xlabel=xlabel)
        axis.set_yticks([])
        axis.set_ylim(lines.length, 0.0)
        if guides:
            across = axis.get_yaxis_transform()
            axis.hlines(list(places.values()), 0, 1, **GUIDE, transform=across)
        for name in list(lines.headings)[1:]:
            y = places[name] - _lines(name) / 2 - SPACE
            axis.axhline(y, color="#bbbbbb", linewidth=0.7, zorder=1)
        if index % columns == 0:
            _name(axis, lines)
    return axes


def _name(axis: Axes, lines: Lines) -> None:
    """Write names and headings at the left; the layout measures the widest alone, for speed."""
    places = lines.place
    texts = [(places[name], wrapped(name), "normal") for name in places]
    texts += [
        (places[name] - (_lines(name) + SPACE) / 2, heading, "bold")
        for name, heading in lines.headings.items()
    ]
    widest = max(texts, key=lambda one: max(map(len, one[1].split("\n"))))
    for y, text, weight in texts:
        axis.text(
            -0.02,
            y,
            text,
            ha="right",
            va="center",
            fontsize=8.5,
            weight=weight,
            transform=axis.get_yaxis_transform(),
        ).set_in_layout((y, text, weight) == widest)


def under_references(order: Sequence[str], references: Mapping[str, str]) -> Lines:
    """Keep the order of rows, below a heading for each that they are compared with."""
    groups = {
        name: [variant for variant in order if references[variant] == name]
        for name in dict.fromkeys(references[variant] for variant in order)
    }
    return Lines(
        names=tuple(variant for group in groups.values() for variant in group),
        headings={group[0]: f"minus {name}:" for name, group in groups.items()},
    )


def beside(axes: Sequence[Axes], axis: Axes, texts: Mapping[float, str]) -> None:
    """Print a number at the right of each line of a panel, where there is room for it.

    The layout measures the longest alone: measuring each takes seconds.
    """
    if columns_of(len(axes)) > MOST_NUMBERED:
        return
    longest = max(texts, key=lambda y: len(texts[y]), default=None)
    for y, text in texts.items():
        axis.text(
            1.02, y, text, va="center", fontsize=8, transform=axis.get_yaxis_transform()
        ).set_in_layout(y == longest)


def say(axis: Axes, y: float, text: str) -> None:
    """Write words into a line, where there is no number to draw."""
    axis.text(
        0.02,
        y,
        text,
        va="center",
        fontsize=8,
        color=CONTROL,
        style="italic",
        transform=axis.get_yaxis_transform(),
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        zorder=4,
    ).set_in_layout(False)


def not_shown(blocks: Sequence[Block]) -> str:
    """Say which rows have no number, and why, where a figure has no line for them."""
    reasons: dict[str, dict[str, list[int]]] = {}
    for block in blocks:
        for row in block.rows:
            if row.accuracy is None:
                own = reasons.setdefault(row.group.variant, {})
                own.setdefault(row.group.trouble, []).append(block.shots)
    said = []
    for name, own in reasons.items():
        why = [
            reason if len(shots) == len(blocks) else f"{reason} at {shots[0]}-shot"
            for reason, shots in own.items()
        ]
        said.append(f"{name}, {' and '.join(why)}")
    more = f"; and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else ""
    return f"not shown: {'; '.join(said[:MOST_SAID])}{more}" if said else ""
