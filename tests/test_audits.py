"""The audit: which stages a suite gets for it, what it finds in a set, and what a run then says."""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bench.audits import EPISODES, audit_of_data
from bench.cell import Json
from bench.cli import main
from bench.contract import AbstractData, Examples
from bench.dataset import Dataset, facts, open_dataset
from bench.plan import Plan, make_plan
from bench.report.preview import plan_text
from bench.run import missing
from bench.stages.audit_data import PAIRS, audit_data
from bench.stages.place import Place
from bench.store import Store
from bench.suite import read_suite

SUITE = """\
name: small
data: glyphs
grid: {pretext: [none, rotation], meta: [none, protonet], shots: [5, 1], seeds: [3, 4]}
baseline: {train: {pretext: none, meta: protonet}, none: random_init}
"""


@pytest.fixture
def plan(tmp_path: Path, glyphs: Dataset) -> Plan:
    """Return the plan of two pretexts, two metas, two shots and two seeds."""
    (tmp_path / "small.yaml").write_text(SUITE)
    return make_plan(read_suite(tmp_path / "small.yaml"), lambda name, source: facts(glyphs))


# --- what is planned


def test_each_set_and_each_row_is_audited_once(plan: Plan) -> None:
    """There is one audit of the set and one of each row, the random-init floor among them."""
    rows = list(dict.fromkeys(cell.variant for cell in plan.cells))
    assert len(rows) == 4
    assert "random_init" in rows
    assert [(one.subject, one.data, one.variant) for one in plan.audits] == [
        ("data", "glyphs", ""),
        *(("row", "glyphs", row) for row in rows),
    ]
    audits = [key for key, spec in plan.stages.items() if spec.kind == "audit"]
    assert audits == [one.key for one in plan.audits]


def test_a_set_is_audited_first_and_rows_after_the_first_seed(plan: Plan) -> None:
    """The set's audit heads the running order; rows' stand between the first seed and the rest."""
    stages = list(plan.stages.values())
    assert stages[0].key == plan.audits[0].key
    place = {spec.key: number for number, spec in enumerate(stages)}
    of_rows = [place[one.key] for one in plan.audits[1:]]
    seeds = {seed: [place[s.key] for s in stages if _is_of(s.inputs, seed)] for seed in (3, 4)}
    assert max(seeds[3]) < min(of_rows)
    assert max(of_rows) < min(seeds[4])


def _is_of(inputs: Json, seed: int) -> bool:
    return inputs.get("seed") == seed and inputs.get("subject") is None


def test_a_row_is_audited_as_it_is_tested(plan: Plan) -> None:
    """Its audit has the inputs of the test at the first seed and shots, on fewer episodes."""
    for audit in plan.audits[1:]:
        cell = next(one for one in plan.cells if one.variant == audit.variant)
        tested = plan.stages[cell.stages["evaluate"]]
        own = {"subject": "row", "episodes": EPISODES, "revision": 1}
        assert plan.stages[audit.key].inputs == {**tested.inputs, **own}
        assert (tested.inputs["seed"], tested.inputs["shots"]) == (3, 5)
        assert plan.stages[audit.key].needs == tested.needs


def test_audits_are_run_also_when_all_cells_are_done(plan: Plan, tmp_path: Path) -> None:
    """A store that lacks nothing but the audits is told to run these."""
    store = Store(tmp_path / "results")
    store.prepare()
    for key, spec in plan.stages.items():
        if spec.kind != "audit":
            with store.writing(key):
                store.commit(spec, {}, {})
    assert [spec.key for spec in missing(plan.stages, store)] == [one.key for one in plan.audits]


def test_the_plan_counts_audits_and_what_they_cost(plan: Plan, tmp_path: Path) -> None:
    """What `bench plan` prints has a line of them among the stages, and their share of the cost."""
    text = plan_text(plan, Store(tmp_path / "none"))
    assert ["audit", "5", "5", "0", "0"] in [line.split() for line in text.splitlines()]
    assert ", audit " in text


def test_a_plan_without_audits_can_still_be_read(plan: Plan) -> None:
    """A plan that an earlier version saved has none."""
    written = json.loads(json.dumps(plan.to_json()))
    assert Plan.from_json(written) == plan
    del written["audits"]
    assert Plan.from_json(written) == replace(plan, audits=())


def test_known_duplicates_are_in_the_key() -> None:
    """Another list of known duplicates makes another audit, the same in another order none."""
    keys = [audit_of_data("toy", "d" * 64, known)[0].key for known in ("ab", "ba", "abc")]
    assert keys[0] == keys[1] != keys[2]


# --- what is found in a set

EACH = 4  # examples of a class
Change = Callable[[dict[str, np.ndarray]], object]


