"""The stages themselves: the same bits twice, whole or resumed, and nothing that is not finite."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.cell import Event, Finished, Progress, StageKind, StageSpec, Started
from bench.contract import AbstractSource, Task, TaskShape
from bench.dataset import Dataset, facts
from bench.plan import make_plan
from bench.provenance import versions
from bench.stages.engine import channels_last
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place, peak_memory, provenance, settle
from bench.store import Store
from bench.suite import read_suite
from bench.tasks.instances import Instances

HEAD = """
name: stages
data: glyphs
encoder: {name: conv4, width: 4}
ways: 3
shots: [1, 2]
seeds: 2
budget: {pretrain_steps: 9, metatrain_steps: 9}
evaluate: {episodes: 7, queries: 2, test_steps: 2}
"""
ROTATION = "pretext: {name: rotation, batch_size: 8}\n"
METAS = {
    "protonet": "{name: protonet, task_ways: 4, task_shots: 1, task_queries: 2}",  # running, Adam
    "maml": "{name: maml, order: 1, steps: 1, tasks_per_step: 2, task_shots: 1, task_queries: 2}",
    "maml 2": "{name: maml, order: 2, steps: 1, tasks_per_step: 1, task_shots: 1, task_queries: 2}",
    "reptile": "{name: reptile, steps: 2, inner_batch: 3, tasks_per_step: 2, task_shots: 2}",  # SGD
}
Specs = dict[StageKind, StageSpec]
Path_ = Callable[..., Specs]


class Stop(BaseException):
    """What interrupts a stage in these tests: like a signal, and no failure of its method."""


@pytest.fixture
def path(tmp_path: Path, glyphs: Dataset) -> Path_:
    """Return a function from a suite's text to the stages of its first cell of a seed and shots."""

    def find(text: str, *, seed: int = 0, shots: int = 1) -> Specs:
        (tmp_path / "suite.yaml").write_text(HEAD + text)
        plan = make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))
        cell = next(cell for cell in plan.cells if (cell.seed, cell.shots) == (seed, shots))
        return {plan.stages[key].kind: plan.stages[key] for key in cell.stages.values()}

    return find


def work(
    store: Store,
    spec: StageSpec,
    *,
    stop_at: int | None = None,
    checkpoint_seconds: float = 20,
) -> list[Event]:
    """Run one stage here, and return its events; ``stop_at`` interrupts it at that step."""
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.step == stop_at:
            raise Stop

    device = torch.device("cpu")
    place = Place(store=store, device=device, emit=emit, checkpoint_seconds=checkpoint_seconds)
    perform(spec, place)
    return events


def content(store: Store, spec: StageSpec) -> dict[str, object]:
    """Return what a finished stage holds, but for the time it took and the memory it held."""
    manifest = store.manifest(spec.kind, spec.key)
    name = "episodes.parquet" if spec.kind == "evaluate" else "weights.safetensors"
    examples = manifest["cost"]["examples"]
    kept = {key: manifest[key] for key in manifest.keys() - {"cost", "provenance"}}
    return kept | {"examples": examples, "file": store.read(spec.kind, spec.key, name)}


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    """Return two empty stores."""
    made = Store(tmp_path / "one"), Store(tmp_path / "two")
    for store in made:
        store.prepare()
    return made


