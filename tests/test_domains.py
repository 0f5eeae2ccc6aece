"""Rows that are trained on one set and tested on another: suites, keys, refusals, audits, runs."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.audits import audit_of_data
from bench.cell import ROLES as TRAINED
from bench.cell import Cell, Json
from bench.cli import main
from bench.contract import AbstractData
from bench.data.unlabelled_folder import UnlabelledFolder
from bench.dataset import Dataset, Facts, facts, open_dataset
from bench.errors import UserError
from bench.form import Form
from bench.plan import Plan, make_plan
from bench.report.views.across_domains import roles_of
from bench.rows import rows_of
from bench.stages.audit_data import audit_data
from bench.stages.place import Place
from bench.store import Store
from bench.suite import read_suite
from bench.tune import journal
from bench.tuned import study_of
from bench.tuner import _rows
from tests.test_audits import Toy

HEAD = "name: small\nshots: 1\nseeds: 1\n"
BOTH = "data: {train: omniglot, test: glyphs}\n"
ROWS = "grid: {pretext: [none, {name: rotation, batch_size: 8}], meta: [none, protonet]}\n"
FORMS = {
    "glyphs": Form(shape=(1, 28, 28), modality="image"),
    "omniglot": Form(shape=(1, 28, 28), modality="image"),
    "fashion_mnist": Form(shape=(1, 28, 28), modality="image"),
    "unlabelled_folder": Form(shape=(1, 28, 28), modality="image"),
    "cifar_fs": Form(shape=(3, 32, 32), modality="image"),
}
CLASSES = {"train": 64, "val": 16, "test": 20}


def facts_of(name: str, source: AbstractData) -> Facts:
    """Return the facts of sets that are not there, each with a digest of its own."""
    counts = {split: (60,) * number for split, number in CLASSES.items()}
    if source.unlabelled:
        counts = {"train": (500,), "val": (), "test": ()}
    params = json.dumps(getattr(source, "rotations", "")) + json.dumps(getattr(source, "path", ""))
    return Facts(form=FORMS[name], counts=counts, digest=f"{name} {params}")


@pytest.fixture
def plan_of(tmp_path: Path) -> Callable[[str], Plan]:
    """Return a function from a suite's text, after its name, shots and seeds, to its plan."""

    def plan(text: str) -> Plan:
        path = tmp_path / "suite.yaml"
        path.write_text(HEAD + text)
        return make_plan(read_suite(path), facts_of)

    return plan


def refusal(plan_of: Callable[[str], Plan], text: str) -> str:
    """Return the message of the error that planning a suite raises."""
    with pytest.raises(UserError) as caught:
        plan_of(text)
    return str(caught.value)


def cells(plan: Plan, data: str) -> dict[str, Cell]:
    """Return the cells of what the report calls a set, or sets, by their variant."""
    return {one.variant: one for one in plan.cells if one.data == data}


THREE_SETS = "data: {pretrain: fashion_mnist, train: omniglot, test: glyphs}\n"


# --- suites and keys


def test_training_is_that_of_the_one_set_and_the_test_that_of_the_other(
    plan_of: Callable[[str], Plan],
) -> None:
    """What is trained is the stage of `data: omniglot`; its test is on the glyphs' test split."""
    here, there = plan_of("data: omniglot\n" + ROWS), plan_of(BOTH + ROWS)
    own, moved = cells(here, "omniglot"), cells(there, "omniglot to glyphs")

    assert own.keys() == moved.keys()
    for variant, cell in moved.items():
        trained = {role: key for role, key in cell.stages.items() if role != "evaluate"}
        assert trained.items() == own[variant].stages.items() - {
            ("evaluate", own[variant].stages["evaluate"])
        }
        tested = there.stages[cell.stages["evaluate"]].inputs
        before = here.stages[own[variant].stages["evaluate"]].inputs
        assert tested["data"] == {"name": "glyphs", "digest": 'glyphs """"', "split": "test"}
        assert {**tested, "data": before["data"]} == dict(before)


