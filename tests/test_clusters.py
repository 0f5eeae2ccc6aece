"""Tasks of clusters: what is clustered, what that is keyed by, and what tasks are made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from bench.cell import Cell, StageSpec
from bench.contract import AbstractSource, Task, TaskShape
from bench.dataset import Dataset, facts, open_known
from bench.errors import UserError
from bench.form import Form
from bench.mirror import cell_child, content
from bench.plan import Plan, make_plan
from bench.report.preview import plan_text
from bench.report.results import read_results
from bench.report.why import why_text
from bench.seeds import derive
from bench.stages import cluster
from bench.stages.checkpoint import pack
from bench.stages.cluster import large_enough, pseudo_classes, read_clusters
from bench.stages.model import Model, assemble
from bench.stages.observed import collisions
from bench.stages.perform import perform
from bench.stages.place import Diverged, Place
from bench.stages.source import Source, members_of, read_part, unlabelled_order
from bench.stages.streams import generator
from bench.store import Store
from bench.suite import read_suite
from bench.tasks.clusters import Clusters

HEAD = """
name: clustered
data: glyphs
encoder: {name: conv4, width: 4}
ways: 3
shots: 1
seeds: 1
budget: {pretrain_steps: 2, metatrain_steps: 3}
evaluate: {episodes: 2, queries: 2}
"""
META = "meta: {name: protonet, task_ways: 3, task_shots: 1, task_queries: 2, tasks_per_step: 2}\n"
CPU = torch.device("cpu")
SIMCLR = "{name: simclr, batch_size: 8}"
ROTATION = "{name: rotation, batch_size: 8}"
LEARNED = f"{{name: mixture, members: [{ROTATION}, {SIMCLR}], weights: learned, outer: labels}}"
UNTRAINED = f"{META}tasks: {{name: clusters, pretext: none, k: 7}}\n"
BOTH = f"{META}pretext: {ROTATION}\ntasks: {{name: clusters, pretext: {SIMCLR}, k: 6}}\n"
PlanOf = Callable[[str], Plan]


@pytest.fixture
def plan_of(tmp_path: Path, glyphs: Dataset) -> PlanOf:
    """Return a function from a suite's text, after its head, to its plan."""

    def plan(text: str) -> Plan:
        (tmp_path / "suite.yaml").write_text(HEAD + text)
        return make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))

    return plan


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a place with an empty store."""
    store = Store(tmp_path / "results")
    store.prepare()
    return Place(store=store, device=CPU, emit=lambda event: None)


def first(plan: Plan) -> Cell:
    """Return the first cell that is no control."""
    return next(one for one in plan.cells if not one.control)


def stages(plan: Plan) -> dict[str, StageSpec]:
    """Return the stages of that cell by their roles."""
    return {role: plan.stages[key] for role, key in first(plan).stages.items()}


def true_classes(spec: StageSpec) -> np.ndarray:
    """Return the class of each training example, in the order of an unlabelled source."""
    part = read_part(spec.inputs["data"])
    true_N: np.ndarray = part.labels[unlabelled_order(len(part.labels)).numpy()]
    return true_N


def planted(spec: StageSpec) -> Callable[[Model, Source], np.ndarray]:
    """Return an embedding that knows the class of every example."""
    return lambda model, source: true_classes(spec)[:, None].astype(np.float32)


# --- the plan


def test_the_embedding_is_a_pretraining_that_rows_share(plan_of: PlanOf) -> None:
    """It is the very stage of a row that pre-trains on that pretext, whatever selects there."""
    clusters = f"{{name: clusters, pretext: {SIMCLR}, k: 6}}"
    plan = plan_of(
        f"variants:\n  - {{label: plain, pretext: {SIMCLR}}}\n"
        f"  - {{label: cactus, tasks: {clusters}, {META.strip()}}}\n"
        f"  - {{label: own, pretext: {SIMCLR}, tasks: {clusters}, {META.strip()}}}\n"
    )
    plain, cactus, own = (
        next(cell for cell in plan.cells if cell.variant == name)
        for name in ("plain", "cactus", "own")
    )
    assert list(cactus.stages) == ["embedding", "cluster", "metatrain", "evaluate"]
    assert list(own.stages) == ["pretrain", "cluster", "metatrain", "evaluate"]
    assert plain.stages["pretrain"] == cactus.stages["embedding"] == own.stages["pretrain"]
    assert cactus.stages["cluster"] == own.stages["cluster"]
    assert cactus.stages["metatrain"] != own.stages["metatrain"]
    assert cactus.labels == "none"
    assert cactus.params["embedding.steps"] == 2
    assert "pretext/simclr" in plan.cards


def test_a_row_has_an_embedding_beside_what_it_starts_from(plan_of: PlanOf) -> None:
    """Pre-training of the start and of the embedding are two stages, and both are needed."""
    specs = stages(plan_of(BOTH))
    assert list(specs) == ["pretrain", "embedding", "cluster", "metatrain", "evaluate"]
    assert specs["pretrain"].inputs["pretext"]["name"] == "rotation"
    assert specs["cluster"].needs == (specs["embedding"].key,)
    assert specs["metatrain"].needs == (specs["pretrain"].key, specs["cluster"].key)


@pytest.mark.parametrize("change", ["k: 8", "k: 7, partitions: 2", "k: 7, shots: 2"])
def test_what_a_cluster_stage_is_keyed_by(plan_of: PlanOf, change: str) -> None:
    """By k and partitions, and not by the tasks that are made of its clusters."""
    other = stages(plan_of(f"{META}tasks: {{name: clusters, pretext: none, {change}}}\n"))
    plain = stages(plan_of(UNTRAINED))
    assert (other["cluster"].key == plain["cluster"].key) == ("shots" in change)
    assert other["metatrain"].key != plain["metatrain"].key


def test_rows_are_called_by_pretext_and_k(plan_of: PlanOf) -> None:
    """Names tell which embedding is clustered, and k where rows differ in it."""
    plan = plan_of(
        f"{META}grid:\n  tasks: [labels, {{name: clusters, pretext: none, k: 9}},"
        f" {{name: clusters, pretext: {SIMCLR}, k: 7}}, {{name: clusters, pretext: none, k: 7}},"
        " {name: clusters, pretext: simclr, k: 7},"
        " {name: clusters, pretext: {name: mixture, members: [rotation, simclr]}, k: 7},"
        " {name: clusters, pretext: {name: mixture, members: [rotation, jigsaw]}, k: 7}]\n"
    )
    names = [name for name in dict.fromkeys(cell.variant for cell in plan.cells)]
    assert names == [
        "none + protonet (labels)",
        "none + protonet (clusters none k=9)",
        "none + protonet (clusters simclr batch_size=8 k=7)",
        "none + protonet (clusters none k=7)",
        "none + protonet (clusters simclr k=7)",
        "none + protonet (clusters mixture members=rotation+simclr k=7)",
        "none + protonet (clusters mixture members=rotation+jigsaw k=7)",
        "random_init",
    ]


REFUSED = [
    ("{name: clusters, pretext: none, k: 2}", "k = 2 clusters .* 3-way tasks"),
    ("{name: clusters, pretext: none, k: 9000}", "k = 9000 clusters of the 8256 training examples"),
    ("{name: clusters, pretext: {name: simclr, batch_size: 9999}, k: 9}", "batch_size 9999, but"),
    ("{name: clusters, k: 9}", "needs the parameter 'pretext'"),
    ("{name: clusters, pretext: nothing}", "no pretext is named 'nothing'"),
    ("{name: clusters, pretext: none, k: 9, queries: 2800}", "of 8403 different examples"),
    (
        f"{{name: clusters, k: 9, pretext: {LEARNED[:-1]}, outer_ways: 900}}}}",
        "validation episodes of 900 labels",
    ),
]


@pytest.mark.parametrize(("tasks", "told"), REFUSED)
def test_what_cannot_be_clustered_is_refused(plan_of: PlanOf, tasks: str, told: str) -> None:
    """Too few clusters for a task, more than examples, a batch beyond the split, no pretext.

    So are tasks that the split cannot fill, and validation episodes of an embedding.
    """
    with pytest.raises(UserError, match=told):
        plan_of(f"{META}tasks: {tasks}\n")


@pytest.mark.parametrize(
    ("outer", "labels"), [("labels", "validation"), ("clusters", "none"), ("instances", "none")]
)
def test_a_row_saw_the_labels_of_its_embedding(plan_of: PlanOf, outer: str, labels: str) -> None:
    """An embedding that validates on true classes makes its row one that saw them."""
    learned = LEARNED.replace("outer: labels", f"outer: {outer}")
    assert first(plan_of(f"{META}tasks: {{name: clusters, pretext: {learned}}}\n")).labels == labels


@pytest.mark.parametrize("start", [ROTATION, SIMCLR])
def test_the_summed_control_passes_the_images_of_its_row(plan_of: PlanOf, start: str) -> None:
    """It needs the embedding too: the same stage, whose images are no longer there to spend."""
    text = BOTH.replace(f"pretext: {ROTATION}", f"pretext: {start}", 1)
    plan = plan_of(f"{text}controls: [scratch_summed]\n")
    row, control = (one for one in plan.cells if one.control != "random_init")
    assert (control.control, control.pretext) == ("scratch_summed", "none")
    assert control.stages["cluster"] == row.stages["cluster"]
    passed = [
        sum(
            plan.stages[key].inputs["budget"]["examples"]
            for role, key in one.stages.items()
            if role != "evaluate"
        )
        for one in (row, control)
    ]
    of_a_step = 2 * 3 * (1 + 2)
    assert 0 <= passed[0] - passed[1] < of_a_step


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("augment: none\n", "the clusters' pretext would see the same example twice"),
        ("selection: pretext_val\n", "no cluster is there"),
    ],
)
def test_what_makes_no_sense_is_dropped(plan_of: PlanOf, more: str, told: str) -> None:
    """An embedding that lives by views needs some; the validation split has no clusters."""
    grid = f"grid: {{tasks: [labels, {{name: clusters, pretext: {SIMCLR}, k: 9}}]}}\n"
    (dropped,) = plan_of(META + (more if "augment" in more else "") + grid).dropped or (None,)
    if "augment" not in more:
        found = plan_of(
            f"{META}variants:\n  - {{label: a, pretext: {ROTATION}, meta: none}}\n"
            f"  - {{label: b, tasks: {{name: clusters, pretext: none, k: 9}}, {more.strip()}}}\n"
        ).dropped
        (dropped,) = found
    assert dropped is not None
    assert told in dropped.reason


# --- the stage


def test_clusters_are_those_of_the_embedding(
    plan_of: PlanOf, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are scikit-learn's k-means of the features, in the unlabelled order."""
    spec = stages(plan_of(UNTRAINED))["cluster"]
    seen: list[np.ndarray] = []
    features = cluster._features

    def spy(model: Model, source: Source) -> np.ndarray:
        with pytest.raises(PermissionError):
            source.classes()
        seen.append(features(model, source))
        return seen[0]

    monkeypatch.setattr(cluster, "_features", spy)
    perform(spec, place)
    seed = derive("cluster", spec.inputs["data"]["digest"], 0, 0) % 2**32
    expected = KMeans(7, n_init=10, max_iter=3000, random_state=seed).fit_predict(seen[0])

    (found_N,) = read_clusters(place.store, spec.key)

    assert found_N.tolist() == expected.tolist()
    true_N = true_classes(spec)
    manifest = place.store.manifest("cluster", spec.key)
    assert manifest["metrics"] == pytest.approx(
        {"nmi": normalized_mutual_info_score(true_N, expected), "purity": slow(expected, true_N)}
    )
    sizes = sorted(int((expected == number).sum()) for number in range(7))
    assert manifest["sizes"] == [{"smallest": sizes[0], "median": sizes[3], "largest": sizes[6]}]
    assert manifest["cost"]["examples"] == len(true_N)


