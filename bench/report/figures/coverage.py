"""The coverage matrix: which cells of the plan are done, failed or missing."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.figures.lines import Lines, line_panels
from bench.report.figures.style import (
    WIDTH,
    Entry,
    Picture,
    figure_of,
    legend_below,
    legend_height,
    picture,
    styled,
    wrapped,
)
from bench.report.headline import Headline, headline_of
from bench.report.results import CellResult, Results, Status

LOOKS: Mapping[
    Status, tuple[str, str, str, str]
] = {  # the square and its edge, the sign, its colour
    "done": ("#9fcbe8", "#9fcbe8", ".", "#0b4f79"),
    "failed": ("#D55E00", "#D55E00", "x", "white"),
    "missing": ("white", "#888888", "o", "#555555"),
}
WORST: Sequence[Status] = ("failed", "missing", "done")  # what a square of several seeds shows
MOST_ROWS = 12  # variants, beyond which complete ones share a line
MOST_LINES = 30  # of variants that are not complete
MOST_COLUMNS = 44  # beyond which a square stands for all seeds of a setting
NARROWEST = 16  # columns that the width is meant for at least, so that few are no bars
GAP = 0.6  # columns between two settings
INCHES = WIDTH - 2.6  # that the squares have beside the names
Setting = tuple[str, int, int, str]  # data, ways, shots, held out
Column = tuple[Setting, int | None]  # None: all seeds
Squares = Mapping[Column, Status]


def coverage_figures(results: Results) -> list[Picture]:
    """Draw one figure of all cells of the plan, whatever is done; complete ones folded."""
    counts = {status: sum(one.status == status for one in results.every_cell) for status in LOOKS}
    said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    alt = f"Coverage: of {len(results.every_cell)} cells {said}"
    with styled():
        return [picture("coverage", alt, _draw(results))]


def _draw(results: Results) -> Figure:
    columns = _columns(results.every_cell)
    squares, left = _folded(_squares(results.every_cell, columns))
    x = _places(columns)
    statuses = [
        status for status in LOOKS if any(status in own.values() for own in squares.values())
    ]
    note = _note(columns, left)
    lines = Lines(names=tuple(squares), headings={})
    place = lines.place
    titles = _titles(columns, x, headline_of(results.plan))
    extra = legend_height(statuses, note) + 0.16 * max(text.count("\n") for text in titles.values())
    (axis,) = line_panels(lines, [""], "", extra=extra, around=0.45, guides=False)
    found = [(x[c], place[name], s) for name, own in squares.items() for c, s in own.items()]
    _draw_squares(axis, found, pitch=INCHES / _width(x))
    _frame(axis, x, titles)
    legend_below(figure_of(axis), [_handle(status) for status in statuses], statuses, note)
    return figure_of(axis)


def _setting(one: CellResult) -> Setting:
    return one.cell.data, one.cell.ways, one.cell.shots, one.cell.held_out


def _columns(cells: Sequence[CellResult]) -> list[Column]:
    """Return a column a seed of a setting, settings in the plan's order; or one a setting."""
    settings = list(dict.fromkeys(_setting(one) for one in cells))
    seeds = sorted({(_setting(one), one.cell.seed) for one in cells}, key=lambda pair: pair[1])
    single: list[Column] = [pair for own in settings for pair in seeds if pair[0] == own]
    return single if len(single) <= MOST_COLUMNS else [(own, None) for own in settings]


def _squares(
    cells: Sequence[CellResult], columns: Sequence[Column]
) -> dict[str, dict[Column, Status]]:
    """Return variant -> column -> the worst status of the cells there; unplanned ones lack."""
    together = columns[0][1] is None
    found: dict[str, dict[Column, Status]] = {}
    for one in cells:
        own = found.setdefault(one.cell.variant, {})
        column = (_setting(one), None if together else one.cell.seed)
        own[column] = min(one.status, own.get(column, "done"), key=WORST.index)
    return found


