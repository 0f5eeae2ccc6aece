"""Learned weights of a mixture: their slope, and what would show that they are wrong.

Shapes: K members, B images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Generator, Tensor, nn

from bench import catalogue
from bench.cell import Event, Json, Progress, StageSpec
from bench.conformance.world import Handed, Small, inputs, small, task_of
from bench.contract import AbstractNetwork, AbstractPretext, Task, Tensors
from bench.dataset import Dataset, facts
from bench.errors import UserError
from bench.form import Form
from bench.inner import BETA1
from bench.plan import Plan, make_plan
from bench.pretext.mixture import Mixture
from bench.pretext.rotation import Rotation
from bench.pretext.simclr import Simclr
from bench.stages.perform import perform
from bench.stages.place import Place
from bench.store import Store
from bench.suite import read_suite

FORM = Form(shape=(1, 20, 20), modality="image")
SHIFT = 1e-4  # of a logit, in central differences


@pytest.fixture
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# --- the slope, on a small smooth network


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A mixture with learned weights, a network for it, a batch and a validation episode."""

    mixture: Mixture
    trial: Small
    x: Tensor
    episode: Task

    def net(self, params: Tensors) -> Handed:
        """Return the network with these parameters."""
        return Handed(self.trial, params, lambda: self.episode)

    def leaves(self) -> dict[str, Tensor]:
        """Return the first parameters, to differentiate by."""
        return {n: p.detach().clone().requires_grad_() for n, p in self.trial.params.items()}

    def step(self, params: Tensors, state: Tensors) -> tuple[Tensor, Tensors]:
        """Return loss and next state of the batch, with the same draws each time."""
        return self.mixture.loss(self.net(params), state, self.x, Generator().manual_seed(7))

    def outer(self, logit_K: Tensor) -> float:
        """Return the episode's loss after one step of gradient descent under these logits."""
        params = self.leaves()
        first = self.mixture.state(self.net(params))
        loss, _ = self.step(params, {**first, "logits": logit_K})
        slopes = torch.autograd.grad(loss, [*params.values()], materialize_grads=True)
        after = {
            n: p.detach() - self.mixture.rate * s
            for (n, p), s in zip(params.items(), slopes, strict=True)
        }
        z_BD = (
            self.net({})
            .using(after)
            .encode(torch.cat([self.episode.support_x, self.episode.query_x]))
        )
        support, query = z_BD[: len(self.episode.support_x)], z_BD[len(self.episode.support_x) :]
        means = torch.stack(
            [support[self.episode.support_y == n].mean(0) for n in range(self.episode.ways)]
        )
        return float(F.cross_entropy(-(torch.cdist(query, means) ** 2), self.episode.query_y))


def scene_of(*members: AbstractPretext, **params: Json) -> Scene:
    """Return a scene for a mixture of these members, whose weights move at each step."""
    mixture = Mixture(members=members, weights="learned", **{"every": 1, "rate": 0.3, **params})
    trial = small(FORM, lambda width: mixture.head(width, FORM))
    assert mixture.validates
    episode = task_of(mixture.validates.shape, FORM)
    return Scene(mixture=mixture, trial=trial, x=inputs(FORM, 6), episode=episode)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0], [0.7, -1.1, 0.2]])
def test_the_slope_is_that_of_the_outer_loss_after_one_step(logits: list[float]) -> None:
    """The hypergradient equals central differences of the whole: step, episode, softmax."""
    scene = scene_of(Rotation(), Simclr(), Rotation(batch_size=9))
    logit_K = torch.tensor(logits)
    params = scene.leaves()
    first = scene.mixture.state(scene.net(params))
    _, state = scene.step(params, {**first, "logits": logit_K})
    found_K = state["mean"] / (1 - BETA1)  # Adam's first moment after one step
    shift_KK = SHIFT * torch.eye(3)
    expected = [
        (scene.outer(logit_K + shift) - scene.outer(logit_K - shift)) / (2 * SHIFT)
        for shift in shift_KK
    ]
    assert found_K.tolist() == pytest.approx(expected, rel=1e-6)
    assert found_K.abs().min() > 1e-4


