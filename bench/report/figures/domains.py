"""The figures of training here or elsewhere: a row's accuracies on one test set, side by side."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.comparison import Row, stem
from bench.report.figures.accuracy import floor_lines, one_model, reach, within
from bench.report.figures.lines import Lines, line_panels, say
from bench.report.figures.setting import from_best
from bench.report.figures.style import (
    COLOURS,
    CONTROL,
    MARKERS,
    Picture,
    figure_of,
    legend_below,
    legend_height,
    picture,
    styled,
)
from bench.report.views.across_domains import Domains

SPREAD = 0.6  # of a line of text, between the first and the last mark of a row
HERE = (CONTROL, "D", "white")  # colour, marker and fill of what was trained on the tested set
NOTE = "crossed 95 % intervals; dotted: random-init floor"
Looks = Mapping[str, tuple[str, str, str]]


def domains_figures(found: Sequence[Domains]) -> list[Picture]:
    """Draw a figure for each test set and ways, one panel a number of shots."""
    settings: dict[tuple[str, int, str], list[Domains]] = {}
    for one in (each for each in found if each.sources):
        block = one.block
        settings.setdefault((block.data, block.ways, block.held_out), []).append(one)
    pictures = []
    with styled():
        for (data, ways, held_out), own in settings.items():
            new = f", new {held_out}" if held_out else ""
            name = f"across-domains-{stem(f'{data}-{ways}way{new}')}"
            alt = f"Accuracy on {data}, {ways}-way{new}, trained on it and on other sets"
            pictures.append(picture(name, alt, _draw(own)))
    return pictures


def _draw(found: Sequence[Domains]) -> Figure:
    """One line a variant, in the order of what was trained on the tested set."""
    means = {
        (number, one.here.group.variant): one.here.accuracy.mean if one.here.accuracy else None
        for number, panel in enumerate(found)
        for one in panel.rows
    }
    lines = Lines(names=tuple(from_best(means, len(found))), headings={})
    looks = _looks(found)
    handles = [
        Line2D([], [], color=c, marker=m, markerfacecolor=f, markersize=5, linewidth=0)
        for c, m, f in looks.values()
    ]
    note = NOTE + one_model([one.block for one in found])
    titles = [one.block.amount for one in found]
    label = found[0].block.headline.axis
    axes = line_panels(lines, titles, label, extra=legend_height(list(looks), note))
    for axis, panel in zip(axes, found, strict=True):
        _panel(axis, panel, lines.place, looks)
        within(axis, "x", panel.block.headline)
    legend_below(figure_of(axes[0]), handles, list(looks), note)
    return figure_of(axes[0])


def _looks(found: Sequence[Domains]) -> Looks:
    """Return what each set that was trained on is drawn as, by the words of the legend."""
    sources = dict.fromkeys(source for one in found for source in one.sources)
    looks = {_named(found[0].block.data): HERE}
    for number, source in enumerate(sources):
        colour = COLOURS[number % len(COLOURS)]
        looks[_named(source)] = (colour, MARKERS[number % len(MARKERS)], colour)
    return looks


def _named(source: str) -> str:
    return f"trained on {source}"


def _panel(axis: Axes, found: Domains, place: Mapping[str, float], looks: Looks) -> None:
    """Draw each row trained here and elsewhere, below each other on its line."""
    floor_lines(axis, found.block)
    order = list(looks)
    offset = {name: SPREAD * (number / (len(order) - 1) - 0.5) for number, name in enumerate(order)}
    here = _named(found.block.data)
    for one in found.rows:
        y, there = place[one.here.group.variant], _named(one.source)
        _point(axis, y + offset[here], one.here, looks[here])
        if one.compared:  # else it is the row here
            _point(axis, y + offset[there], one.elsewhere, looks[there])


def _point(axis: Axes, y: float, row: Row, look: tuple[str, str, str]) -> None:
    if row.accuracy is None:
        say(axis, y, row.group.trouble)
        return
    colour, marker, fill = look
    axis.errorbar(
        100 * row.accuracy.mean,
        y,
        xerr=reach(row.accuracy, row.group.headline),
        color=colour,
        marker=marker,
        markerfacecolor=fill,
        markersize=5,
        linewidth=1.2,
        zorder=3,
    )
