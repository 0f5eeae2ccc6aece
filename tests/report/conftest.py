"""A synthetic plan and store, made through the store's own interface."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.cell import Cell, Json, StageSpec
from bench.plan import Plan
from bench.rows import Dropped
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
    rate: float = 0.3  # that was chosen for held-out tasks
    trained_on: str = ""  # the held-out task that it was dropped for

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

NEW_TASKS = ("rotation", "jigsaw", "position (position + jigsaw held out)")
LEARNERS = (
    Method(label="random_init", mean=0.45, control="random_init", norm="support"),
    Method(label="joint", mean=0.60, meta="joint", norm="support"),
    Method(label="maml", mean=0.66, meta="maml", norm="support"),
    Method(label="simclr + joint", mean=0.70, pretext="simclr", meta="joint", norm="support"),
    Method(label="simclr + reptile", mean=0.62, pretext="simclr", meta="reptile", norm="support"),
    Method(label="turned", mean=0.55, pretext="rotation", norm="support", trained_on="rotation"),
    Method(label="labelled", mean=0.58, labels="train", norm="support"),
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
    held_out: tuple[str, ...] = ()  # tasks that are new; those with a + were held out with another
    stages: dict[str, StageSpec] = field(default_factory=dict)

    def build(self) -> tuple[Plan, Store]:
        """Return the plan, and a store that holds what is neither missing nor broken."""
        store = Store(self.results)
        store.prepare()
        cells = [
            self._cell(store, method, shots, seed, new)
            for seed in range(self.seeds)
            for new in self.held_out or ("",)
            for method in self.methods
            for shots in self.shots
            if not new or method.trained_on != new
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
        if self.held_out:
            held = [
                {"title": one, "tested": one.split()[0], "members": ["two"] * (1 + ("+" in one))}
                for one in self.held_out
            ]
            settings |= {"held_out": held, "rates": [0.1, 0.3], "rate_tasks": 60, "ways": [5]}
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

    def _cell(self, store: Store, method: Method, shots: int, seed: int, new: str) -> Cell:
        specs = self._specs(method, shots, seed, new)
        self.stages |= {spec.key: spec for spec in specs}
        lost = method.label in self.missing
        for spec in specs:
            if spec.kind != "evaluate":
                self._commit(store, spec, trained_of(spec), {})
            elif (method.label, shots, seed) in self.broken:
                store.add_failure(spec.key, {"reason": "NaN in the loss", "traceback": "..."})
            elif not lost:
                accuracy_TE = self._accuracy(method, shots, seed, new)
                manifest = _evaluated(spec, self._steps(method), accuracy_TE)
                columns = {"accuracy": accuracy_TE}
                if new:
                    columns["loss"] = np.log(5) * (1.2 - accuracy_TE)
                    manifest |= {"bank": new.ljust(64, "b"), "rate": method.rate}
                    manifest["metrics"] |= {"loss": float(columns["loss"][-1].mean())}
                files = {"episodes.parquet": parquet_of(self._steps(method), columns)}
                self._commit(store, spec, manifest, files)
        return Cell(
            variant=method.label,
            data="glyphs",
            encoder="conv4",
            pretext=method.pretext,
            init="scratch" if method.pretext == "none" else "pretext",
            tasks="none" if method.meta == "none" else "pretext" if new else "labels",
            held_out=new,
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

    def _specs(self, method: Method, shots: int, seed: int, new: str) -> list[StageSpec]:
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
                inputs |= {"without": new} if new and kind == "metatrain" else {}
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
        inputs |= {"protocol": "few_steps", "member": {"name": new}} if new else {}
        return [*specs, StageSpec(kind="evaluate", inputs=inputs)]

    def _steps(self, method: Method) -> tuple[int, ...]:
        return self.readouts if method.adapts or self.held_out else (0,)

    def _accuracy(self, method: Method, shots: int, seed: int, new: str) -> np.ndarray:
        """Accuracies [T, E]: shared episode effects, a seed effect, and noise; rising to 1.

        Before any step they are those of chance.
        """
        rng = np.random.default_rng((shots, *map(ord, new)) if new else shots)
        episodes_E = rng.normal(0, 0.06, self.episodes)
        name = sum(map(ord, method.label + new))
        rng = np.random.default_rng((name, shots, seed))
        top_E = method.mean + (0.12 if shots == 5 else 0) + rng.normal(0, 0.006) + episodes_E
        top_E = top_E + rng.normal(0, 0.04, self.episodes)
        rise_T = 1 - 0.7 * np.exp(-np.array(self._steps(method)) / 1.5)
        rise_T[-1] = 1.0
        accuracy_TE = np.clip(0.2 + (top_E - 0.2) * rise_T[:, None], 0.0, 1.0)
        if len(rise_T) > 1:
            accuracy_TE[0] += 0.2 - accuracy_TE[0].mean()
        return accuracy_TE

    def _commit(
        self, store: Store, spec: StageSpec, manifest: dict[str, Json], files: dict[str, bytes]
    ) -> None:
        if not store.has(spec.kind, spec.key):
            with store.writing(spec.key):
                store.commit(spec, manifest, files)


def manifest_of(spec: StageSpec, seconds: float, examples: int) -> dict[str, Json]:
    """Return what every manifest has."""
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


def trained_of(spec: StageSpec) -> dict[str, Json]:
    """Return the manifest of a training, with a curve that falls."""
    steps = list(range(0, 101, 5))
    rng = np.random.default_rng(int(spec.key[:8], 16))
    loss = (2 * np.exp(-np.array(steps) / 40) + rng.normal(0.3, 0.03, len(steps))).tolist()
    return manifest_of(spec, 30.0, 6400) | {
        "metrics": {"loss": loss[-1]},
        "curve": {"steps": steps, "loss": loss},
    }


def _evaluated(spec: StageSpec, steps: Sequence[int], accuracy_TE: np.ndarray) -> dict[str, Json]:
    means = accuracy_TE.mean(1).tolist()
    return manifest_of(spec, 5.0 * len(steps), accuracy_TE.size * 80) | {
        "metrics": {"accuracy": means[-1]},
        "curve": {"steps": list(steps), "accuracy": means},
        "bank": "b" * 64,
    }


def parquet_of(steps: Sequence[int], columns: dict[str, np.ndarray]) -> bytes:
    """Return episode, step and measures [T, E] as the bytes of a file."""
    T, E = next(iter(columns.values())).shape
    frame = pd.DataFrame(
        {
            "episode": np.tile(np.arange(E), T),
            "step": np.repeat(np.array(steps), E),
            **{name: values_TE.ravel() for name, values_TE in columns.items()},
        }
    )
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


@pytest.fixture
def synthetic(tmp_path: Path) -> Callable[..., Bench]:
    """A maker of benches in this test's folder; keywords change what the default holds."""
    return lambda **changes: Bench(**({"results": tmp_path / "results"} | changes))


@pytest.fixture
def held(tmp_path: Path) -> Callable[..., Bench]:
    """A maker of benches whose rows meet held-out tasks; keywords change what the default holds."""
    usual: dict[str, Any] = {
        "results": tmp_path / "results",
        "methods": LEARNERS,
        "held_out": NEW_TASKS,
        "shots": (5,),
        "settings": {"baseline": {"none": "joint", "train": "labelled"}},
    }
    return lambda **changes: Bench(**(usual | changes))