@pytest.mark.usefixtures("_double")
def test_a_step_of_the_weights_is_adams() -> None:
    """The first step moves each logit by the rate, against its slope, and notes the moments."""
    scene = scene_of(Rotation(), Simclr(), weight_rate=0.1)
    params = scene.leaves()
    first = scene.mixture.state(scene.net(params))
    _, state = scene.step(params, first)
    slope_K = state["mean"] / (1 - BETA1)
    assert state["logits"].tolist() == pytest.approx((-0.1 * slope_K.sign()).tolist(), rel=1e-3)
    assert torch.allclose(state["square"], 0.001 * slope_K.square(), rtol=1e-12)
    assert int(state["step"]) == 1


@pytest.mark.usefixtures("_double")
def test_weights_move_when_they_are_due() -> None:
    """The first step of the weights is taken after the warm-up, the next ``every`` steps later."""
    scene = scene_of(Rotation(), Simclr(), warm_up=2, every=3)
    params = scene.leaves()
    state = scene.mixture.state(scene.net(params))
    moved = []
    for _ in range(9):
        before = state["logits"]
        _, state = scene.step(params, state)
        moved.append(not torch.equal(before, state["logits"]))
    assert moved == [number in (2, 5, 8) for number in range(9)]
    assert [scene.mixture.examples(n) - n * 64 * 6 for n in (2, 3, 5, 6, 9)] == [
        0, 80, 80, 160, 240,
    ]  # fmt: skip


def test_the_training_draws_nothing_for_the_weights() -> None:
    """An episode comes from the engine alone: the batch's generator moves as without it."""
    states = []
    for scene in (scene_of(Rotation(), Simclr()), scene_of(Rotation(), Simclr(), warm_up=99)):
        params, rng = scene.leaves(), Generator().manual_seed(7)
        net = scene.net(params)
        scene.mixture.loss(net, scene.mixture.state(net), scene.x, rng)
        states.append(rng.get_state())
    assert torch.equal(*states)


@dataclass(frozen=True, kw_only=True)
class Twin(Rotation):
    """Rotation with a head that begins the same each time: what two of them share they keep."""

    def head(self, width: int, form: Form) -> nn.Module:
        """Return a head of fixed first weights."""
        head = nn.Linear(width, 4)
        with torch.no_grad():
            head.weight.copy_(torch.linspace(-0.1, 0.1, head.weight.numel()).view_as(head.weight))
            head.bias.zero_()
        return head


@pytest.mark.usefixtures("_double")
def test_equal_members_keep_equal_weights() -> None:
    """Two members with one head, batch and draws have one slope: nothing tells them apart."""
    scene = scene_of(Twin(), Twin(), Simclr(), rate=0.01)
    params = scene.leaves()
    state = scene.mixture.state(scene.net(params))
    optimizer = torch.optim.Adam([*params.values()], lr=0.01)
    for _ in range(20):
        loss, state = scene.step(params, state)
        slopes = torch.autograd.grad(loss, [*params.values()], materialize_grads=True)
        for leaf, slope in zip(params.values(), slopes, strict=True):
            leaf.grad = slope
        optimizer.step()
        state = {name: value.detach() for name, value in state.items()}
    one, other, third = state["logits"].softmax(0).tolist()
    assert one == pytest.approx(other, rel=1e-6)
    assert abs(third - one) > 0.05


# --- in the engine, on glyphs

HEAD = """
name: learned
data: glyphs
encoder: {name: conv4, width: 8}
shots: 1
seeds: 1
evaluate: {episodes: 4, queries: 2}
"""
MEMBERS = "members: [rotation, simclr], batch_size: 16"
PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path, glyphs: Dataset) -> PlanOf:
    """Return a function from a mixture's parameters to its plan."""

    def plan(pretext: str, budget: str = "pretrain_steps: 12") -> Plan:
        text = HEAD + f"pretext: {{{pretext}}}\nbudget: {{{budget}}}\n"
        (tmp_path / "suite.yaml").write_text(text)
        return make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))

    return plan


