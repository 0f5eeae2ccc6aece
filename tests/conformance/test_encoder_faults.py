"""Faults of encoders: each check fails on an encoder that has the fault it looks for."""

from collections.abc import Callable, Mapping
from math import prod
from types import ModuleType

import numpy as np
import pytest
from torch import Tensor, nn, randn

from bench.conformance import encoder
from bench.conformance.subject import Check
from bench.contract import Form, Shape
from bench.encoder.conv4 import Conv4


class _Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _layer(shape: Shape) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), 5))


def first(function: Callable[[Tensor], Tensor]) -> dict[str, object]:
    """Return an encoder of one layer, with a function of the input before it."""
    return {"module": lambda self, form: nn.Sequential(_Apply(function), _layer(form.shape))}


def last(function: Callable[[Tensor], Tensor]) -> dict[str, object]:
    """Return an encoder of one layer, with a function of the features behind it."""
    return {"module": lambda self, form: nn.Sequential(_layer(form.shape), _Apply(function))}


def behind(make: Callable[[Shape], nn.Module]) -> dict[str, object]:
    """Return an encoder of a module on the input and one layer."""
    return {"module": lambda self, form: nn.Sequential(make(form.shape), _layer(form.shape))}


def entropic(self: object, form: Form) -> nn.Module:
    """Draw a weight from elsewhere."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(prod(form.shape), 5))
    next(module.parameters()).data += float(np.random.default_rng().random())
    return module


Fails = Callable[..., None]
FAULTS = [
    (
        encoder.features_are_vectors,
        {"module": lambda self, form: nn.Conv2d(form.shape[0], 4, 3)},
        "become",
    ),
    (encoder.every_weight_has_a_gradient, last(lambda z: z.detach()), "no function of every"),
    (encoder.every_weight_has_a_gradient, last(lambda z: z * 0), "zero or not finite"),
    (encoder.the_input_is_left_as_it_is, first(lambda x: x.neg_()), "was given: x"),
    (encoder.weights_follow_from_the_seed, {"module": entropic}, "differs between two runs"),
    (encoder.norms_are_the_engines, last(lambda z: z - z.mean(0)), "depend on the other"),
    (
        encoder.norms_are_the_engines,
        behind(lambda shape: nn.InstanceNorm2d(shape[0], track_running_stats=True)),
        "it holds InstanceNorm2d",
    ),
    (
        encoder.modes_do_not_matter,
        behind(lambda shape: nn.AlphaDropout(0.5)),
        "differ between training",
    ),
    (
        encoder.memory_formats_do_not_matter,
        first(lambda x: x.view(len(x), -1)),
        "fails on examples stored channels last",
    ),
    (
        encoder.memory_formats_do_not_matter,
        first(lambda x: x.as_strided((len(x), x[0].numel()), (x[0].numel(), 1))),
        "give other features",
    ),
    (
        encoder.it_can_be_batched_over_tasks,
        last(lambda z: z if float(z.sum()) > 0 else z * 2),
        "fails under torch.func.vmap",
    ),
    (
        encoder.it_can_be_batched_over_tasks,
        last(lambda z: z + randn(z.shape)),
        "vmap",
    ),
]


@pytest.mark.parametrize(("check", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, Conv4, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _ in FAULTS} == checks_in(encoder)
