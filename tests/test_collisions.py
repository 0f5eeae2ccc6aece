"""How often tasks without labels take one class for two: planned, observed, and reported."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.cell import Cell, Json
from bench.collisions import probability
from bench.contract import AbstractSource, AbstractTasks, Task, TaskShape
from bench.dataset import Dataset, Part, facts
from bench.form import Form
from bench.plan import Plan, make_plan
from bench.report.comparison import Block, Row
from bench.report.guessed import guessed_table
from bench.report.results import CellResult, Group
from bench.stages.observed import LOOKED_AT, collisions, same_pairs
from bench.stages.source import Source, members_of
from bench.stages.streams import generator
from bench.suite import read_suite
from bench.tasks.clusters import Clusters
from bench.tasks.instances import Instances

CPU = torch.device("cpu")
PlanOf = Callable[[str], Plan]


@pytest.fixture
def plan_of(tmp_path: Path, glyphs: Dataset) -> PlanOf:
    """Return a function from a suite's text, after its name and data, to its plan."""

    def plan(text: str) -> Plan:
        (tmp_path / "suite.yaml").write_text(f"name: guessed\ndata: glyphs\nseeds: 1\n{text}")
        return make_plan(read_suite(tmp_path / "suite.yaml"), lambda name, source: facts(glyphs))

    return plan


# --- planned


@pytest.mark.parametrize(
    ("counts", "ways"), [((2, 1, 3), 2), ((2, 1, 3), 3), ((4, 4), 2), ((1, 2, 0, 2), 3), ((5,), 2)]
)
def test_the_probability_is_that_of_all_draws(counts: tuple[int, ...], ways: int) -> None:
    """It is the share of all sets of examples that hold two of one class."""
    classes = np.repeat(np.arange(len(counts)), counts)
    draws = [classes[list(draw)] for draw in combinations(range(len(classes)), ways)]
    held = [len(set(draw)) < ways for draw in draws]
    assert probability(counts, ways) == pytest.approx(np.mean(held), abs=1e-15)


@pytest.mark.parametrize(
    ("classes", "examples", "ways", "different"),
    [
        (1028, 20, 5, 0.991),  # Omniglot
        (1028, 20, 20, 0.838),
        (64, 600, 5, 0.852),  # CIFAR-FS
        (64, 600, 20, 0.036),
        (10, 5000, 5, 0.30),  # CIFAR-10
        (10, 5000, 20, 0),
    ],
)
def test_known_sets(classes: int, examples: int, ways: int, different: float) -> None:
    """The probabilities of the usual sets are those that were computed by hand."""
    decimals = 3 if different > 0.3 or different < 0.1 else 2
    assert round(1 - probability((examples,) * classes, ways), decimals) == different


def test_the_plan_warns(plan_of: PlanOf) -> None:
    """Each row that guesses classes is warned of, once; its cells hold the probability."""
    plan = plan_of(
        "shots: [1, 5]\nways: 5\nmeta: {name: protonet, task_ways: 5}\ngrid: {tasks: [labels,"
        " instances, {name: clusters, pretext: none, k: 688}, {name: clusters, pretext: none, k: 9}"
        "]}\n"
    )
    even = probability((2,) * 344, 5)
    assert plan.warnings[-3:] == (
        "none + protonet (instances): two of a task's 5 examples are of one true class with"
        " probability 0.0276 (344 training classes)",
        "none + protonet (clusters none k=688): two of a task's 5 clusters are of one true class"
        f" with probability {even:.3g} if all 688 are pure, and spread evenly over the 344 training"
        " classes",
        "none + protonet (clusters none k=9): 9 clusters for 344 training classes: they cannot all"
        " be pure",
    )
    planned = {cell.variant: cell.params.get("task.collisions") for cell in plan.cells}
    assert list(planned.values()) == [None, probability((24,) * 344, 5), even, None, None]


# --- observed


def part_of(classes: int, examples: int) -> Part:
    """Return a split whose images hold nothing."""
    count = classes * examples
    return Part(
        examples=np.zeros((count, 1, 1, 1), np.uint8),
        form=Form(shape=(1, 1, 1), modality="image"),
        labels=np.repeat(np.arange(classes), examples),
        classes=tuple(map(str, range(classes))),
        counts=(examples,) * classes,
    )


def drawer(tasks: AbstractTasks, shape: TaskShape) -> Callable[[AbstractSource, int], Task]:
    """Return what draws a numbered task."""
    return lambda source, number: tasks.sample(source, shape, generator(CPU, "test", number))


def randomly_clustered(part: Part, clusters: int) -> Source:
    """Return a split in clusters of equal size that know nothing of its classes."""
    order = torch.randperm(len(part.labels), generator=generator(CPU, "clusters"))
    assigned = (torch.arange(len(part.labels)) % clusters)[order]
    return Source(part, None, CPU, labels=False, clusters=[members_of(assigned, 1)])


