"""Examples of two splits that look alike, side by side: what the audit's hashes found."""

import base64
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.cell import Json
from bench.png import unpacked
from bench.report.comparison import slug
from bench.report.figures.style import WIDTH, Picture, picture, styled, wrapped
from bench.report.results import Results

COLUMNS = 4
PAIRS = 12  # of a data set


def lookalike_figures(results: Results) -> list[Picture]:
    """Draw the look-alikes of each data set that has some."""
    figures = []
    for audit in results.plan.audits:
        facts = results.manifests.get(audit.key, {}) if audit.subject == "data" else {}
        pairs = facts.get("perceptual", {}).get("pairs", [])
        if pairs:
            shown = pairs[:PAIRS]
            alt = f"Look-alikes of two splits of {audit.data}: pairs of one hash, those "
            alt += "that differ least first; exact duplicates are left out"
            with styled():
                name = f"lookalikes-{slug(audit.data)}"
                figures.append(picture(name, alt, _draw(shown)))
    return figures


def _draw(pairs: Sequence[Mapping[str, Json]]) -> Figure:
    rows = -(-len(pairs) // COLUMNS)
    columns = min(COLUMNS, len(pairs))
    size = (WIDTH * columns / COLUMNS, 1.75 * rows)
    figure = Figure(figsize=size, dpi=200, layout="constrained", facecolor="white")
    for number, pair in enumerate(pairs):
        _pair(figure.add_subplot(rows, columns, number + 1), pair)
    return figure


def _pair(axis: Axes, pair: Mapping[str, Json]) -> None:
    """Draw both examples, sharp, under their splits and classes."""
    axis.imshow(unpacked(base64.b64decode(pair["png"])), interpolation="antialiased")
    axis.set_axis_off()
    both = zip(pair["splits"], pair["classes"], strict=True)
    title = "\n".join(wrapped(f"{split}: {name}", 32) for split, name in both)
    axis.set_title(title, fontsize=7)
