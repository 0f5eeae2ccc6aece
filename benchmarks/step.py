"""Ours beside learn2learn's: a step of meta-training, and the test of a prototypical network.

    python benchmarks/step.py [--pairs 9] [--quick] [--only "maml, order 1"]

In an environment with the extra ``learn2learn``: ``nox -s speed``. Ours is the stage that
``bench run`` runs, driven from outside: drawing of tasks, bookkeeping and the optimizer's step are
in its time. The peer is the same arithmetic as a user of learn2learn writes it (``peer.py``), on
the same tasks, which it is given for nothing. Both take turns in this process, with one thread;
what is shown are medians of CPU milliseconds, and the median of the pairs' ratios. Losses (of
tests, accuracies) are compared at every turn, from equal weights: what differs is an error and not
a time. ``tests/parity`` compares them in float64, and gradients.

Steps are taken on noise, so they need no data; tests take CIFAR-FS from $BENCH_DATA.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from math import inf
from pathlib import Path
from time import process_time
from typing import Literal
from unittest.mock import patch

import numpy as np
import peer
import pyarrow.parquet as pq
import torch
from safetensors.torch import load

from bench.catalogue import rebuild
from bench.cell import Event, Progress, StageSpec
from bench.contract import AbstractMetaTrained, Shape, Task, Tensors
from bench.data.cifar_fs import CifarFs
from bench.dataset import Dataset, Facts, Part, facts, find_root, open_dataset
from bench.errors import UserError
from bench.form import Form
from bench.plan import make_plan
from bench.stages import evaluate, metatrain
from bench.stages.model import Model, assemble
from bench.stages.perform import perform
from bench.stages.place import Place, settle
from bench.store import Store
from bench.suite import read_suite
from bench.weights import WEIGHTS

WAYS, QUERIES, WIDTH, STEPS, TASKS = 5, 15, 64, 5, 2
SHAPES: tuple[Shape, ...] = ((1, 28, 28), (3, 32, 32))
CPU = torch.device("cpu")
COUNTS = dict.fromkeys(("train", "val", "test"), (20,) * 20)  # of noise: examples in each class
SAMPLE = 60  # test episodes that the peer answers; its time for more is in proportion
Take = Callable[[peer.Classifier, torch.optim.Optimizer, list[Task]], float]


def by_loss(loss: Callable[[peer.Classifier, Task], torch.Tensor]) -> Take:
    """Return the step that descends on a loss of each task."""
    return lambda model, optimizer, tasks: peer.step(model, optimizer, tasks, partial(loss, model))


@dataclass(frozen=True, kw_only=True)
class Method:
    """A line of a suite, and the peer's step."""

    meta: str
    norm: Literal["running", "transductive"]  # both normalise a batch by itself, as the peer does
    take: Take
    slack: float = 1e-3  # of losses in float32: rounding decides near ties of max-pooling


METHODS: Mapping[str, Method] = {
    "maml, order 1": Method(
        meta=f"name: maml, order: 1, steps: {STEPS}, tasks_per_step: {TASKS}",
        norm="transductive",
        take=by_loss(partial(peer.maml, order=1, steps=STEPS, rate=0.01)),
    ),
    "maml, order 2": Method(
        meta=f"name: maml, order: 2, steps: {STEPS}, tasks_per_step: {TASKS}",
        norm="transductive",
        take=by_loss(partial(peer.maml, order=2, steps=STEPS, rate=0.01)),
    ),
    "anil": Method(
        meta=f"name: anil, inner_rate: 0.01, steps: {STEPS}, tasks_per_step: {TASKS}",
        norm="transductive",
        take=by_loss(partial(peer.anil, order=2, steps=STEPS, rate=0.01)),  # 0.1 explodes on noise
    ),
    "reptile": Method(
        meta=f"name: reptile, steps: {STEPS}, tasks_per_step: {TASKS}",
        norm="transductive",
        take=partial(peer.reptile_step, steps=STEPS, rate=1e-3, batch=10),
        slack=0.05,  # its inner Adam enlarges gradients that are next to nothing
    ),
    "protonet": Method(
        meta=f"name: protonet, task_ways: {WAYS}", norm="running", take=by_loss(peer.protonet)
    ),
}
SUITE = """\
name: speed
data: cifar_fs
encoder: {{name: conv4, width: {width}}}
ways: {ways}
shots: {shots}
seeds: 1
norm: {norm}
meta: {{{meta}, task_shots: {shots}, task_queries: {queries}}}
budget: {{metatrain_steps: {steps}}}
evaluate: {{episodes: {episodes}, queries: {queries}}}
"""