def first_of(plan: Plan) -> StageSpec:
    """Return the pre-training of the first row."""
    return next(spec for spec in plan.stages.values() if spec.kind == "pretrain")


class Stop(BaseException):
    """What interrupts a stage in these tests."""


def run(spec: StageSpec, folder: Path, *, stop_at: int | None = None) -> Store:
    """Run one stage in a store of this folder; ``stop_at`` interrupts it at that step."""

    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.step == stop_at:
            raise Stop

    store = Store(folder)
    store.prepare()
    perform(
        spec,
        Place(store=store, device=torch.device("cpu"), emit=emit, checkpoint_seconds=0),
    )
    return store


def weights(store: Store, spec: StageSpec) -> dict[str, Tensor]:
    """Return the encoder that a stage has trained."""
    return load(store.read(spec.kind, spec.key, "weights.safetensors"))


def curve(store: Store, spec: StageSpec) -> dict[str, list[float]]:
    """Return the learning curve of a stage."""
    found: dict[str, list[float]] = store.manifest(spec.kind, spec.key)["curve"]
    return found


@pytest.mark.parametrize("outer", ["instances", "labels"])
def test_weights_that_stand_still_are_the_uniform_mixture(
    plan_of: PlanOf, tmp_path: Path, outer: str
) -> None:
    """With a rate of 0 the same encoder comes out, to the last bit, as from fixed weights."""
    learned = f"name: mixture, {MEMBERS}, weights: learned, outer: {outer}, every: 2"
    still = first_of(plan_of(f"{learned}, weight_rate: 0"))
    fixed = first_of(plan_of(f"name: mixture, {MEMBERS}"))
    moved = first_of(plan_of(learned))
    found = [
        weights(run(spec, tmp_path / str(n)), spec) for n, spec in enumerate((still, fixed, moved))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[1])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[2])


def test_learned_weights_resume(plan_of: PlanOf, tmp_path: Path) -> None:
    """Interrupted and resumed, encoder and weights are the same bits as without."""
    spec = first_of(plan_of(f"name: mixture, {MEMBERS}, weights: learned, every: 3"))
    whole = run(spec, tmp_path / "whole")
    with pytest.raises(Stop):
        run(spec, tmp_path / "parts", stop_at=8)
    parts = run(spec, tmp_path / "parts")
    found, expected = weights(parts, spec), weights(whole, spec)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert curve(parts, spec) == curve(whole, spec)


def test_the_curve_holds_the_weights(plan_of: PlanOf, tmp_path: Path) -> None:
    """Each member's weight is in the learning curve; they sum to 1, and begin to move at once."""
    spec = first_of(plan_of(f"name: mixture, {MEMBERS}, weights: learned, every: 4"))
    found = curve(run(spec, tmp_path), spec)
    assert found.keys() == {"steps", "loss", "weight/rotation", "weight/simclr"}
    for one, other in zip(found["weight/rotation"], found["weight/simclr"], strict=True):
        assert one + other == pytest.approx(1)
    assert found["weight/rotation"][0] == pytest.approx(0.5, abs=0.03)
    assert len(set(found["weight/rotation"])) == 3


def test_two_members_of_one_name_are_told_apart() -> None:
    """Their weights are watched under name and place."""
    mixture = Mixture(members=(Rotation(), Simclr(), Rotation(batch_size=8)), weights="learned")
    watched = mixture.watched({"logits": torch.zeros(3)})
    assert list(watched) == ["weight/rotation 1", "weight/simclr", "weight/rotation 3"]


@pytest.mark.parametrize("outer", ["instances", "clusters", "labels"])
def test_a_row_says_what_its_episodes_saw(plan_of: PlanOf, outer: str) -> None:
    """Episodes of true classes make a row one that saw the validation split's labels."""
    plan = plan_of(f"name: mixture, {MEMBERS}, weights: learned, outer: {outer}")
    row = plan.cells[0]
    assert row.labels == ("validation" if outer == "labels" else "none")


