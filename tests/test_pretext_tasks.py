"""Tasks that are self-supervised problems: members, classes, images, and rows of a plan."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench.cell import Json
from bench.contract import (
    AbstractClassifying,
    AbstractData,
    AbstractPretext,
    AbstractSource,
    Setting,
    Task,
    TaskShape,
)
from bench.dataset import Facts
from bench.errors import UserError
from bench.form import Form
from bench.plan import Plan, make_plan
from bench.pretext.erased import Erased
from bench.pretext.jigsaw import Jigsaw
from bench.pretext.recolour import Recolour
from bench.pretext.rotation import Rotation
from bench.pretext.simclr import Simclr
from bench.suite import read_suite
from bench.tasks.pretext import Pretexts

CPU = torch.device("cpu")
SHAPE = TaskShape(ways=3, shots=2, queries=4)


@dataclass(frozen=True, kw_only=True)
class Marking(AbstractClassifying):
    """Marks an image with who shows it as what: pixel 1 is the member, pixel 2 the class."""

    reference: ClassVar[str] = "arXiv:1606.04080"
    batch_size: int = 8
    rate: float = 1e-3
    member: int
    classes: int

    @property
    def num_classes(self) -> int:
        """As many as it was made with."""
        return self.classes

    def show(self, x_BCHW: Tensor, class_B: Tensor, rng: Generator) -> Tensor:
        """Return images whose pixels tell member and class."""
        shown = x_BCHW.clone()
        shown.flatten(1)[:, 1] = self.member / 255
        shown.flatten(1)[:, 2] = class_B / 255
        return shown


class Numbered(AbstractSource):
    """A source whose images say their number in pixel 0."""

    device = CPU

    def __init__(self, num_examples: int) -> None:
        """Take how many images there are."""
        self.num_examples = num_examples

    def examples(self, index: Tensor) -> Tensor:
        """Return images of one channel, 12 pixels a side."""
        ramp = torch.linspace(0, 1, 144).expand(len(index), 144).clone()
        ramp[:, 0] = index / 255
        return ramp.view(-1, 1, 12, 12)

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return no view: nobody may ask."""
        raise PermissionError

    def classes(self) -> tuple[Tensor, Tensor]:
        """Return no labels: nobody may ask."""
        raise PermissionError


FAMILY = tuple(Marking(member=number, classes=count) for number, count in enumerate((3, 5, 4)))


def tasks(count: int, shape: TaskShape = SHAPE, images: int = 40) -> Iterator[Task]:
    """Yield tasks of the marking family, each from a generator of its own."""
    source = Numbered(images)
    for seed in range(count):
        rng = Generator().manual_seed(seed)
        yield Pretexts(family=FAMILY).sample(source, shape, rng)


def pixel(x: Tensor, place: int) -> list[int]:
    """Return what one pixel of each image says."""
    found: list[int] = (x.flatten(1)[:, place] * 255).round().long().tolist()
    return found


def test_no_image_is_twice_in_a_task() -> None:
    """Support and queries together are different images."""
    for task in tasks(60, images=18):  # as many as there are
        numbers = pixel(torch.cat([task.support_x, task.query_x]), 0)
        assert len(set(numbers)) == len(numbers) == 18


def test_a_way_is_one_class_of_one_member() -> None:
    """All images of a way are shown as its class, another for each way, by the task's member."""
    for task in tasks(60):
        x, y = torch.cat([task.support_x, task.query_x]), torch.cat([task.support_y, task.query_y])
        (member,) = set(pixel(x, 1))
        pairs = set(zip(y.tolist(), pixel(x, 2), strict=True))
        assert len(pairs) == len({cls for _, cls in pairs}) == 3
        assert max(cls for _, cls in pairs) < FAMILY[member].classes


def test_labels_are_balanced_and_the_first_shots_come_first() -> None:
    """Support is a shot of each way, over and over; each way has as many queries."""
    (task,) = tasks(1)
    assert task.support_y.tolist() == [0, 1, 2] * 2
    assert task.query_y.tolist() == [0, 1, 2] * 4
    assert task.ways == 3


def test_members_and_classes_are_drawn_uniformly() -> None:
    """Each member is drawn as often, and each of its classes stands as often for each way."""
    members: Counter[int] = Counter()
    ways: Counter[tuple[int, int, int]] = Counter()
    for task in tasks(3000, TaskShape(ways=3, shots=1, queries=0)):
        (member,) = set(pixel(task.support_x, 1))
        members[member] += 1
        for way, cls in zip(task.support_y.tolist(), pixel(task.support_x, 2), strict=True):
            ways[member, way, cls] += 1
    assert members.keys() == {0, 1, 2}
    assert all(abs(count - 1000) < 5 * np.sqrt(3000 * 2 / 9) for count in members.values())
    assert len(ways) == 3 * (3 + 5 + 4)
    for (member, _, _), count in ways.items():
        share = 1 / FAMILY[member].classes
        expected = members[member] * share
        assert abs(count - expected) < 5 * np.sqrt(members[member] * share * (1 - share))


def test_images_are_drawn_uniformly() -> None:
    """Each image is in as many tasks."""
    seen = Counter(n for task in tasks(400) for n in pixel(task.support_x, 0))
    assert len(seen) == 40
    expected = 400 * 6 / 40
    assert all(abs(count - expected) < 5 * np.sqrt(expected) for count in seen.values())


