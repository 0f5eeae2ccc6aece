"""Faults in labelled pre-training: each check fails on an objective that has the fault."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.conformance import init
from bench.conformance.subject import Check
from bench.contract import AbstractNetwork, AbstractPlugin
from bench.init.supervised import Supervised

Loss = Callable[[AbstractNetwork, Tensor, Tensor], Tensor]


def loss_is(loss: Loss) -> dict[str, object]:
    """Return supervised pre-training with another loss."""

    def method(
        self: Supervised, net: AbstractNetwork, x: Tensor, label: Tensor, rng: Generator
    ) -> Tensor:
        return loss(net, x, label)

    return {"loss": method}


def plain(net: AbstractNetwork, x: Tensor, label: Tensor) -> Tensor:
    """Return the loss as it should be."""
    return F.cross_entropy(net.head(net.encode(x)), label)


def each(net: AbstractNetwork, x: Tensor, label: Tensor) -> Tensor:
    """Forget the mean."""
    return F.cross_entropy(net.head(net.encode(x)), label, reduction="none")


def cut(net: AbstractNetwork, x: Tensor, label: Tensor) -> Tensor:
    """Cut the encoder off."""
    return F.cross_entropy(net.head(net.encode(x).detach()), label)


def shaken(net: AbstractNetwork, x: Tensor, label: Tensor) -> Tensor:
    """Draw from numpy's global generator."""
    return plain(net, x, label) * (1 + np.random.rand())  # noqa: NPY002  # the fault


def writing(net: AbstractNetwork, x: Tensor, label: Tensor) -> Tensor:
    """Change the batch in place."""
    return plain(net, x.mul_(0.5), label)


def blind(net: AbstractNetwork, x: Tensor, label: Tensor) -> Tensor:
    """Use no label."""
    return plain(net, x, torch.zeros_like(label))


def climbing(net: AbstractNetwork, x: Tensor, label: Tensor) -> Tensor:
    """Descend the wrong way."""
    loss = plain(net, x, label)
    return 2 * loss.detach() - loss


FAULTS = [
    (init.the_loss_is_a_finite_scalar, loss_is(each), "its loss is tensor"),
    (init.the_loss_is_a_finite_scalar, loss_is(cut), "does not depend on the encoder"),
    (init.the_loss_repeats, loss_is(shaken), "numpy's or Python's global generator"),
    (init.the_loss_writes_into_nothing, loss_is(writing), "was given: x"),
    (init.the_loss_uses_labels, loss_is(blind), "the same for other labels"),
    (init.descending_makes_the_loss_smaller, loss_is(climbing), "took its loss from"),
]


@pytest.mark.parametrize(("check", "fault", "said"), FAULTS)
def test_a_fault_is_told(
    check: Check,
    fault: dict[str, object],
    said: str,
    fails: Callable[[Check, type[AbstractPlugin], dict[str, object], str], None],
) -> None:
    """An objective with a fault is told what it does."""
    fails(check, Supervised, fault, said)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(init)
