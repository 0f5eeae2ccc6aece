"""Which weights are tested: rules in suites and keys, their measures, resumption, marks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load

from bench.cell import Event, Json, Progress, StageKind, StageSpec
from bench.contract import Tensors
from bench.dataset import Dataset, Part, facts
from bench.encoder.conv4 import Conv4
from bench.episodes import draw_bank
from bench.form import Form
from bench.meta.maml import Maml
from bench.meta.none import NoMeta
from bench.meta.protonet import Protonet
from bench.plan import Plan, make_plan
from bench.pretext.rotation import Rotation
from bench.stages import pretrain, selection, training
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place
from bench.stages.selection import Snapshots
from bench.stages.source import read_part
from bench.store import Store
from bench.suite import read_suite
from bench.weights import WEIGHTS

HEAD = """
name: selected
data: glyphs
encoder: {name: conv4, width: 16}
ways: 3
shots: 1
seeds: 1
budget: {pretrain_steps: 6, metatrain_steps: 6}
evaluate: {episodes: 6, queries: 2, test_steps: 1}
"""
PROTONET = "{name: protonet, task_ways: 3, task_shots: 1, task_queries: 2}"
MAML = "{name: maml, order: 1, steps: 1, tasks_per_step: 1, task_shots: 1, task_queries: 2}"
ROTATION = "{name: rotation, batch_size: 8}"
EXAM = "snapshots: 3, episodes: 12, shots: 2, queries: 2, steps: 1"
RULES = {
    "label_val": f"{{name: label_val, {EXAM}}}",
    "pseudo_val": f"{{name: pseudo_val, {EXAM}}}",
    "pretext_val": "{name: pretext_val, snapshots: 3, batches: 2}",
}
TRAININGS: dict[str, tuple[str, StageKind]] = {
    "rotation": (f"pretext: {ROTATION}\n", "pretrain"),
    "protonet": (f"tasks: instances\nmeta: {PROTONET}\n", "metatrain"),
    "maml": (f"tasks: instances\nmeta: {MAML}\n", "metatrain"),
}
Specs = dict[StageKind, StageSpec]
PlanOf = Callable[[str], Plan]


class Stop(BaseException):
    """What interrupts a stage in these tests: like a signal, and no failure of its method."""


@pytest.fixture
def plan_of(tmp_path: Path, glyphs: Dataset) -> PlanOf:
    """Return a function from what follows a suite's head to its plan."""

    def plan(text: str) -> Plan:
        (tmp_path / "suite.yaml").write_text(HEAD + text)
        return make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))

    return plan


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(tmp_path / "results")
    made.prepare()
    return made


def specs_of(plan: Plan, variant: str | None = None) -> Specs:
    """Return the stages of the first cell, or of a variant's first."""
    cell = next(one for one in plan.cells if variant in (None, one.variant))
    return {plan.stages[key].kind: plan.stages[key] for key in cell.stages.values()}


def work(store: Store, spec: StageSpec, *, stop_at: int | None = None) -> list[Event]:
    """Run one stage here and return its events; ``stop_at`` interrupts it at that step."""
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and event.step == stop_at:
            raise Stop

    place = Place(store=store, device=torch.device("cpu"), emit=emit, checkpoint_seconds=0)
    perform(spec, place)
    return events


def content(store: Store, spec: StageSpec) -> dict[str, Json]:
    """Return what a finished training holds, but for what it cost and where it ran."""
    manifest = store.manifest(spec.kind, spec.key)
    kept = {key: manifest[key] for key in manifest.keys() - {"cost", "provenance"}}
    return kept | {"file": store.read(spec.kind, spec.key, WEIGHTS)}