def _folded(squares: Mapping[str, Squares]) -> tuple[dict[str, Squares], int]:
    """Give complete variants one line for each set of columns, where there are many.

    And return how many of the others found no line; those that failed find one first.
    """
    if len(squares) <= MOST_ROWS:
        return dict(squares), 0
    complete: dict[frozenset[Column], list[str]] = {}
    rest = {}
    for name, own in squares.items():
        if set(own.values()) == {"done"}:
            complete.setdefault(frozenset(own), []).append(name)
        else:
            rest[name] = own
    first = sorted(rest, key=lambda name: "failed" not in rest[name].values())  # stable
    shown = {name: rest[name] for name in (first[:MOST_LINES] if len(rest) > MOST_LINES else rest)}
    for names in complete.values():
        label = names[0] if len(names) == 1 else f"{len(names)} complete variants"
        label += f", as {names[0]}" if label in shown else ""
        shown[label] = squares[names[0]]
    return shown, max(0, len(rest) - MOST_LINES)


def _note(columns: Sequence[Column], left: int) -> str:
    parts = [
        "a square: all seeds of a setting, the worst of them" if columns[0][1] is None else "",
        f"{left} more variants are not complete" if left else "",
    ]
    return "; ".join(part for part in parts if part)


def _places(columns: Sequence[Column]) -> dict[Column, float]:
    """Return where each column stands, with a gap between settings."""
    numbers = {setting: n for n, setting in enumerate(dict.fromkeys(own for own, _ in columns))}
    return {one: place + 0.5 + GAP * numbers[one[0]] for place, one in enumerate(columns)}


def _width(x: Mapping[Column, float]) -> float:
    return max(max(x.values()) + 0.5, NARROWEST)


def _draw_squares(axis: Axes, found: Sequence[tuple[float, float, Status]], pitch: float) -> None:
    """Draw the squares and their signs, as large as ``pitch`` inches allow."""
    side = 72 * min(0.84 * pitch, 0.2)
    for status, (fill, edge, sign, ink) in LOOKS.items():
        x = [place for place, _, own in found if own == status]
        y = [place for _, place, own in found if own == status]
        axis.scatter(x, y, s=side**2, marker="s", facecolor=fill, edgecolor=edge, linewidth=0.6)
        size = (side / 2.2) ** 2
        colours: dict[str, Any] = (
            {"color": ink} if sign != "o" else {"facecolor": "none", "edgecolor": ink}
        )
        axis.scatter(x, y, s=size, marker=sign, linewidth=1.2, **colours)


def _titles(columns: Sequence[Column], x: Mapping[Column, float], of: Headline) -> dict[float, str]:
    """Return the middle of each setting's columns -> its name, as narrow as its columns."""
    several = {place: len({own[place] for own, _ in columns}) > 1 for place in (0, 1, 3)}
    titles = {}
    for setting in dict.fromkeys(own for own, _ in columns):
        own = [x[one] for one in columns if one[0] == setting]
        data, ways, shots, held_out = setting
        parts = [data] if several[0] else []
        parts += [f"{ways}-way"] if several[1] else []
        parts += [of.amount(shots), held_out] if several[3] else [of.amount(shots)]
        inches = (own[-1] - own[0] + 1 + GAP) * INCHES / _width(x)
        width = max(7, int(inches / 0.075))
        titles[(own[0] + own[-1]) / 2] = wrapped(" ".join(parts), width)
    return titles


def _frame(axis: Axes, x: Mapping[Column, float], titles: Mapping[float, str]) -> None:
    """Name the settings above and the seeds below; no lines, no frame."""
    axis.set_xlim(0, _width(x))
    axis.grid(visible=False)
    for side in axis.spines.values():
        side.set_visible(False)
    axis.set_xticks(list(x.values()), ["" if seed is None else str(seed) for _, seed in x])
    axis.tick_params(axis="x", length=0, pad=1)
    if any(seed is not None for _, seed in x):
        axis.set_xlabel("seed", fontsize=8.5, x=max(x.values()) / 2 / _width(x))
    for place, title in titles.items():
        axis.text(
            place,
            1.0,
            title,
            ha="center",
            va="bottom",
            fontsize=8.5,
            transform=axis.get_xaxis_transform(),
        )


def _handle(status: Status) -> Entry:
    fill, edge, sign, ink = LOOKS[status]
    face = ink if sign != "o" else "none"
    marks = (("s", 10, fill, edge), (sign, 4.5, face, ink))
    return tuple(
        Line2D(
            [],
            [],
            linestyle="",
            marker=marker,
            markersize=size,
            markerfacecolor=inside,
            markeredgecolor=outside,
            markeredgewidth=1.2 if marker != "s" else 0.6,
        )
        for marker, size, inside, outside in marks
    )