TRAININGS = {
    "pretrain": (ROTATION, "pretrain"),
    "simclr": ("pretext: {name: simclr, batch_size: 8}\n", "pretrain"),
    "byol": ("pretext: {name: byol, batch_size: 8}\n", "pretrain"),
    "position": ("pretext: {name: position, batch_size: 8}\n", "pretrain"),
    **{meta: (f"meta: {METAS[meta]}\n", "metatrain") for meta in METAS},
    "transductive": (f"norm: transductive\nmeta: {METAS['maml']}\n", "metatrain"),
    "running": (f"norm: running\nmeta: {METAS['reptile']}\n", "metatrain"),
    "instances": (f"tasks: instances\nmeta: {METAS['protonet']}\n", "metatrain"),
    "auxiliary": (f"auxiliary: {{pretext: rotation}}\nmeta: {METAS['protonet']}\n", "metatrain"),
    "auxiliary simclr": (
        f"auxiliary: {{pretext: simclr, weight: 0.1}}\nmeta: {METAS['maml 2']}\n",
        "metatrain",
    ),
    "evaluate none": ("meta: none\n", "evaluate"),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_resumed_stage_is_the_same_to_the_bit(
    path: Path_, stores: tuple[Store, Store], name: str
) -> None:
    """Interrupted, resumed, interrupted and resumed again, a stage ends in the very same bytes."""
    text, kind = TRAININGS[name]
    spec = path(text)[kind]  # type: ignore[index]
    work(stores[0], spec)
    for stop_at in (3, 6):
        with pytest.raises(Stop):
            work(stores[1], spec, stop_at=stop_at, checkpoint_seconds=0)
        assert not stores[1].has(spec.kind, spec.key)
    events = work(stores[1], spec)
    (started,) = [event for event in events if isinstance(event, Started)]
    assert started.step == 5
    assert content(stores[1], spec) == content(stores[0], spec)
    assert not stores[1].partial(spec.key).exists()


@pytest.mark.parametrize("meta", ["maml", "reptile"])
def test_a_resumed_evaluation_is_the_same_to_the_bit(
    path: Path_, stores: tuple[Store, Store], meta: str
) -> None:
    """A test with gradient steps goes on where it was, and counts the same examples."""
    specs = path(f"meta: {METAS[meta]}\n")
    for store in stores:
        work(store, specs["metatrain"])
    work(stores[0], specs["evaluate"])
    with pytest.raises(Stop):
        work(stores[1], specs["evaluate"], stop_at=4, checkpoint_seconds=0)
    events = work(stores[1], specs["evaluate"])
    assert events[0] == Started(key=specs["evaluate"].key, step=3, total=7)
    assert content(stores[1], specs["evaluate"]) == content(stores[0], specs["evaluate"])


@pytest.mark.parametrize("meta", METAS)
def test_a_path_repeats_to_the_bit(path: Path_, stores: tuple[Store, Store], meta: str) -> None:
    """Pre-training, meta-training and test, run twice, give the same bytes each."""
    for spec in path(f"{ROTATION}meta: {METAS[meta]}\n").values():
        for store in stores:
            torch.rand(3)  # whatever the default generator was at
            work(store, spec)
        assert content(stores[0], spec) == content(stores[1], spec)


def test_another_seed_is_another_result(path: Path_, stores: tuple[Store, Store]) -> None:
    """Seeds are not ignored: weights of seed 0 and seed 1 differ."""
    specs = [path(ROTATION, seed=seed)["pretrain"] for seed in (0, 1)]
    for spec in specs:
        work(stores[0], spec)
    files = [stores[0].read("pretrain", spec.key, "weights.safetensors") for spec in specs]
    assert files[0] != files[1]


def test_the_events_of_a_stage(path: Path_, stores: tuple[Store, Store]) -> None:
    """A stage says that it started, how it goes at rising steps, and that it is finished."""
    spec = path(ROTATION)["pretrain"]
    events = work(stores[0], spec)
    assert events[0] == Started(key=spec.key, step=0, total=9)
    assert events[-1] == Finished(key=spec.key)
    told = [event for event in events if isinstance(event, Progress)]
    assert [event.step for event in told] == list(range(1, 10))
    curve = stores[0].manifest("pretrain", spec.key)["curve"]
    assert curve == {
        "steps": list(range(1, 10)),
        "loss": [event.values["loss"] for event in told],
    }


def test_a_finished_stage_is_not_run_again(path: Path_, stores: tuple[Store, Store]) -> None:
    """Asked for a stage that lies in the store, a process says Finished and does nothing."""
    spec = path(ROTATION)["pretrain"]
    work(stores[0], spec)
    assert work(stores[0], spec) == [Finished(key=spec.key)]


@pytest.mark.parametrize("content_", [b"", b"hello", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_broken_checkpoint_is_no_obstacle(
    path: Path_, stores: tuple[Store, Store], content_: bytes
) -> None:
    """A checkpoint that cannot be read means to start from the first step."""
    spec = path(ROTATION)["pretrain"]
    stores[0].partial(spec.key).mkdir(parents=True)
    (stores[0].partial(spec.key) / "checkpoint.safetensors").write_bytes(content_)
    assert work(stores[0], spec)[0] == Started(key=spec.key, step=0, total=9)


DIVERGING = [
    ("meta: {name: protonet, task_ways: 3, rate: 1e36}\n", "metatrain"),
    ("pretext: {name: rotation, batch_size: 8, rate: 1e36}\n", "pretrain"),
    ("meta: {name: maml, order: 1, steps: 1, inner_rate: 1e36}\n", "metatrain"),
]


@pytest.mark.parametrize(("text", "kind"), DIVERGING)
def test_what_is_not_finite_is_no_result(
    path: Path_, stores: tuple[Store, Store], text: str, kind: StageKind
) -> None:
    """A training whose loss or weights are not finite ends as Diverged, with nothing stored."""
    spec = path(text)[kind]
    with pytest.raises(Diverged, match="the loss is"):
        work(stores[0], spec)
    assert not stores[0].has(kind, spec.key)


def test_a_prediction_that_is_not_finite_is_no_result(
    path: Path_, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test whose scores are not finite ends as Diverged, and is never an accuracy."""
    from bench.meta.none import NoMeta

    monkeypatch.setattr(NoMeta, "predict", lambda *given: torch.full((6, 3), float("nan")))
    spec = path("meta: none\n")["evaluate"]
    with pytest.raises(Diverged, match="test episodes 0 to 0"):
        work(stores[0], spec)
    assert not stores[0].has("evaluate", spec.key)


def test_every_test_is_on_the_same_bank(path: Path_, stores: tuple[Store, Store]) -> None:
    """The bank's digest is one for all methods, shots and seeds."""
    texts = ["meta: none\n", "meta: {name: none, head: logistic}\n", f"meta: {METAS['maml']}\n"]
    banks = set()
    for text in texts:
        for seed, shots in ((0, 1), (0, 2), (1, 1)):
            for spec in path(text, seed=seed, shots=shots).values():
                work(stores[0], spec)
            banks.add(stores[0].manifest("evaluate", spec.key)["bank"])
    assert len(banks) == 1


def test_a_source_without_labels_hands_out_none(
    path: Path_, stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task source that does not say that it uses labels cannot read the classes."""

    def sample(
        self: Instances, source: AbstractSource, shape: TaskShape, rng: torch.Generator
    ) -> Task:
        source.classes()
        raise AssertionError

    monkeypatch.setattr(Instances, "sample", sample)
    spec = path(f"tasks: instances\nmeta: {METAS['protonet']}\n")["metatrain"]
    with pytest.raises(PermissionError, match="does not say uses_labels"):
        work(stores[0], spec)


def test_settle_makes_a_process_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage's process has one thread and deterministic algorithms."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which settle would set for good
    before = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(False)
        settle(torch.device("cpu"))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
    finally:
        torch.use_deterministic_algorithms(before)


def test_cost_and_provenance(path: Path_, stores: tuple[Store, Store]) -> None:
    """A manifest says what the stage cost, on what hardware, with which versions."""
    spec = path(ROTATION)["pretrain"]
    work(stores[0], spec)
    manifest = stores[0].manifest("pretrain", spec.key)
    assert manifest["cost"]["examples"] == 9 * 4 * 8
    assert 0 < manifest["cost"]["seconds"] < 60
    assert 2**20 < manifest["cost"]["peak_memory_bytes"] <= peak_memory(torch.device("cpu"))
    assert manifest["provenance"].keys() == provenance(torch.device("cpu")).keys()
    assert versions().items() <= manifest["provenance"].items()
    assert manifest["inputs"] == spec.inputs
    hardware = manifest["provenance"]["hardware"]
    assert hardware.endswith(f", {torch.backends.cpu.get_cpu_capability()}")
    if Path("/proc/cpuinfo").is_file() and "cpu family" in Path("/proc/cpuinfo").read_text():
        assert ", family " in hardware


def test_memory_format_is_a_constant() -> None:
    """Channels last on a CPU except under double backward, and never on a GPU."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert channels_last(cpu, second_order=False)
    assert not channels_last(cpu, second_order=True)
    assert not channels_last(gpu, second_order=False)