def test_rows_at_home_and_rows_from_elsewhere_share_what_they_can(
    plan_of: Callable[[str], Plan],
) -> None:
    """Four sets of rows have the trainings of two, and untrained rows one test a test set."""
    plan = plan_of(
        "grid:\n  data: [glyphs, omniglot, {train: omniglot, test: glyphs},"
        " {train: glyphs, test: omniglot}]\n  meta: [none, protonet]\n"
    )
    kinds = [spec.kind for spec in plan.stages.values()]

    assert kinds.count("metatrain") == 2
    assert kinds.count("evaluate") == 2 + 4
    home, moved = cells(plan, "glyphs"), cells(plan, "omniglot to glyphs")
    assert home["random_init"].stages == moved["random_init"].stages
    assert len({cell.id for cell in plan.cells}) == len(plan.cells) == 8


def test_pretraining_may_have_a_third_set(plan_of: Callable[[str], Plan]) -> None:
    """Pre-training, meta-training and test each read the split of their own set."""
    plan = plan_of(THREE_SETS + "pretext: {name: rotation, batch_size: 8}\nmeta: protonet\n")
    cell = cells(plan, "fashion_mnist then omniglot to glyphs")["rotation + protonet"]

    read = {role: plan.stages[key].inputs["data"] for role, key in cell.stages.items()}
    assert {role: (data["name"], data["split"]) for role, data in read.items()} == {
        "pretrain": ("fashion_mnist", "train"),
        "metatrain": ("omniglot", "train"),
        "evaluate": ("glyphs", "test"),
    }


def test_a_row_is_trained_on_what_its_stages_read(plan_of: Callable[[str], Plan]) -> None:
    """What the report says of it, whatever sets its data have for stages that it lacks."""
    plan = plan_of(
        "grid:\n  data: [glyphs, {train: omniglot, test: glyphs},"
        " {pretrain: omniglot, train: glyphs, test: glyphs},"
        " {pretrain: glyphs, train: omniglot, test: glyphs}]\n"
        "  pretext: [none, {name: rotation, batch_size: 8}]\n  meta: [none, protonet]\n"
        "  tasks: [labels, {name: clusters, pretext: {name: simclr, batch_size: 8}, k: 20}]\n"
    )
    for cell in plan.cells:
        read = [
            plan.stages[cell.stages[role]].inputs["data"]["name"]
            for role in TRAINED
            if role in cell.stages
        ]
        named = roles_of(plan, cell.data).source_of(cell.stages)
        assert named == " then ".join(dict.fromkeys(read)), cell.id


def test_one_set_in_every_role_is_that_set(plan_of: Callable[[str], Plan]) -> None:
    """Written by role, one set makes the plan that it makes by its name."""
    written = plan_of("data: {train: {name: glyphs}, test: glyphs, pretrain: glyphs}\n" + ROWS)
    plain = plan_of("data: glyphs\n" + ROWS)

    assert written.cells == plain.cells
    assert written.stages == plain.stages
    assert written.settings.keys() == plain.settings.keys()
    assert "roles" not in plain.settings


def test_the_embedding_of_clusters_is_pretraining(plan_of: Callable[[str], Plan]) -> None:
    """It is trained on the set of pre-training; the clusters are those of meta-training's set."""
    tasks = "tasks: {name: clusters, pretext: {name: rotation, batch_size: 8}, k: 20}\n"
    plan = plan_of(THREE_SETS + tasks + "meta: protonet\n")
    (cell,) = (one for one in plan.cells if "embedding" in one.stages)

    names = {
        role: plan.stages[cell.stages[role]].inputs["data"]["name"]
        for role in ("embedding", "cluster", "metatrain")
    }
    assert names == {"embedding": "fashion_mnist", "cluster": "omniglot", "metatrain": "omniglot"}