def slow(cluster_N: np.ndarray, true_N: np.ndarray) -> float:
    """Return the purity, cluster by cluster."""
    most = [np.bincount(true_N[cluster_N == one]).max() for one in np.unique(cluster_N)]
    return float(sum(most) / len(true_N))


def test_features_are_those_of_a_tested_encoder(plan_of: PlanOf, place: Place) -> None:
    """Each example is embedded alone, under running statistics, by the embedding's weights."""
    specs = stages(plan_of(BOTH))
    perform(specs["embedding"], place)
    spec = specs["cluster"]
    inputs = dict(spec.inputs)
    model = assemble(
        inputs,
        place,
        Form(shape=(1, 28, 28), modality="image"),
        lambda width: torch.nn.Identity(),
        "x",
        channels_last=True,
    )
    part = read_part(spec.inputs["data"])
    few = Source(part, None, CPU, labels=False)
    x = few.examples(torch.arange(5))
    apart = [model.network.encode(model.params, model.buffers, one[None], "stored") for one in x]
    found = cluster._features(model, few)[:5]
    assert found == pytest.approx(torch.cat(apart).detach().numpy(), abs=1e-5)
    fresh = assemble(
        inputs | {"needs": {}}, place, Form(shape=(1, 28, 28), modality="image"),
        lambda width: torch.nn.Identity(), "x", channels_last=True,
    )  # fmt: skip
    assert not np.allclose(cluster._features(fresh, few)[:5], found, atol=1e-2)


