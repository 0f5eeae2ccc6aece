"""Accuracies from the literature, each with its source and protocol; read from published.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from bench.cell import Json

FILE = Path(__file__).with_suffix(".toml")  # its head says what each field is
UNSTATED = "unstated"  # what the source leaves open


@dataclass(frozen=True, kw_only=True)
class Published:
    """One number: the method and setting it is of, what it was measured on, who says so.

    ``accuracy`` and ``plus_minus`` are in percent, as printed. ``params`` and ``conditions`` map
    dotted names (``meta.order``) to values: the former are part of the method, the latter of the
    protocol. Values of ``encoder`` and ``conditions`` may be unstated.
    """

    method: str
    data: str
    ways: int
    shots: int
    accuracy: float
    tasks: str
    meta: str
    encoder: Mapping[str, Json]
    transductive: Literal["yes", "no", "unstated"]
    labels: Literal["none", "validation", "train"]
    source: str
    pretext: str = "none"
    init: str = "scratch"
    auxiliary: str = "none"
    params: Mapping[str, Json] = field(default_factory=dict)
    conditions: Mapping[str, Json] = field(default_factory=dict)
    plus_minus: float | None = None
    plus_minus_is: str = UNSTATED
    training_tasks: int | None = None
    protocol: str = ""
    identifier: str = ""
    read_in: str = ""

    @property
    def title(self) -> str:
        """Method and source, which tell two numbers of one setting apart."""
        mark = ", transductive" if self.transductive == "yes" else ""
        return f"{self.method}{mark}, {self.source}"

    @property
    def shown(self) -> str:
        """The number with its +-, where one is printed: ``98.27 +- 0.13``."""
        reach = "" if self.plus_minus is None else f" +- {_decimals(self.plus_minus)}"
        return f"{_decimals(self.accuracy)}{reach}"


def _decimals(value: float) -> str:
    """One decimal, or two where the second is not 0."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:.2f}"


def dashed(value: Json) -> str:
    """Return a parameter's value in a sentence: a list as ``96-192-384-512``."""
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


@cache
def published() -> tuple[Published, ...]:
    """Return every number, in the file's order."""
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))["published"]
    return tuple(
        Published(**{name: value for name, value in entry.items() if name != "results"} | result)
        for entry in entries
        for result in entry["results"]
    )