def test_a_task_says_its_classes_among_all_members() -> None:
    """Classes are numbered one member after the other; rivals are those of the task's member."""
    for task in tasks(30):
        (member,) = set(pixel(task.support_x, 1))
        before = sum(other.classes for other in FAMILY[:member])
        own = [before + cls for cls in range(FAMILY[member].classes)]
        assert task.classes is not None
        assert task.rivals is not None
        assert task.classes[task.support_y].tolist() == [
            before + cls for cls in pixel(task.support_x, 2)
        ]
        assert task.rivals.nonzero().flatten().tolist() == own
        assert len(task.rivals) == Pretexts(family=FAMILY).num_classes(Numbered(40)) == 3 + 5 + 4


def test_a_task_of_one_member_is_what_the_member_shows() -> None:
    """With one member, as for a held-out pretext, the task is that pretext's own images."""
    source = Numbered(40)
    task = Pretexts(family=(Rotation(),)).sample(source, SHAPE, Generator().manual_seed(1))
    draws = Generator().manual_seed(1)
    torch.randint(1, (), generator=draws)
    classes = torch.randperm(4, generator=draws)[:3]
    images = torch.randperm(40, generator=draws)[:18]
    turned = [
        torch.rot90(source.examples(image[None])[0], int(classes[place % 3]), (-2, -1))
        for place, image in enumerate(images)
    ]
    assert torch.equal(torch.cat([task.support_x, task.query_x]), torch.stack(turned))


# --- what makes no sense -----------------------------------------------------------------------

PICTURE = (1, 28, 28)
DECLINED = [
    ((Rotation(), Simclr()), PICTURE, 3, "simclr has no classes, so it cannot be in a family"),
    ((Jigsaw(), Rotation()), PICTURE, 5, "rotation has 4 classes, the tasks of its family 5 ways"),
    ((Rotation(), Recolour()), (2, 28, 28), 3, "recolour needs images of one or three channels"),
]


@pytest.mark.parametrize(("family", "shape", "ways", "reason"), DECLINED)
def test_a_family_that_makes_no_sense_is_declined(
    family: tuple[AbstractPretext, ...], shape: tuple[int, ...], ways: int, reason: str
) -> None:
    """Each member has to have classes, as many as ways, and to take the images."""
    setting = Setting(
        form=Form(shape=shape, modality="image"),
        norm="running",
        ways=ways,
        task=TaskShape(ways=ways, shots=1, queries=1),
    )
    assert (Pretexts(family=family).refuses(setting) or "").startswith(reason)
    assert Pretexts(family=(Erased(), Jigsaw())).declines(setting) is None


HEAD = "name: small\ndata: glyphs\nseeds: 1\nshots: 1\nways: 4\n"


def plan_of(folder: Path, text: str) -> Plan:
    """Return the plan of a suite whose training split has 160 images, whose validation has 50."""

    def facts_of(name: str, source: AbstractData) -> Facts:
        counts = {"train": (20,) * 8, "val": (10,) * 5, "test": (30,) * 8}
        return Facts(form=Form(shape=(1, 28, 28), modality="image"), counts=counts, digest="0" * 64)

    (folder / "suite.yaml").write_text(HEAD + text)
    return make_plan(read_suite(folder / "suite.yaml"), facts_of)


def test_rows_are_called_by_their_families(tmp_path: Path) -> None:
    """The members stand in a row's name, joined by plus signs, where families differ."""
    families: list[Json] = [
        "[rotation, jigsaw]",
        "[{name: rotation, angles: 8}, {name: jigsaw, grid: 3, permutations: 9}]",
    ]
    listed = ", ".join(f"{{name: pretext, family: {one}, shots: 1}}" for one in families)
    plan = plan_of(tmp_path, f"meta: maml\ngrid: {{tasks: [{listed}]}}\n")
    rows = sorted({cell.variant for cell in plan.cells if not cell.control})
    assert rows == [
        "none + maml (pretext family=rotation angles=8+jigsaw grid=3 permutations=9)",
        "none + maml (pretext family=rotation+jigsaw)",
    ]
    assert {cell.labels for cell in plan.cells} == {"none"}


def test_the_key_holds_each_member_with_its_parameters(tmp_path: Path) -> None:
    """What a training is keyed by names members, revisions and parameters."""
    plan = plan_of(tmp_path, "meta: maml\ntasks: {name: pretext, family: [erased], shots: 1}\n")
    (spec,) = [spec for spec in plan.stages.values() if spec.kind == "metatrain"]
    (member,) = spec.inputs["tasks"]["params"]["family"]
    assert member == {
        "name": "erased",
        "revision": 1,
        "params": {"batch_size": 128, "rate": 0.001, "grid": 4},
    }
    assert spec.inputs["augment"] is None


TOO_SMALL = [
    (
        "",
        "none + maml trains on tasks of 200 different examples, but glyphs has 160. Use tasks:"
        " {name: pretext, ways: ..., shots: ..., queries: ...}, 160 in all.",
    ),
    (
        ", shots: 1, queries: 12}\nselection: {name: pretext_val",
        "pretext_val asks for tasks of 52 different examples, but the validation split of"
        " glyphs has 50 examples."
        " Use tasks: {name: pretext, ways: ..., shots: ..., queries: ...}, 50 in all, or",
    ),
]


@pytest.mark.parametrize(("more", "expected"), TOO_SMALL)
def test_more_images_than_there_are_are_refused(tmp_path: Path, more: str, expected: str) -> None:
    """A task's images are all different, so that a split has to hold as many."""
    more = more or ", shots: 35"
    text = f"meta: maml\ntasks: {{name: pretext, family: [erased]{more}}}\n"
    with pytest.raises(UserError) as caught:
        plan_of(tmp_path, text)
    assert expected in str(caught.value)
