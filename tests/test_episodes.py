"""The shared test bank: the same episodes for every variant, seed and number of shots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bench.episodes import Bank, PretextBank, draw_bank, draw_pretext_bank

COUNTS = (24, 30, 24, 40, 25, 26, 24)


def bank(counts: Sequence[int] = COUNTS, **changes: str | int) -> Bank:
    """Draw a small bank, some of its arguments changed."""
    usual: dict[str, Any] = {
        "data_digest": "d" * 64,
        "split": "test",
        "ways": 5,
        "shots": 5,
        "queries": 15,
        "episodes": 20,
    }
    return draw_bank(counts, **(usual | changes))


def owners(counts: Sequence[int] = COUNTS) -> np.ndarray:
    """Return the class of each position of a split."""
    return np.repeat(np.arange(len(counts)), counts)


def test_shapes_follow_the_arguments() -> None:
    """Support is [episodes, ways, shots] and query [episodes, ways, queries]."""
    drawn = bank()
    assert drawn.support_ENK.shape == (20, 5, 5)
    assert drawn.query_ENQ.shape == (20, 5, 15)


def test_each_way_is_one_class_and_no_class_twice() -> None:
    """The examples of a way are of one class, and the ways of an episode differ."""
    drawn = bank()
    classes_ENX = owners()[np.concatenate([drawn.support_ENK, drawn.query_ENQ], axis=2)]
    assert (classes_ENX == classes_ENX[:, :, :1]).all()
    assert all(len(set(ways)) == 5 for ways in classes_ENX[:, :, 0].tolist())


def test_no_example_is_used_twice_in_an_episode() -> None:
    """Supports and queries of an episode are all different examples."""
    drawn = bank()
    used = np.concatenate([drawn.support_ENK, drawn.query_ENQ], axis=2).reshape(20, -1)
    assert all(len(set(episode)) == 5 * 20 for episode in used.tolist())


def test_every_example_of_unequal_classes_can_be_drawn() -> None:
    """Positions cover classes of unequal sizes from their first to their last example."""
    drawn = bank(episodes=400)
    used = np.concatenate([drawn.support_ENK, drawn.query_ENQ], axis=2)
    assert set(used.ravel().tolist()) == set(range(sum(COUNTS)))


def test_labels_do_not_follow_the_order_of_classes() -> None:
    """Every class takes every label, so that label order tells nothing."""
    classes_EN = owners()[bank(episodes=300).query_ENQ[:, :, 0]]
    assert {(way, int(one)) for row in classes_EN for way, one in enumerate(row)} == {
        (way, one) for way in range(5) for one in range(len(COUNTS))
    }


def test_fewer_episodes_are_a_prefix() -> None:
    """A bank of 7 episodes is the beginning of a bank of 20."""
    short, long = bank(episodes=7), bank(episodes=20)
    assert np.array_equal(short.support_ENK, long.support_ENK[:7])
    assert np.array_equal(short.query_ENQ, long.query_ENQ[:7])
    assert short.digest != long.digest


def test_shots_share_queries_supports_and_digest() -> None:
    """1-shot supports are the first of the 5-shot ones; queries and digest are the same."""
    one, five = bank(shots=1), bank(shots=5)
    assert np.array_equal(one.support_ENK, five.support_ENK[:, :, :1])
    assert np.array_equal(one.query_ENQ, five.query_ENQ)
    assert one.digest == five.digest


@pytest.mark.parametrize(
    "change",
    [{"ways": 4}, {"queries": 14}, {"data_digest": "e" * 64}, {"split": "val"}],
    ids=lambda change: next(iter(change)),
)
def test_another_question_draws_another_bank(change: dict[str, Any]) -> None:
    """Ways, queries, data and split each change the draws and the digest."""
    usual, other = bank(), bank(**change)
    assert other.digest != usual.digest
    assert not np.array_equal(other.query_ENQ[:, :4, :14], usual.query_ENQ[:, :4, :14])


def test_a_bank_repeats() -> None:
    """Two draws with the same arguments are equal."""
    assert bank().digest == bank().digest
    assert np.array_equal(bank().support_ENK, bank().support_ENK)


def test_draws_are_pinned() -> None:
    """A release of numpy or of bench that changes the episodes is noticed."""
    tiny = bank((4, 5, 6), ways=2, shots=1, queries=2, episodes=2)
    assert tiny.support_ENK.tolist() == [[[1], [9]], [[0], [11]]]
    assert tiny.query_ENQ.tolist() == [[[0, 2], [12, 14]], [[2, 1], [13, 9]]]
    assert tiny.digest == "6deacee34d4e7cfc308a36b6b8a5d1ba020ab7a07f96c5aca838379e3c85a894"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ways": 8}, "8 ways, but test has 7 classes"),
        ({"shots": 10}, r"10 shots \+ 15 queries, but a class of test has 24 examples"),
    ],
    ids=["ways", "shots"],
)
def test_more_than_there_is_is_refused(change: dict[str, Any], words: str) -> None:
    """More ways than classes, or more examples than the smallest class has, is an error."""
    with pytest.raises(ValueError, match=words):
        bank(**change)


def pretext_bank(num_images: int = 90, num_classes: int = 6, **changes: str | int) -> PretextBank:
    """Draw a small bank of pretext tasks, some of its arguments changed."""
    usual: dict[str, Any] = {
        "data_digest": "d" * 64,
        "split": "test",
        "member": "m" * 64,
        "ways": 4,
        "shots": 5,
        "queries": 8,
        "tasks": 30,
    }
    return draw_pretext_bank(num_images, num_classes, **(usual | changes))


def test_a_pretext_task_shows_no_image_twice() -> None:
    """Support and queries of a task are all different images, and its answers differ."""
    drawn = pretext_bank()
    used = np.concatenate([drawn.support_EKN, drawn.query_EQN], axis=1)
    assert used.shape == (30, 13, 4)
    assert all(len(set(task)) == 52 for task in used.reshape(30, -1).tolist())
    assert all(len(set(task)) == 4 for task in drawn.classes_EN.tolist())
    assert {int(one) for one in drawn.classes_EN.ravel()} == set(range(6))
    assert set(used.ravel().tolist()) == set(range(90))


def test_pretext_tasks_share_queries_and_supports_over_shots_and_numbers() -> None:
    """Fewer shots or tasks are the beginning of more, with the same queries and answers."""
    many, one, few = pretext_bank(), pretext_bank(shots=1), pretext_bank(tasks=9)
    assert np.array_equal(one.support_EKN, many.support_EKN[:, :1])
    assert np.array_equal(one.query_EQN, many.query_EQN)
    assert one.digest == many.digest
    assert np.array_equal(few.support_EKN, many.support_EKN[:9])
    assert few.digest != many.digest


@pytest.mark.parametrize(
    "changed", [{"data_digest": "e"}, {"split": "val"}, {"member": "n"}, {"queries": 7}]
)
def test_other_coordinates_are_other_pretext_tasks(changed: dict[str, Any]) -> None:
    """Another set, split, pretext or number of queries gives other tasks."""
    assert pretext_bank(**changed).digest != pretext_bank().digest


@pytest.mark.parametrize(
    ("num_images", "num_classes", "says"), [(51, 6, "a task of 52 examples"), (90, 3, "4 ways")]
)
def test_what_no_pretext_task_can_be_drawn_from(
    num_images: int, num_classes: int, says: str
) -> None:
    """Too few images or answers are told."""
    with pytest.raises(ValueError, match=says):
        pretext_bank(num_images, num_classes)


def test_one_pretext_bank_is_pinned() -> None:
    """The digest of one bank: it changes only with a note under *Numbers changed*."""
    assert (
        pretext_bank(tasks=2).digest
        == "897d7e68fecb7eb623b198dabbe5ce22bb7ddf60ce86d4089d6952c4fe49be1c"
    )
