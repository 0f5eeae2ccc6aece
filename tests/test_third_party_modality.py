"""Somebody else's kind of data: the page that shows one is followed to the letter."""

import csv
from pathlib import Path

import pytest

from tests.pages import Followed, complaints, follow

PAGE = Path(__file__).parents[1] / "docs" / "adding_a_modality.md"
PLUGINS = ("modality/table", "data/digits", "encoder/perceptron", "augment/swapped")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """Follow the page."""
    return follow(PAGE, tmp_path_factory.mktemp("tables"))


def test_every_command_of_the_page_does_what_it_says(page: Followed) -> None:
    """Each command shown exits 0, without a traceback."""
    assert complaints(page) == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_its_plug_ins_conform(page: Followed, plugin: str) -> None:
    """A modality of another package, its set, its encoder and its views pass every check."""
    checked = page.done[f"bench check {plugin}"].stdout
    assert checked.endswith(f"checks passed: {plugin} conforms.\n")


def test_a_new_kind_of_data_goes_the_whole_way(page: Followed) -> None:
    """Our own methods are trained and tested on it, audited and reported."""
    with (page.folder / "tables.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"done"}
    assert {row["encoder"] for row in rows} == {"perceptron", "raw"}
    assert {row["variant"] for row in rows} >= {"simclr + protonet", "UMTRA", "raw_neighbour"}
    text = (page.folder / "reports" / "tables" / "index.md").read_text()
    assert "glyphs" not in text


def test_what_is_not_made_for_it_is_dropped(page: Followed) -> None:
    """A pretext of images is dropped from a grid, with the reason."""
    suite = page.folder / "tables.yaml"
    other = suite.read_text().replace("{name: simclr, batch_size: 64}", "rotation")
    (page.folder / "other.yaml").write_text(other)
    said = page.bench("plan", "other.yaml").stdout
    assert "rotation is made for image data, not table data of shape (64,)" in said