def sabotage(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    """Let every training ruin its weights once half of its six steps are done.

    For a loss its steps get a million times too long; for accuracy its kernels become zero.
    """
    if rule == "pretext_val":
        for plugin in (Rotation, Protonet, Maml):
            monkeypatch.setattr(plugin, "schedule", lambda self, done: 1e6 if done >= 0.5 else 1.0)
    else:
        descend = training._descend

        def ruin(now: training.Training, gradient: Tensors) -> None:
            descend(now, gradient)
            with torch.no_grad():
                for value in now.params.values():
                    value.mul_(0 if now.step >= 3 and value.dim() == 4 else 1)

        monkeypatch.setattr(training, "_descend", ruin)


# --- what a stage keeps


def best_of(values: list[float | None], better: str) -> int:
    """Return the step whose snapshot is kept when these are the measures at steps 1, 2, ..."""
    left = iter(values)

    def measure(params: Tensors, carried: Tensors) -> float:
        value = next(left)
        if value is None:
            raise Diverged("a prediction")
        return value

    found = Snapshots(steps=frozenset(), measure=measure, better=better)  # type: ignore[arg-type]
    for step in range(1, len(values) + 1):
        found.take(step, {"x": torch.tensor(step)}, {})
    assert found.params.get("x", 0) == found.step
    return found.step


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ([0.1, 0.5, 0.3], "higher", 2),
        ([0.1, 0.5, 0.3], "lower", 1),
        ([0.5, 0.5, 0.3], "higher", 2),
        ([0.5, 0.3, 0.3], "lower", 3),
        ([0.5, None, float("nan")], "lower", 1),
        ([None, 0.2, float("inf")], "higher", 2),
        ([None, float("nan")], "higher", 0),
    ],
)
def test_the_best_snapshot_is_kept(values: list[float | None], better: str, expected: int) -> None:
    """The best one; of equal ones the later; never one whose measure is not finite."""
    assert best_of(values, better) == expected


Taken = dict[int, tuple[Tensors, Tensors, float]]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Keep every snapshot that a training measures, and its measure when taken once more."""
    seen: Taken = {}
    take = Snapshots.take

    def spy(self: Snapshots, step: int, params: Tensors, carried: Tensors) -> float | None:
        copies = [{n: v.detach().clone() for n, v in of.items()} for of in (params, carried)]
        torch.rand(3)
        seen[step] = (*copies, self.measure(copies[0], copies[1]))  # type: ignore[assignment]
        return take(self, step, params, carried)

    monkeypatch.setattr(Snapshots, "take", spy)
    return seen


def features(
    params: Tensors, buffers: Tensors, x: torch.Tensor, *, own_statistics: bool = False
) -> torch.Tensor:
    """Return the features of an encoder that torch alone builds."""
    encoder = (
        Conv4(width=16).module(Form(shape=(1, 28, 28), modality="image")).train(own_statistics)
    )
    named = {n.removeprefix("encoder."): v for n, v in {**params, **buffers}.items()}
    encoder.load_state_dict({name: named[name] for name in encoder.state_dict() if name in named})
    with torch.no_grad():
        z: torch.Tensor = encoder(x)
    return z


def accuracy(z_ND: np.ndarray, part: Part, digest: str) -> float:
    """Return the accuracy of nearest means on the exam's episodes, by loops."""
    bank = draw_bank(
        part.counts, data_digest=digest, split="val", ways=3, shots=2, queries=2, episodes=12
    )
    right = 0
    for support_NK, query_NQ in zip(bank.support_ENK, bank.query_ENQ, strict=True):
        means = np.stack([z_ND[one].mean(0) for one in support_NK])
        for label, queries in enumerate(query_NQ):
            for query in queries:
                right += int(((z_ND[query] - means) ** 2).sum(1).argmin() == label)
    return right / (12 * 3 * 2)


@pytest.mark.parametrize("method", ["rotation", "protonet"])
def test_the_oracle_keeps_what_is_best_on_true_classes(
    plan_of: PlanOf, store: Store, glyphs: Dataset, taken: Taken, method: str
) -> None:
    """The measure is nearest-mean accuracy on validation episodes; the best snapshot is stored."""
    text, kind = TRAININGS[method]
    spec = specs_of(plan_of(f"{text}selection: {RULES['label_val']}\n"))[kind]
    work(store, spec)
    part = glyphs.part("val")
    x = torch.from_numpy(np.array(part.examples)).float() / 255
    own = {}
    for step, (params, carried, _) in taken.items():
        buffers = {name.removeprefix("buffer/"): value for name, value in carried.items()}
        own[step] = accuracy(features(params, buffers, x).numpy(), part, glyphs.digest)
    manifest = store.manifest(kind, spec.key)
    assert manifest["snapshots"]["steps"] == list(own) == [2, 4, 6]
    assert manifest["snapshots"]["selection"] == pytest.approx(list(own.values()))
    best = max(own, key=lambda step: (own[step], step))
    assert manifest["metrics"]["selected_step"] == best
    stored = load(store.read(kind, spec.key, WEIGHTS))
    kept = {name: value for name, value in taken[best][0].items() if name in stored}
    assert all(torch.equal(stored[name], value) for name, value in kept.items())
    assert any(name.startswith("encoder.") for name in kept)


