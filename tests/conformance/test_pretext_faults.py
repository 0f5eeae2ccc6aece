"""Faults of pretext tasks: each check fails on a task that has the fault it looks for."""

from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench.conformance import pretext
from bench.conformance.subject import Check
from bench.contract import AbstractNetwork, Shape, Tensors
from bench.pretext.rotation import Rotation

Result = tuple[Tensor, Tensors]


def loss_becomes(change: Callable[[Tensor], Tensor]) -> dict[str, object]:
    """Return rotation's loss with a change to its value."""
    return {"loss": lambda self, *given: (change(Rotation.loss(self, *given)[0]), given[1])}


def batch_becomes(change: Callable[[Tensor], Tensor]) -> dict[str, object]:
    """Return rotation's loss with a change to its batch."""

    def loss(
        self: Rotation, net: AbstractNetwork, state: Tensors, x: Tensor, rng: Generator
    ) -> Result:
        return Rotation.loss(self, net, state, change(x), rng)

    return {"loss": loss}


def noisy(x: Tensor) -> Tensor:
    """Add noise from numpy's global generator."""
    noise = np.random.normal(size=x.shape)  # noqa: NPY002  # the fault
    return x + torch.from_numpy(noise).to(x.dtype)


def head_only(
    self: Rotation, net: AbstractNetwork, state: Tensors, x: Tensor, rng: Generator
) -> Result:
    """Train the head alone."""
    return F.cross_entropy(net.head(net.encode(x).detach()), torch.arange(len(x)) % 4), state


def entropic(self: Rotation, width: int, shape: Shape) -> nn.Module:
    """Draw a weight of the head from elsewhere."""
    head = nn.Linear(width, 4)
    head.bias.data += float(np.random.default_rng().normal())
    return head


def crowded(
    self: Rotation, net: AbstractNetwork, state: Tensors, x: Tensor, rng: Generator
) -> Result:
    """Divide by the number of images beyond two."""
    return Rotation.loss(self, net, state, x, rng)[0] / (len(x) - 2), state


def shown_becomes(change: Callable[[Tensor], Tensor]) -> dict[str, object]:
    """Return what rotation shows with a change."""
    return {"show": lambda self, *given: change(Rotation.show(self, *given))}


GROWING: dict[str, object] = {
    "state": lambda self, net: {"queue": torch.zeros(2)},
    "loss": lambda self, *given: (Rotation.loss(self, *given)[0], {"queue": torch.zeros(3)}),
}
Fails = Callable[..., None]
FAULTS = [
    (pretext.the_loss_can_be_trained, loss_becomes(lambda v: v.expand(3)), r"the shape \[3\]"),
    (pretext.the_loss_can_be_trained, loss_becomes(lambda v: v * torch.nan), "its loss is nan"),
    (pretext.the_loss_can_be_trained, loss_becomes(Tensor.detach), "cannot be differentiated"),
    (
        pretext.the_loss_can_be_trained,
        loss_becomes(lambda v: (v - v.detach()).sqrt()),
        "is not finite",
    ),
    (pretext.the_loss_can_be_trained, {"loss": head_only}, "respect to the encoder is zero"),
    (pretext.a_step_writes_into_nothing, batch_becomes(lambda x: x.mul_(0.5)), "was given: x"),
    (pretext.a_step_follows_from_its_seed, batch_becomes(noisy), "numpy's or Python's global"),
    (pretext.the_head_follows_from_the_seed, {"head": entropic}, "differs between two runs"),
    (pretext.views_are_counted, {"views": 1}, "views is 1, but each example .* 4 times"),
    (
        pretext.views_are_counted,
        {"examples": lambda self, steps: 24 * steps + 1},
        r"examples\(1\) is 25, but 24 are encoded",
    ),
    (
        pretext.what_is_watched_is_told,
        {"watched": lambda self, state: {"queue": torch.zeros(2)}},
        r"watches \['queue'\] at first, and {'queue': \[2\]}",
    ),
    (pretext.the_state_keeps_its_form, GROWING, "its state is .*3.* after a step"),
    (pretext.two_examples_are_enough, {"loss": crowded}, "on a batch of two examples"),
    (
        pretext.any_number_of_examples_will_do,
        batch_becomes(lambda x: x[:6]),
        "of 7 examples, of a batch_size of 6, it encodes 24 views",
    ),
    (
        pretext.any_number_of_examples_will_do,
        loss_becomes(lambda v: v * torch.inf),
        "on 7 examples, of a batch_size of 6, its loss is inf",
    ),
    (
        pretext.steps_make_the_loss_smaller,
        loss_becomes(lambda v: 2 * v.detach() - v),
        "steps of Adam took its loss",
    ),
    (pretext.both_precisions_agree, loss_becomes(Tensor.float), "torch.float32 in float64"),
    (
        pretext.both_precisions_agree,
        loss_becomes(lambda v: v + 1e8 - 1e8),
        "in float32 and .* in float64",
    ),
    (pretext.what_is_shown_is_an_example, {"num_classes": 1}, "num_classes is 1"),
    (pretext.what_is_shown_is_an_example, shown_becomes(noisy), "numpy's or Python's global"),
    (pretext.what_is_shown_is_an_example, shown_becomes(lambda x: x[..., 1:]), "show.. makes"),
    (
        pretext.what_is_shown_is_an_example,
        shown_becomes(Tensor.double),
        "float64 .* of torch.float32",
    ),
    (
        pretext.what_is_shown_is_an_example,
        shown_becomes(lambda x: x + 0.5),
        "it shows is no image data",
    ),
    (
        pretext.what_is_shown_is_an_example,
        {"show": lambda self, x, classes, rng: Rotation.show(self, x, classes % 2, rng)},
        "alike in two of its classes",
    ),
    (
        pretext.what_is_shown_is_an_example,
        {"show": lambda self, x, classes, rng: Rotation.show(self, x.mul_(0.5), classes, rng)},
        "was given: x",
    ),
]


@pytest.mark.parametrize(("check", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, Rotation, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(pretext)
