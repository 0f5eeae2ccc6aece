"""How figures look: one colour and marker a variant everywhere, GitHub's width, equal bytes."""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.late import imported
from bench.png import packed
from bench.report.results import Results

WIDTH = 8.8  # inches: 880 px at GitHub's width, drawn at twice that
# Okabe and Ito's colours, which the colour-blind tell apart, without yellow (pale on white).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
Entry = Artist | tuple[Artist, ...]  # of a legend; several are drawn over each other
Dashes = tuple[float, tuple[float, ...]]  # offset, then lengths on and off
SOLID: Dashes = (0, ())
DASHES: tuple[Dashes, ...] = (
    *(SOLID, (0, (5, 1)), (0, (1, 1)), (0, (4, 1, 1, 1))),
    *((0, (6, 2)), (0, (3, 2)), (0, (1, 2))),
)
LEGEND_CHARS = 28
NOTE_CHARS = 125  # of 8 points, at the whole width
CONTROL, QUIET = "#555555", "#999999"
VERDICT_LOOKS: Mapping[str, tuple[str, str, str]] = {  # colour, marker, and the marker's fill
    "better": ("#0072B2", ">", "#0072B2"),
    "equivalent": ("#009E73", "s", "#009E73"),
    "worse": ("#D55E00", "<", "#D55E00"),
    "undecided": ("#777777", "o", "white"),
    "no verdict": ("#777777", "D", "white"),
}
RC: Mapping[str, Any] = {  # over seaborn's whitegrid
    "axes.edgecolor": "#666666",
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.facecolor": "white",  # legible on GitHub's dark theme too
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "legend.frameon": False,
    "text.parse_math": False,  # a label may hold a dollar sign
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure: its files' name, the text that stands in for it, and the two files."""

    name: str
    alt: str
    png: bytes
    svg: bytes


def picture(name: str, alt: str, figure: Figure) -> Picture:
    """Render a figure as PNG and as SVG, the same bytes every time; it is laid out once."""
    drawn = png(figure)
    figure.set_layout_engine("none")  # keeps where the first drawing put everything
    return Picture(name=name, alt=alt, png=drawn, svg=svg(figure))


@dataclass(frozen=True, kw_only=True)
class Look:
    """A variant's colour, marker and line; hollow markers saw labels."""

    colour: str
    marker: str
    dashes: Dashes
    fill: str


def looks(results: Results) -> Mapping[str, Look]:
    """Give each variant of a plan its own look; controls are grey."""
    labels = {one.cell.variant: one.cell.labels for one in results.cells}
    controls = [one.cell.variant for one in results.cells if one.cell.control]
    methods = [variant for variant in results.variants if variant not in controls]
    chosen = {}
    for group, colours in ((methods, COLOURS), (list(dict.fromkeys(controls)), (CONTROL,))):
        for index, variant in enumerate(group):
            turn, colour = divmod(index, len(colours))
            chosen[variant] = Look(
                colour=colours[colour],
                marker=MARKERS[turn % len(MARKERS)],
                dashes=DASHES[turn % len(DASHES)],
                fill=colours[colour] if labels[variant] == "none" else "white",
            )
    return chosen


@contextmanager
def styled() -> Iterator[None]:
    """Draw with seaborn's style and ours over it, whatever the user's own file says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in {**seaborn().axes_style("whitegrid"), **RC}.items():
            matplotlib.rcParams[name] = value
        yield


def seaborn() -> ModuleType:
    """Import seaborn, which imports scipy.stats."""
    return imported("seaborn")


def columns_of(count: int) -> int:
    """How many panels stand side by side."""
    return 2 if count == 4 else min(count, 3)


def panels(count: int, height: float, *, extra: float = 0.0, columns: int = 0) -> list[Axes]:
    """Lay out axes of ``height`` inches in rows of at most three, with ``extra`` below."""
    columns = columns or columns_of(count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, rows * height + extra), dpi=200, layout="constrained")
    return [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def figure_of(axis: Axes) -> Figure:
    """Return the figure that a panel belongs to."""
    assert isinstance(axis.figure, Figure)
    return axis.figure


def png(figure: Figure) -> bytes:
    """Return the figure as PNG at twice GitHub's width."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return packed(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]


def svg(figure: Figure) -> bytes:
    """Return the figure as SVG whose text is text: ids by a fixed salt, no date, no version."""
    buffer = io.BytesIO()
    canvas = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def wrapped(label: str, width: int = 30) -> str:
    """Break a long label over lines."""
    return "\n".join(textwrap.wrap(label, width)) or label


def handle(look: Look, *, level: bool = False) -> Line2D:
    """Return a legend's entry for a variant; ``level`` for a dashed line without steps."""
    return Line2D(
        [],
        [],
        color=look.colour,
        marker=look.marker,
        markerfacecolor=look.fill,
        markersize=5,
        linestyle="--" if level else look.dashes,
        linewidth=1.4,
    )


def _columns(labels: Sequence[str]) -> int:
    longest = max(len(line) for label in labels for line in label.split("\n"))
    return max(1, min(5, len(labels), int(WIDTH / (0.066 * longest + 0.6))))


def legend_height(labels: Sequence[str], note: str = "") -> float:
    """Inches that ``legend_below`` needs."""
    texts = [wrapped(label, LEGEND_CHARS) for label in labels]
    lines = sum(1 + text.count("\n") for text in texts)
    above = 0.17 * (1 + wrapped(note, NOTE_CHARS).count("\n")) if note else 0.0
    return 0.2 * -(-lines // _columns(texts)) + 0.25 + above if texts else above


def legend_below(
    figure: Figure, handles: Sequence[Entry], labels: Sequence[str], note: str = ""
) -> None:
    """Put one legend under all panels, where it hides nothing, with a note above its entries."""
    texts = [wrapped(label, LEGEND_CHARS) for label in labels]
    if texts:
        legend = figure.legend(
            cast(Sequence[Artist], handles),  # its type knows no tuples
            texts,
            loc="outside lower center",
            ncols=_columns(texts),
            title=wrapped(note, NOTE_CHARS) or None,
        )
        legend.get_title().set(fontsize=8, color=CONTROL, multialignment="center")
    elif note:
        figure.supxlabel(wrapped(note, NOTE_CHARS), fontsize=8, color=CONTROL)
