"""A synthetic plan and store, made through the store's own interface."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.cell import Cell, Json, StageSpec
from bench.plan import Dropped, Plan
from bench.store import Store

PROVENANCE = {
    "bench": "0.1.0",
    "python": "3.11.7",
    "torch": "2.15.0",
    "numpy": "2.4.6",
    "hardware": "x86_64 avx2",
    "device": "cpu",
    "started": "2026-01-01T00:00:00+00:00",
}
SOURCE = "name: synthetic\ndata: glyphs\n"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One variant to invent: how good it is at 1 shot, and what its cells look like."""

    label: str
    mean: float
    pretext: str = "none"
    meta: str = "none"
    labels: str = "none"
    control: str = ""
    norm: str = "running"
    params: dict[str, Json] = field(default_factory=dict)

    @property
    def adapts(self) -> bool:
        """Whether it takes gradient steps at test."""
        return self.meta in {"maml", "reptile"}


METHODS = (
    Method(label="random_init", mean=0.45, control="random_init"),
    Method(label="none + protonet", mean=0.70, meta="protonet", labels="train"),
    Method(
        label="simclr + maml",
        mean=0.74,
        pretext="simclr",
        meta="maml",
        labels="train",
        norm="support",
        params={"meta.order": 1},
    ),
    Method(label="simclr + none", mean=0.60, pretext="simclr"),
)


@dataclass(kw_only=True)
class Bench:
    """Builds a plan and fills its store; every number derives from the cell's coordinates."""

    results: Path
    methods: Sequence[Method] = METHODS
    seeds: int = 3
    shots: tuple[int, ...] = (1, 5)
    episodes: int = 40
    readouts: tuple[int, ...] = (0, 1, 3, 5)
    settings: dict[str, Json] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()  # labels of variants that were never evaluated
    broken: frozenset[tuple[str, int, int]] = frozenset()  # (label, shots, seed) that failed
    stages: dict[str, StageSpec] = field(default_factory=dict)

    def build(self) -> tuple[Plan, Store]:
        """Return the plan, and a store that holds what is neither missing nor broken."""
        store = Store(self.results)
        store.prepare()
        cells = [
            self._cell(store, method, shots, seed)
            for seed in range(self.seeds)
            for method in self.methods
            for shots in self.shots
        ]
        return self._plan(cells), store

    def _plan(self, cells: Sequence[Cell]) -> Plan:
        settings: dict[str, Json] = {
            "margin": 0.01,
            "baseline": {"train": "none + protonet", "none": "random_init"},
            "episodes": self.episodes,
            "queries": 15,
            "test_steps": self.readouts[-1],
            "readouts": list(self.readouts),
            "seeds": list(range(self.seeds)),
            "shots": list(self.shots),
            "ways": 5,
            "data": {"glyphs": "d" * 64},
            "source": SOURCE,
            "source_sha256": "0" * 64,
            "file": "suites/gone.yaml",
        }
        return Plan(
            name="synthetic",
            cells=tuple(cells),
            stages=self.stages,
            dropped=(Dropped(variant="mae + maml", reason="mae needs a transformer"),),
            warnings=("instances: 5 random images are of 5 classes with probability .85",),
            settings=settings | self.settings,
            cards={
                "meta/maml": {
                    "summary": "Learn an initialisation from which few steps suffice.",
                    "reference": "arXiv:1703.03400",
                    "claims": {"frozen_encoder": False},
                },
                "meta/protonet": {
                    "summary": "Nearest class mean.",
                    "reference": "arXiv:1703.05175",
                    "claims": {"frozen_encoder": True},
                },
            },
        )

    def _cell(self, store: Store, method: Method, shots: int, seed: int) -> Cell:
        specs = self._specs(method, shots, seed)
        self.stages |= {spec.key: spec for spec in specs}
        lost = method.label in self.missing
        for spec in specs:
            if spec.kind != "evaluate":
                self._commit(store, spec, _trained(spec), {})
            elif (method.label, shots, seed) in self.broken:
                store.add_failure(spec.key, {"reason": "NaN in the loss", "traceback": "..."})
            elif not lost:
                accuracy_TE = self._accuracy(method, shots, seed)
                manifest = _evaluated(spec, self._steps(method), accuracy_TE)
                files = {"episodes.parquet": _parquet(self._steps(method), accuracy_TE)}
                self._commit(store, spec, manifest, files)
        return Cell(
            variant=method.label,
            data="glyphs",
            encoder="conv4",
            pretext=method.pretext,
            init="scratch" if method.pretext == "none" else "pretext",
            tasks="none" if method.meta == "none" else "labels",
            auxiliary="none",
            meta=method.meta,
            norm=method.norm,
            labels=method.labels,  # type: ignore[arg-type]
            ways=5,
            shots=shots,
            seed=seed,
            control=method.control,
            params={"encoder.width": 32, **method.params},
            stages={spec.kind: spec.key for spec in specs},
        )

    def _specs(self, method: Method, shots: int, seed: int) -> list[StageSpec]:
        data = {"name": "glyphs", "params": {}, "digest": "d" * 64}
        specs: list[StageSpec] = []
        for kind, name in (("pretrain", method.pretext), ("metatrain", method.meta)):
            if name != "none":
                inputs = {
                    "data": data,
                    "pretext" if kind == "pretrain" else "meta": {
                        "name": name,
                        "revision": 1,
                        "params": {"rate": 0.001},
                    },
                    "budget": {"examples": 6400},
                    "seed": seed,
                    "needs": {"pretrain": specs[-1].key if specs else None},
                }
                specs.append(StageSpec(kind=kind, inputs=inputs))  # type: ignore[arg-type]
        inputs = {
            "data": data,
            "meta": {"name": method.meta, "revision": 1, "params": method.params},
            "control": method.control,
            "ways": 5,
            "shots": shots,
            "queries": 15,
            "episodes": self.episodes,
            "readouts": list(self.readouts),
            "norm": method.norm,
            "seed": seed,
            "needs": {specs[-1].kind: specs[-1].key} if specs else {"pretrain": None},
        }
        return [*specs, StageSpec(kind="evaluate", inputs=inputs)]

    def _steps(self, method: Method) -> tuple[int, ...]:
        return self.readouts if method.adapts else (0,)

    def _accuracy(self, method: Method, shots: int, seed: int) -> np.ndarray:
        """Accuracies [T, E]: shared episode effects, a seed effect, and noise; rising to 1."""
        episodes_E = np.random.default_rng(shots).normal(0, 0.06, self.episodes)
        name = sum(map(ord, method.label))
        rng = np.random.default_rng((name, shots, seed))
        top_E = method.mean + (0.12 if shots == 5 else 0) + rng.normal(0, 0.006) + episodes_E
        top_E = top_E + rng.normal(0, 0.04, self.episodes)
        rise_T = 1 - 0.7 * np.exp(-np.array(self._steps(method)) / 1.5)
        rise_T[-1] = 1.0
        return np.clip(0.2 + (top_E - 0.2) * rise_T[:, None], 0.0, 1.0)

    def _commit(
        self, store: Store, spec: StageSpec, manifest: dict[str, Json], files: dict[str, bytes]
    ) -> None:
        if not store.has(spec.kind, spec.key):
            with store.writing(spec.key):
                store.commit(spec, manifest, files)


