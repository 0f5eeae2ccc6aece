"""Forest plots: paired differences from the baseline, and from the floor, one line a variant."""

from collections.abc import Callable, Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.report import words
from bench.report.comparison import Block, Comparison, Row
from bench.report.figures.lines import Lines, beside, line_panels, say, under_references
from bench.report.figures.setting import from_best, settings
from bench.report.figures.style import (
    CONTROL,
    VERDICT_LOOKS,
    Picture,
    figure_of,
    legend_below,
    legend_height,
    picture,
    styled,
)
from bench.report.headline import ACCURACY, Headline
from bench.report.results import Results
from bench.statistics.interval import Interval

BAND = "#dfeee9"  # a pale green: what is practically equal
NO_VERDICT = "no verdict"
Reference = Callable[[Row], Comparison | None]


def forest_figures(results: Results, blocks: Sequence[Block]) -> list[Picture]:
    """Draw two figures for each data set and ways: against the baselines, against the floor."""
    margin = float(results.plan.settings["margin"])
    kinds: dict[str, tuple[str, Reference]] = {
        "forest": ("the baseline of a row's labels", lambda row: row.baseline),
        "forest-floor": ("the random-init floor", lambda row: row.floor),
    }
    pictures = []
    with styled():
        for one in settings(blocks):
            for name, (reference, of) in kinds.items():
                if any(of(row) for block in one.blocks for row in block.rows):
                    alt = f"Paired differences from {reference} with crossed 95 % intervals"
                    figure = _draw(one.blocks, of, margin)
                    pictures.append(picture(f"{name}-{one.slug}", f"{alt}: {one.title}", figure))
    return pictures


def _draw(blocks: Sequence[Block], of: Reference, margin: float) -> Figure:
    found = [
        {row.group.variant: one for row in block.rows if (one := of(row)) is not None}
        for block in blocks
    ]
    lines, place = _lines(found), _lines(found).place
    every = [one for panel in found for one in panel.values()]
    handles, note = _handles(every, margin), _note(every)
    titles = [block.amount for block in blocks]
    extra = legend_height(list(handles), note)
    axes = line_panels(lines, titles, "paired difference (points)", extra=extra)
    for axis, panel in zip(axes, found, strict=True):
        axis.axvspan(-100 * margin, 100 * margin, color=BAND, linewidth=0, zorder=0.5)
        axis.axvline(0, color=CONTROL, linewidth=1, zorder=2)
        if not any(one.difference for one in panel.values()):
            axis.set_xlim(-500 * margin, 500 * margin)
        for variant, one in panel.items():
            _comparison(axis, place[variant], one, blocks[0].headline)
        beside(axes, axis, {place[name]: _words(one) for name, one in panel.items()})
    legend_below(figure_of(axes[0]), list(handles.values()), list(handles), note)
    return figure_of(axes[0])


def _lines(found: Sequence[Mapping[str, Comparison]]) -> Lines:
    """Sort rows by their mean difference over the panels, below a heading for each reference."""
    references = {variant: one.reference for panel in found for variant, one in panel.items()}
    means = {
        (number, variant): one.difference.mean if one.difference else None
        for number, panel in enumerate(found)
        for variant, one in panel.items()
    }
    return under_references(from_best(means, len(found)), references)


def _handles(every: Sequence[Comparison], margin: float) -> dict[str, Artist]:
    """Return the one legend: the verdicts that occur, and the band."""
    seen = {_verdict(one) for one in every if one.difference}
    handles: dict[str, Artist] = {
        name: Line2D([], [], color=c, marker=m, markerfacecolor=f, markersize=6, linewidth=1.6)
        for name, (c, m, f) in VERDICT_LOOKS.items()
        if name in seen
    }
    handles[f"within ± {words.within(margin)}"] = Patch(color=BAND)
    return handles


def _note(every: Sequence[Comparison]) -> str:
    parts = []
    if any(one.difference and one.difference.one_model for one in every):
        parts.append("one seed: intervals over the episodes of one model")
    if any(one.difference and one.verdict is None for one in every):
        parts.append("no verdict: the two rows saw different labels")
    if any(one.verdict and one.looked_at for one in every):
        parts.append("verdicts on seeds after looking: see the text")
    return "; ".join(parts)


def _verdict(one: Comparison) -> str:
    return one.verdict or NO_VERDICT


def _comparison(axis: Axes, y: float, one: Comparison, headline: Headline) -> None:
    if one.difference is None:
        say(axis, y, one.trouble)
        return
    difference(axis, y, one.difference, _verdict(one), headline)


def difference(
    axis: Axes, y: float, one: Interval, verdict: str, headline: Headline = ACCURACY
) -> None:
    """Draw a difference with its interval, in the look of its verdict."""
    colour, marker, fill = VERDICT_LOOKS.get(verdict, VERDICT_LOOKS[NO_VERDICT])
    mean, low, high = (100 * value for value in _cut(one, headline.most_apart))
    axis.errorbar(
        mean,
        y,
        xerr=[[mean - low], [high - mean]],
        color=colour,
        marker=marker,
        markerfacecolor=fill,
        markersize=5,
        linewidth=1.6,
        zorder=3,
    )


def _cut(difference: Interval, most: float) -> tuple[float, float, float]:
    """Return mean and bounds, none of which lies beyond what two values can differ by."""
    return difference.mean, max(difference.low, -most), min(difference.high, most)


def _words(one: Comparison) -> str:
    return words.points(one.difference).removesuffix(words.ONE_MODEL) if one.difference else ""
