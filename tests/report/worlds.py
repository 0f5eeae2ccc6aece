"""An invented suite of protocol control: a store of rows that predict and plan in environments."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bench.cell import Cell, Json, StageSpec
from bench.plan import Plan
from bench.store import Store
from tests.report.conftest import Bench, Method, parquet_of

LEARNERS = (
    Method(label="random_init", mean=1.0, control="random_init", norm="group"),
    Method(label="next_state + none", mean=0.5, pretext="next_state", norm="group"),
    Method(label="none + maml", mean=0.6, meta="maml", labels="train", norm="group"),
    Method(label="none + reptile", mean=0.6, meta="reptile", labels="train", norm="group"),
)
DROP = {"random_init": 0.0, "next_state + none": -0.2, "none + maml": 0.4, "none + reptile": 0.1}
"""What all steps take off a row's error, which is ``mean`` before any."""
PLANNER = {"horizon": 15, "population": 64, "elites": 8, "iterations": 3, "real_steps": 100}


@dataclass(kw_only=True)
class Worlds(Bench):
    """Rows that are tested on 12 environments; the planner earns what the error lets it."""

    methods: Sequence[Method] = LEARNERS
    shots: tuple[int, ...] = (10,)
    episodes: int = 12
    drop: dict[str, float] = field(default_factory=lambda: dict(DROP))
    scale: float = 1.0  # of all errors

    def _plan(self, cells: Sequence[Cell]) -> Plan:
        plan = super()._plan(cells)
        own: dict[str, Json] = {
            "protocol": "control",
            "planner": PLANNER,
            "rates": [0.01, 0.1],
            "rate_tasks": 10,
            "ways": [1],
            "queries": 100,
            "data": {"pendulum": "d" * 64},
            "classes": {"pendulum": {"train": 40, "val": 10, "test": 20}},
            "baseline": {"train": "none + reptile", "none": "random_init"},
        }
        return replace(
            plan, dropped=(), warnings=(), settings={**plan.settings, **own, **self.settings}
        )

    def _cell(self, store: Store, method: Method, shots: int, seed: int, new: str) -> Cell:
        cell = super()._cell(store, method, shots, seed, new)
        return replace(cell, data="pendulum", ways=1, tasks="environments")

    def _specs(self, method: Method, shots: int, seed: int, new: str) -> list[StageSpec]:
        *trained, last = super()._specs(method, shots, seed, new)
        inputs = {**last.inputs, "protocol": "control", "row": method.label}
        return [*trained, StageSpec(kind="evaluate", inputs=inputs)]

    def _steps(self, method: Method) -> tuple[int, ...]:
        return self.readouts

    def _commit(
        self, store: Store, spec: StageSpec, manifest: dict[str, Json], files: dict[str, bytes]
    ) -> None:
        if spec.kind == "evaluate":
            measured = self._measured(str(spec.inputs["row"]), int(spec.inputs["seed"]))
            last = {name: float(values_TE[-1].mean()) for name, values_TE in measured.items()}
            files = {"episodes.parquet": parquet_of(self.readouts, measured)}
            manifest = manifest | {"metrics": last, "rate": 0.1}
        super()._commit(store, spec, manifest, files)

    def _measured(self, label: str, seed: int) -> dict[str, np.ndarray]:
        """Each measure [T, E]: returns at the first and the last read-out alone."""
        mean = next(one.mean for one in self.methods if one.label == label)
        world_E = np.random.default_rng(7).normal(0, 0.02, self.episodes)
        rng = np.random.default_rng((seed, *map(ord, label)))
        share_T = np.array(self.readouts) / self.readouts[-1]
        error_TE = mean - self.drop[label] * share_T[:, None] + world_E + rng.normal(0, 0.005)
        error_TE = self.scale * (error_TE + rng.normal(0, 0.005, error_TE.shape))
        return_TE = -1000 - 500 * error_TE + rng.normal(0, 5, error_TE.shape)
        random_TE = np.tile(-1400 + 1000 * world_E, (len(self.readouts), 1))
        return_TE[1:-1] = random_TE[1:-1] = np.nan
        return {
            "explained": 1 - error_TE,
            "error": error_TE,
            "return": return_TE,
            "random_return": random_TE,
        }