@dataclass(frozen=True, kw_only=True)
class Toy(AbstractData):
    """Two classes of random images a split, and what a test does to them."""

    reference: ClassVar[str] = "doi:10.0000/toy"
    modality: ClassVar[str] = "image"
    encoder: ClassVar[str] = "conv4"
    changes: ClassVar[dict[str, Change]] = {}
    name: str
    shape: tuple[int, ...] = (3, 16, 16)
    names: tuple[str, ...] = ("a", "b", "c", "d", "e", "f")

    def read(self, root: Path | None) -> Examples:
        """Return the images as the change of this name leaves them."""
        rng = np.random.default_rng(5)
        pixels = rng.integers(0, 256, (len(self.names), EACH, *self.shape), np.uint8)
        arrays = dict(zip(self.names, pixels, strict=True))
        self.changes[self.name](arrays)
        a, b, c, d, e, f = self.names
        return Examples(arrays=arrays, splits={"train": (a, b), "val": (c, d), "test": (e, f)})

    def fingerprint(self, root: Path | None) -> str:
        """Return a constant: the parameters tell toys apart."""
        return "toy"


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., Json]:
    """Return a function from a change of a toy set to what its audit finds, metrics included."""

    def find(
        change: Change = lambda arrays: None, known: Sequence[str] = (), **params: object
    ) -> Json:
        name = f"{request.node.name} {len(Toy.changes)}"
        monkeypatch.setitem(Toy.changes, name, change)
        dataset = open_dataset(Toy(name=name, **params), "toy", None)  # type: ignore[arg-type]
        _, spec = audit_of_data("toy", dataset.digest, known)
        place = Place(store=Store(Path()), device=torch.device("cpu"), emit=lambda event: None)
        result = audit_data(spec, place)
        return {**result.facts, **result.metrics}

    return find


NONE = {"known": 0, "unknown": 0}


def test_a_clean_set_has_no_findings(found: Callable[..., Json]) -> None:
    """Random images are found nowhere else."""
    facts = found()
    assert facts["exact"]["pairs"] == {"train-val": NONE, "train-test": NONE, "val-test": NONE}
    assert facts["exact"]["within"] == {"train": 0, "val": 0, "test": 0}
    assert facts["classes"] == facts["groups"] == facts["perceptual"]["pairs"] == []
    assert facts["perceptual"]["counts"] == {"train-val": 0, "train-test": 0, "val-test": 0}
    assert (facts["unknown_duplicates"], facts["class_overlaps"]) == (0, 0)


def test_one_image_in_two_splits_is_found(found: Callable[..., Json]) -> None:
    """An image of test that stands in a training class is counted; once it is known, as known."""
    kept: dict[str, np.ndarray] = {}

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["a"][2] = arrays["f"][1]
        kept["image"] = arrays["f"][1]

    facts = found(change)
    assert facts["exact"]["pairs"]["train-test"] == {"known": 0, "unknown": 1}
    assert facts["unknown_duplicates"] == 1
    assert facts["classes"] == []
    assert facts["perceptual"]["pairs"] == []  # it is an exact one
    known = found(change, [hashlib.sha256(kept["image"].tobytes()).hexdigest()])
    assert known["exact"]["pairs"]["train-test"] == {"known": 1, "unknown": 0}
    assert known["unknown_duplicates"] == 0


def test_a_class_under_another_name_is_found(found: Callable[..., Json]) -> None:
    """Half of a class or more in one of another split is an overlap of the two, less is none."""

    def copied(count: int) -> Change:
        def change(arrays: dict[str, np.ndarray]) -> None:
            arrays["b"][:count] = arrays["e"][:count]

        return change

    overlap = {"classes": ["b", "e"], "splits": ["train", "test"], "share": 0.5}
    assert found(copied(2))["classes"] == [overlap]
    assert found(copied(4))["classes"] == [{**overlap, "share": 1.0}]
    assert found(copied(1))["classes"] == []


def test_images_scattered_over_classes_are_no_class_overlap(found: Callable[..., Json]) -> None:
    """Half of a class in two classes of another split is no overlap with either."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["a"][0], arrays["b"][1] = arrays["e"][0], arrays["e"][1]

    facts = found(change)
    assert facts["classes"] == []
    assert facts["unknown_duplicates"] == 2


def test_images_in_two_classes_of_one_split_are_counted(found: Callable[..., Json]) -> None:
    """Such leak nothing: they are counted apart; one that stands twice in one class is not."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["c"][0] = arrays["d"][0]
        arrays["e"][0] = arrays["e"][1]

    facts = found(change)
    assert facts["exact"]["within"] == {"train": 0, "val": 2, "test": 0}
    assert facts["unknown_duplicates"] == 0


