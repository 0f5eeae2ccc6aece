"""What a suite comes to: cells and the stages they share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from bench.cell import Cell, Json, StageSpec


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A combination of the grid that makes no sense, and why."""

    variant: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a suite will run; written as JSON to ``results/plans/<name>.json``.

    ``stages`` are in running order: breadth-first over seeds. ``settings`` holds what the
    report needs of the suite: margin, baseline (a class of labels to a variant), episodes,
    queries, test_steps, readouts, seeds, shots, data (name -> digest), source (the YAML), file.
    ``cards`` describe each plug-in used (``meta/maml``): summary, reference, revision, claims,
    params.
    """

    name: str
    cells: tuple[Cell, ...]
    stages: Mapping[str, StageSpec]
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Json] = field(default_factory=dict)
    cards: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return a JSON value from which ``from_json`` makes an equal plan."""
        return {
            "name": self.name,
            "cells": [asdict(cell) | {"id": cell.id} for cell in self.cells],
            "stages": [
                {"key": key, "kind": spec.kind, "needs": list(spec.needs), "inputs": spec.inputs}
                for key, spec in self.stages.items()
            ],
            "dropped": [asdict(one) for one in self.dropped],
            "warnings": list(self.warnings),
            "settings": self.settings,
            "cards": self.cards,
        }

    @staticmethod
    def from_json(value: Mapping[str, Json]) -> "Plan":
        """Rebuild a plan that ``to_json`` wrote."""
        return Plan(
            name=value["name"],
            cells=tuple(
                Cell(**{k: v for k, v in cell.items() if k != "id"}) for cell in value["cells"]
            ),
            stages={
                stage["key"]: StageSpec(kind=stage["kind"], inputs=stage["inputs"])
                for stage in value["stages"]
            },
            dropped=tuple(Dropped(**one) for one in value["dropped"]),
            warnings=tuple(value["warnings"]),
            settings=value["settings"],
            cards=value["cards"],
        )
