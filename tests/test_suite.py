"""What a suite comes to, what its options do, and what editors are told of it."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.suite import (
    AXES,
    LAST,
    Budget,
    Choice,
    Evaluate,
    Suite,
    read_suite,
    schema,
    with_options,
)
from bench.suite_form import KEYS

# The example of the design, as a user would write it.
EXAMPLE = """\
# Does pre-training help meta-learning on CIFAR-FS?
name: cifar_fewshot
data: cifar_fs
encoder: conv4
ways: 5
tasks: labels
grid:
  pretext: [none, rotation, position, simclr]
  meta: [none, protonet, {name: maml, order: 1}, reptile]
  shots: [1, 5]
  seeds: 5
variants:
  - {label: UMTRA, tasks: instances, meta: maml}
baseline: {train: {pretext: none, meta: protonet}, none: random_init}
budget: {pretrain_examples: 5_000_000, metatrain_examples: 5_000_000}
evaluate: {episodes: 600, queries: 15, test_steps: 10}
margin: 0.01
"""
SMALL = "name: small\nmeta: maml\n"  # two lines: what is appended begins in line 3

Read = Callable[[str], Suite]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a suite and read it."""

    def read(text: str) -> Suite:
        (tmp_path / "suite.yaml").write_bytes(text.encode())
        return read_suite(tmp_path / "suite.yaml")

    return read


def named(choices: Mapping[str, Choice]) -> dict[str, str]:
    """Return the names alone."""
    return {axis: choice.name for axis, choice in choices.items()}


def test_byte_order_mark_is_no_key(read: Read) -> None:
    """A byte-order mark, which some editors write, does not disturb."""
    assert read("\ufeff" + SMALL).name == "small"


def test_example_is_read_whole(read: Read, tmp_path: Path) -> None:
    """The design's example gives its grid in the order written, then its variant."""
    suite = read(EXAMPLE)
    path = f"{tmp_path}/suite.yaml"
    assert (suite.name, suite.file, suite.source) == ("cifar_fewshot", path, EXAMPLE)
    assert (suite.shots, suite.seeds, suite.margin) == ((1, 5), (0, 1, 2, 3, 4), 0.01)
    assert suite.evaluate == Evaluate(episodes=600, queries=15, test_steps=10)
    methods = [one.axes["meta"].name for one in suite.combinations[:4]]
    assert methods == ["none", "protonet", "maml", "reptile"]
    assert len(suite.combinations) == 4 * 4 + 1
    assert suite.combinations[2].axes["meta"] == Choice(name="maml", params={"order": 1}, where="")
    assert suite.combinations[2].axes["meta"].where == f"{path}:9: grid.meta[2]"
    assert {one.budget for one in suite.combinations} == {
        Budget(pretrain_examples=5_000_000, metatrain_examples=5_000_000)
    }


def test_variant_inherits_the_top_level_but_not_the_grid(read: Read, tmp_path: Path) -> None:
    """A variant has the top level's fields, its own over them, and no axis of the grid."""
    variant = read(EXAMPLE).combinations[-1]
    assert variant.label == "UMTRA"
    top = {"data": "cifar_fs", "encoder": "conv4"}
    assert named(variant.axes) == top | {"tasks": "instances", "meta": "maml"}
    assert variant.where == f"{tmp_path}/suite.yaml:13: variants[0]"
    assert variant.axes["tasks"].where == f"{tmp_path}/suite.yaml:13: variants[0].tasks"


def test_baseline_for_each_class_of_labels(read: Read, tmp_path: Path) -> None:
    """A baseline is a pattern of axes or a name, with the place of each."""
    suite = read(EXAMPLE)
    pattern = suite.baseline["train"]
    assert not isinstance(pattern, str)
    assert named(pattern) == {"pretext": "none", "meta": "protonet"}
    assert suite.baseline["none"] == "random_init"
    assert suite.baseline_where == {
        "train": f"{tmp_path}/suite.yaml:14: baseline.train",
        "none": f"{tmp_path}/suite.yaml:14: baseline.none",
    }


@pytest.mark.parametrize("row", ["UMTRA", "{meta: maml}"])
def test_bare_baseline_is_for_all_classes(read: Read, tmp_path: Path, row: str) -> None:
    """A baseline without classes of labels stands for every class."""
    suite = read(f"{SMALL}baseline: {row}\n")
    maml = {"meta": Choice(name="maml", params={}, where="")}
    assert suite.baseline == {"*": "UMTRA" if row == "UMTRA" else maml}
    assert suite.baseline_where == {"*": f"{tmp_path}/suite.yaml:3: baseline"}


def test_defaults(read: Read) -> None:
    """A name and a method are a whole suite; the rest has the documented defaults."""
    suite = read(SMALL)
    (one,) = suite.combinations
    assert (suite.seeds, suite.shots, suite.margin) == ((0, 1, 2, 3, 4), (1, 5), 0.01)
    assert (suite.evaluate, suite.baseline, suite.controls) == (Evaluate(), {}, ())
    assert (one.ways, one.norm, one.augment, one.selection, one.label) == (
        5,
        None,
        None,
        LAST,
        None,
    )
    assert one.budget == Budget(pretrain_examples=1_000_000, metatrain_examples=1_000_000)
    assert (named(one.axes), suite.only) == ({"meta": "maml"}, None)


