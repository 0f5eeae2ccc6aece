"""Round ticks of logarithmic axes: seconds as minutes and hours, examples as thousands, memory."""

from collections.abc import Callable, Sequence

from bench.report import words

MOST = 5  # ticks that fit side by side in a third of the width
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
SECONDS = (
    *(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    *(MINUTE, 5 * MINUTE, 20 * MINUTE, HOUR, 3 * HOUR, 10 * HOUR),
    *(DAY, 3 * DAY, 10 * DAY, 30 * DAY, 100 * DAY),
)
COUNTS = tuple(scale * 10.0**power for power in range(13) for scale in (1, 3))
FINE_COUNTS = tuple(scale * 10.0**power for power in range(13) for scale in (1, 2, 5))
BYTES = tuple(2.0**power for power in range(10, 50))


def duration(seconds: float) -> str:
    """Name a round duration: ``0.3 s``, ``10 s``, ``5 min``, ``3 h``, ``10 d``."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def size(num_bytes: float) -> str:
    """Name a power of two of bytes: ``64 KiB``, ``512 MiB``, ``2 GiB``."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if num_bytes >= 2**power:
            return f"{num_bytes / 2**power:g} {unit}"
    return f"{num_bytes:g} B"


def seconds_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return at most ``MOST`` round durations within the range, with their words."""
    return _thin(SECONDS, low, high, duration)


def count_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return at most ``MOST`` round counts within the range, with their words."""
    rounds = FINE_COUNTS if high / low < 30 else COUNTS
    return _thin(rounds, low, high, words.count)


def byte_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return at most ``MOST`` powers of two within the range, with their words."""
    return _thin(BYTES, low, high, size)


def _thin(
    rounds: Sequence[float], low: float, high: float, name: Callable[[float], str]
) -> list[tuple[float, str]]:
    """Keep every second, third ... of those in the range until they fit."""
    within = [(place, one) for place, one in enumerate(rounds) if low <= one <= high]
    step = -(-len(within) // MOST) or 1
    return [(one, name(one)) for place, one in within if place % step == 0]