def test_more_partitions_scale_the_axes(
    plan_of: PlanOf, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is of the features as they are; each further one of axes scaled by U(0, 1)."""
    rng = generator(CPU, "test")
    corners = torch.randn(8256, 4, generator=rng).numpy()
    monkeypatch.setattr(cluster, "_features", lambda *given: corners)
    text = f"{META}tasks: {{name: clusters, pretext: none, k: 5, partitions: 3}}\n"
    spec = stages(plan_of(text))["cluster"]
    perform(spec, place)
    found_PN = read_clusters(place.store, spec.key)
    digest = spec.inputs["data"]["digest"]
    for number, found_N in enumerate(found_PN):
        scales = generator(CPU, "cluster scales", digest, 0, number)
        scale_D = torch.rand(4, generator=scales, dtype=torch.float64).numpy() if number else 1.0
        seed = derive("cluster", digest, 0, number) % 2**32
        means = KMeans(5, n_init=1, max_iter=3000, random_state=seed)
        scaled = (corners * scale_D).astype(np.float32)
        assert found_N.tolist() == means.fit_predict(scaled).tolist()
    assert len(place.store.manifest("cluster", spec.key)["curve"]["purity"]) == 3


def test_features_that_are_not_finite_end_the_stage(
    plan_of: PlanOf, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedding that diverged is told as such."""
    spec = stages(plan_of(UNTRAINED))["cluster"]
    nan = torch.full((1, 4), float("nan"))
    monkeypatch.setattr("bench.stages.network.Network.encode", lambda *given: nan)
    with pytest.raises(Diverged, match="a feature of the embedding"):
        perform(spec, place)


# --- tasks


def test_a_perfect_embedding_gives_the_true_classes(
    plan_of: PlanOf, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many clusters as classes they are pure, and no task holds a class twice."""
    specs = stages(plan_of(f"{META}tasks: {{name: clusters, pretext: none, k: 344}}\n"))
    monkeypatch.setattr(cluster, "_features", planted(specs["cluster"]))
    for role in ("cluster", "metatrain"):
        perform(specs[role], place)
    assert place.store.manifest("cluster", specs["cluster"].key)["metrics"]["purity"] == 1
    manifest = place.store.manifest("metatrain", specs["metatrain"].key)
    assert manifest["collisions"] == {"tasks": 6, "share": 0.0, "pairs": 0.0}
    assert manifest["clusters"] == [344]
    part = read_part(specs["cluster"].inputs["data"])
    handed = large_enough(read_clusters(place.store, specs["cluster"].key), 344, 3, 3)
    unlabelled = Source(part, None, CPU, labels=False, clusters=handed)
    members_CM, counts = unlabelled.clusters()[0]
    x = unlabelled.examples(members_CM[11, : counts[11]])
    tasks, shape = Clusters(pretext=None, k=344), TaskShape(ways=20, shots=1, queries=2)

    def draw(truth: AbstractSource, number: int) -> Task:
        return tasks.sample(truth, shape, generator(CPU, "test", number))

    assert collisions(part, unlabelled, draw, 100)["share"] == 0
    images = {image.tobytes() for image in (x * 255).round().to(torch.uint8).numpy()}
    classes = [
        {image.tobytes() for image in part.examples[part.labels == one]} for one in range(344)
    ]
    assert images in classes


def test_labels_are_looked_at_for_logging_alone(
    plan_of: PlanOf, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the true labels in disorder the same clusters and weights come out to the bit."""
    specs, kept = stages(plan_of(UNTRAINED)), []
    for disorder in (False, True):

        def opened(digest: str, disorder: bool = disorder) -> Dataset:
            found = open_known(digest)
            if disorder:
                monkeypatch.setattr(Dataset, "part", disordered(Dataset.part))
            return found

        monkeypatch.setattr("bench.stages.source.open_known", opened)
        store = Store(tmp_path / str(disorder))
        store.prepare()
        here = Place(store=store, device=CPU, emit=lambda event: None)
        for role in ("cluster", "metatrain"):
            perform(specs[role], here)
        key = specs["metatrain"].key
        kept.append(
            (
                read_clusters(store, specs["cluster"].key).tolist(),
                store.read("metatrain", key, "weights.safetensors"),
                store.manifest("cluster", specs["cluster"].key)["metrics"],
            )
        )
    assert kept[0][:2] == kept[1][:2]
    assert kept[0][2] != kept[1][2]


def disordered(part_of: Callable[..., object]) -> Callable[..., object]:
    """Return a split's method with labels in disorder."""

    def part(self: Dataset, split: str) -> object:
        found = part_of(self, split)
        rng = np.random.default_rng(0)
        object.__setattr__(found, "labels", rng.permutation(found.labels))  # type: ignore[attr-defined]
        return found

    return part


def test_each_task_is_of_one_partition_drawn_at_random(
    glyphs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each partition has about its share of the tasks, and clusters of two are never mixed."""
    count = len(glyphs.part("train").examples)
    halves = torch.arange(count) % 4, 4 + torch.arange(count) // (count // 4)
    handed = [members_of(one, 9) for one in halves]
    source = Source(glyphs.part("train"), None, CPU, labels=False, clusters=handed)
    seen: list[torch.Tensor] = []

    def gathered(index: torch.Tensor) -> torch.Tensor:
        seen.append(index)
        return index

    monkeypatch.setattr(source, "examples", gathered)
    shape, drawn = TaskShape(ways=3, shots=2, queries=3), [0, 0]
    for number in range(60):
        task = Clusters(pretext=None, k=4).sample(source, shape, generator(CPU, "test", number))
        index, label = torch.cat(seen[-2:]), torch.cat([task.support_y, task.query_y])
        of_one = [
            all(len(set(half[index[label == way]].tolist())) == 1 for way in range(3))
            for half in halves
        ]
        drawn[of_one.index(True)] += 1
    assert min(drawn) > 15


def test_small_clusters_are_left_out() -> None:
    """Members are those of the clusters that can fill a task; too few of these is told."""
    cluster_PN = torch.tensor([[0, 2, 0, 1, 2, 2], [3, 3, 3, 0, 0, 0]])
    first, second = large_enough(cluster_PN, 4, least=2, ways=2)
    assert first[0].tolist() == [[0, 2, -1], [1, 4, 5]]
    assert first[1].tolist() == [2, 3]
    assert second[0].tolist() == [[3, 4, 5], [0, 1, 2]]
    with pytest.raises(ValueError, match="only 1 of 4 clusters of partition 0 hold 3 examples"):
        large_enough(cluster_PN, 4, least=3, ways=2)
    assert len(members_of(cluster_PN[0], least=9)[0]) == 0


def test_too_few_clusters_fail_the_training(plan_of: PlanOf, place: Place) -> None:
    """A training whose tasks too few clusters can fill says so; the clusters are kept."""
    text = f"{META}tasks: {{name: clusters, pretext: none, k: 7, queries: 2700}}\n"
    specs = stages(plan_of(text))
    perform(specs["cluster"], place)
    with pytest.raises(ValueError, match=r"only [012] of 7 clusters .* hold 2701 examples"):
        perform(specs["metatrain"], place)
    assert place.store.has("cluster", specs["cluster"].key)


# --- what others see of it


def test_results_and_mirror_know_the_embedding(plan_of: PlanOf, place: Place) -> None:
    """Cost, curves, plan and why count the embedding and the clusters beside the rest."""
    plan = plan_of(BOTH)
    specs, cell = stages(plan), first(plan)
    for spec in specs.values():
        perform(spec, place)
    batches = {role: cell.params[f"{role}.batch"] for role in ("pretrain", "embedding")}
    assert batches == {"pretrain": "8", "embedding": "8"}
    manifests = {role: place.store.manifest(spec.kind, spec.key) for role, spec in specs.items()}
    (found,) = [one for one in read_results(plan, place.store).cells if one.cell == cell]
    below = [one for role, one in manifests.items() if role != "evaluate"]
    assert found.examples == sum(one["cost"]["examples"] for one in below)
    assert found.examples == 2 * 4 * 8 + 2 * 2 * 8 + 8256 + 3 * 2 * 9
    assert found.seconds == pytest.approx(sum(one["cost"]["seconds"] for one in manifests.values()))
    assert found.seconds_shared(read_results(plan, place.store).sharing) == found.seconds
    held = content(place.store, cell_child(cell))
    assert held is not None
    names = {name for name, _ in held.points}
    assert {"pretrain/loss", "embedding/loss", "cluster/purity", "metatrain/loss"} <= names
    assert [line.split()[0] for line in why_text(plan, place.store, cell).splitlines()[1:]] == [
        *("pretrain", "embedding", "cluster", "metatrain", "evaluate")
    ]
    line = next(one for one in plan_text(plan, place.store).splitlines() if "pretrain  " in one)
    assert line.split() == ["pretrain", "2", "2", "0", "2"]


def test_pseudo_classes_of_a_split_are_the_clusters_of_its_images(
    tmp_path: Path, glyphs: Dataset
) -> None:
    """Clusters that are the true classes, found in the order without labels, give these back."""
    part, store = glyphs.part("val"), Store(tmp_path)
    found_PN = torch.from_numpy(part.labels)[unlabelled_order(len(part.labels))][None]
    found_PN[0, :2] = found_PN.max() + 1  # one that is too small for an episode
    clustered = StageSpec(kind="cluster", inputs={"needs": {}})
    with store.writing(clustered.key):
        files = {cluster.CLUSTERS: pack({"clusters": found_PN.int()})}
        store.commit(clustered, {}, files)
    needs = {"cluster": clustered.key}
    asked = {"ways": 5, "shots": 1, "queries": 3, "needs": needs}
    made = pseudo_classes(part, StageSpec(kind="evaluate", inputs=asked), store)
    assert len(made.classes) == len(part.classes)
    assert sum(made.counts) == sum(part.counts) - 2
    truth = {
        image.tobytes(): label for image, label in zip(part.examples, part.labels, strict=True)
    }
    for image, label in zip(made.examples, made.labels, strict=True):
        assert truth[image.tobytes()] == label