def test_every_axis_may_stand_in_the_grid(read: Read) -> None:
    """Ways, augmentation, norm, shots and seeds vary like the axes; one value needs no list."""
    suite = read(
        "name: a\nmeta: maml\ngrid: {ways: [5, 20], augment: [none, {name: crop, size: 2}],"
        " norm: [running, support], init: scratch, shots: 1, seeds: [7, 3]}"
    )
    assert (suite.shots, suite.seeds) == ((1,), (7, 3))
    assert len(suite.combinations) == 8
    last = suite.combinations[-1]
    assert (last.ways, last.norm, named(last.axes)["init"]) == (20, "support", "scratch")
    assert last.augment == Choice(name="crop", params={"size": 2}, where="")


def test_grid_of_seeds_alone_repeats_the_variants(read: Read) -> None:
    """A grid that names no axis adds no row to the variants."""
    suite = read("name: a\ngrid: {seeds: 2}\nvariants: [{meta: maml}]")
    assert [named(one.axes) for one in suite.combinations] == [{"meta": "maml"}]
    assert suite.seeds == (0, 1)


def test_variants_alone_leave_the_top_level_no_row(read: Read) -> None:
    """With variants and no grid, the top level is what they share and not a row."""
    suite = read(f"{SMALL}variants: [{{pretext: rotation}}, {{meta: none}}]")
    assert [named(one.axes) for one in suite.combinations] == [
        {"pretext": "rotation", "meta": "maml"},
        {"meta": "none"},
    ]


def test_numbers_and_words_of_yaml(read: Read) -> None:
    """Underscores group digits, 1e-3 is a number, and no is a word, as in YAML 1.2."""
    suite = read(f"{SMALL}data: no\nencoder: {{name: a, rate: 1e-3, width: 1_000, on: true}}\n")
    assert suite.combinations[0].axes["data"].name == "no"
    assert suite.combinations[0].axes["encoder"].params == {
        "rate": 0.001,
        "width": 1000,
        "on": True,
    }


def test_auxiliary_holds_its_pretext(read: Read) -> None:
    """An auxiliary loss is named by its pretext; the weight is 1.0 unless given; none is bare."""
    pretext = "{name: rotation, turns: 4}"
    suite = read(
        f"{SMALL}grid: {{auxiliary: [none, {{pretext: {pretext}}}, {{pretext: a, weight: 2}}]}}"
    )
    turned = {"weight": 1.0, "pretext": {"name": "rotation", "turns": 4}}
    assert [one.axes["auxiliary"] for one in suite.combinations] == [
        Choice(name="none", params={}, where=""),
        Choice(name="rotation", params=turned, where=""),
        Choice(name="a", params={"weight": 2.0, "pretext": {"name": "a"}}, where=""),
    ]


def test_nested_plugins_stay_plain(read: Read) -> None:
    """A plug-in inside a parameter is kept as it was written."""
    suite = read(
        f"{SMALL}tasks: {{name: pretext, family: [rotation, {{name: position}}], held: null}}"
    )
    family = ["rotation", {"name": "position"}]
    assert suite.combinations[0].axes["tasks"].params == {"family": family, "held": None}


def test_variant_overrides_one_phase_of_the_budget(read: Read) -> None:
    """A variant's budget replaces only the phase it names."""
    suite = read(
        "name: a\nmeta: maml\nbudget: {pretrain_steps: 7, metatrain_examples: 8}\nvariants:\n"
        "- {init: scratch, budget: {metatrain_steps: 9}}\n- {budget: {pretrain_steps: 7}}"
    )
    first, second = suite.combinations
    assert first.budget == Budget(pretrain_steps=7, metatrain_steps=9)
    assert second.budget == Budget(pretrain_steps=7, metatrain_examples=8)


def test_where_names_any_key(read: Read, tmp_path: Path) -> None:
    """A place is file, line and key; what the file lacks is left out."""
    suite = read(EXAMPLE)
    path = f"{tmp_path}/suite.yaml"
    assert suite.where("grid", "meta", 2, "order") == f"{path}:9: grid.meta[2].order"
    assert suite.where("evaluate", "queries") == f"{path}:16: evaluate.queries"
    assert suite.where("controls") == f"{path}:1"


def test_options_are_applied_and_suffix_the_name(read: Read) -> None:
    """Each option changes what it says and no more, and the name tells it."""
    full = read(EXAMPLE)
    small = with_options(full, budget_scale=0.002, seeds=2, episodes=100, only="UMTRA")
    assert small.name == "cifar_fewshot-x0.002-s2-e100-only_UMTRA"
    assert (small.seeds, small.evaluate.episodes, small.only) == ((0, 1), 100, "UMTRA")
    assert {one.budget.scale for one in small.combinations} == {0.002}
    assert small.combinations[0].budget.pretrain_examples == 5_000_000
    assert (small.shots, small.evaluate.queries, full.name) == (full.shots, 15, "cifar_fewshot")
    assert with_options(full) == full


