"""Which weights are tested: rules in suites and keys, their measures, resumption, marks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load

from bench.cell import Event, Json, Progress, StageKind, StageSpec
from bench.contract import Tensors
from bench.dataset import Dataset, Facts, Part, facts
from bench.encoder.conv4 import Conv4
from bench.episodes import draw_bank
from bench.errors import UserError
from bench.meta.maml import Maml
from bench.meta.none import NoMeta
from bench.meta.protonet import Protonet
from bench.mirror import content as mirrored
from bench.mirror import stage_child
from bench.plan import Plan, make_plan
from bench.pretext.rotation import Rotation
from bench.report.comparison import blocks
from bench.report.frame import cell_frame
from bench.report.results import read_results
from bench.report.text import write_text
from bench.stages import pretrain, selection, training
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place
from bench.stages.selection import Snapshots
from bench.stages.source import read_part
from bench.store import Store
from bench.suite import LAST, Selection, read_suite
from bench.weights import WEIGHTS

BUDGET = "budget: {pretrain_steps: 6, metatrain_steps: 6}\n"
HEAD = f"""
name: selected
data: glyphs
encoder: {{name: conv4, width: 16}}
ways: 3
shots: 1
seeds: 1
{BUDGET}evaluate: {{episodes: 6, queries: 2, test_steps: 1}}
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
PlanOf = Callable[..., Plan]


class Stop(BaseException):
    """What interrupts a stage in these tests: like a signal, and no failure of its method."""


@pytest.fixture
def plan_of(tmp_path: Path, glyphs: Dataset) -> PlanOf:
    """Return a function from what follows a suite's head to its plan."""

    def plan(text: str, head: str = HEAD) -> Plan:
        (tmp_path / "suite.yaml").write_text(head + text)
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


# --- what a suite may say


def test_a_rule_is_a_name_or_a_mapping(tmp_path: Path) -> None:
    """A bare rule has the documented defaults; a mapping changes what it names."""
    file = tmp_path / "suite.yaml"
    read = []
    for rule in ("label_val", "{name: label_val, shots: 1}", "pretext_val", "pseudo_val", "last"):
        file.write_text(f"name: a\nmeta: maml\nselection: {rule}\n")
        read.append(read_suite(file).combinations[0].selection)
    exam = {"snapshots": 10, "episodes": 100, "shots": 5, "queries": 15, "steps": 5}
    assert read == [
        Selection(name="label_val", params=exam),
        Selection(name="label_val", params=exam | {"shots": 1}),
        Selection(name="pretext_val", params={"snapshots": 10, "batches": 20}),
        Selection(name="pseudo_val", params=exam | {"cluster_size": 60}),
        LAST,
    ]
    assert read[0].where == f"{file}:3: selection"


