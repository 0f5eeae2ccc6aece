"""What tuning may change: bounds that hold what they say, and the methods that declare them."""

import json
from math import inf, nan

import pytest

from bench.auxiliary import SPACE
from bench.catalogue import KINDS, build, entries, load_class
from bench.cell import Json
from bench.contract import AbstractTrained
from bench.space import OneOf, Reals, Space, Whole, described, in_words, landmarks, space_of

EVERY = [
    (Reals(low=-1.0, high=3.0), "-1 to 3", (-1.0, 3.0, 1.0)),
    (Reals(low=1e-4, high=1e-2, log=True), "0.0001 to 0.01, log", (1e-4, 1e-2, 1e-3)),
    (Whole(low=0, high=5), "0 to 5", (0, 5, 2)),
    (Whole(low=1, high=100, log=True), "1 to 100, log", (1, 100, 10)),
    (OneOf(values=(1, 2.5, "three", None)), "1, 2.5, three or None", (1, 2.5, "three", None)),
    (OneOf(values=(True, False)), "True or False", (True, False)),
]


@pytest.mark.parametrize(
    ("space", "within", "without"),
    [
        (Reals(low=0.1, high=2.0), [0.1, 1, 2.0], [0.0999, 2.1, nan, inf, True, "1", None]),
        (Whole(low=1, high=3), [1, 2, 3], [0, 4, 2.0, True, "2", None]),
        (OneOf(values=(1, "a", None)), [1, "a", None], [1.0, True, "b", False]),
    ],
)
def test_a_space_holds_what_lies_within(
    space: Space, within: list[Json], without: list[Json]
) -> None:
    """Bounds belong to it; other types do not, even where they are equal to what does."""
    assert [value for value in within if not space.holds(value)] == []
    assert [value for value in without if space.holds(value)] == []


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (1.0, 1.0), (nan, 1.0), (0.0, inf)])
def test_bounds_that_bound_nothing_are_refused(low: float, high: float) -> None:
    """The lower one is below the upper one, and both are finite."""
    with pytest.raises(ValueError, match="bounds of"):
        Reals(low=low, high=high)


def test_whole_bounds_that_bound_nothing_are_refused() -> None:
    """One number is no range, and zero has no logarithm."""
    for low, log in ((3, False), (0, True)):
        with pytest.raises(ValueError, match=f"bounds of {low} and 3"):
            Whole(low=low, high=3, log=log)


def test_a_logarithmic_range_begins_above_zero() -> None:
    """Zero has no logarithm."""
    with pytest.raises(ValueError, match="a logarithmic range from 0"):
        Reals(low=0.0, high=1.0, log=True)


@pytest.mark.parametrize("values", [(), (1,), (1, 1), ("a", "b", "a"), (True, 1), (1, 1.0)])
def test_a_choice_is_among_different_values(values: tuple[Json, ...]) -> None:
    """Of fewer than two there is nothing to choose, and none is there twice, as True and 1 are."""
    with pytest.raises(ValueError, match="a choice among"):
        OneOf(values=values)


@pytest.mark.parametrize("space", [space for space, _, _ in EVERY])
def test_a_space_is_read_back_from_json(space: Space) -> None:
    """What describes it, written as JSON and read, is the same space of the same kind."""
    again = space_of(json.loads(json.dumps(described(space))))

    assert (type(again), again) == (type(space), space)


@pytest.mark.parametrize(("space", "words"), [(space, words) for space, words, _ in EVERY])
def test_a_space_in_words(space: Space, words: str) -> None:
    """People read its bounds, or its values, in one line."""
    assert in_words(described(space)) == words


@pytest.mark.parametrize(("space", "values"), [(space, values) for space, _, values in EVERY])
def test_landmarks_are_the_ends_and_the_middle(space: Space, values: tuple[Json, ...]) -> None:
    """Halfway is by ratio on a logarithmic range; all lie within, each of the space's own type."""
    found = landmarks(space)

    assert found == pytest.approx(values)
    assert [value for value in found if not space.holds(value)] == []


@pytest.mark.parametrize("name", ["maml", "anil", "meta_sgd"])
def test_a_cross_check_is_tuned_as_its_original(name: str) -> None:
    """What mirrors a method by another library declares the same bounds."""
    other = load_class("meta", f"learn2learn_{name}")

    assert other.space == load_class("meta", name).space


@pytest.mark.parametrize(
    ("kind", "name", "params", "tuned"),
    [
        ("meta", "none", {}, []),
        ("meta", "none", {"head": "neighbour"}, []),
        ("meta", "none", {"head": "logistic"}, ["regularisation"]),
        ("meta", "none", {"tune_steps": 15}, ["tune_rate"]),
        ("meta", "protonet", {}, ["rate", "halve_every"]),
        ("meta", "protonet", {"tune_steps": 15}, ["rate", "halve_every", "tune_rate"]),
        ("pretext", "mixture", {"members": ["rotation", "simclr"]}, ["rate"]),
        (
            "pretext",
            "mixture",
            {"members": ["rotation", "simclr"], "weights": "learned"},
            ["rate", "weight_rate"],
        ),
    ],
)
def test_what_has_no_use_is_not_tuned(
    kind: str, name: str, params: dict[str, Json], tuned: list[str]
) -> None:
    """A parameter that matters beside another one alone is tuned where that one is set."""
    assert list(build(kind, name, params, "here").space) == tuned


def test_every_method_that_is_trained_has_its_rate_tuned() -> None:
    """No learning rate is left as it stands, and those of Adam have the same bounds everywhere."""
    names = [(kind, name) for kind in ("pretext", "init", "meta") for name in entries(kind)]
    names.remove(("pretext", "mixture"))  # it needs members; see above
    classes = [load_class(*one) for one in names]
    trained = [cls() for cls in classes if issubclass(cls, AbstractTrained)]

    assert len(trained) > 20
    assert [one for one in trained if "rate" not in one.space] == []
    assert {one.space["rate"] for one in trained if one.optimizer == "adam"} == {
        Reals(low=1e-4, high=3e-2, log=True)
    }


def test_what_a_suite_holds_fixed_is_not_tuned() -> None:
    """Data, views, encoder and source of tasks are a suite's, or say what a row is."""
    fixed = [kind for kind in KINDS if kind not in ("pretext", "init", "meta")]

    assert [name for kind in fixed for name in entries(kind) if load_class(kind, name).space] == []


def test_the_weight_of_an_auxiliary_loss_is_tuned_about_one() -> None:
    """It is what a suite means that gives none."""
    assert list(SPACE) == ["weight"]
    assert SPACE["weight"].holds(1.0)