@pytest.mark.parametrize(
    ("asked", "seeds", "suffix"),
    [(3, (0, 1, 2), "s3"), ("3", (0, 1, 2), "s3"), ("3,5", (3, 5), "s3_5")],
)
def test_seeds_option(read: Read, asked: int | str, seeds: tuple[int, ...], suffix: str) -> None:
    """Seeds are a count, or a list joined by commas."""
    suite = with_options(read(SMALL), seeds=asked)
    assert (suite.seeds, suite.name) == (seeds, f"small-{suffix}")


def test_scales_multiply(read: Read) -> None:
    """A suite scaled twice has the product, and both suffixes; a small scale fits a file's name."""
    suite = with_options(with_options(read(SMALL), budget_scale=0.5), budget_scale=2e-5)
    assert (suite.combinations[0].budget.scale, suite.name) == (1e-5, "small-x0.5-x2e-05")


def test_selections_never_share_a_name(read: Read) -> None:
    """What a file's name cannot hold is told apart by a hash, and a long selection is cut."""
    patterns = ["maml", "maml*", "*maml", "a + b", "a/b", "a" * 300, "a" * 301, "\udcff"]
    names = {with_options(read(SMALL), only=pattern).name for pattern in patterns}
    assert len(names) == len(patterns)
    assert all(name.isascii() and "/" not in name and len(name) < 60 for name in names)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("budget_scale", 0.0, "--budget-scale: 0.0 is given. Use a number above 0"),
        ("budget_scale", -1.0, "--budget-scale: -1.0 is given. Use a number above 0"),
        ("budget_scale", float("nan"), "--budget-scale: nan is given. Use a number above 0"),
        ("budget_scale", float("inf"), "--budget-scale: inf is given. Use a number above 0"),
        ("episodes", 601, "--episodes: 601 is given. Use 1 to the suite's 600."),
        ("episodes", 0, "--episodes: 0 is given. Use 1 to the suite's 600."),
        ("seeds", 0, "--seeds: 0 is given. Use a count from 1 to 1000"),
        ("seeds", -1, "--seeds: -1 is given. Use a count from 1 to 1000"),
        ("seeds", 1001, "--seeds: 1001 is given. Use a count from 1 to 1000"),
        ("seeds", "3,3", "--seeds: '3,3' is given. Use a count from 1 to 1000, or different"),
        ("seeds", "3,", "--seeds: '3,' is given. Use a count from 1"),
        ("seeds", "a", "--seeds: 'a' is given. Use a count from 1"),
        ("only", " ", "--only: nothing is named. Name variants to keep."),
    ],
)
def test_option_that_cannot_be_applied(
    read: Read, option: str, value: float | str, expected: str
) -> None:
    """An impossible option is an error that names it."""
    with pytest.raises(UserError) as caught:
        with_options(read(SMALL), **{option: value})  # type: ignore[arg-type]
    assert str(caught.value).startswith(expected)


def test_schema_names_the_keys_that_are_accepted() -> None:
    """An editor's schema has exactly the keys of each part, and refuses others, as reading does."""
    parts = schema() | {"title": "AskedSuite"}
    forms = {part["title"]: part for part in [parts, *parts["$defs"].values()]}
    for place, keys in KEYS.items():
        form = forms[f"Asked{(place or 'suite').removesuffix('s').title()}"]
        extra = set(AXES) if place == "baseline" else set()
        assert set(form["properties"]) | extra == keys
        assert form["additionalProperties"] is False
    assert parts["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert parts["required"] == ["name"]


def test_grid_takes_every_axis_but_no_setting() -> None:
    """The grid takes the axes, and what else may vary; variants take the axes and overrides."""
    varied = {*AXES, "ways", "augment", "norm", "selection"}
    assert KEYS["grid"] == varied | {"shots", "seeds"}
    assert KEYS["variants"] == varied | {"label", "budget", "trials", "tuned_on"}


def test_schema_accepts_a_name_or_a_mapping() -> None:
    """An axis is a name or a mapping with a name; in the grid also a list of these."""
    parts = schema()
    one = parts["properties"]["meta"]["anyOf"]
    several = parts["$defs"]["AskedGrid"]["properties"]["meta"]["anyOf"]
    assert [choice["type"] for choice in one] == ["string", "object"]
    assert one[1]["required"] == ["name"]
    assert several == [{"anyOf": one}, {"type": "array", "items": {"anyOf": one}, "minItems": 1}]


def test_schema_describes_every_top_level_key() -> None:
    """Every key of the top level has a description for the editor to show."""
    bare = [key for key, value in schema()["properties"].items() if not value.get("description")]
    assert bare == []


def test_reading_imports_no_torch() -> None:
    """Reading a suite needs neither torch nor the plug-ins."""
    code = "import sys; sys.modules['torch'] = None; import bench.suite; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "bench.suite" in ran.stdout.split()
    assert "bench.contract" not in ran.stdout.split()
