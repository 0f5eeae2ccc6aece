"""Invented streams: a plan whose rows learn group after group, and a store of their matrices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.cell import Cell, Json, Labels, StageSpec
from bench.plan import Plan
from bench.statistics.continual import (
    average_accuracy,
    backward_transfer,
    forgetting,
    learning_accuracy,
)
from bench.store import Store
from tests.report.conftest import SOURCE, manifest_of, parquet_of, trained_of

SUMMARIES = {
    "naive": "Train encoder and head on each group as it comes.",
    "replay": "Train encoder and head on each group and on what is kept of those before.",
    "joint": "Train encoder and head from the start on every example that has been met.",
    "prototypes": "Add a group's features to the sums of its classes.",
}


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where rows begin: how well a group is learned, and how much of it is lost to the next."""

    pretext: str = "none"
    meta: str = "none"
    learns: float = 0.6
    params: Mapping[str, Json] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name, as rows have it before their strategy."""
        if self.pretext == self.meta == "none":
            return "random_init"
        return f"{self.pretext} + {self.meta}"


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How a stream is learned: what is lost with each further group, and what is gained."""

    name: str
    loses: float
    gains: float = 0.0
    params: Mapping[str, Json] = field(default_factory=dict)
    rate: float | None = 0.1

    @property
    def label(self) -> str:
        """Its name as a row has it, with its parameters."""
        return " ".join([self.name, *(f"{k}={v}" for k, v in self.params.items())])