def test_new_tasks_are_rated_before_the_tested_set_is_met(plan_of: Callable[[str], Plan]) -> None:
    """Rates of steps on a held-out task are chosen on the validation split that training has."""
    held = (
        "ways: 4\ntasks: {name: pretext, family: [rotation, position]}\nheld_out: [rotation]\n"
        "meta: joint\n"
    )
    for data, found in ((BOTH, "omniglot"), ("data: glyphs\n", None)):
        plan = plan_of(data + held)
        tested = [s.inputs for s in plan.stages.values() if s.kind == "evaluate"]
        rated = {json.dumps(one.get("rate_data", {}).get("name")) for one in tested}
        assert rated == {json.dumps(found)}
        assert {one.get("rate_data", {}).get("split", "val") for one in tested} == {"val"}


def test_trials_see_the_set_that_is_trained_on(
    plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    """Rows that differ in the tested set alone have one study; another training set is another."""
    text = "tune: {trials: 2}\ngrid:\n  data: [omniglot, {train: omniglot, test: glyphs}, glyphs]\n"
    (tmp_path / "tuned.yaml").write_text(HEAD + text + "  meta: [protonet]\n")
    suite = read_suite(tmp_path / "tuned.yaml")
    rows = [one for one in rows_of(suite, facts_of).variants if one.phases]

    studies = {one.data: study_of(one, suite) for one in rows}
    assert studies["omniglot"] == studies["omniglot to glyphs"] != studies["glyphs"]


def test_what_is_tried_alike_is_tried_once(tmp_path: Path) -> None:
    """One search serves the rows that differ in the tested set; each has it in the record."""
    text = "tune: {trials: 2}\ngrid:\n  data: [omniglot, {train: omniglot, test: glyphs}, glyphs]\n"
    (tmp_path / "tuned.yaml").write_text(HEAD + text + "  meta: [protonet]\n")
    suite = read_suite(tmp_path / "tuned.yaml")
    tuned = [one for one in rows_of(suite, facts_of).variants if one.phases]

    with journal(tmp_path / "tuned.journal") as studies:
        found = _rows(tuned, suite, Store(tmp_path), studies, retry=False)
        records = [one.to_json(row) for one, row in zip(found, tuned, strict=True)]

    assert found[0] is found[1] is not found[2]
    assert [one["data"] for one in records] == ["omniglot", "omniglot to glyphs", "glyphs"]
    assert records[0]["study"] == records[1]["study"] != records[2]["study"]


def test_a_pattern_of_data_is_of_all_its_roles(plan_of: Callable[[str], Plan]) -> None:
    """A baseline on one set is no row that is tested on another, and the reverse."""
    rows = (
        "variants:\n  - {label: home, data: omniglot, meta: protonet}\n"
        "  - {label: moved, data: {train: omniglot, test: glyphs}, meta: protonet}\n"
    )
    for data, label in (("omniglot", "home"), ("{train: omniglot, test: glyphs}", "moved")):
        plan = plan_of(f"{rows}baseline: {{train: {{data: {data}, meta: protonet}}}}\n")
        assert plan.settings["baseline"]["train"] == label


def test_a_plan_names_the_sets_and_their_roles(plan_of: Callable[[str], Plan]) -> None:
    """Digests and classes are those of single sets; what cells call their data has its roles."""
    plan = plan_of(BOTH + "meta: protonet\n")

    assert list(plan.settings["data"]) == ["omniglot", "glyphs"]
    assert plan.settings["classes"]["glyphs"] == CLASSES
    assert plan.settings["roles"] == {
        "omniglot to glyphs": {"pretrain": "omniglot", "train": "omniglot", "test": "glyphs"}
    }
    assert {"data/omniglot", "data/glyphs"} <= plan.cards.keys()


# --- refusals

REFUSED = [
    ("data: {train: glyphs}", "data has no test. Write {train: ..., test: ...}"),
    ("data: {test: glyphs}", "data has no train"),
    ("data: {pretrain: glyphs}", "data has no train"),
    ("data: {train: glyphs, tset: omniglot}", "unknown role 'tset' of data. Did you mean test?"),
    ("data: {train: glyphs, test: {nam: omniglot}}", "the name is missing"),
    ("data: {train: glyphs, test: omniglots}", "data.test: no data is named 'omniglots'"),
    ("data: {train: glyphs, test: cifar_fs}", "glyphs holds image data of shape (1, 28, 28), but"),
    ("data: {train: glyphs, test: cifar_fs}", "image_folder has size and grey"),
    ("data: {name: unlabelled_folder, path: x}", "has no classes to make episodes of"),
    (
        "data: {train: glyphs, test: {name: unlabelled_folder, path: x}}",
        "Write data: {pretrain: {name: unlabelled_folder, ...}, train: ..., test: ...}.",
    ),
    (
        "data: {train: {name: omniglot, rotations: all}, test: omniglot}",
        "a second set is called omniglot",
    ),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_makes_no_sense_is_one_error(
    plan_of: Callable[[str], Plan], text: str, said: str
) -> None:
    """Each names the place, what stands there, and what would work."""
    message = refusal(plan_of, f"{text}\nmeta: protonet\n")

    assert said in message
    assert "suite.yaml:" in message


def test_vocabularies_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, plan_of: Callable[[str], Plan]
) -> None:
    """Two sets of text of one shape cannot share an encoder: ids mean other words."""
    for name, word in (("omniglot", "yes"), ("glyphs", "no")):
        form = Form(shape=(8,), modality="text", vocabulary=("[PAD]", word))
        monkeypatch.setitem(FORMS, name, form)

    message = refusal(plan_of, BOTH + "meta: protonet\n")

    assert "of another vocabulary" in message
    assert "write all of it to one text_csv" in message


FOLDER = "{name: unlabelled_folder, path: x, called: heap}"


def test_rows_that_need_labels_have_none_of_a_folder(plan_of: Callable[[str], Plan]) -> None:
    """Supervised pre-training, and weights selected on a split that is not there, are dropped."""
    rule = "selection: {name: label_val, shots: 1, queries: 2}"
    turned = "pretext: {name: rotation, batch_size: 8}"
    plan = plan_of(
        f"data: {{pretrain: {FOLDER}, train: glyphs, test: omniglot}}\nvariants:\n"
        "  - {label: labelled, init: supervised}\n"
        f"  - {{label: picked, {turned}, {rule}}}\n"
        f"  - {{label: tasks, {turned}, meta: protonet, {rule}}}\n"
    )

    assert {one.variant: one.reason for one in plan.dropped} == {
        "labelled": "supervised needs classes, and heap has none",
        "picked": "label_val needs a validation split, and heap has none",
    }
    cell = cells(plan, "heap then glyphs to omniglot")["tasks"]
    spec = plan.stages[cell.stages["metatrain"]]
    assert (spec.inputs["data"]["name"], spec.inputs["selection"]["name"]) == (
        "glyphs",
        "label_val",
    )


def test_an_embedding_that_validates_has_no_split_in_a_folder(
    plan_of: Callable[[str], Plan],
) -> None:
    """Its row is dropped as one that starts from it; one that does not validate is kept."""
    mixture = "{name: mixture, members: [rotation, position], weights: %s}"
    tasks = f"{{name: clusters, pretext: {mixture}, k: 20}}"
    plan = plan_of(
        f"data: {{pretrain: {FOLDER}, train: glyphs, test: omniglot}}\nvariants:\n"
        f"  - {{label: learned, tasks: {tasks % 'learned'}, meta: protonet}}\n"
        f"  - {{label: uniform, tasks: {tasks % 'uniform'}, meta: protonet}}\n"
    )

    assert {one.variant: one.reason for one in plan.dropped} == {
        "learned": "mixture needs a validation split, and heap has none"
    }
    assert "uniform" in cells(plan, "heap then glyphs to omniglot")


def test_batches_are_held_against_the_set_that_is_read(plan_of: Callable[[str], Plan]) -> None:
    """A batch that only the set of meta-training could fill is refused by name and size."""
    data = f"data: {{pretrain: {FOLDER}, train: glyphs, test: omniglot}}\n"

    message = refusal(plan_of, data + "pretext: {name: rotation, batch_size: 501}\n")

    assert "batch_size 501, but heap has 500 training examples" in message


# --- audit

TURNED = "pretext: {name: rotation, batch_size: 8}\n"
PICKED = "selection: {name: label_val, shots: 1, queries: 2}\n"
LEARNED = "{name: mixture, members: [rotation, position], weights: learned}"
NAMES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., Json]:
    """Return a function from two toys, as changed, to what the audit of their roles finds."""

    def toy(
        name: str, change: Callable[[dict[str, np.ndarray]], None], names: tuple[str, ...]
    ) -> Dataset:
        monkeypatch.setitem(Toy.changes, name, change)
        return open_dataset(Toy(name=name, names=names), "toy", None)

    def find(
        change: Callable[[Dataset, dict[str, np.ndarray]], None],
        here: tuple[str, ...] = NAMES,
        there: tuple[str, ...] = NAMES,
        roles: Mapping[str, Mapping[str, Json]] = {"test": {}},
    ) -> Json:
        title = f"{request.node.name} {len(Toy.changes)}"
        own = toy(f"{title} own", lambda arrays: None, here)

        def altered(arrays: dict[str, np.ndarray]) -> None:
            for array in arrays.values():
                array[:] = 255 - array
            change(own, arrays)

        other = toy(f"{title} other", altered, there)
        known = {_sum(one) for one in other.part("test").examples}
        others = {
            role: {"name": "toy", "digest": other.digest, **asked} for role, asked in roles.items()
        }
        _, spec = audit_of_data("toy to toy", own.digest, known, others)
        place = Place(store=Store(Path()), device=torch.device("cpu"), emit=lambda event: None)
        result = audit_data(spec, place)
        return {**result.facts, **result.metrics}

    return find