def stages(
    method: Method, known: Facts, *, shots: int, steps: int, episodes: int = 1
) -> dict[str, StageSpec]:
    """Return the stages of a suite of one row, as ``bench plan`` makes them."""
    text = SUITE.format(
        width=WIDTH, ways=WAYS, shots=shots, norm=method.norm, meta=method.meta, queries=QUERIES,
        steps=steps, episodes=episodes,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speed.yaml")
        path.write_text(text)
        plan = make_plan(read_suite(path), lambda name, source: known)
    cell = next(cell for cell in plan.cells if not cell.control)
    return {plan.stages[key].kind: plan.stages[key] for key in cell.stages.values()}


class Turns:
    """Lets the peer take a step after each of ours, from the weights that ours began it with."""

    def __init__(self, spec: StageSpec, method: Method, shape: Shape) -> None:
        """Build the peer for a stage of meta-training."""
        meta = rebuild("meta", spec.inputs["meta"])
        assert isinstance(meta, AbstractMetaTrained)
        self._spec, self._method, self._meta = spec, method, meta
        self._model = peer.Classifier(shape, WIDTH, WAYS)
        kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        self._optimizer = kinds[meta.optimizer](self._model.parameters(), lr=meta.rate)
        self._tasks: list[Task] = []
        self._weights: Tensors = {}  # of ours, changed by its steps
        self._began = 0.0
        self.seconds: list[tuple[float, float]] = []  # ours and the peer's, but for the first turn

    def run(self, store: Store, part: Part) -> None:
        """Run the stage on examples of ours, looking over its shoulder."""
        draw = metatrain._draw

        def drawn(*given: object) -> Task:
            self._tasks.append(draw(*given))  # type: ignore[arg-type]
            return self._tasks[-1]

        def assembled(*given: object, **more: object) -> Model:
            made = assemble(*given, **more)  # type: ignore[arg-type]
            self._weights = made.params
            return made

        with (
            patch.object(metatrain, "read_part", lambda data: part),
            patch.object(metatrain, "_draw", drawn),
            patch.object(metatrain, "assemble", assembled),
        ):
            metatrain.metatrain(self._spec, place(store, self._emit))

    def _emit(self, event: Event) -> None:
        """After a step of ours, take and compare the peer's; before the next, pass on weights."""
        ended = process_time()
        if isinstance(event, Progress):
            self._answer(event, ended - self._began)
        self._model.take(self._weights)
        self._tasks.clear()
        self._began = process_time()

    def _answer(self, event: Progress, ours: float) -> None:
        progress = (event.step - 1) / event.total
        for group in self._optimizer.param_groups:
            group["lr"] = self._meta.rate * self._meta.schedule(progress)
        start = process_time()
        loss = self._method.take(self._model, self._optimizer, self._tasks)
        taken = process_time() - start
        if abs(loss - event.values["loss"]) > self._method.slack * abs(loss):
            raise SystemExit(f"step {event.step}: a loss of {event.values['loss']}, not {loss}")
        if event.step > 1:
            self.seconds.append((ours, taken))


def place(store: Store, emit: Callable[[Event], None]) -> Place:
    """Return where stages work here."""
    return Place(store=store, device=CPU, emit=emit, checkpoint_seconds=inf)


def noise(shape: Shape) -> Part:
    """Return random examples, enough for tasks of 20 a class."""
    counts = COUNTS["train"]
    images = np.random.default_rng(0).integers(256, size=(sum(counts), *shape), dtype=np.uint8)
    labels = np.repeat(np.arange(len(counts)), counts)
    return Part(
        examples=images,
        form=Form(shape=images.shape[1:], modality="image"),
        labels=labels,
        classes=tuple(map(str, range(20))),
        counts=counts,
    )


def row(what: str, seconds: list[tuple[float, float]]) -> str:
    """Return a line of the table."""
    ratio = statistics.median(theirs / ours for ours, theirs in seconds)
    ours, theirs = (1000 * statistics.median(one) for one in zip(*seconds, strict=True))
    return f"{what:46}{ours:12.1f}{theirs:12.1f}{ratio:8.2f}x"


def steps(only: str, pairs: int, store: Store) -> Iterator[str]:
    """Time the steps of meta-training."""
    for name, method in METHODS.items():
        for shape in SHAPES:
            for shots in (1, 5):
                what = f"{name}, {shape[1]}x{shape[2]}x{shape[0]}, {WAYS}-way {shots}-shot"
                if only in what:
                    known = Facts(
                        form=Form(shape=shape, modality="image"),
                        counts=COUNTS,
                        digest=f"noise {shape}",
                    )
                    spec = stages(method, known, shots=shots, steps=pairs + 1)["metatrain"]
                    turns = Turns(spec, method, shape)
                    turns.run(store, noise(shape))
                    yield row(what, turns.seconds)


def tests(episodes: int, pairs: int, store: Store, dataset: Dataset) -> str:
    """Time the test of a network on real images."""
    made = stages(METHODS["protonet"], facts(dataset), shots=5, steps=2, episodes=episodes)
    here = place(store, lambda event: None)
    perform(made["metatrain"], here)
    model = peer.Classifier(dataset.form.shape, WIDTH, WAYS)
    model.take(load(store.read("metatrain", made["metatrain"].key, WEIGHTS)))
    tasks, seconds = list(episodes_of(made["evaluate"], dataset)), []
    for _ in range(pairs):
        start = process_time()
        result = evaluate.evaluate(made["evaluate"], here)
        middle = process_time()
        accuracy_E = accuracies(model.eval(), tasks)
        end = process_time()
        seconds.append((middle - start, (end - middle) * episodes / SAMPLE))
        table = pq.read_table(BytesIO(result.files[evaluate.EPISODES]))
        off = np.abs(np.array(table["accuracy"])[:SAMPLE] - accuracy_E).mean()
        if off > 1e-3:
            raise SystemExit(f"accuracies of test episodes differ by {off} on average")
    return row(f"test of protonet, {episodes:,} episodes (peer: {SAMPLE})", seconds)


def episodes_of(spec: StageSpec, dataset: Dataset) -> Iterator[Task]:
    """Return the first test episodes as tasks, for the peer."""
    part = dataset.part("test")
    bank, label_N = evaluate.bank_of(spec, part), torch.arange(WAYS)
    for support_NK, query_NQ in zip(bank.support_ENK[:SAMPLE], bank.query_ENQ, strict=False):
        support_x, query_x = (
            torch.from_numpy(part.examples[index.T.ravel()]).float() / 255
            for index in (support_NK, query_NQ)
        )
        yield Task(
            support_x=support_x,
            support_y=label_N.repeat(support_NK.shape[1]),
            query_x=query_x,
            query_y=label_N.repeat(QUERIES),
            ways=WAYS,
        )


def accuracies(model: peer.Classifier, tasks: list[Task]) -> np.ndarray:
    """Answer test episodes one after the other, each embedded anew."""
    with torch.no_grad():
        right = [peer.distances(model, task).argmax(1) == task.query_y for task in tasks]
    return torch.stack(right).double().mean(1).numpy()


def main() -> None:
    """Print the table, a line as soon as it is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=9, help="turns of each, after the first")
    parser.add_argument("--quick", action="store_true", help="3 turns, and no 10,000 episodes")
    parser.add_argument("--only", default="", help="what the first column has to contain")
    asked = parser.parse_args()
    settle(CPU)
    print(f"{'what':46}{'ours ms':>12}{'peer ms':>12}{'ratio':>9}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.prepare()
        for line in steps(asked.only, 3 if asked.quick else asked.pairs, store):
            print(line, flush=True)
        for episodes in (600,) if asked.quick else (600, 10_000):
            if asked.only in "test of protonet":
                dataset = open_dataset(CifarFs(), "cifar_fs", find_root(None))
                print(tests(episodes, 3, store, dataset), flush=True)
    load_now = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"torch {torch.__version__}, one thread, load {load_now}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:  # there is no CIFAR-FS
        raise SystemExit(str(error)) from error