NAIVE = Strategy(name="naive", loses=0.12)
REPLAY = Strategy(name="replay", loses=0.04)
JOINT = Strategy(name="joint", loses=0.0, gains=0.05)
PROTOTYPES = Strategy(name="prototypes", loses=0.01, rate=None)
STARTS = (
    Start(),
    Start(pretext="simclr", learns=0.7),
    Start(meta="maml", learns=0.6),
    Start(pretext="simclr", meta="maml", learns=0.5),
)


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Builds a plan and fills its store; every number derives from the cell's coordinates."""

    results: Path
    starts: Sequence[Start] = STARTS
    strategies: Sequence[Strategy] = (NAIVE, REPLAY, JOINT, PROTOTYPES)
    seeds: int = 5
    episodes: int = 60
    groups: int = 4
    scenario: str = "class"
    missing: frozenset[str] = frozenset()  # rows with a seed that was never tested
    settings: Mapping[str, Json] = field(default_factory=dict)

    def build(self) -> tuple[Plan, Store]:
        """Return the plan and the store."""
        store = Store(self.results)
        store.prepare()
        stages: dict[str, StageSpec] = {}
        cells = [
            self._cell(store, stages, start, strategy, seed)
            for seed in range(self.seeds)
            for start in self.starts
            for strategy in self.strategies
        ]
        return self._plan(cells, stages), store

    def _plan(self, cells: Sequence[Cell], stages: Mapping[str, StageSpec]) -> Plan:
        usual: dict[str, Json] = {
            "margin": 0.01,
            "baseline": {"validation": "random_init (naive)", "train": "none + maml (naive)"},
            "episodes": self.episodes,
            "queries": 5,
            "test_steps": 10,
            "readouts": list(range(1, self.groups + 1)),
            "seeds": list(range(self.seeds)),
            "shots": [5],
            "ways": [5],
            "data": {"glyphs": "d" * 64},
            "source": SOURCE,
            "source_sha256": "0" * 64,
            "file": "suites/gone.yaml",
            "protocol": "continual",
            "scenario": self.scenario,
            "groups": self.groups,
            "rates": [0.03, 0.1, 0.3],
            "rate_tasks": 8,
        }
        cards = {
            f"strategy/{one.label}": {
                "name": one.name,
                "summary": SUMMARIES[one.name],
                "reference": "arXiv:1902.10486",
                "claims": {"oracle": one.name == "joint"},
                "params": dict(one.params),
            }
            for one in self.strategies
        }
        return Plan(
            name="streams",
            cells=tuple(cells),
            stages=stages,
            dropped=(),
            warnings=(),
            settings=usual | dict(self.settings),
            cards=cards,
        )

    def _cell(
        self,
        store: Store,
        stages: dict[str, StageSpec],
        start: Start,
        strategy: Strategy,
        seed: int,
    ) -> Cell:
        specs = self._specs(start, strategy, seed)
        stages |= {spec.key: spec for spec in specs}
        label = f"{start.name} ({strategy.label})"
        for spec in specs:
            if spec.kind != "evaluate":
                _commit(store, spec, trained_of(spec), {})
            elif label not in self.missing or seed:
                self._test(store, spec, start, strategy, seed)
        rated: Labels = "none" if strategy.rate is None else "validation"
        kept = {"strategy.kept": 2} if strategy.name == "replay" else {}
        own = {f"strategy.{name}": value for name, value in strategy.params.items()}
        return Cell(
            variant=label,
            data="glyphs",
            encoder="conv4",
            pretext=start.pretext,
            init="scratch" if start.pretext == "none" else "pretext",
            tasks="none" if start.meta == "none" else "labels",
            auxiliary="none",
            meta=start.meta,
            norm="group",
            labels=rated if start.meta == "none" else "train",
            ways=5,
            shots=5,
            seed=seed,
            control="random_init" if start.name == "random_init" else "",
            strategy=strategy.name,
            params={"encoder.width": 32, "strategy.pretext_steps": 0}
            | kept
            | own
            | dict(start.params),
            stages={spec.kind: spec.key for spec in specs},
        )

    def _specs(self, start: Start, strategy: Strategy, seed: int) -> list[StageSpec]:
        data = {"name": "glyphs", "params": {}, "digest": "d" * 64}
        specs: list[StageSpec] = []
        for kind, axis, name in (
            ("pretrain", "pretext", start.pretext),
            ("metatrain", "meta", start.meta),
        ):
            if name != "none":
                inputs: dict[str, Json] = {
                    "data": data,
                    axis: {"name": name, "revision": 1, "params": dict(start.params)},
                    "budget": {"examples": 6400},
                    "seed": seed,
                    "needs": {"pretrain": specs[-1].key if specs else None},
                }
                specs.append(StageSpec(kind=kind, inputs=inputs))  # type: ignore[arg-type]
        test: dict[str, Json] = {
            "protocol": "continual",
            "data": data,
            "strategy": {"name": strategy.name, "params": dict(strategy.params)},
            "scenario": self.scenario,
            "groups": self.groups,
            "ways": 5,
            "shots": 5,
            "queries": 5,
            "episodes": self.episodes,
            "norm": "group",
            "seed": seed,
            "start": start.name,
            "needs": {specs[-1].kind: specs[-1].key} if specs else {"pretrain": None},
        }
        return [*specs, StageSpec(kind="evaluate", inputs=test)]

    def _test(
        self, store: Store, spec: StageSpec, start: Start, strategy: Strategy, seed: int
    ) -> None:
        M_ETT = self.matrices(start, strategy, seed)
        accuracy_TE = average_accuracy(M_ETT).T
        steps = tuple(range(1, self.groups + 1))
        columns = {"accuracy": accuracy_TE}
        columns |= {f"on_{j}": M_ETT[:, :, j - 1].T for j in steps}
        manifest = manifest_of(spec, 5.0, 1000) | {
            "metrics": {
                "accuracy": float(accuracy_TE[-1].mean()),
                "forgetting": float(forgetting(M_ETT).mean()),
                "backward_transfer": float(backward_transfer(M_ETT).mean()),
                "learning": float(learning_accuracy(M_ETT).mean()),
            },
            "curve": {"steps": list(steps), "accuracy": accuracy_TE.mean(1).tolist()},
            "bank": "b" * 64,
            "rate": strategy.rate,
            "rate_scores": [],
        }
        _commit(store, spec, manifest, {"episodes.parquet": parquet_of(steps, columns)})

    def matrices(self, start: Start, strategy: Strategy, seed: int) -> np.ndarray:
        """Return M [E, T, T]: learned to a height, and lower with each group after it."""
        T, E = self.groups, self.episodes
        shared_E = np.random.default_rng(1).normal(0, 0.03, E)
        name = sum(map(ord, start.name + strategy.label))
        rng = np.random.default_rng((name, seed))
        since_TT = np.arange(T)[:, None] - np.arange(T)[None, :]
        mean_TT = start.learns + strategy.gains - strategy.loses * since_TT
        M_ETT = mean_TT + shared_E[:, None, None] + rng.normal(0, 0.005)
        M_ETT = np.clip(M_ETT + rng.normal(0, 0.02, (E, T, T)), 0.0, 1.0)
        M_ETT[:, since_TT < 0] = np.nan
        return M_ETT


def _commit(
    store: Store, spec: StageSpec, manifest: dict[str, Json], files: dict[str, bytes]
) -> None:
    if not store.has(spec.kind, spec.key):
        with store.writing(spec.key):
            store.commit(spec, manifest, files)


def with_steps(strategy: Strategy, steps: int) -> Strategy:
    """Return a strategy along which pre-training goes on."""
    return replace(strategy, params={**strategy.params, "pretext_steps": steps})