def _sum(example: np.ndarray) -> str:
    return hashlib.sha256(example.tobytes()).hexdigest()


def test_the_audit_of_roles_is_of_what_is_trained_and_tested(audited: Callable[..., Json]) -> None:
    """A test example that stands in the other set's train split is found; in its own, it is not."""

    def change(own: Dataset, arrays: dict[str, np.ndarray]) -> None:
        arrays["e"][0] = own.part("train").examples[0]
        arrays["f"][0] = arrays["a"][0]  # of the train split that nobody sees

    found = audited(change)

    assert found["exact"]["pairs"]["train-test"]["unknown"] == 1
    assert found["unknown_duplicates"] == 1
    assert found["exact"]["pairs"].keys() == {"train-val", "train-test", "val-test"}


def test_the_split_that_chooses_pretrained_weights_is_audited(
    audited: Callable[..., Json],
) -> None:
    """A test example in the validation split of pre-training's set is found where that is seen."""

    def change(own: Dataset, arrays: dict[str, np.ndarray]) -> None:
        arrays["c"][0] = own.part("test").examples[0]
        arrays["c"][1] = own.part("train").examples[0]
        arrays["d"][0] = own.part("val").examples[0]

    plain = audited(change, roles={"pretrain": {}})
    chosen = audited(change, roles={"pretrain": {"splits": ["train", "val"]}})

    assert plain["unknown_duplicates"] == 0
    assert chosen["exact"]["pairs"]["pretrain val-test"]["unknown"] == 1
    assert chosen["unknown_duplicates"] == 1
    assert chosen["exact"]["pairs"].keys() - plain["exact"]["pairs"].keys() == {
        "pretrain-pretrain val",
        "pretrain val-test",
    }


