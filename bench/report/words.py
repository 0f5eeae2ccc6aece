"""Numbers and labels as a reader meets them: per cent, points, durations, markdown cells."""

import re
from collections.abc import Sequence
from math import floor, log10

from bench.statistics.interval import Interval

NONE = "-"  # an empty cell of a table
MOST_DECIMALS = 6
ONE_MODEL = " (one model)"  # after an interval that says nothing of other seeds


def percent(interval: Interval) -> str:
    """Return ``52.1 [50.2, 54.0]``, an accuracy in per cent; one seed is called one model."""
    words = _triple((interval.mean, interval.low, interval.high), sign="")
    return f"{words}{ONE_MODEL}" if interval.one_model else words


def points(interval: Interval) -> str:
    """Return ``+1.9 [1.7, 2.1]``, a difference in points; one seed is called one model."""
    words = _triple((interval.mean, interval.low, interval.high), sign="+")
    return f"{words}{ONE_MODEL}" if interval.one_model else words


def nats(interval: Interval) -> str:
    """Return ``1.386 [1.350, 1.422]``, a loss in nats; one seed is called one model."""
    return _three_decimals(interval, sign="")


def nats_more(interval: Interval) -> str:
    """Return ``-0.120 [-0.150, -0.090]``, a difference in nats; one seed is called one model."""
    return _three_decimals(interval, sign="+")


def _three_decimals(interval: Interval, sign: str) -> str:
    mean, low, high = (_rounded(one, 3) for one in (interval.mean, interval.low, interval.high))
    words = f"{mean:{sign}.3f} [{low:.3f}, {high:.3f}]"
    return f"{words}{ONE_MODEL}" if interval.one_model else words


def number(interval: Interval) -> str:
    """Return ``-823 [-900, -746]``, a mean in units of its own; one seed is called one model."""
    return _own_units(interval, sign="")


def number_more(interval: Interval) -> str:
    """Return ``+0.12 [0.05, 0.19]``, a difference in units of its own; as ``number``."""
    return _own_units(interval, sign="+")


def decimals(interval: Interval) -> int:
    """Return how many decimals show two digits of how far an interval reaches."""
    reach = (interval.high - interval.low) / 2
    return min(max(1 - floor(log10(reach)), 0), MOST_DECIMALS) if reach > 0 else 2


def _own_units(interval: Interval, sign: str) -> str:
    places = decimals(interval)
    values = (interval.mean, interval.low, interval.high)
    mean, low, high = (_rounded(one, places) for one in values)
    words = f"{mean:{sign}.{places}f} [{low:.{places}f}, {high:.{places}f}]"
    return f"{words}{ONE_MODEL}" if interval.one_model else words


def p_value(p: float | None) -> str:
    """Return a p-value as one writes it: ``.034``, ``under .001``; a dash where there is none.

    One below .05 that would round to it is cut instead.
    """
    if p is None:
        return NONE
    shown = 0.049 if 0.0495 <= p < 0.05 else p
    return "under .001" if p < 0.001 else f"{shown:.3f}".removeprefix("0")


def signed(value: float, decimals: int = 1) -> str:
    """Return a number with its sign, and 0 as ``+0.0``: ``-0.04`` is no less than nothing."""
    return f"{_rounded(value, decimals):+.{decimals}f}"


def within(margin: float) -> str:
    """Return a margin in points: ``1 point``, ``0.5 points``."""
    return f"{100 * margin:g} point" + ("" if margin == 0.01 else "s")


def _triple(values: tuple[float, float, float], sign: str) -> str:
    """One decimal, or two where one would hide on which side of 0 a bound lies."""
    hidden = any(0 < abs(value) < 0.0005 for value in values)
    mean, low, high = (_rounded(100 * value, 2 if hidden else 1) for value in values)
    decimals = 2 if hidden else 1
    return f"{mean:{sign}.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def _rounded(value: float, decimals: int) -> float:
    return round(value, decimals) + 0.0  # no "-0.0"


def duration(seconds: float) -> str:
    """Return seconds in the unit one would say: ``0.41 s``, ``12 s``, ``3.5 min``, ``1.2 h``."""
    if seconds != seconds:
        return NONE
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def count(number: float) -> str:
    """Return a large count in three digits or so: ``950``, ``12.3 k``, ``5.00 M``."""
    if number != number:
        return NONE
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def size(num_bytes: float) -> str:
    """Return a memory size in MiB or GiB."""
    if num_bytes != num_bytes:
        return NONE
    mebibytes = num_bytes / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def escape(text: object) -> str:
    """Keep markdown from reading a label or a reason as markup; one line."""
    line = " ".join(str(text).split())
    return re.sub(r"[\\`*|<>$]|~(?=~)|(?<=\])\(", lambda found: f"\\{found[0]}", line)


def plain(markdown: str) -> str:
    """Return a sentence of the report without its markup: links, bold, escapes."""
    text = re.sub(r"(?<!\\)\[([^\]]*)\]\([^)\s]*\)", r"\1", markdown)
    return re.sub(r"\\([\\`*|<>$(~])|\*\*", lambda found: found[1] or "", text)


def listing(parts: Sequence[str]) -> str:
    """Join as in a sentence: ``a``, ``a and b``, ``a, b and c``; semicolons where a comma is."""
    if len(parts) < 3:
        return " and ".join(parts)
    mark = "; " if any("," in part for part in parts) else ", "
    return mark.join(parts[:-1]) + ("; and " if mark == "; " else " and ") + parts[-1]


def ranges(numbers: Sequence[int]) -> str:
    """Return ``0-4`` for a run of integers, ``0-2, 7`` for broken ones."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a markdown table, aligned for a terminal too; ``right`` are columns of numbers."""
    cells = [[escape(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    marks = [("-" * (w - 1) + ":") if i in right else "-" * w for i, w in enumerate(widths)]
    return "\n".join(line(row) for row in (cells[0], marks, *cells[1:]))
