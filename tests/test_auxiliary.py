"""An auxiliary loss: a pretext beside meta-training, in suites, keys, budgets, steps and curves."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from bench.cell import Cell, Json, StageSpec
from bench.contract import AbstractData, Task, Tensors
from bench.dataset import Dataset, Facts, facts
from bench.errors import UserError
from bench.form import Form
from bench.mirror import describe
from bench.plan import Plan, make_plan
from bench.pretext.rotation import Rotation
from bench.stages import metatrain, training
from bench.stages.auxiliary import Auxiliary
from bench.stages.network import Network
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.stages.source import Views
from bench.stages.streams import seed_default
from bench.store import Store
from bench.suite import read_suite

CPU = torch.device("cpu")
HEAD = """\
name: beside
data: glyphs
encoder: {name: conv4, width: 4}
ways: 3
shots: [1, 2]
seeds: 1
budget: {pretrain_steps: 4, metatrain_steps: 4}
evaluate: {episodes: 4, queries: 2, test_steps: 2}
"""
PROTONET = "{name: protonet, task_ways: 4, task_shots: 1, task_queries: 2, tasks_per_step: 2}"
PlanOf = Callable[..., Plan]


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of a set that is not there: 64, 16 and 20 classes of 600 examples."""
    counts = {split: (600,) * n for split, n in (("train", 64), ("val", 16), ("test", 20))}
    return Facts(form=Form(shape=(1, 28, 28), modality="image"), counts=counts, digest="0" * 64)


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    """Return a function from what follows a suite's head to its plan."""

    def plan(text: str, found: Callable[[str, AbstractData], Facts] = facts_of) -> Plan:
        (tmp_path / "suite.yaml").write_text(HEAD + text)
        return make_plan(read_suite(tmp_path / "suite.yaml"), found)

    return plan


def labels(plan: Plan) -> list[str]:
    """Return a plan's variants in order, each once."""
    return list(dict.fromkeys(cell.variant for cell in plan.cells))


def cell_of(plan: Plan, variant: str) -> Cell:
    """Return the 1-shot cell of a variant."""
    return next(one for one in plan.cells if (one.variant, one.shots) == (variant, 1))


def training_of(plan: Plan, variant: str) -> StageSpec:
    """Return the meta-training of a variant."""
    return plan.stages[cell_of(plan, variant).stages["metatrain"]]


# --- in a plan


def test_a_row_says_what_is_beside_it(plan_of: PlanOf) -> None:
    """Rows are told apart by the auxiliary loss, its weight and what differs of its pretext."""
    rotation, warm = "{pretext: rotation}", "{name: simclr, temperature: 0.9}"
    plan = plan_of(
        f"meta: protonet\ngrid: {{auxiliary: [none, {rotation}, {{pretext: rotation, weight: 2}}, "
        f"{{pretext: simclr}}, {{pretext: {warm}, weight: 0.5}}]}}"
    )
    assert labels(plan) == [
        "none + protonet",
        "none + protonet (auxiliary rotation 1.0)",
        "none + protonet (auxiliary rotation 2.0)",
        "none + protonet (auxiliary simclr 1.0)",
        "none + protonet (auxiliary simclr 0.5 temperature=0.9)",
        "random_init",
    ]
    assert plan.settings["baseline"]["train"] == "none + protonet"
    assert labels(plan_of(f"meta: protonet\nauxiliary: {rotation}"))[0] == "none + protonet"


def test_a_cell_and_a_card_hold_it(plan_of: PlanOf) -> None:
    """A cell has its coordinate and parameters; the bibliography both of its sources."""
    plan = plan_of(f"meta: {PROTONET}\nauxiliary: {{pretext: simclr, weight: 0.5}}")
    cell = cell_of(plan, "none + protonet")
    held = {key: v for key, v in cell.params.items() if key.startswith("auxiliary.")}
    assert cell.auxiliary == "simclr"
    assert held["auxiliary.weight"] == 0.5
    assert held["auxiliary.pretext.temperature"] == 0.5
    assert not [key for key in held if key.endswith(("batch_size", "rate"))]
    card = plan.cards["auxiliary/simclr"]
    assert card["reference"] == "arXiv:2002.05709, arXiv:1906.05186"
    assert card["params"]["weight"] == 0.5
    spec = training_of(plan, "none + protonet")
    assert spec.inputs["auxiliary"]["params"]["weight"] == 0.5
    assert describe(spec) == "metatrain protonet on labels beside simclr seed 0"
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))).cells == plan.cells