MISTAKES = [
    ("selection: lable_val", ":3: selection: 'lable_val' (text). Did you mean label_val?"),
    ("selection: {name: best}", ":3: selection: 'best' (text). Known: label_val, last, pretext_"),
    ("selection: 5", ":3: selection: 5. Write one of last, pretext_val, pseudo_val, label_val,"),
    ("selection: {name: 5}", ":3: selection: 5. Use one of last, pretext_val, pseudo_val,"),
    ("selection: {snapshots: 5}", ":3: selection: the name is missing. Write {name: ..., and"),
    ("selection: {name: label_val, episods: 5}", "unknown key 'episods'. Did you mean episodes?"),
    (
        "selection: {name: label_val, batches: 5}",
        ":3: selection: label_val has no parameter 'batches'. It has snapshots, episodes, shots,",
    ),
    ("selection: {name: last, snapshots: 5}", "last has no parameter 'snapshots'. It has none:"),
    ("selection: {name: label_val, snapshots: 1}", "selection.snapshots: 1. It should be greater"),
    ("selection: {name: label_val, shots: 1.5}", "selection.shots: 1.5. It should be a valid int"),
    ("selection: {name: label_val, queries: 0}", "queries: 0. It should be greater than 0."),
    ("selection: {name: label_val, steps: -1}", "steps: -1. It should be greater than or equal"),
    (
        "selection: {name: pseudo_val, cluster_size: 19}",
        "clusters of about 19 examples, but 5 shots + 15 queries of each. Write a larger cluster",
    ),
    ("grid: {selection: [last, {name: last}]}", ":3: grid.selection[1]: the same as"),
    ("selection: last\ngrid: {selection: [label_val]}", "selection also stands in line 3"),
    ("variants: [{selection: lats}]", "variants[0].selection: 'lats' (text). Did you mean last?"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_a_mistake_in_a_rule_is_named(tmp_path: Path, text: str, expected: str) -> None:
    """A rule that is misspelt, mistyped or out of bounds is one error with line and key."""
    file = tmp_path / "suite.yaml"
    file.write_text(f"name: small\nmeta: maml\n{text}\n")
    with pytest.raises(UserError) as caught:
        read_suite(file)
    assert expected in str(caught.value)


# --- what a plan makes of it


def test_last_changes_no_key(plan_of: PlanOf) -> None:
    """A suite that says ``last`` plans the very stages of one that says nothing."""
    text = f"pretext: {ROTATION}\nmeta: {PROTONET}\n"
    plain = plan_of(text)
    assert plain.stages == plan_of(f"{text}selection: last\n").stages
    assert specs_of(plain)["metatrain"].inputs["selection"] == "last"
    assert "selection" not in specs_of(plain)["pretrain"].inputs


@pytest.mark.parametrize("rule", ["label_val", "pseudo_val"])
def test_only_the_stage_that_is_selected_knows_the_rule(plan_of: PlanOf, rule: str) -> None:
    """Pre-training is shared by rules where meta-training follows, and has the rule elsewhere."""
    both = f"grid: {{selection: [last, {RULES[rule]}]}}\npretext: {ROTATION}\n"
    kinds = [spec.kind for spec in plan_of(f"{both}meta: {PROTONET}\n").stages.values()]
    assert [kinds.count(kind) for kind in ("pretrain", "metatrain")] == [1, 2]
    kinds = [spec.kind for spec in plan_of(both).stages.values()]
    assert kinds.count("pretrain") == 2


CHANGES = ["snapshots: 4", "episodes: 5", "shots: 1", "queries: 3"]


@pytest.mark.parametrize("change", [*CHANGES, "cluster_size: 50"])
@pytest.mark.parametrize("method", ["rotation", "protonet"])
def test_the_whole_rule_is_in_the_key(plan_of: PlanOf, method: str, change: str) -> None:
    """Every parameter of a rule that decides what is selected changes the stage's key."""
    text, kind = TRAININGS[method]
    key = change.split(":")[0]
    rule = ", ".join(one for one in EXAM.split(", ") if not one.startswith(key))
    usual = specs_of(plan_of(f"{text}selection: {RULES['pseudo_val']}\n"))[kind]
    other = specs_of(plan_of(f"{text}selection: {{name: pseudo_val, {rule}, {change}}}\n"))[kind]
    assert usual.key != other.key


def test_steps_are_in_the_key_of_a_method_that_takes_them(plan_of: PlanOf) -> None:
    """Steps of the exam decide nothing for prototypes, and something for gradient steps."""
    for method, same in (("rotation", True), ("protonet", True), ("maml", False)):
        text, kind = TRAININGS[method]
        rules = [RULES["label_val"], RULES["label_val"].replace("steps: 1", "steps: 2")]
        one, two = (specs_of(plan_of(f"{text}selection: {rule}\n"))[kind] for rule in rules)
        assert (one.key == two.key) is same


def test_a_rule_is_in_the_cell(plan_of: PlanOf) -> None:
    """A cell's parameters name the rule, plainly, and what it was asked for."""
    plan = plan_of(f"pretext: {ROTATION}\nselection: {RULES['pretext_val']}\n")
    (row,) = [one.params for one in plan.cells if not one.control]
    own = {key: value for key, value in row.items() if key.startswith("selection")}
    assert own == {"selection": "pretext_val", "selection.snapshots": 3, "selection.batches": 2}
    (floor,) = [one.params for one in plan.cells if one.control]
    assert [key for key in floor if key.startswith("selection")] == ["selection"]
    assert floor["selection"] == "last"


def test_an_oracle_has_seen_validation_labels(plan_of: PlanOf) -> None:
    """Validation labels make ``none`` into ``validation``; ``train`` and other rules stay."""
    metas = f"[none, {PROTONET}]"
    text = f"pretext: {ROTATION}\ngrid: {{meta: {metas}, selection: [last, {', '.join(RULES)}]}}\n"
    seen = {
        (one.meta, one.params["selection"]): one.labels
        for one in plan_of(text).cells
        if not one.control
    }
    assert seen == {
        ("none", "last"): "none",
        ("none", "label_val"): "validation",
        ("none", "pseudo_val"): "none",
        ("none", "pretext_val"): "none",
        ("protonet", "last"): "train",
        ("protonet", "label_val"): "train",
        ("protonet", "pseudo_val"): "train",
    }


def test_rows_that_differ_by_their_rule_alone_say_it(plan_of: PlanOf) -> None:
    """The main result keeps the plain name; the others name the rule, and what differs in it."""
    rules = "[last, label_val, {name: pseudo_val, shots: 1}, {name: pseudo_val, shots: 2}]"
    plan = plan_of(f"grid: {{pretext: [none, {ROTATION}], selection: {rules}}}\n")
    assert list(dict.fromkeys(one.variant for one in plan.cells)) == [
        "random_init",
        "rotation + none",
        "rotation + none (label_val)",
        "rotation + none (pseudo_val shots=1)",
        "rotation + none (pseudo_val shots=2)",
    ]
    alone = plan_of(f"pretext: {ROTATION}\nselection: label_val\n")
    assert {one.variant for one in alone.cells} == {"rotation + none", "random_init"}


def test_what_trains_nothing_has_nothing_to_select(plan_of: PlanOf) -> None:
    """Under any rule an untrained row is the floor itself, once, and sees no label."""
    plan = plan_of("meta: none\nselection: label_val\n")
    assert [(one.variant, one.labels) for one in plan.cells] == [("random_init", "none")]


def test_controls_follow_the_main_rule(plan_of: PlanOf) -> None:
    """A control is by ``last`` where any row is, else by the suite's rule; it is planned once."""
    text = f"pretext: {ROTATION}\nmeta: {PROTONET}\ncontrols: [ssl_prototypes]\n"
    mixed = plan_of(f"{text}grid: {{selection: [label_val, last]}}\n")
    alone = plan_of(f"{text}selection: label_val\n")
    for plan, rule in ((mixed, "last"), (alone, "label_val")):
        found = [one for one in plan.cells if one.control == "ssl_prototypes"]
        assert [one.params["selection"] for one in found] == [rule]


def test_the_usual_baseline_is_by_last(plan_of: PlanOf) -> None:
    """Where the suite leaves it open, rows are compared with one of the main results."""
    plan = plan_of(f"grid: {{selection: [label_val, last]}}\nmeta: {PROTONET}\n")
    assert plan.settings["baseline"]["train"] == "none + protonet"


def test_a_pattern_never_picks_among_rules(plan_of: PlanOf) -> None:
    """A baseline's pattern that fits rows of two rules is refused; a label tells them apart."""
    text = f"grid: {{selection: [last, label_val]}}\nmeta: {PROTONET}\nbaseline: "
    with pytest.raises(UserError, match=r"several variants, none \+ protonet, none \+ "):
        plan_of(f"{text}{{train: {{meta: protonet}}}}\n")
    plan = plan_of(f"{text}{{train: none + protonet (label_val)}}\n")
    assert plan.settings["baseline"]["train"] == "none + protonet (label_val)"


DROPPED = [
    (f"meta: {PROTONET}", "pretext_val needs a loss without labels, labels uses them"),
    ("init: supervised", "pretext_val needs a loss without labels, supervised uses them"),
]


@pytest.mark.parametrize(("row", "reason"), DROPPED)
def test_a_loss_of_labels_is_no_pretext(plan_of: PlanOf, row: str, reason: str) -> None:
    """Where the last training is on labels, ``pretext_val`` is dropped with the reason."""
    plan = plan_of(f"grid: {{selection: [last, pretext_val]}}\n{row}\n")
    assert [one.reason for one in plan.dropped] == [reason]


def test_a_loss_after_labels_is_a_pretext(plan_of: PlanOf) -> None:
    """What the stages before saw does not matter: the rule measures the last one."""
    text = f"init: supervised\ntasks: instances\nmeta: {PROTONET}\nselection: pretext_val\n"
    assert plan_of(text).dropped == ()


def small(name: str, source: object) -> Facts:
    """Return the facts of a set whose validation split has two classes of 30 and 20 examples."""
    counts = {"train": (300,) * 8, "val": (30, 20), "test": (30,) * 8}
    return Facts(shape=(1, 28, 28), counts=counts, digest="0" * 64)


TOO_SMALL = [
    (
        "pretext: rotation\nselection: label_val",
        "suite.yaml:11: selection: label_val asks for 3-way episodes, but the validation split of"
        " glyphs has 2 classes. Use ways: 2, selection: pseudo_val, or selection: last.",
    ),
    (
        "pretext: rotation\nvariants: [{ways: 2, selection: {name: label_val, queries: 16}}]",
        "suite.yaml:11: variants[0].selection: label_val asks for 21 examples of each class, but"
        " the validation split of glyphs has a class of 20. Use {name: label_val, shots: ...,",
    ),
    (
        "pretext: rotation\nselection: pseudo_val",
        "pseudo_val asks for clusters of about 60 examples, at least 6 of them, but the validation"
        " split of glyphs has 50 examples. Use {name: pseudo_val, cluster_size: 8} or less, or",
    ),
    (
        "pretext: rotation\nselection: pretext_val",
        "pretext_val asks for batch_size 128, but the validation split of glyphs has 50 examples."
        " Use pretext: {name: rotation, batch_size: 50} or less, or selection: last.",
    ),
    (
        "meta: protonet\ntasks: {name: instances, ways: 60}\nselection: pretext_val",
        "pretext_val asks for ways 60, but the validation split of glyphs has 50 examples."
        " Use tasks: {name: instances, ways: 50} or less, or selection: last.",
    ),
]


@pytest.mark.parametrize(("text", "expected"), TOO_SMALL)
def test_a_split_that_is_too_small_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """A rule that the validation split cannot fill is one error that says what works."""
    (tmp_path / "suite.yaml").write_text(f"{HEAD}{text}\n")
    with pytest.raises(UserError) as caught:
        make_plan(read_suite(tmp_path / "suite.yaml"), small)
    assert expected in str(caught.value)


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
    encoder = Conv4(width=16).module((1, 28, 28)).train(own_statistics)
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
    x = torch.from_numpy(np.array(part.images)).float() / 255
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
        images=np.array(part.images[:48]),
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
    x = torch.from_numpy(part.images).float() / 255
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
        order = np.random.default_rng(0).permutation(len(part.images))
        counts = (24,) * 40 + (len(order) - 40 * 24,)
        return Part(
            images=part.images[order],
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
        assert np.array_equal(one.images, other.images)
        assert min(one.counts) >= 4
        assert len(one.counts) <= len(glyphs.part("val").images) // 60
    assert fresh.counts != pretrained.counts


def test_too_few_clusters_are_no_classes(
    plan_of: PlanOf, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features that all fall into one cluster end the stage with a word, and no selection."""

    def flat(part: Part, *given: object) -> np.ndarray:
        return np.arange(len(part.images))[:, None] < 1.0

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


# --- what others see of it


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory, glyphs: Dataset) -> tuple[Plan, Store]:
    """Return a finished suite of rotation under three rules."""
    folder = tmp_path_factory.mktemp("oracle")
    rules = f"[last, {RULES['label_val']}, {RULES['pretext_val']}]"
    text = HEAD.replace("seeds: 1", "seeds: 2") + f"pretext: {ROTATION}\n"
    (folder / "suite.yaml").write_text(f"{text}grid: {{selection: {rules}}}\n")
    plan = make_plan(read_suite(folder / "suite.yaml"), lambda name, source: facts(glyphs))
    store = Store(folder / "results")
    store.prepare()
    for spec in plan.stages.values():
        work(store, spec)
    return plan, store


def test_the_report_marks_what_was_selected(oracle: tuple[Plan, Store]) -> None:
    """A row by another rule than ``last`` says which, when, and whether it is an oracle."""
    plan, store = oracle
    results = read_results(plan, store)
    (block,) = blocks(results)
    marks = {row.group.variant: row.marks for row in block.rows}
    steps = {
        rule: ", ".join(
            f"{store.manifest('pretrain', one.stages['pretrain'])['metrics']['selected_step']} of 6"
            for one in plan.cells
            if one.params["selection"] == rule
        )
        for rule in ("label_val", "pretext_val")
    }
    seen = "an oracle, it saw validation labels"
    assert marks == {
        "random_init": (),
        "rotation + none": (),
        "rotation + none (label_val)": (
            f"weights selected by label_val: {seen} (steps {steps['label_val']})",
        ),
        "rotation + none (pretext_val)": (
            f"weights selected by pretext_val (steps {steps['pretext_val']})",
        ),
    }
    text = write_text(results, [block], [], "hash").markdown
    assert f"* (!) rotation + none (label_val): weights selected by label_val: {seen}" in text
    assert "in rows marked as selected by label_val and pretext_val." in text


def test_a_mark_stands_without_its_steps(oracle: tuple[Plan, Store], tmp_path: Path) -> None:
    """Where a selected stage is no longer stored, its row is still marked."""
    plan, store = oracle
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.root, copy.root)
    shutil.rmtree(copy.root / "stages" / "pretrain")
    (block,) = blocks(read_results(plan, copy))
    marks = {row.group.variant: row.marks for row in block.rows}
    assert marks["rotation + none (pretext_val)"] == ("weights selected by pretext_val",)


def test_the_mirror_has_the_curve_of_measures(oracle: tuple[Plan, Store]) -> None:
    """MLflow's run of a selected stage holds each measure at its step, and the step selected."""
    plan, store = oracle
    spec = specs_of(plan, "rotation + none (label_val)")["pretrain"]
    child, manifest = stage_child(spec), store.manifest("pretrain", spec.key)
    held = mirrored(store, child)
    assert held is not None
    measured = {step: v for (name, step), v in held.points.items() if name == "pretrain/selection"}
    assert list(measured) == manifest["snapshots"]["steps"] == [2, 4, 6]
    assert list(measured.values()) == manifest["snapshots"]["selection"]
    assert held.points[("selected_step", 0)] == manifest["metrics"]["selected_step"]
    assert child.params["selection"] == "label_val"
    assert json.loads(child.params["selection.episodes"]) == 12


def test_an_export_names_the_rule(oracle: tuple[Plan, Store]) -> None:
    """The frame of cells has the rule of each row, and training images of the budget alone."""
    frame = cell_frame(*oracle).set_index("variant")
    rules = frame["selection"].groupby(level=0).first().to_dict()
    assert rules == {
        "random_init": "last",
        "rotation + none": "last",
        "rotation + none (label_val)": "label_val",
        "rotation + none (pretext_val)": "pretext_val",
    }
    trained = frame[frame["pretext"] == "rotation"]
    assert set(trained["cost.examples"]) == {6 * 4 * 8}