@pytest.mark.parametrize(
    ("rows", "seen"),
    [
        (TURNED, None),
        (f"{TURNED}meta: protonet\n{PICKED}", None),
        (f"{TURNED}{PICKED}", ["train", "val"]),
        (f"pretext: {LEARNED}\nmeta: protonet\n", ["train", "val"]),
        (
            f"tasks: {{name: clusters, pretext: {LEARNED}, k: 20}}\nmeta: protonet\n",
            ["train", "val"],
        ),
    ],
)
def test_what_looks_at_a_split_has_it_audited(
    plan_of: Callable[[str], Plan], rows: str, seen: list[str] | None
) -> None:
    """By a selection after pre-training alone, or a pretext that validates; keys stay otherwise."""
    plan = plan_of(THREE_SETS + rows)
    found = [
        spec.inputs["elsewhere"]
        for spec in plan.stages.values()
        if spec.kind == "audit" and spec.inputs["subject"] == "data"
    ]

    assert [one["pretrain"].get("splits") for one in found] == [seen]
    assert all("splits" not in one["test"] for one in found)


def test_duplicates_are_known_within_a_set_alone(audited: Callable[..., Json]) -> None:
    """What one set lists as its own duplicates is none of the other's: it stays unknown."""

    def change(own: Dataset, arrays: dict[str, np.ndarray]) -> None:
        for name in ("e", "f"):
            arrays[name][:] = own.part("train").examples[:4]

    found = audited(change)

    assert found["exact"]["pairs"]["train-test"] == {"known": 0, "unknown": 8}
    assert {tuple(one["splits"]) for one in found["classes"]} == {("train", "test")}