def test_it_is_in_the_key_of_meta_training_alone(plan_of: PlanOf) -> None:
    """Pre-trainings are shared with rows without; the augmentation counts where it is used."""
    text = f"pretext: rotation\nmeta: {PROTONET}\n"
    plain, rotation, simclr = (
        plan_of(f"{text}auxiliary: {one}\n")
        for one in ("none", "{pretext: rotation}", "{pretext: simclr}")
    )
    specs = [training_of(plan, "rotation + protonet") for plan in (plain, rotation, simclr)]
    assert "auxiliary" not in specs[0].inputs
    assert len({spec.key for spec in specs}) == 3
    assert len({str(spec.inputs["needs"]) for spec in specs}) == 1
    assert [spec.inputs["augment"] is None for spec in specs] == [True, True, False]


def test_its_views_count_in_the_budget(plan_of: PlanOf) -> None:
    """A step passes the tasks' images, and each again for every view of the pretext."""
    plan = plan_of(f"meta: {PROTONET}\ngrid: {{auxiliary: [none, {{pretext: rotation}}]}}\n")
    plain, beside = (
        training_of(plan, f"none + protonet{more}") for more in ("", " (auxiliary rotation 1.0)")
    )
    images = 2 * 4 * (1 + 2)
    assert plain.inputs["budget"] == {"steps": 4, "examples": 4 * images}
    assert beside.inputs["budget"] == {"steps": 4, "examples": 4 * (1 + 4) * images}


def test_batches_stand_in_the_cells(plan_of: PlanOf) -> None:
    """A cell says how many images a step is given: of a batch, and tasks x images of a task."""
    plan = plan_of(f"pretext: {{name: rotation, batch_size: 9}}\nmeta: {PROTONET}\n")
    params = cell_of(plan, "rotation + protonet").params
    assert (params["pretrain.batch"], params["metatrain.batch"]) == ("9", "2 x 12")
    assert "metatrain.batch" not in cell_of(plan, "random_init").params


def test_equal_images_for_few_ways_and_for_many(plan_of: PlanOf) -> None:
    """One budget of images buys 5-way and 50-way tasks the same number, within a step."""
    tasks = "tasks: {{name: instances, ways: {0}}}, budget: {{metatrain_examples: 100_000}}"
    rows = ", ".join(f"{{label: {ways}, {tasks.format(ways)}}}" for ways in ("5", "50"))
    plan = plan_of(f"meta: protonet\nvariants: [{rows}]\n".replace("label: ", "label: w"))
    few, many = (training_of(plan, f"w{ways}").inputs for ways in ("5", "50"))
    assert (few["task"]["ways"], many["task"]["ways"]) == (5, 50)
    a_step = many["budget"]["examples"] / many["budget"]["steps"]
    assert 0 <= few["budget"]["examples"] - many["budget"]["examples"] < a_step
    assert few["budget"]["steps"] > 9 * many["budget"]["steps"]


DROPPED = [
    (
        "grid: {meta: [none, protonet]}\nauxiliary: {pretext: rotation}",
        "none trains over no tasks, so the auxiliary rotation would not be used",
    ),
    (
        "grid: {meta: [reptile, protonet]}\nauxiliary: {pretext: rotation}",
        "reptile descends no loss that the auxiliary rotation could be added to",
    ),
    (
        "grid: {augment: [none, affine]}\nmeta: protonet\nauxiliary: {pretext: simclr}",
        "simclr would see the same example twice: augment is none",
    ),
]


@pytest.mark.parametrize(("text", "reason"), DROPPED)
def test_dropped_with_a_reason(plan_of: PlanOf, text: str, reason: str) -> None:
    """What has no use for the loss, or cannot be added to, is dropped aloud."""
    assert reason in [one.reason for one in plan_of(text).dropped]