def test_images_collide_as_planned() -> None:
    """Over many tasks of single images the observed share is the planned one."""
    part, shape = part_of(12, 30), TaskShape(ways=4, shots=1, queries=3)
    found = collisions(
        part, Source(part, None, CPU, labels=False), drawer(Instances(), shape), 9999
    )
    assert found["tasks"] == LOOKED_AT
    assert found["share"] == pytest.approx(probability((30,) * 12, 4), abs=0.035)  # 3 SE
    assert found["pairs"] == pytest.approx(29 / 359, abs=0.01)


def test_random_clusters_collide_as_images_do() -> None:
    """Clusters that know nothing give the rate of images that are drawn at random."""
    part, shape = part_of(12, 30), TaskShape(ways=4, shots=1, queries=0)
    found = collisions(
        part, randomly_clustered(part, 9), drawer(Clusters(pretext=None), shape), 2000
    )
    assert found["share"] == pytest.approx(probability((30,) * 12, 4), abs=0.06)


def test_impure_clusters_collide_no_more_than_images_do() -> None:
    """Where no class is most of a way's examples, nothing makes ways more alike than chance."""
    part, shape = part_of(40, 30), TaskShape(ways=4, shots=2, queries=6)
    found = collisions(
        part, randomly_clustered(part, 20), drawer(Clusters(pretext=None), shape), 2000
    )
    assert found["pairs"] == pytest.approx(29 / 1199, abs=0.005)


def test_a_way_is_of_the_class_of_its_first_support_example() -> None:
    """What follows does not count; pairs are counted once."""
    support, query = torch.tensor([5.0, 7.0, 5.0, 8.0, 8.0, 8.0]), torch.full((6,), 8.0)
    label = torch.arange(3).repeat(2)
    task = Task(
        support_x=support[:, None, None, None],
        support_y=label,
        query_x=query[:, None, None, None],
        query_y=label,
        ways=3,
    )
    assert same_pairs(task) == pytest.approx(1 / 3)  # the ways are of 5, 7 and 5
    other = replace(task, support_x=torch.tensor([5.0, 7, 6, 5, 5, 5])[:, None, None, None])
    assert same_pairs(other) == 0


# --- reported


def row_of(name: str, params: dict[str, Json], *trained: dict[str, Json]) -> Row:
    """Return a row of two seeds, whose trained stages have these manifests."""
    cells = [
        Cell(
            variant=name, data="glyphs", encoder="conv4", pretext="none", init="scratch",
            tasks="clusters", auxiliary="none", meta="protonet", norm="running", labels="none",
            ways=5, shots=1, seed=seed, params=params, stages={"evaluate": "e"},
        )
        for seed in range(2)
    ]  # fmt: skip
    results = tuple(
        CellResult(cell=cell, status="done", trained=one)
        for cell, one in zip(cells, trained, strict=True)
    )
    group = Group(variant=name, data="glyphs", ways=5, shots=1, results=results)
    return Row(
        group=group, accuracy=None, legacy=None, baseline=None, floor=None, is_baseline=False
    )


def block_of(*rows: Row) -> Block:
    """Return a block of rows."""
    return Block(data="glyphs", ways=5, shots=1, rows=rows, across=(), baselines={})


def test_the_report_shows_planned_and_observed() -> None:
    """One line a row that guesses, means over seeds; what no manifest holds is a dash."""
    seeds = [
        {
            "metatrain": {"collisions": {"share": share, "pairs": share / 10}, "clusters": [n]},
            "cluster": {"metrics": {"purity": 0.25}},
        }
        for share, n in ((0.1, 400), (0.3, 410))
    ]
    table = guessed_table(
        block_of(
            row_of("cactus", {"task.collisions": 0.0, "tasks.k": 500}, *seeds),
            row_of("labels", {}, {"metatrain": {}}, {"metatrain": {}}),
            row_of("UMTRA", {"task.collisions": 0.148}, {"metatrain": {}}, {"metatrain": {}}),
        )
    )
    assert table is not None
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.markdown.splitlines()[2:]
    ]
    assert lines == [
        ["cactus", "0", "20", "2", "405 of 500", "0.25"],
        ["UMTRA", "14.8", "-", "-", "-", "-"],
    ]
    assert table.name == "pseudo-classes-glyphs-5way-1shot"
    assert table.frame["observed"].tolist()[0] == pytest.approx(0.2)


def test_a_mean_over_new_tasks_is_of_all_its_trainings() -> None:
    """Where a result is the mean over tasks, each task's own training counts."""
    seeds = [{"metatrain": {"collisions": {"share": n / 10, "pairs": 0.0}}} for n in (1, 3)]
    row = row_of("cactus", {"task.collisions": 0.0, "tasks.k": 500}, *seeds)
    one, other = row.group.results
    mean = replace(one, parts=(one, other))
    pooled = replace(row, group=replace(row.group, results=(mean, mean)))
    table = guessed_table(block_of(pooled))
    assert table is not None
    assert table.frame["observed"].tolist() == pytest.approx([0.2])


def test_the_table_is_absent_where_labels_tell() -> None:
    """A block without such rows has no table of pseudo-classes."""
    assert guessed_table(block_of(row_of("labels", {}, {}, {}))) is None
