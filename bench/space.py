"""What tuning may change of a plug-in: a range or a set of values for each of some parameters."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations

from bench.cell import Json


@dataclass(frozen=True, kw_only=True)
class Reals:
    """Real numbers from ``low`` to ``high``; with ``log``, equally likely at every scale."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds that bound nothing."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"bounds of {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range from {self.low}")

    def holds(self, value: Json) -> bool:
        """Whether a value lies within."""
        return type(value) in (float, int) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Whole:
    """Whole numbers from ``low`` to ``high``; with ``log``, equally likely at every scale."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds that bound nothing."""
        if self.low >= self.high or (self.log and self.low < 1):
            raise ValueError(f"bounds of {self.low} and {self.high}")

    def holds(self, value: Json) -> bool:
        """Whether a value lies within."""
        return type(value) is int and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """One of some values: numbers, words, booleans or None, in no order."""

    values: tuple[Json, ...]

    def __post_init__(self) -> None:
        """Refuse a choice that is none."""
        equal = any(one == other for one, other in combinations(self.values, 2))  # 1, 1.0 and True
        plain = all(one is None or isinstance(one, str | int | float) for one in self.values)
        if len(self.values) < 2 or equal or not plain:
            raise ValueError(f"a choice among {list(self.values)}")

    def holds(self, value: Json) -> bool:
        """Whether a value is one of them."""
        return any(value == one and type(value) is type(one) for one in self.values)


Space = Reals | Whole | OneOf


def landmarks(space: Space) -> tuple[Json, ...]:
    """Return the lowest value, the highest and the one halfway; of a choice, every value."""
    if isinstance(space, OneOf):
        return space.values
    low, high = space.low, space.high
    halfway = math.sqrt(low) * math.sqrt(high) if space.log else low + (high - low) / 2
    return low, high, round(halfway) if isinstance(space, Whole) else halfway


def points(space: Space, count: int) -> tuple[Json, ...]:
    """Return the values that a grid holds: ``count`` of a range, evenly apart; all of a choice."""
    if isinstance(space, OneOf):
        return space.values
    low, high = space.low, space.high
    if isinstance(space, Reals):
        low, high = float(low), float(high)  # 1 is 1.0, as when the journal gives it back
    shares = [number / (count - 1) for number in range(1, count - 1)]
    inner = [low * (high / low) ** s if space.log else low + (high - low) * s for s in shares]
    values = (low, *inner, high)
    return tuple(dict.fromkeys(map(round, values))) if isinstance(space, Whole) else values


def most_points(space: Space, count: int) -> int:
    """Return how many values ``points`` has at most."""
    if isinstance(space, OneOf):
        return len(space.values)
    return min(count, space.high - space.low + 1) if isinstance(space, Whole) else count


def described(space: Space) -> dict[str, Json]:
    """Return a space as JSON: ``{low, high, log}`` (``whole`` too), or ``{values}``."""
    if isinstance(space, OneOf):
        return {"values": list(space.values)}
    return asdict(space) | ({"whole": True} if isinstance(space, Whole) else {})


def space_of(value: Mapping[str, Json]) -> Space:
    """Return the space that ``described`` described."""
    if "values" in value:
        return OneOf(values=tuple(value["values"]))
    bounds = {name: value[name] for name in ("low", "high", "log")}
    return Whole(**bounds) if value.get("whole") else Reals(**bounds)


def in_words(value: Mapping[str, Json]) -> str:
    """Write what ``described`` returns for people: ``0.0001 to 0.1, log``, ``1, 5 or 10``."""
    if "values" in value:
        *most, last = map(str, value["values"])
        return f"{', '.join(most)} or {last}"
    return f"{value['low']:g} to {value['high']:g}" + (", log" if value["log"] else "")