REFUSED = [
    ("rottion", "suite.yaml:9: auxiliary: no pretext is named 'rottion'. Did you mean rotation"),
    ("{name: rotation, turns: 3}", "pretext/rotation has no parameter 'turns'"),
    (
        "{name: rotation, batch_size: 8}",
        "an auxiliary rotation has no batch_size: its examples are those of the step's tasks.",
    ),
    ("{name: rotation, rate: 0.1}", "has no rate: the meta-algorithm's optimizer takes the step."),
    (
        "{name: mixture, members: [rotation, simclr], weights: learned}",
        "an auxiliary mixture that learns from validation episodes. Use a pretext that trains",
    ),
    (
        "{name: best_of, candidates: [rotation, simclr]}",
        "an auxiliary best_of that learns from validation episodes",
    ),
]


@pytest.mark.parametrize(("pretext", "says"), REFUSED)
def test_refused(plan_of: PlanOf, pretext: str, says: str) -> None:
    """A misspelt pretext is an error, and so is a parameter that has no meaning here."""
    with pytest.raises(UserError) as caught:
        plan_of(f"auxiliary: {{pretext: {pretext}}}\nmeta: protonet\n")
    assert says in str(caught.value)


def test_a_baseline_may_be_the_row_beside(plan_of: PlanOf) -> None:
    """A pattern of auxiliary matches by pretext and weight, 1.0 unless given; none is none."""
    grid = "grid: {auxiliary: [none, {pretext: rotation}, {pretext: rotation, weight: 3}]}\n"
    for pattern, row in [
        ("none", "none + protonet"),
        ("{pretext: rotation}", "none + protonet (auxiliary rotation 1.0)"),
        ("{pretext: rotation, weight: 3}", "none + protonet (auxiliary rotation 3.0)"),
    ]:
        plan = plan_of(f"meta: protonet\n{grid}baseline: {{train: {{auxiliary: {pattern}}}}}\n")
        assert plan.settings["baseline"]["train"] == row


def test_the_summed_control_keeps_it(plan_of: PlanOf) -> None:
    """From scratch with both budgets, the loss beside is still there."""
    plan = plan_of(
        f"meta: {PROTONET}\npretext: rotation\ncontrols: [scratch_summed]\n"
        "grid: {auxiliary: [none, {pretext: rotation}]}\n"
    )
    assert {"none", "rotation"} == {c.auxiliary for c in plan.cells if "summed" in c.variant}
    assert "scratch_summed (auxiliary rotation 1.0)" in " ".join(labels(plan))


# --- in a step


@dataclass(frozen=True)
class Scene:
    """A small double-precision network, a meta head's tensors, and a rotation beside them."""

    network: Network
    auxiliary: Auxiliary
    params: dict[str, Tensor]
    buffers: dict[str, Tensor]
    tasks: list[Task]


def scene_of(weight: float, norm: str = "support") -> Scene:
    """Build it; the same tensors whatever the weight."""
    seed_default("test of auxiliary")
    x = torch.rand(2, 12, 1, 8, 8, dtype=torch.float64)
    body = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Softplus())
    body = nn.Sequential(body, nn.Flatten()).double()
    network = Network(body, nn.Identity(), channels_last=False, grouped=False)
    beside = network.beside(nn.Sequential(nn.Linear(144, 4)).double())
    own, _ = beside.tensors(CPU)
    params = {name.replace("head.", "auxiliary."): value for name, value in own.items()}
    y = torch.arange(3)
    tasks = [
        Task(support_x=one[:3], support_y=y, query_x=one[3:], query_y=y.repeat(3), ways=3)
        for one in x
    ]
    auxiliary = Auxiliary(
        name="rotation",
        pretext=Rotation(),
        weight=weight,
        seed=0,
        network=beside,
        views=Views(None),
        norm=norm,  # type: ignore[arg-type]
        device=CPU,
        first={},
        moved={},
    )
    return Scene(network, auxiliary, params, network.tensors(CPU)[1], tasks)


