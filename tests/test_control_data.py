"""Transitions of simulated worlds: what a set of them holds, and how it is kept and shown.

Shapes: N transitions of 2 rows, D numbers each.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.catalogue import build, lacking, load_class
from bench.cli import main
from bench.contract import Examples, Form
from bench.data.control import GRAIN, Control
from bench.dataset import open_dataset
from bench.errors import UserError
from bench.modality.transition import Transition
from bench.worlds import WORLDS, parsed
from tests.dynamics import TRUE

FAMILIES = sorted(WORLDS)
FORM = Form(shape=(2, 4), modality="transition")
DIGESTS = {
    "cartpole": "630dc0e017dd14c1f8bd77bac8736d3b15d4732d0a8da468818865465ecf7de5",
    "pendulum": "75da4e530ae6331c0bba3df59c2a4db60ab20ec79d32bd28b930e1a7a54bbb4e",
}
"""Of the default sets with gymnasium 1.4.0. They are held here and not by the plug-in: a processor
whose sine differs beyond the grain that is stored would be refused a sound set."""


def small(family: str = "pendulum", **params: int) -> Examples:
    """Collect from a few worlds."""
    sizes = {"train": 3, "val": 2, "test": 2, "transitions": 50, **params}
    return Control(family=family, **sizes).read(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_world_is_a_class(family: str) -> None:
    """Each split has as many worlds as were asked for, of other parameters, all in their ranges."""
    examples = small(family)
    world = WORLDS[family]
    assert {split: len(names) for split, names in examples.splits.items()} == {
        "train": 3,
        "val": 2,
        "test": 2,
    }
    assert len(examples.arrays) == 7
    for name, array in examples.arrays.items():
        assert array.shape == (50, 2, world.states + 1)
        assert array.dtype == np.float32
        for key, value in parsed(name).items():
            assert world.ranges[key][0] <= value <= world.ranges[key][1]


@pytest.mark.parametrize("family", FAMILIES)
def test_transitions_are_those_of_the_world_in_the_name(family: str) -> None:
    """From each state and action, the equations of motion of the named world lead where it went."""
    world = WORLDS[family]
    for name, array in small(family).arrays.items():
        x = torch.from_numpy(array.astype(np.float64))
        state = x[:, 0, : world.states] * x.new_tensor(world.state_scale)
        action = x[:, 0, world.states :] * world.action_scale
        change = x[:, 1, : world.states] * x.new_tensor(world.change_scale)
        following = TRUE[family]([parsed(name)])(state[None], action[None])[0]
        torch.testing.assert_close(following, state + change, atol=1e-3, rtol=0, check_dtype=False)
        assert not x[:, 1, world.states :].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_one_seed_gives_one_set(family: str) -> None:
    """The same seed gives the same bytes, another seed other worlds."""
    one, again, other = small(family), small(family), small(family, seed=1)
    assert one.splits == again.splits
    assert all(one.arrays[name].tobytes() == again.arrays[name].tobytes() for name in one.arrays)
    assert not set(one.arrays) & set(other.arrays)


def test_worlds_do_not_depend_on_how_many_there_are() -> None:
    """More worlds to train on leave those of the test as they are."""
    one, other = small(), small(train=5)
    assert one.splits["test"] == other.splits["test"]
    assert set(one.splits["train"]) < set(other.splits["train"])
    name = one.splits["test"][0]
    assert (one.arrays[name] == other.arrays[name]).all()


def test_states_and_actions_are_spread() -> None:
    """Every number is of the order of one, over all worlds, and the policy takes every torque."""
    for family in FAMILIES:
        x = np.concatenate(list(small(family, transitions=200).arrays.values()))
        deviation_2D = x.std(0)
        assert 0.5 < deviation_2D[0].min() < deviation_2D[0].max() < 1.5
        assert 0.5 < deviation_2D[1, :-1].min() < deviation_2D[1].max() < 1.5
        assert abs(x[:, 0, -1].mean()) < 0.1
        assert np.abs(x[:, 0, -1]).max() == pytest.approx(1, abs=0.01)


def test_runs_are_short() -> None:
    """A run goes on from where it came, and begins anew after as many steps as were asked for."""
    (first, *_) = small(run=4).arrays.values()
    world = WORLDS["pendulum"]
    before = first[:, 0, :3] * world.state_scale
    after = before + first[:, 1, :3] * world.change_scale
    goes_on = np.abs(after[:-1] - before[1:]).max(1) < 1e-3
    assert goes_on.tolist() == [number % 4 != 3 for number in range(49)]


def test_stored_values_are_coarser_than_a_sines_last_bit() -> None:
    """All are whole multiples of the grain, which float32 holds exactly."""
    for array in small().arrays.values():
        assert (array.astype(np.float64) * GRAIN % 1 == 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_sets_are_what_they_were(family: str) -> None:
    """The digest of a default set, here: another one is another set, and its numbers are others."""
    dataset = open_dataset(Control(family=family), "control", None)  # type: ignore[arg-type]
    assert dataset.counts == (400,) * 70
    assert dataset.digest == DIGESTS[family]


def test_a_set_is_collected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time it comes from the cache."""
    source = Control(train=2, val=2, test=2, transitions=7)
    first = open_dataset(source, "control", None)
    monkeypatch.setattr(Control, "read", lambda self, root: pytest.fail("it was collected again"))
    again = open_dataset(source, "control", None)
    assert again.digest == first.digest
    assert again.form == FORM


