"""Streams are cut from the shared bank: groups of classes, or domains in an order of their own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bench.cell import Json
from bench.episodes import StreamBank, draw_bank, draw_streams

COUNTS = (24, 30, 24, 40, 25, 26, 24)


def bank(**changes: Json) -> StreamBank:
    """Draw a small bank of streams, some of its arguments changed."""
    usual: dict[str, Any] = {
        "data_digest": "d" * 64,
        "split": "test",
        "groups": 3,
        "ways": 2,
        "shots": 2,
        "queries": 3,
        "streams": 20,
    }
    return draw_streams(COUNTS, **(usual | changes))


def owners(positions: np.ndarray) -> np.ndarray:
    """Return the class of each position of a split."""
    labels: np.ndarray = np.repeat(np.arange(len(COUNTS)), COUNTS)
    return np.asarray(labels[positions])


def test_groups_are_of_classes_that_have_not_come() -> None:
    """Groups of a stream share no class; their columns are the classes of one episode in order."""
    drawn = bank()
    assert drawn.support_ETKN.shape == (20, 3, 2, 2)
    assert drawn.query_ETQN.shape == (20, 3, 3, 2)
    assert drawn.classes_TN.tolist() == [[0, 1], [2, 3], [4, 5]]
    of_ETXN = owners(np.concatenate([drawn.support_ETKN, drawn.query_ETQN], axis=2))
    assert (of_ETXN == of_ETXN[:, :, :1]).all()
    assert all(len(set(stream)) == 6 for stream in of_ETXN[:, :, 0].reshape(20, 6).tolist())
    plain = draw_bank(
        COUNTS, data_digest="d" * 64, split="test", ways=6, shots=2, queries=3, episodes=20
    )
    np.testing.assert_array_equal(
        drawn.support_ETKN.transpose(0, 1, 3, 2).reshape(20, 6, 2), plain.support_ENK
    )


def test_domains_are_of_the_same_classes() -> None:
    """Every domain has the same classes, and no example is shown in two of them."""
    drawn = bank(groups=4, domains="rotation")
    both_ETXN = np.concatenate([drawn.support_ETKN, drawn.query_ETQN], axis=2)
    of_ETXN = owners(both_ETXN)
    assert (of_ETXN == of_ETXN[:, :1, :1]).all()
    assert all(len(set(one)) == 4 * 5 * 2 for one in both_ETXN.reshape(20, -1).tolist())
    assert drawn.classes_TN.tolist() == [[0, 1]] * 4
    assert drawn.domains_ET is not None
    assert (np.sort(drawn.domains_ET, axis=1) == np.arange(4)).all()
    assert len({tuple(order) for order in drawn.domains_ET.tolist()}) > 5


def test_the_order_of_domains_follows_from_coordinates() -> None:
    """Stream e has one order however many are drawn, whatever the shots; the rest decides it."""
    usual = bank(groups=4, domains="rotation").domains_ET
    assert usual is not None
    same: Mapping[str, Json]
    for same in ({"streams": 5}, {"shots": 1}):
        found = bank(groups=4, domains="rotation", **same).domains_ET
        assert found is not None
        np.testing.assert_array_equal(found, usual[: len(found)])
    change: Mapping[str, Json]
    for change in ({"split": "val"}, {"data_digest": "e"}, {"domains": "jigsaw"}, {"queries": 2}):
        other = bank(**{"groups": 4, "domains": "rotation", **change}).domains_ET
        assert other is not None
        assert (other != usual).any()


@pytest.mark.parametrize("domains", [None, "rotation"])
def test_one_shot_is_the_first_of_two(domains: str | None) -> None:
    """Fewer shots are the first of more, the queries are the same, and so is the digest."""
    one, two = (bank(shots=shots, domains=domains) for shots in (1, 2))
    np.testing.assert_array_equal(one.support_ETKN, two.support_ETKN[:, :, :1])
    np.testing.assert_array_equal(one.query_ETQN, two.query_ETQN)
    assert one.digest == two.digest
    assert len({one.digest, bank(domains="jigsaw").digest, bank(split="val").digest}) == 3