def by_hand(scene: Scene, params: Tensors) -> Tensor:
    """Compute the rotation loss of all the tasks' images with plain torch."""
    x = torch.cat([x for task in scene.tasks for x in (task.support_x, task.query_x)])
    turned = torch.cat([torch.rot90(x, turns, (2, 3)) for turns in range(4)])
    z = F.conv2d(turned, params["encoder.0.0.weight"])
    mean = z.mean((0, 2, 3), keepdim=True)
    variance = z.var((0, 2, 3), keepdim=True, unbiased=False)
    scale, shift = (params[f"encoder.0.1.{name}"].view(1, -1, 1, 1) for name in ("weight", "bias"))
    z = F.softplus((z - mean) / (variance + 1e-5).sqrt() * scale + shift).flatten(1)
    scores = z @ params["auxiliary.0.weight"].T + params["auxiliary.0.bias"]
    return -scores.log_softmax(1)[np.arange(4 * len(x)), np.repeat(np.arange(4), len(x))].mean()


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_gradient_is_that_of_the_weighted_loss(weight: float) -> None:
    """Encoder and own head get weight x the gradient that plain torch gives for all images."""
    scene = scene_of(weight)
    leaves = {name: value.clone().requires_grad_() for name, value in scene.params.items()}
    expected = by_hand(scene, leaves)
    wanted = torch.autograd.grad(expected, tuple(leaves.values()))
    loss, gradient, state = scene.auxiliary.gradient(
        scene.tasks, scene.params, scene.buffers, {}, 0
    )
    torch.testing.assert_close(loss, expected.detach())
    assert gradient.keys() == leaves.keys()
    for name, value in zip(leaves, wanted, strict=True):
        torch.testing.assert_close(gradient[name], weight * value)
    assert state == {}


@pytest.mark.parametrize(("norm", "moves"), [("running", True), ("support", False)])
def test_running_statistics_move_under_running_alone(norm: str, moves: bool) -> None:
    """The batch moves them as every batch of such a training does, else it uses its own alone."""
    scene = scene_of(1.0, norm)
    before = {name: value.clone() for name, value in scene.buffers.items()}
    scene.auxiliary.gradient(scene.tasks, scene.params, scene.buffers, {}, 0)
    assert moves != all(torch.equal(scene.buffers[name], value) for name, value in before.items())


# --- in a stage


class Watched:
    """What a stage's steps drew and returned."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.examples: list[Tensor] = []
        self.steps: list[tuple[Tensor, Tensors, Tensors, Tensors]] = []
        self.params: list[Tensors] = []


@pytest.fixture
def run(
    plan_of: PlanOf, glyphs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Watched, dict[str, Json], dict[str, Tensor]]]]:
    """Return a function that runs a suite's meta-training in double precision and watches it."""
    torch.set_default_dtype(torch.float64)
    plain_train, plain_draw = training.train, metatrain._draw

    def act(text: str) -> tuple[Watched, dict[str, Json], dict[str, Tensor]]:
        seen = Watched()

        def draw(*args: object) -> Task:
            task = plain_draw(*args)  # type: ignore[arg-type]
            seen.examples.append(torch.cat([task.support_x, task.query_x]))
            return task

        def train(spec, place, plugin, params, carried, step, kept):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            def watched(
                number: int, now: Tensors, held: Tensors
            ) -> tuple[Tensor, Tensors, Tensors, Tensors]:
                seen.params.append({name: value.detach().clone() for name, value in now.items()})
                seen.steps.append(step(number, now, held))
                return seen.steps[-1]

            return plain_train(spec, place, plugin, params, carried, watched, kept)

        monkeypatch.setattr(metatrain, "train", train)
        monkeypatch.setattr(metatrain, "_draw", draw)
        plan = plan_of(text, lambda name, source: facts(glyphs))
        spec = next(one for one in plan.stages.values() if one.kind == "metatrain")
        store = Store(tmp_path / f"store {len(list(tmp_path.iterdir()))}")
        store.prepare()
        for one in (plan.stages[key] for key in spec.needs):
            perform(one, Place(store=store, device=CPU, emit=lambda event: None))
        perform(spec, Place(store=store, device=CPU, emit=lambda event: None))
        weights = load(store.read("metatrain", spec.key, "weights.safetensors"))
        return seen, store.manifest("metatrain", spec.key), weights

    yield act
    torch.set_default_dtype(torch.float32)


AUXILIARY = "auxiliary: {pretext: %s, weight: %s}\n"


