"""Performance profiles: the share of runs (seeds x data sets) that score above an accuracy."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from bench.report.figures.style import (
    Look,
    Picture,
    figure_of,
    handle,
    legend_below,
    legend_height,
    panels,
    picture,
    styled,
)
from bench.report.headline import Headline
from bench.statistics.aggregate import Profile

NOTE = "bands: 95 % bootstrap intervals over seeds, at each {noun} by itself"


def profiles_picture(
    name: str,
    alt: str,
    profiles: Mapping[str, Profile],
    look: Mapping[str, Look],
    of: Headline,
) -> Picture:
    """Draw one curve a row, the best first in the legend."""
    note = NOTE.format(noun=of.noun)
    with styled():
        (axis,) = panels(1, 3.2, extra=legend_height(list(profiles), note))
        for variant, one in profiles.items():
            _curve(axis, one, look[variant])
        axis.set(xlabel=of.axis, ylabel="runs above it (%)", ylim=(-2, 102))
        axis.set_xlim(*_span(profiles))
        handles = [handle(look[variant]) for variant in profiles]
        legend_below(figure_of(axis), handles, list(profiles), note)
        return picture(name, alt, figure_of(axis))


def _curve(axis: Axes, one: Profile, look: Look) -> None:
    x = 100 * one.thresholds
    axis.fill_between(x, 100 * one.low, 100 * one.high, color=look.colour, alpha=0.13, linewidth=0)
    axis.plot(
        x,
        100 * one.share,
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.6,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=4.5,
        markevery=10,
    )


def _span(profiles: Mapping[str, Profile]) -> tuple[float, float]:
    """Return the accuracies, in per cent, between which any share is neither 0 nor 1."""
    inner = [
        100 * float(threshold)
        for one in profiles.values()
        for threshold, share in zip(one.thresholds, one.share, strict=True)
        if 0 < share < 1
    ] or [0.0, 100.0]
    return max(min(inner) - 3, 0.0), min(max(inner) + 3, 100.0)
