"""Faults in meta-training: each check fails on an algorithm that has the fault it looks for."""

from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.conformance import metatrain
from bench.conformance.subject import Check
from bench.contract import AbstractLearner, AbstractPlugin, Task, Tensors
from bench.meta.maml import Maml
from bench.meta.protonet import Protonet

Result = tuple[Tensor, Tensors]


def result_becomes(change: Callable[[Tensor, dict[str, Tensor]], Result]) -> dict[str, object]:
    """Return protonet's loss and direction, with a change."""

    def meta_gradient(
        self: Protonet, learner: AbstractLearner, params: Tensors, task: Task
    ) -> Result:
        loss, gradient = Protonet.meta_gradient(self, learner, params, task)
        return change(loss, dict(gradient))

    return {"meta_gradient": meta_gradient}


def direction_times(factor: float) -> dict[str, object]:
    """Return protonet's direction, scaled."""
    return result_becomes(lambda loss, g: (loss, {name: factor * v for name, v in g.items()}))


def forget(loss: Tensor, gradient: dict[str, Tensor]) -> Result:
    """Leave a parameter out."""
    gradient.popitem()
    return loss, gradient


def shrink(self: Protonet, learner: AbstractLearner, params: Tensors, task: Task) -> Result:
    """Write into a parameter."""
    result = Protonet.meta_gradient(self, learner, params, task)
    with torch.no_grad():
        next(iter(params.values())).mul_(0.5)
    return result


def leak(self: Protonet, learner: AbstractLearner, params: Tensors, task: Task) -> Result:
    """Let a task see how many came before it."""
    loss, gradient = Protonet.meta_gradient(self, learner, params, task)
    return loss + learner.passed, gradient  # type: ignore[attr-defined]  # the engine's has it


def first_order(self: Maml, learner: AbstractLearner, params: Tensors, task: Task) -> Result:
    """Claim second order, and take the inner gradients for constants."""
    return Maml(order=1).meta_gradient(learner, params, task)


def entropic(self: Maml, width: int, ways: int) -> nn.Module:
    """Draw a weight of the head from elsewhere."""
    head = nn.Linear(width, ways)
    head.bias.data += float(np.random.default_rng().normal())
    return head


Fails = Callable[..., None]
FAULTS: list[tuple[Check, type[AbstractPlugin], Mapping[str, object], str]] = [
    (
        metatrain.what_is_for_testing_is_not_for_training,
        Maml,
        {"test_only": ("inner_rate",)},
        "inner_rate is test_only, but its direction in training depends on it",
    ),
    (
        metatrain.what_is_for_testing_is_not_for_training,
        Maml,
        {"test_only": ("rat",)},
        "test_only names rat",
    ),
    (metatrain.the_direction_has_every_parameter, Protonet, result_becomes(forget), "is missing"),
    (metatrain.the_direction_has_every_parameter, Protonet, direction_times(0.0), "is zero"),
    (
        metatrain.the_direction_has_every_parameter,
        Protonet,
        result_becomes(lambda loss, g: (loss.expand(9), g)),
        "its loss is",
    ),
    (metatrain.training_writes_into_nothing, Protonet, {"meta_gradient": shrink}, "was given"),
    (
        metatrain.the_direction_repeats,
        Protonet,
        result_becomes(lambda loss, g: (loss + float(np.random.normal()), g)),  # noqa: NPY002
        "numpy's or Python's global",
    ),
    (metatrain.the_head_follows_from_the_seed, Maml, {"head": entropic}, "differs between two"),
    (
        metatrain.the_direction_is_the_gradient,
        Protonet,
        direction_times(2.0),
        "finite differences of its loss",
    ),
    (
        metatrain.the_direction_is_the_gradient,
        Maml,
        {"meta_gradient": first_order},
        "finite differences of its loss",
    ),
    (
        metatrain.numbers_are_learned_as_claimed,
        Maml,
        {"meta_gradient": first_order},
        "finite differences of its loss",
    ),
    (
        metatrain.numbers_are_learned_as_claimed,
        Protonet,
        {"refuses": lambda self, setting: None},
        "it does not say values, but does not refuse tasks of numbers",
    ),
    (
        metatrain.descending_makes_the_loss_smaller,
        Protonet,
        direction_times(-1.0),
        "steps of its own optimizer",
    ),
    (
        metatrain.examples_are_counted,
        Maml,
        {"examples_per_task": lambda self, shape, norm: shape.num_queries},
        "examples_per_task says 9, but",
    ),
    (
        metatrain.tasks_can_be_batched,
        Protonet,
        result_becomes(lambda loss, g: (loss if float(loss) > 0 else -loss, g)),
        "fails under torch.func.vmap",
    ),
    (
        metatrain.tasks_can_be_batched,
        Protonet,
        {"meta_gradient": leak},
        "give different directions",
    ),
]


@pytest.mark.parametrize(("check", "right", "fault", "told"), FAULTS)
def test_a_fault_is_told(
    fails: Fails, check: Check, right: type[AbstractPlugin], fault: Mapping[str, object], told: str
) -> None:
    """The check passes without the fault, and with it fails in words that name it."""
    fails(check, right, fault, told)


def test_every_check_is_seen_to_fail(checks_in: Callable[[ModuleType], set[Check]]) -> None:
    """There is a fault here for each check of the module."""
    assert {check for check, _, _, _ in FAULTS} == checks_in(metatrain)