def test_the_total_is_the_sum_of_the_two(run: Callable[..., tuple[Watched, Json, Json]]) -> None:
    """In the first step loss and gradients are those without, plus weight x the pretext's."""
    meta = "norm: support\nmeta: {name: maml, order: 1, steps: 1, task_shots: 1, task_queries: 2}\n"
    plain, *_ = run(meta)
    once, *_ = run(meta + AUXILIARY % ("rotation", 1.0))
    twice, *_ = run(meta + AUXILIARY % ("rotation", 2.0))
    loss, gradient, _, values = plain.steps[0]
    loss_1, gradient_1, _, values_1 = once.steps[0]
    loss_2, gradient_2, _, values_2 = twice.steps[0]
    assert values == {}
    assert values_1["auxiliary"] == values_2["auxiliary"]
    torch.testing.assert_close(loss_1, loss + values_1["auxiliary"])
    torch.testing.assert_close(loss_2, loss + 2 * values_1["auxiliary"])
    for name, value in gradient.items():
        beside = gradient_1[name] - value
        torch.testing.assert_close(gradient_2[name], value + 2 * beside)
        assert beside.any() == name.startswith("encoder."), name
    own = gradient_1.keys() - gradient.keys()
    assert own == {"auxiliary.weight", "auxiliary.bias"}
    assert all(torch.equal(2 * gradient_1[name], gradient_2[name]) for name in own)


def test_tasks_are_drawn_as_without(run: Callable[..., tuple[Watched, Json, Json]]) -> None:
    """No pretext moves a task's stream: all tasks of a training hold the same images."""
    plain, *_ = run(f"meta: {PROTONET}\n")
    for pretext in ("rotation", "simclr"):
        beside, *_ = run(f"meta: {PROTONET}\n" + AUXILIARY % (pretext, 1e-9))
        assert len(plain.examples) == len(beside.examples) == 4 * 2
        assert all(map(torch.equal, plain.examples, beside.examples))


def test_its_head_is_trained_and_not_kept(run: Callable[..., tuple[Watched, Json, Json]]) -> None:
    """Each step moves the own head; the weights that are stored are those that a test needs."""
    plain, _, kept = run(f"meta: {PROTONET}\n")
    seen, manifest, weights = run(f"meta: {PROTONET}\n" + AUXILIARY % ("rotation", 1.0))
    first, last = seen.params[0], seen.params[-1]
    assert not torch.equal(first["auxiliary.weight"], last["auxiliary.weight"])
    assert weights.keys() == kept.keys()
    assert not any(torch.equal(weights[name], value) for name, value in kept.items())
    curve = manifest["curve"]
    assert curve.keys() == {"steps", "loss", "auxiliary"}
    assert curve["auxiliary"] == [float(values["auxiliary"]) for *_, values in seen.steps]
    extra = manifest["cost"]["parameters"] - sum(v.numel() for v in plain.params[0].values())
    assert extra == first["auxiliary.weight"].numel() + 4


@pytest.mark.parametrize("rule", ["pretext_val", "label_val"])
def test_weights_are_selected_beside_it(
    run: Callable[..., tuple[Watched, Json, Json]], rule: str
) -> None:
    """Snapshots are measured by the sum, or by exams that know nothing of the own head."""
    tasks = "instances" if rule == "pretext_val" else "labels"
    meta = "{name: meta_sgd, order: 1, task_shots: 1, task_queries: 2}"  # a rate for each tensor
    more = {"pretext_val": "batches: 2", "label_val": "episodes: 3, shots: 1, queries: 1, steps: 1"}
    selection = f"selection: {{name: {rule}, snapshots: 2, {more[rule]}}}\n"
    _, manifest, weights = run(
        f"tasks: {tasks}\nmeta: {meta}\n{selection}" + AUXILIARY % ("rotation", 1.0)
    )
    assert manifest["metrics"]["selected_step"] in (2, 4)
    assert not [name for name in weights if name.startswith("auxiliary")]


def test_a_state_is_carried(
    run: Callable[..., tuple[Watched, Json, Json]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pretext carries comes back to it in the next step, and is no weight."""
    plain = Rotation.loss

    def counting(self, net, state, x_BCHW, rng):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        loss, _ = plain(self, net, state, x_BCHW, rng)
        return loss, {"steps": state["steps"] + 1}

    monkeypatch.setattr(Rotation, "loss", counting)
    monkeypatch.setattr(Rotation, "state", lambda self, net: {"steps": torch.zeros(())})
    seen, _, weights = run(f"meta: {PROTONET}\n" + AUXILIARY % ("rotation", 1.0))
    counts = [float(carried["auxiliary state/steps"]) for _, _, carried, _ in seen.steps]
    assert counts == [1, 2, 3, 4]
    assert not [name for name in weights if "state" in name]