# --- without gymnasium


@pytest.fixture
def no_gymnasium(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing find or import gymnasium."""
    monkeypatch.setitem(sys.modules, "gymnasium", None)


@pytest.mark.usefixtures("no_gymnasium")
def test_without_gymnasium_a_suite_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says what is missing and which extra brings it, and the exit code is 2."""
    suite = tmp_path / "control.yaml"
    suite.write_text("name: control\ndata: {name: control, family: pendulum}\nmeta: none\n")
    assert main(["plan", str(suite)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "data/control needs gymnasium, which is not installed." in said
    assert "Run uv pip install -e '.[control]' in the checkout" in said


@pytest.mark.usefixtures("no_gymnasium")
def test_without_gymnasium_the_rest_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """It is listed, described, and everything beside it can be built."""
    assert lacking(load_class("data", "control")) == "gymnasium"
    assert lacking(load_class("data", "glyphs")) is None
    assert main(["list"]) == 0
    assert main(["list", "data/control"]) == 0
    assert "data/control" in capsys.readouterr().out
    assert build("modality", "transition", {}, "here") == Transition()


def test_a_misspelt_family_is_refused() -> None:
    """Only families that there are can be named."""
    with pytest.raises(UserError, match="family"):
        build("data", "control", {"family": "pendulums"}, "here")


# --- the kind of data


def test_what_is_no_transition_is_told() -> None:
    """Numbers that are not finite, and an action that came of itself, are no transition."""
    x = torch.ones(3, 2, 4)
    assert "second row" in str(Transition().allows(x, FORM))
    x[:, 1, -1] = 0
    assert Transition().allows(x, FORM) is None
    x[0, 0, 0] = torch.inf
    assert "finite" in str(Transition().allows(x, FORM))


def test_transitions_are_compared_by_their_numbers() -> None:
    """Equal ones are at 0, one that differs in one number by its part of all; blank is all zero."""
    x = np.zeros((3, 2, 4), np.float32)
    x[1, 0, 2], x[2] = 4.0, 1.0
    assert Transition().apart(x[0], x).tolist() == [0, 0.5, 1]
    assert Transition().blank(x).tolist() == [True, False, False]
    assert Transition().looks(x) is None


def test_a_transition_is_shown_as_bars() -> None:
    """What was known is blue, what came orange; upwards where positive; long ones are cut."""
    x = np.zeros((2, 4), np.float32)
    one = np.array([[3, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    other = np.array([[0, 0, 0, 0], [0, 0, -90, 0]], np.float32)
    drawn = [
        np.asarray(Image.open(io.BytesIO(Transition().sheet([rows], FORM))).convert("RGB"), int)
        for rows in (x, one, other)
    ]
    (row_1, _), (row_2, column_2) = (
        np.nonzero(np.abs(rows - drawn[0]).sum(2)) for rows in drawn[1:]
    )
    middle = drawn[0].shape[0] // 2
    assert row_1.max() <= middle < row_2.max()
    assert middle - row_1.min() == row_2.max() - middle
    assert drawn[1][row_1.min() + 1, 8].argmax() == 2  # blue
    assert drawn[2][row_2.max() - 1, column_2.min() + 2].argmax() == 0  # red above the rest