def test_only_what_says_so_is_given_episodes(
    plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pretext that names no episodes has none to ask for: labels could be behind them."""
    monkeypatch.setattr(
        Rotation, "loss", lambda self, net, *given: (net.validation().query_x.sum(), {})
    )
    with pytest.raises(PermissionError):
        run(first_of(plan_of("name: rotation, batch_size: 8")), tmp_path)


def test_a_budget_of_images_holds_the_episodes(plan_of: PlanOf, glyphs: Dataset) -> None:
    """All that is passed forward is counted: batches, episodes, and what is clustered for them."""
    images = "pretrain_examples: 20_000"
    learned = f"name: mixture, {MEMBERS}, weights: learned, every: 5"
    spent = {
        outer: first_of(plan_of(f"{learned}, outer: {outer}", images)).inputs["budget"]
        for outer in ("instances", "clusters")
    }
    held_out = len(glyphs.part("val").examples)
    for outer, once in (("instances", 0), ("clusters", held_out)):
        steps, examples = spent[outer]["steps"], spent[outer]["examples"]
        assert examples == steps * 6 * 16 + -(-steps // 5) * 80 + once
        assert examples <= 20_000 < examples + 6 * 16 + 80


def test_clusters_are_episodes_without_labels(plan_of: PlanOf, tmp_path: Path) -> None:
    """Weights that follow episodes of clusters are learned, and others than those of instances."""
    learned = f"name: mixture, {MEMBERS}, weights: learned, every: 2"
    curves = []
    for outer in ("instances", "clusters"):
        spec = first_of(plan_of(f"{learned}, outer: {outer}"))
        curves.append(curve(run(spec, tmp_path / outer), spec)["weight/simclr"])
    assert curves[0] != curves[1]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ("outer_ways: 900, outer: labels", "validation episodes of 900 labels"),
        ("cluster_size: 900, outer: clusters", "validation episodes of 5 clusters"),
    ],
)
def test_episodes_that_the_split_cannot_fill_are_refused(
    plan_of: PlanOf, params: str, says: str
) -> None:
    """The plan says so before anything runs."""
    with pytest.raises(UserError, match=says):
        plan_of(f"name: mixture, {MEMBERS}, weights: learned, {params}")


@dataclass(frozen=True, kw_only=True)
class Unlearnable(AbstractPretext):
    """Name a class that is drawn anew for each image of each batch: there is nothing to learn."""

    reference: ClassVar[str] = "arXiv:1611.03530"
    views: ClassVar[int] = 1
    rate: float = 1e-3
    batch_size: int = 32

    def head(self, width: int, form: Form) -> nn.Module:
        """Return a linear layer with four outputs."""
        return nn.Linear(width, 4)

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the cross-entropy of drawn classes."""
        drawn_B = torch.randint(4, (len(x_BCHW),), generator=rng)
        return F.cross_entropy(net.head(net.encode(x_BCHW)), drawn_B), {}


@pytest.fixture
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the catalogue know the unlearnable pretext, as an installed package's."""
    entry = catalogue.Entry(
        kind="pretext",
        name="unlearnable",
        origin=f"{Unlearnable.__module__}:Unlearnable",
        path=None,
    )
    both = {**catalogue.entries("pretext"), "unlearnable": entry}
    original_entries, original_load = catalogue.entries, catalogue.load_class
    monkeypatch.setattr(
        catalogue, "entries", lambda kind: both if kind == "pretext" else original_entries(kind)
    )
    monkeypatch.setattr(
        catalogue,
        "load_class",
        lambda kind, name: Unlearnable if name == "unlearnable" else original_load(kind, name),
    )


@pytest.mark.usefixtures("_known")
def test_what_cannot_be_learned_loses_weight(plan_of: PlanOf, tmp_path: Path) -> None:
    """After a short training, a pretext of random labels has less than its uniform share."""
    members = "members: [unlearnable, rotation, simclr], batch_size: 32"
    spec = first_of(
        plan_of(f"name: mixture, {members}, weights: learned, every: 5", "pretrain_steps: 200")
    )
    found = curve(run(spec, tmp_path), spec)
    (name,) = found.keys() - {"steps", "loss", "weight/rotation", "weight/simclr"}
    assert found[name][-1] < 0.9 / 3