def test_names_in_common_are_noted(audited: Callable[..., Json]) -> None:
    """What has one name in two sets is told: a group by a word of it, a class by its whole name."""

    def nothing(own: Dataset, arrays: dict[str, np.ndarray]) -> None:
        return None

    here = ("Old_Greek/a", "Old_Greek/b", "Korean/a", "Dog", "unseen", "unseen too")
    there = ("GREEK ALPHA", "CAT", "x", "y", "dog", "GREEK BETA")
    numbered = ("01", "02", "03", "04", "05", "06"), ("07", "08", "09", "10", "02", "03")

    assert audited(nothing)["groups"] == []
    assert audited(nothing, *numbered)["groups"] == []
    assert audited(nothing, here=here, there=there)["groups"] == [
        {"group": "Old_Greek", "classes": {"train": 2, "test": 1}},
        {"group": "dog", "classes": {"val": 1, "test": 1}},
    ]


# --- sets without classes


def write_heap(folder: Path) -> None:
    """Write three images in two folders, one of them twice, and what is none."""
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number, place in enumerate(("a.png", "deep/b.PNG", "deep/er/c.png", ".hidden/d.png")):
        pixels = np.full((10, 12, 3), 50 * number, np.uint8)
        Image.fromarray(pixels).save(folder / place)
    (folder / "deep" / "notes.txt").write_text("no image")


def test_a_heap_of_images_has_no_classes(tmp_path: Path) -> None:
    """All below the folder are read, however deep; hidden ones and other files are left out."""
    write_heap(tmp_path / "heap")

    dataset = open_dataset(UnlabelledFolder(path="heap", size=8), "unlabelled_folder", tmp_path)

    assert sorted(dataset.examples[:, 0, 0, 0].tolist()) == [0, 50, 100]
    assert dataset.splits == {"train": ("images",), "val": (), "test": ()}
    assert facts(dataset).counts == {"train": (3,), "val": (), "test": ()}
    assert dataset.notes == ("files without an image's ending, which are left out: 1",)