def _manifest(spec: StageSpec, seconds: float, examples: int) -> dict[str, Json]:
    return {
        "kind": spec.kind,
        "key": spec.key,
        "inputs": dict(spec.inputs),
        "cost": {
            "seconds": seconds,
            "examples": examples,
            "peak_memory_bytes": 300 * 2**20,
            "parameters": 112_000,
        },
        "provenance": PROVENANCE,
    }


def _trained(spec: StageSpec) -> dict[str, Json]:
    steps = list(range(0, 101, 5))
    rng = np.random.default_rng(int(spec.key[:8], 16))
    loss = (2 * np.exp(-np.array(steps) / 40) + rng.normal(0.3, 0.03, len(steps))).tolist()
    return _manifest(spec, 30.0, 6400) | {
        "metrics": {"loss": loss[-1]},
        "curve": {"steps": steps, "loss": loss},
    }


def _evaluated(spec: StageSpec, steps: Sequence[int], accuracy_TE: np.ndarray) -> dict[str, Json]:
    means = accuracy_TE.mean(1).tolist()
    return _manifest(spec, 5.0 * len(steps), accuracy_TE.size * 80) | {
        "metrics": {"accuracy": means[-1]},
        "curve": {"steps": list(steps), "accuracy": means},
        "bank": "b" * 64,
    }


def _parquet(steps: Sequence[int], accuracy_TE: np.ndarray) -> bytes:
    T, E = accuracy_TE.shape
    frame = pd.DataFrame(
        {
            "episode": np.tile(np.arange(E), T),
            "step": np.repeat(np.array(steps), E),
            "accuracy": accuracy_TE.ravel(),
        }
    )
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


@pytest.fixture
def synthetic(tmp_path: Path) -> Callable[..., Bench]:
    """A maker of benches in this test's folder; keywords change what the default holds."""
    return lambda **changes: Bench(**({"results": tmp_path / "results"} | changes))
