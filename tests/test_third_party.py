"""Somebody else's package: the page that shows one is followed to the letter, fault by fault."""

import csv
import shutil
from pathlib import Path

import pytest

from bench.dataset import Dataset
from tests.pages import Followed, Run, complaints, follow, installed

PACKAGES = Path(__file__).parent / "third_party"
PAGE = Path(__file__).parents[1] / "docs" / "adding_a_method.md"
VARIANTS = {"random_init", "half_turn + none", "none + cosine", "half_turn + cosine"}
FAULTS = {
    "pretext/careless": [
        "its loss writes into what it was given: x",
        "its loss draws from, or seeds, numpy's or Python's global generator",
        "views is 4, but each example of a batch is encoded 1 times",
        "its reference is 'Gidaris et al. 2018'",
        "the default of rate, 0.001, is not within 0.01 to 1, log",
    ],
    "meta/peeking": [
        "predict() reads the labels of the queries, task.query_y",
        "a query's prediction changes when other queries are removed or altered",
        "adapt() writes into what it was given: encoder.",
    ],
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, glyphs: Dataset) -> Followed:
    """Follow the page."""
    return follow(PAGE, tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the command line of an environment that has the faulty package."""
    folder = tmp_path_factory.mktemp("faulty")
    shutil.copytree(PACKAGES / "faulty", folder / "source")  # building leaves files beside it
    return installed(folder)


def test_every_command_of_the_page_does_what_it_says(page: Followed) -> None:
    """Each command shown exits 0, without a warning or a traceback."""
    assert complaints(page) == []


def test_methods_of_a_package_are_listed(page: Followed) -> None:
    """``bench list`` shows them beside our own, with their summary and their package."""
    listed = page.done["bench list pretext"].stdout.splitlines()
    assert any(
        line.startswith("pretext/half_turn")
        and line.endswith("Say whether an image is upside down. [example-methods]")
        for line in listed
    )
    described = page.done["bench list meta/cosine"].stdout
    assert "source: arXiv:2003.04390" in described
    assert "temperature: PositiveFloat = 10.0" in described


def test_methods_of_a_package_are_rows_of_a_report(page: Followed) -> None:
    """The suite of the page goes the whole way: plan, report, export, bibliography."""
    text = (page.folder / "reports" / "others" / "index.md").read_text()
    assert all(variant in text for variant in VARIANTS)
    assert "arXiv:2003.04390" in text
    with (page.folder / "others.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"done"}
    assert {(row["pretext"], row["meta"]) for row in rows if not row["control"]} == {
        ("none", "cosine"),
        ("half_turn", "none"),
        ("half_turn", "cosine"),
    }


@pytest.mark.parametrize("plugin", ["pretext/half_turn", "meta/cosine", "strategy/from_memory"])
def test_good_methods_conform(page: Followed, plugin: str) -> None:
    """``bench check`` finds nothing and says so."""
    checked = page.done[f"bench check {plugin}"]
    assert checked.stdout.endswith(f"checks passed: {plugin} conforms.\n")
    assert "FAULT" not in checked.stdout


@pytest.mark.parametrize("plugin", FAULTS)
def test_faulty_methods_are_told_what_is_wrong(faulty: Run, plugin: str) -> None:
    """``bench check`` names every fault in words, without a traceback, and exits 1."""
    checked = faulty("check", plugin)
    assert checked.returncode == 1, checked.stderr
    assert [words for words in FAULTS[plugin] if words not in checked.stdout] == []
    assert "Traceback" not in checked.stdout + checked.stderr
    assert checked.stdout.endswith(f"{plugin} does not conform.\n")


def test_a_plug_in_that_is_not_there_is_a_mistake(page: Followed) -> None:
    """``bench check`` of an unknown name exits 2 and suggests the nearest one."""
    checked = page.bench("check", "pretext/half_turns")
    assert checked.returncode == 2
    assert "Did you mean half_turn?" in checked.stderr
