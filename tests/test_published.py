"""The shipped numbers of others: each is complete, possible, sourced, and of methods that exist."""

from collections import Counter
from collections.abc import Mapping

import pytest

from bench.catalogue import entries
from bench.cell import Json
from bench.description import describe
from bench.published import FILE, UNSTATED, Published, published

NUMBERS = published()
each = pytest.mark.parametrize("one", NUMBERS, ids=lambda one: f"{one.title} {one.data}")


def fields(kind: str, name: str) -> Mapping[str, object]:
    """The parameters of a plug-in."""
    return describe(entries(kind)[name]).parameters


def test_there_are_numbers() -> None:
    """The file holds what the reproductions of the suites are measured by."""
    found = {(one.data, one.meta, one.ways, one.shots, one.accuracy) for one in NUMBERS}

    assert {
        ("omniglot", "protonet", 5, 1, 98.8),
        ("omniglot", "protonet", 5, 5, 99.7),
        ("omniglot", "reptile", 5, 1, 95.39),
        ("cifar_fs", "protonet", 5, 5, 72.0),
    } <= found


@each
def test_its_method_exists(one: Published) -> None:
    """A suite can name the data, the encoder and every axis of a number."""
    axes = [("data", one.data), ("meta", one.meta), ("encoder", one.encoder["name"])]
    axes += [("tasks", one.tasks)] if one.tasks != "none" else []
    axes += [("pretext", one.pretext)] if one.pretext != "none" else []
    axes += [("init", one.init)] if one.init not in ("scratch", "pretext") else []

    assert [axis for axis in axes if axis[1] not in entries(axis[0])] == []
    assert one.auxiliary == "none"


@each
def test_its_parameters_exist(one: Published) -> None:
    """What it is matched and compared by are parameters of these plug-ins."""
    names = {"data": one.data, "meta": one.meta, "tasks": one.tasks, "init": one.init}
    dotted = [name.split(".") for name in (*one.params, *one.conditions)]
    dotted += [["encoder", name] for name in one.encoder if name != "name"]
    named = names | {"encoder": str(one.encoder["name"])}

    shape = {"ways", "shots", "queries"}  # of training tasks, whoever decides it
    known = {axis: shape if axis == "task" else fields(axis, named[axis]) for axis, _ in dotted}
    assert [f"{axis}.{key}" for axis, key in dotted if key not in known[axis]] == []


@each
def test_it_is_possible(one: Published) -> None:
    """An accuracy is above chance and at most 100 %, a +- and a count of tasks positive."""
    assert 100 / one.ways < one.accuracy <= 100
    assert one.shots > 0
    assert one.plus_minus is None or 0 < one.plus_minus < 10
    assert one.training_tasks is None or one.training_tasks >= 1000
    assert one.transductive in ("yes", "no", UNSTATED)


@each
def test_it_saw_what_its_tasks_show(one: Published) -> None:
    """A method on labelled tasks, or with a labelled start, saw the labels of training."""
    labelled = one.tasks == "labels" or one.init == "supervised"

    assert one.labels == ("train" if labelled else "none")


@each
def test_it_has_a_source(one: Published) -> None:
    """Somebody said it, and an identifier, where there is one, can be followed."""
    assert one.source
    assert one.source.isprintable()
    assert one.identifier.startswith(("arXiv:", "doi:", "https://")) or one.identifier == ""


def test_none_is_there_twice() -> None:
    """One source gives one number for a method in a setting and protocol."""
    keys = Counter(
        (one.source, one.method, one.data, one.ways, one.shots, one.transductive, str(one.encoder))
        for one in NUMBERS
    )

    assert [key for key, count in keys.items() if count > 1] == []


def test_data_have_their_protocol_stated() -> None:
    """On Omniglot each says whether rotated characters are test classes, or that it is open."""
    omniglot = [one.conditions for one in NUMBERS if one.data == "omniglot"]

    known: set[Json] = {"train", "all", "none", UNSTATED}
    assert {conditions["data.rotations"] for conditions in omniglot} <= known


def test_the_file_is_shipped() -> None:
    """The package's configuration names it as data of the package."""
    configuration = (FILE.parent.parent / "pyproject.toml").read_text()

    assert f'"{FILE.name}"' in configuration