def test_look_alikes_are_shown(found: Callable[..., Json]) -> None:
    """An image that differs by a little is no duplicate; it is found by its perceptual hash."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["a"][0] = arrays["f"][3]
        arrays["a"][0, :, 0, 0] ^= 1

    facts = found(change)
    assert facts["unknown_duplicates"] == 0
    assert facts["perceptual"]["counts"] == {"train-val": 0, "train-test": 1, "val-test": 0}
    (pair,) = facts["perceptual"]["pairs"]
    assert (pair["splits"], pair["classes"]) == (["train", "test"], ["a", "f"])
    assert pair["difference"] == pytest.approx(1 / 256)
    with Image.open(io.BytesIO(base64.b64decode(pair["png"]))) as image:
        assert image.size == (16 + 2 + 16, 16)


def test_few_look_alikes_are_shown_and_all_counted(found: Callable[..., Json]) -> None:
    """Of sixteen pairs the twelve that differ least are kept."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        for number, name in enumerate("abcd"):
            arrays[name][:] = arrays["f"]
            arrays[name][:, :, 0, 0] ^= 1 + number

    facts = found(change, shape=(1, 16, 16))
    assert facts["perceptual"]["counts"] == {"train-val": 8, "train-test": 4, "val-test": 4}
    differences = [one["difference"] for one in facts["perceptual"]["pairs"]]
    assert len(differences) == PAIRS < 8 + 4 + 4
    assert differences == sorted(differences)
    assert differences[0] == 1 / 256


def test_blank_images_look_like_nothing(found: Callable[..., Json]) -> None:
    """Images of one grey level have no features: two of them are not alike."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["a"][0], arrays["f"][0] = 3, 200

    assert found(change)["perceptual"]["counts"]["train-test"] == 0


def test_images_of_one_colour_look_like_nothing(found: Callable[..., Json]) -> None:
    """Nor have images of one colour, whose channels differ, a feature."""

    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["a"][0] = np.array([200, 10, 30])[:, None, None]
        arrays["f"][0] = np.array([9, 200, 9])[:, None, None]

    assert found(change)["perceptual"]["counts"]["train-test"] == 0


def test_what_has_no_look_is_left_out(found: Callable[..., Json]) -> None:
    """Without two sides there is no perceptual hash: it is left out, and says why."""
    facts = found(shape=(1, 50))
    assert (
        "nothing tells when image data of shape (1, 50) looks alike"
        in facts["perceptual"]["skipped"]
    )
    assert facts["unknown_duplicates"] == 0


def test_groups_in_two_splits_are_found(found: Callable[..., Json]) -> None:
    """Classes of one group (an alphabet) in two splits are counted by split."""
    facts = found(names=("g/a", "h/b", "i/c", "i/d", "g/e", "j/f"))
    assert facts["groups"] == [{"group": "g", "classes": {"train": 1, "test": 1}}]


# --- what a run says of a planted fault

RUN = """\
name: planted
data: {name: image_folder, path: PATH, size: 16}
encoder: {name: conv4, width: 4}
pretext: {name: rotation, batch_size: 4}
meta: none
ways: 2
shots: 1
seeds: 1
budget: {pretrain_steps: 2}
evaluate: {episodes: 2, queries: 1}
"""


def write_photos(folder: Path) -> None:
    """Write two classes of four images a split."""
    for split, names in (("train", "ab"), ("val", "cd"), ("test", "ef")):
        for name in names:
            (folder / split / name).mkdir(parents=True)
            for number in range(4):
                rng = np.random.default_rng((ord(name), number))
                pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")


def copy_class(folder: Path) -> None:
    """Put a test class into train under another name."""
    (folder / "train" / "z").mkdir()
    for file in (folder / "test" / "f").iterdir():
        (folder / "train" / "z" / file.name).write_bytes(file.read_bytes())


def copy_image(folder: Path) -> None:
    """Put one test image into a training class."""
    (folder / "train" / "a" / "9.png").write_bytes((folder / "test" / "e" / "2.png").read_bytes())


PLANTED = [
    (copy_class, "class overlap", "train z and test f share 100 % of the examples of one of them"),
    (copy_image, "example overlap", "the same examples in two splits: 1 of test in train"),
]


@pytest.mark.parametrize(("plant", "check", "told"), PLANTED)
def test_a_planted_leak_is_on_the_first_screen(
    plant: Callable[[Path], None], check: str, told: str, tmp_path: Path, no_main: None
) -> None:
    """A run over a set with a leak says so in a banner, in a line of the audit, and at the row."""
    write_photos(tmp_path / "photos")
    plant(tmp_path / "photos")
    suite = tmp_path / "planted.yaml"
    suite.write_text(RUN.replace("PATH", str(tmp_path / "photos")))
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]

    assert main(["run", str(suite), *folders, "--workers", "1"]) == 0

    report = (tmp_path / "reports" / "planted" / "index.md").read_text()
    first_screen, _, rest = report.partition("## The answer")
    assert f"> **Audit failed, {check}: image_folder: {told}" in first_screen
    assert f"* (!) rotation + none: **audit failed**: {check}: {told}" in rest
    assert "* (!) random_init" not in rest  # it was not trained
    lines = pd.read_csv(tmp_path / "reports" / "planted" / "audit.csv").set_index("check")
    assert lines.loc[check, "outcome"] == "failed"
