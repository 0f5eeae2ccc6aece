"""A store that stages only pretend to fill, and what tests of tuning share."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.cell import Event, Failed, Finished, Json, StageSpec, Started
from bench.contract import AbstractData
from bench.dataset import Facts
from bench.execute.protocol import AbstractExecutor
from bench.form import Form
from bench.plan import Plan
from bench.rows import rows_of
from bench.store import Store
from bench.suite import Suite, read_suite
from bench.tuner import Tuning, tune

HEAD = "name: small\ndata: glyphs\nseeds: 2\nshots: 1\nevaluate: {queries: 10}\n"
ROWS = """\
grid:
  pretext: [none, rotation]
  meta: [none, protonet]
baseline: {train: {pretext: none, meta: protonet}, none: random_init}
"""


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of a set that is not there: 64, 40 and 20 classes of 30 examples."""
    counts = {"train": (30,) * 64, "val": (30,) * 40, "test": (30,) * 20}
    return Facts(form=Form(shape=(1, 28, 28), modality="image"), counts=counts, digest="0" * 64)


def suite_of(folder: Path, text: str) -> Suite:
    """Return the suite that follows the head."""
    path = folder / "suite.yaml"
    path.write_text(HEAD + text)
    return read_suite(path)


class Pretender(AbstractExecutor):
    """Finishes running stages in an order of its own, with scores that parameters decide.

    Best is a rate of 0.01; above ``diverging`` a training fails. It is interrupted after so many
    ``events``.
    """

    def __init__(
        self,
        store: Store,
        *,
        slots: int = 1,
        order: int = 0,
        diverging: float = math.inf,
        interrupted_after: float = math.inf,
    ) -> None:
        """Nothing has run."""
        self.slots, self.ran = slots, list[StageSpec]()
        self._store, self._diverging, self._left = store, diverging, interrupted_after
        self._rng = np.random.default_rng(order)
        self._running: list[StageSpec] = []
        self._known: dict[str, StageSpec] = {}

    def submit(self, spec: StageSpec) -> None:
        """Begin a stage, whose needs are there."""
        kinds = {"embedding": "pretrain"}
        for role, key in spec.inputs["needs"].items():
            assert key is None or self._store.has(kinds.get(role, role), key)
        self._running.append(spec)
        assert len(self._running) <= self.slots

    def events(self, timeout: float) -> Sequence[Event]:
        """End one of the running stages, whichever."""
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        spec = self._running.pop(self._rng.integers(len(self._running)))
        self.ran.append(spec)
        started = Started(key=spec.key, step=0, total=1)
        if spec.kind in ("pretrain", "metatrain") and _rate(spec) > self._diverging:
            return [started, Failed(key=spec.key, reason="not finite: the loss", seconds=0.5)]
        with self._store.writing(spec.key):
            self._store.commit(spec, self._manifest(spec), {})
        return [started, Finished(key=spec.key)]

    def close(self) -> None:
        """Forget what runs."""
        self._running.clear()

    def _manifest(self, spec: StageSpec) -> dict[str, Json]:
        manifest: dict[str, Json] = {"cost": {"seconds": 1.0}, "inputs": dict(spec.inputs)}
        if spec.kind == "evaluate":
            needs = spec.inputs["needs"]
            below = [(kind, needs[kind]) for kind in ("metatrain", "pretrain") if needs.get(kind)]
            if not below:  # an encoder that nothing trained
                return {**manifest, "metrics": {"accuracy": 0.2}}
            trained = self._store.manifest(*below[0])["inputs"]
            far = abs(math.log10(_rate_of(trained)) + 2)
            learned = 1 - 1 / (1 + trained["budget"]["steps"])
            manifest["metrics"] = {"accuracy": 0.2 + 0.7 * learned / (1 + far)}
        return manifest


def _rate(spec: StageSpec) -> float:
    return _rate_of(spec.inputs)


def _rate_of(inputs: Json) -> float:
    of = inputs.get("meta") or inputs.get("pretext") or inputs["init"]
    return float(of["params"]["rate"])


class Diary:
    """A listener that keeps the plan as it grew."""

    def __init__(self) -> None:
        """Nothing has been told."""
        self.plan: Plan | None = None
        self.pending: list[str] = []
        self.ended: list[bool] = []

    def begin(self, plan: Plan, pending: Sequence[str]) -> None:
        """Take note."""
        self.plan = plan

    def grow(self, plan: Plan, pending: Sequence[str]) -> None:
        """Take note."""
        self.plan = plan
        self.pending += pending

    def on(self, event: Event) -> None:
        """Take no note."""

    def end(self, interrupted: bool) -> None:
        """Take note."""
        self.ended.append(interrupted)


def tuned(suite: Suite, store: Store, executor: AbstractExecutor, *, retry: bool = False) -> Tuning:
    """Tune every row of a suite."""
    store.prepare()
    return tune(suite, rows_of(suite, facts_of).variants, store, executor, [Diary()], retry=retry)