def test_where_images_lie_decides_nothing(tmp_path: Path) -> None:
    """The same images in other folders, under other names, are the same set."""
    write_heap(tmp_path / "heap")
    (tmp_path / "flat").mkdir()
    for number, file in enumerate(sorted((tmp_path / "heap").rglob("[!.]*.[pP][nN][gG]"))):
        if ".hidden" not in file.parts:
            (tmp_path / "flat" / f"{9 - number}.png").write_bytes(file.read_bytes())

    one, other = (
        open_dataset(UnlabelledFolder(path=name, size=8), "unlabelled_folder", tmp_path)
        for name in ("heap", "flat")
    )

    assert one.digest == other.digest


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_heap_without_images_is_one_error(tmp_path: Path, name: str) -> None:
    """A folder that is not there, or holds no image, is named."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")

    with pytest.raises(UserError, match=f"{name}.*(Name a folder|Put images there)"):
        open_dataset(UnlabelledFolder(path=name, size=8), "unlabelled_folder", tmp_path)


@dataclass(frozen=True, kw_only=True)
class Split(Toy):
    """A set that says it is unlabelled, and has splits all the same."""

    unlabelled = True


def test_an_unlabelled_set_has_one_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that says so and returns classes of three splits breaks its word."""
    monkeypatch.setitem(Toy.changes, "split", lambda arrays: None)

    with pytest.raises(UserError, match="An unlabelled set has one class, in train"):
        open_dataset(Split(name="split"), "split", None)


# --- a run


TINY = """\
name: moved
encoder: {name: conv4, width: 4}
shots: 1
seeds: 2
data: {pretrain: HEAP, train: glyphs, test: MINE}
variants:
  - {label: both, pretext: {name: rotation, batch_size: 8}, meta: protonet}
  - {label: alone, data: MINE, pretext: {name: rotation, batch_size: 8}}
  - {label: alone, data: {train: glyphs, test: MINE}, pretext: {name: rotation, batch_size: 8}}
ways: 2
budget: {pretrain_steps: 3, metatrain_steps: 3}
evaluate: {episodes: 4, queries: 2, test_steps: 1}
"""
SMALL = "size: 28, grey: true"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Write two folders of images, and a suite that trains and is tested on them."""
    rng = np.random.default_rng(0)
    for place in ["heap"] + [f"mine/{name}" for name in "abcdefghijkl"]:
        (tmp_path / place).mkdir(parents=True)
        for number in range(9 if place == "heap" else 4):
            pixels = rng.integers(0, 256, (30, 30), np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{number}.png")
    text = TINY
    for name, called in (("unlabelled_folder", "heap"), ("image_folder", "mine")):
        folder = f"{{name: {name}, path: {tmp_path / called}, {SMALL}, called: {called}}}"
        text = text.replace(called.upper(), folder)
    (tmp_path / "moved.yaml").write_text(text)
    return tmp_path / "moved.yaml"


@pytest.mark.usefixtures("no_main")
def test_roles_run_are_reported_verified_and_computed_again(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From three sets to a report whose rows answer the same episodes, and back from nothing."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = suite.parent
    where = ["--results", str(folder / "results"), "--reports", str(folder / "reports")]

    assert main(["run", str(suite), *where, "--workers", "1"]) == 0

    report: Mapping[str, Json] = json.loads((folder / "reports/moved/report.json").read_text())
    assert {block["data"] for block in report["blocks"]} == {
        "mine",
        "glyphs to mine",
        "heap then glyphs to mine",
    }
    assert report["complete"]
    moved = report["tables"]["across-domains-mine-2way-1shot"]
    assert {(one["variant"], one["trained_on"]) for one in moved} >= {("alone", "glyphs")}
    assert not [name for name in report["files"] if " " in name]
    text = (folder / "reports/moved/index.md").read_text()
    assert "Under heap then glyphs to mine, pre-training saw the training split of heap" in text
    assert main(["verify", str(folder / "reports/moved"), *where]) == 0
    assert main(["verify", str(suite), "--cells", "3", *where, "--workers", "1"]) == 0
    assert "equal bit for bit" in capsys.readouterr().out
    cell = "both/heap then glyphs to mine 2-way 1-shot/seed 1"
    assert main(["why", str(suite), cell, *where]) == 0
    out = folder / "both.safetensors"
    assert main(["export-model", str(suite), cell, "--out", str(out), *where]) == 0
    assert out.is_file()
