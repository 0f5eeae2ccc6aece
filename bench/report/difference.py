"""Where two versions of a text file differ: numbers token by token, all else exactly."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher

TOLERANCE = 1e-9  # relative, of long numbers: another processor sums in another order
LONG = 8  # significant digits; more are printed in full
WORD = re.compile(r"[\w.+\-]+|[^\w.+\-]+")
NUMBER = re.compile(r"[+-]?(?P<digits>\d+(?P<point>\.\d+)?)(?P<power>[eE][+-]?\d+)?")
SHOWN = 60  # characters of a line that is shown whole
BEFORE = 20  # characters before the first difference


@dataclass(kw_only=True)
class Compared:
    """What a comparison found, by places: differences, and numbers equal within the tolerance.

    ``numbers``: how many it met.
    """

    differences: list[str] = field(default_factory=list)
    close: list[str] = field(default_factory=list)
    numbers: int = 0


def compare(name: str, printed: bytes, recomputed: bytes) -> Compared:
    """Compare a file of text with what it should hold, line by line."""
    found = Compared()
    there, here = (one.decode(errors="replace").split("\n") for one in (printed, recomputed))
    for number, old, new in _paired(there, here):
        if old is None or new is None:
            old, new = (one if one is None else _cut(one) for one in (old, new))
            found.differences.append(_said(f"{name}:{number}", old, new))
        else:
            _compare_line(f"{name}:{number}", old, new, found)
    return found


def _paired(there: list[str], here: list[str]) -> Iterator[tuple[int, str | None, str | None]]:
    """Yield the number of each line, the line, and the one that should stand there."""
    if len(there) == len(here):
        yield from zip(range(1, len(there) + 1), there, here, strict=True)
        return
    for _, a, b, c, d in SequenceMatcher(None, there, here, autojunk=False).get_opcodes():
        for i in range(max(b - a, d - c)):
            old, new = (there[a + i] if a + i < b else None), (here[c + i] if c + i < d else None)
            yield a + min(i, max(b - a - 1, 0)) + 1, old, new


def _compare_line(where: str, old: str, new: str, found: Compared) -> None:
    printed, recomputed = WORD.findall(old), WORD.findall(new)
    found.numbers += sum(1 for token in recomputed if NUMBER.fullmatch(token))
    if old == new:
        return
    if len(printed) != len(recomputed):
        found.differences.append(_said(where, *_apart(old, new)))
        return
    for one, other in zip(printed, recomputed, strict=True):
        if one != other and _near(one, other):
            found.close.append(_said(where, one, other))
        elif one != other:
            found.differences.append(_said(where, _cut(one), _cut(other)))


def _near(one: str, other: str) -> bool:
    """Whether both are long fractions, equal within the tolerance."""
    matches = NUMBER.fullmatch(one), NUMBER.fullmatch(other)
    if not all(found and _is_long(found) for found in matches):
        return False
    a, b = float(one), float(other)
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def _is_long(found: re.Match[str]) -> bool:
    fraction = found["point"] or found["power"]  # a long whole number is a count or a key
    return bool(fraction) and len(found["digits"].replace(".", "").strip("0")) > LONG


def _said(where: str, old: str | None, new: str | None) -> str:
    printed, recomputed = ("nothing" if one is None else one for one in (old, new))
    return f"{where}: printed {printed}, recomputed {recomputed}"


def _apart(old: str, new: str) -> tuple[str, str]:
    """Cut two lines to what they differ in, and a little before."""
    if old.split() == new.split():  # else nothing of it would be seen
        return _cut(repr(old)), _cut(repr(new))
    same = (number for number, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    first = max(0, next(same, min(len(old), len(new))) - BEFORE)
    dots = "..." if first else ""
    return f"{dots}{_cut(old[first:])}", f"{dots}{_cut(new[first:])}"


def _cut(text: str) -> str:
    return f"{text[:SHOWN]}..." if len(text) > SHOWN else text