def test_the_pretext_is_measured_on_images_of_the_validation_split(
    plan_of: PlanOf,
    store: Store,
    glyphs: Dataset,
    taken: Taken,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The measure is the pretext's own loss there: with one batch of all, that of the split."""
    part = glyphs.part("val")
    part = Part(
        examples=np.array(part.examples[:48]),
        form=part.form,
        labels=part.labels[:48],
        classes=("a", "b"),
        counts=(24, 24),
    )
    monkeypatch.setattr(selection, "read_part", lambda data: {"val": part}[data["split"]])
    # The statistics of channels-last batches differ from the exact ones in the third digit.
    monkeypatch.setattr(pretrain, "channels_last", lambda device, second_order: False)
    rule = "selection: {name: pretext_val, snapshots: 3, batches: 1}\n"
    spec = specs_of(plan_of(f"pretext: {{name: rotation, batch_size: 48}}\n{rule}"))["pretrain"]
    work(store, spec)
    x = torch.from_numpy(part.examples).float() / 255
    turned = torch.cat([x.rot90(turns, (-2, -1)) for turns in range(4)])
    own = {}
    for step, (params, carried, _) in taken.items():
        buffers = {name.removeprefix("buffer/"): value for name, value in carried.items()}
        z = features(params, buffers, turned, own_statistics=True)
        scores = F.linear(z, params["head.weight"], params["head.bias"])
        own[step] = float(F.cross_entropy(scores, torch.arange(4).repeat_interleave(48)))
    manifest = store.manifest("pretrain", spec.key)
    assert manifest["snapshots"]["selection"] == pytest.approx(list(own.values()), rel=1e-5)
    assert manifest["metrics"]["selected_step"] == min(own, key=lambda step: own[step])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", TRAININGS)
def test_a_measure_repeats_and_disturbs_nothing(
    plan_of: PlanOf, store: Store, taken: Taken, rule: str, method: str
) -> None:
    """Draws are equal for every snapshot, and training goes on as if nothing was measured."""
    text, kind = TRAININGS[method]
    plain, spec = (
        specs_of(plan_of(f"{text}selection: {one}\n"))[kind] for one in ("last", RULES[rule])
    )
    work(store, plain)
    work(store, spec)
    manifest = store.manifest(kind, spec.key)
    assert manifest["snapshots"]["selection"] == [again for _, _, again in taken.values()]
    assert manifest["curve"] == store.manifest(kind, plain.key)["curve"]
    last = load(store.read(kind, plain.key, WEIGHTS))
    both = {**taken[6][1], **taken[6][0]}
    named = {name.removeprefix("buffer/"): value for name, value in both.items()}
    assert all(torch.equal(named[name], value) for name, value in last.items())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", ["rotation", "protonet"])
def test_a_training_that_goes_wrong_is_left_in_time(
    plan_of: PlanOf, store: Store, monkeypatch: pytest.MonkeyPatch, rule: str, method: str
) -> None:
    """Where the second half of training ruins the weights, those tested are of the first."""
    sabotage(monkeypatch, rule)
    text, kind = TRAININGS[method]
    asked = RULES[rule].replace("snapshots: 3", "snapshots: 6")
    tested = {}
    for name in ("last", asked):
        specs = specs_of(plan_of(f"{text}selection: {name}\n"))
        for spec in specs.values():
            work(store, spec)
        tested[name] = store.manifest("evaluate", spec.key)["metrics"]["accuracy"]
    manifest = store.manifest(kind, specs[kind].key)
    assert manifest["metrics"]["selected_step"] <= 3
    if rule == "pretext_val":
        assert min(manifest["snapshots"]["selection"]) < 2 < manifest["snapshots"]["selection"][-1]
    else:
        assert tested["last"] == pytest.approx(1 / 3), "ruined weights are at chance"
        assert tested[asked] != pytest.approx(1 / 3)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", TRAININGS)
def test_only_the_oracle_reads_labels(
    plan_of: PlanOf, store: Store, monkeypatch: pytest.MonkeyPatch, rule: str, method: str
) -> None:
    """Other classes, in another order on disk, are the same to all rules but the oracle."""
    text, kind = TRAININGS[method]
    spec = specs_of(plan_of(f"{text}selection: {RULES[rule]}\n"))[kind]
    work(store, spec)
    before = content(store, spec)

    def relabelled(data: dict[str, Json]) -> Part:
        part = read_part(data)
        order = np.random.default_rng(0).permutation(len(part.examples))
        counts = (24,) * 40 + (len(order) - 40 * 24,)
        return Part(
            examples=part.examples[order],
            form=part.form,
            labels=np.repeat(np.arange(41), counts),
            classes=tuple(str(number) for number in range(41)),
            counts=counts,
        )

    monkeypatch.setattr(selection, "read_part", relabelled)
    other = Store(store.root.parent / "other")
    other.prepare()
    work(other, spec)
    same = content(other, spec)["snapshots"] == before["snapshots"]
    assert same is (rule != "label_val")
    assert rule == "label_val" or content(other, spec) == before


def test_pseudo_classes_are_clusters_of_the_features_at_the_start(
    plan_of: PlanOf, store: Store, glyphs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After pre-training they are those of the pre-trained encoder, and the same when resumed."""
    made: list[Part] = []
    cluster = selection.clusters

    def spy(*given: object) -> Part:
        made.append(cluster(*given))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(selection, "clusters", spy)
    meta = f"meta: {PROTONET}\nselection: {RULES['pseudo_val']}\n"
    for text in (meta, f"pretext: {ROTATION}\n{meta}"):
        specs = specs_of(plan_of(text))
        if "pretrain" in specs:
            work(store, specs["pretrain"])
        with pytest.raises(Stop):
            work(store, specs["metatrain"], stop_at=4)
        work(store, specs["metatrain"])
    fresh, fresh_again, pretrained, pretrained_again = made
    for one, other in ((fresh, fresh_again), (pretrained, pretrained_again)):
        assert one.counts == other.counts
        assert np.array_equal(one.examples, other.examples)
        assert min(one.counts) >= 4
        assert len(one.counts) <= len(glyphs.part("val").examples) // 60
    assert fresh.counts != pretrained.counts


def test_too_few_clusters_are_no_classes(
    plan_of: PlanOf, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features that all fall into one cluster end the stage with a word, and no selection."""

    def flat(part: Part, *given: object) -> np.ndarray:
        return np.arange(len(part.examples))[:, None] < 1.0

    monkeypatch.setattr(selection, "_features", flat)
    spec = specs_of(plan_of(f"meta: {PROTONET}\nselection: {RULES['pseudo_val']}\n"))["metatrain"]
    with (
        pytest.warns(match="Number of distinct clusters"),
        pytest.raises(ValueError, match="only 1 of 33 clusters of the validation split hold 4"),
    ):
        work(store, spec)


def test_a_snapshot_that_is_not_finite_is_passed_over(
    plan_of: PlanOf, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One snapshot whose scores are not finite is not kept; when all are so, nothing is."""
    spec = specs_of(plan_of(f"pretext: {ROTATION}\nselection: {RULES['label_val']}\n"))["pretrain"]
    predict, nan = NoMeta.predict, torch.full((6, 3), float("nan"))
    with monkeypatch.context() as patch:
        patch.setattr(NoMeta, "predict", lambda *given: nan)
        with pytest.raises(Diverged, match="the measure of every snapshot"):
            work(store, spec)
        assert not store.has("pretrain", spec.key)
    calls: list[object] = []

    def at_first(*given: object) -> torch.Tensor:
        calls.append(given)
        return nan if len(calls) == 1 else predict(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(NoMeta, "predict", at_first)
    events = work(store, spec)
    manifest = store.manifest("pretrain", spec.key)
    first, *rest = manifest["snapshots"]["selection"]
    assert (first, len(rest)) == (None, 2)
    assert manifest["metrics"]["selected_step"] in (4, 6)
    told = [one.values for one in events if isinstance(one, Progress)]
    assert [one["selection"] for one in told if "selection" in one] == rest


RESUMED = [(rule, "rotation") for rule in RULES] + [
    ("label_val", "maml"),
    ("label_val", "transductive"),
    ("pseudo_val", "protonet"),
    ("pretext_val", "maml"),
]


@pytest.mark.parametrize(("rule", "method"), RESUMED)
def test_a_resumed_selection_is_the_same_to_the_bit(
    plan_of: PlanOf,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
    method: str,
) -> None:
    """Interrupted after its best snapshot, a training still ends in the very same bytes."""
    text, kind = TRAININGS.get(method, (f"norm: transductive\nmeta: {MAML}\n", "metatrain"))
    sabotage(monkeypatch, rule)
    spec = specs_of(plan_of(f"{text}selection: {RULES[rule]}\n"))[kind]
    work(store, spec)
    other = Store(store.root.parent / "other")
    other.prepare()
    for stop_at in (3, 5, 6):
        with pytest.raises(Stop):
            work(other, spec, stop_at=stop_at)
    work(other, spec)
    assert content(other, spec) == content(store, spec)
    assert content(store, spec)["metrics"]["selected_step"] == 2
