"""Panels with one line a name: where each stands, and words in place of numbers or beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.report.figures.style import CONTROL, columns_of, panels, wrapped

MEASURED = 3  # names of lines, the widest by estimate, that the layout measures
LINE = 0.165  # inches that a line of a label takes
SPACE = 1.3  # lines that a label of one line takes
GUIDE: Mapping[str, Any] = {"color": "#e4e4e4", "linewidth": 0.7, "zorder": 0.8}
MOST_TEXTS = 60  # lines with a number, beyond which a figure is too many bytes
STEPS = (1, 2, 2.5, 5, 10)  # of ticks
MOST_NUMBERED = 2  # panels side by side, beside which there is room for numbers


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

    @property
    def height(self) -> float:
        """Inches in all."""
        return LINE * self.length


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
    columns = columns_of(len(titles))
    axes = panels(len(titles), around + lines.height, extra=extra)
    for index, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        axis.set(title=title, xlabel=xlabel)
        axis.xaxis.set_major_locator(MaxNLocator(6 if columns < 3 else 4, steps=STEPS))
        rule(axis, lines, named=index % columns == 0, guides=guides)
    return axes


def rule(axis: Axes, lines: Lines, *, named: bool = True, guides: bool = True) -> None:
    """Make a panel one of lines: the first at the top, a rule above each group but the first."""
    places = lines.place
    axis.set_yticks([])
    axis.set_ylim(lines.length, 0.0)
    if guides:
        axis.hlines(list(places.values()), 0, 1, **GUIDE, transform=axis.get_yaxis_transform())
    for name in list(lines.headings)[1:]:
        y = places[name] - _lines(name) / 2 - SPACE
        axis.axhline(y, color="#bbbbbb", linewidth=0.7, zorder=1)
    if named:
        _name(axis, lines)


def _name(axis: Axes, lines: Lines) -> None:
    """Write names and headings at the left; the layout measures the widest alone, for speed."""
    places = lines.place
    texts = [(places[name], wrapped(name), "normal") for name in places]
    texts += [
        (places[name] - (_lines(name) + SPACE) / 2, heading, "bold")
        for name, heading in lines.headings.items()
    ]
    widest = sorted(texts, key=_width)[-MEASURED:]
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
        ).set_in_layout((y, text, weight) in widest)


def _width(text: tuple[float, str, str]) -> float:
    """Estimate how wide a text is: a capital is wide, and so is what is bold."""
    _, words, weight = text
    widest = max(len(line) + 0.3 * sum(map(str.isupper, line)) for line in words.split("\n"))
    return widest * (1.15 if weight == "bold" else 1.0)


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
    if columns_of(len(axes)) > MOST_NUMBERED or len(texts) > MOST_TEXTS:
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
