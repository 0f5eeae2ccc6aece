"""Metrics of a stream, against matrices worked by hand and the rules of Avalanche."""

import numpy as np
import pytest

from bench.statistics.continual import (
    average_accuracy,
    backward_transfer,
    forgetting,
    learning_accuracy,
)

NAN = float("nan")
HAND = np.array([[0.9, NAN, NAN], [0.5, 0.8, NAN], [0.3, 0.9, 0.6]])


def test_average_accuracy_is_over_the_groups_met() -> None:
    """After each group it is the mean of the row, up to the diagonal."""
    assert average_accuracy(HAND) == pytest.approx([0.9, (0.5 + 0.8) / 2, (0.3 + 0.9 + 0.6) / 3])


def test_forgetting_is_what_was_known_at_first_less_what_is_at_the_end() -> None:
    """A loss of 0.6 of the first group and a gain of 0.1 of the second; the last has none."""
    assert forgetting(HAND) == pytest.approx((0.6 - 0.1) / 2)


def test_forgetting_is_of_the_first_accuracy_and_not_of_the_best() -> None:
    """A group that gets better before it gets worse is compared with its start, as in Avalanche."""
    M = np.array([[0.4, NAN, NAN], [0.9, 0.5, NAN], [0.3, 0.5, 0.5]])
    assert forgetting(M) == pytest.approx((0.4 - 0.3) / 2)


def test_backward_transfer_is_minus_forgetting() -> None:
    """What is forgotten is a transfer below zero; zero is not minus zero."""
    assert backward_transfer(HAND) == pytest.approx(-0.25)
    assert not np.signbit(backward_transfer(np.eye(1)))


def test_learning_accuracy_is_the_mean_of_the_diagonal() -> None:
    """Each group counts as it was just after it was learned."""
    assert learning_accuracy(HAND) == pytest.approx((0.9 + 0.8 + 0.6) / 3)


def test_one_group_is_forgotten_by_nobody() -> None:
    """A stream of one group has an accuracy, no forgetting, and no transfer."""
    M = np.array([[[0.7]], [[0.2]]])
    assert average_accuracy(M).tolist() == [[0.7], [0.2]]
    assert learning_accuracy(M).tolist() == [0.7, 0.2]
    assert forgetting(M).tolist() == backward_transfer(M).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "metric", [average_accuracy, forgetting, backward_transfer, learning_accuracy]
)
def test_streams_are_independent_and_the_future_is_never_read(metric: object) -> None:
    """[S, E, T, T] gives each matrix's own figures, whatever stands above the diagonal."""
    assert callable(metric)
    M = np.random.default_rng(0).random((2, 5, 4, 4))
    unmet = np.triu(np.ones((4, 4), bool), 1)
    apart = [[metric(one) for one in seed] for seed in M]
    for above in (NAN, np.inf, 7.0):
        assert np.array_equal(metric(np.where(unmet, above, M)), apart)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 0, 0)])
def test_what_is_no_square_is_an_error(shape: tuple[int, ...]) -> None:
    """Arrays that hold no matrix of T x T are refused."""
    with pytest.raises(ValueError, match="T x T"):
        forgetting(np.zeros(shape))


class Avalanche:
    """StreamForgetting of avalanche-lib 0.6.0, in few lines.

    avalanche/evaluation/metrics/forgetting_bwt.py: an evaluation begins with nothing known of the
    end (lines 219 and 424); a group that was just trained sets its first accuracy, any other its
    last (lines 428 to 440); one that has both counts (lines 81 to 95, 442 to 447). The mean over
    nothing is 0 (mean.py, lines 52 to 62). StreamBWT has the sign turned (lines 550, 652 to 660).
    """

    def __init__(self) -> None:
        """Know nothing of any group."""
        self.initial: dict[int, float] = {}

    def evaluate(self, trained: int, accuracies: list[float]) -> float:
        """Return the mean forgetting after an evaluation on the whole stream."""
        last: dict[int, float] = {}
        summed = weight = 0.0
        for group, accuracy in enumerate(accuracies):
            (self.initial if group == trained else last)[group] = accuracy
            if group in self.initial and group in last:
                summed += self.initial[group] - last[group]
                weight += 1
        return summed / weight if weight else 0.0


@pytest.mark.parametrize("groups", [1, 2, 3, 5, 10])
def test_forgetting_is_as_avalanches_after_every_group(groups: int) -> None:
    """Its rules give the same forgetting and transfer; tests/parity asks Avalanche itself."""
    M = np.random.default_rng(groups).random((groups, groups))
    theirs = Avalanche()
    for t in range(groups):
        expected = theirs.evaluate(t, M[t].tolist())
        met = M[: t + 1, : t + 1]
        assert float(forgetting(met)) == pytest.approx(expected, rel=0, abs=1e-12)
        assert float(backward_transfer(met)) == pytest.approx(-expected, rel=0, abs=1e-12)
