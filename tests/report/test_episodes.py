"""What one evaluation measured, to the file of all of them and back."""

from pathlib import Path

import numpy as np
import pytest

from bench.report.evidence.episodes import EPISODES, Episodes, pack_episodes, unpack_episodes

NAN = float("nan")
NONE = np.array([[NAN, NAN], [1.0, 2.0]])  # a measure that is taken after the last step alone
BOTH = {
    "control": Episodes(steps=(0, 5), measured_TE={"explained": np.eye(2), "return": NONE}),
    "plain": Episodes(steps=(0,), measured_TE={"accuracy": np.array([[0.5, 0.25, 1.0]])}),
}


def test_every_measure_comes_back_and_one_that_was_not_taken_stays_absent(tmp_path: Path) -> None:
    """A NaN among numbers survives; no measure of one evaluation is given to another."""
    (tmp_path / EPISODES).write_bytes(pack_episodes(BOTH))
    found = unpack_episodes(tmp_path)
    assert found.keys() == BOTH.keys()
    for key, one in BOTH.items():
        assert found[key].steps == one.steps
        assert found[key].measured_TE.keys() == one.measured_TE.keys()
        for name, values_TE in one.measured_TE.items():
            np.testing.assert_array_equal(found[key].measured_TE[name], values_TE)


@pytest.mark.parametrize(("key", "name"), [("control", "explained"), ("plain", "accuracy")])
def test_the_headline_is_the_variance_explained_or_else_the_accuracy(key: str, name: str) -> None:
    """What verdicts are of is found by name, whatever else was measured."""
    np.testing.assert_array_equal(BOTH[key].accuracy_TE, BOTH[key].measured_TE[name])
    assert Episodes(steps=()).accuracy_TE.size == 0
