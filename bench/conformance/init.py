"""What labelled pre-training does: a scalar loss of a batch and its labels, which falls."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.conformance.subject import Subject, Unchanged, require, require_repeats
from bench.conformance.world import CPU, Handed, Small, inputs, setting_for, small
from bench.contract import AbstractInit, Tensors
from bench.stages.place import precision
from bench.stages.streams import generator, seed_default

CLASSES, BATCH = 4, 8
STEPS, RATE = 25, 0.01  # of Adam, on one batch with one set of draws


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """An objective, a network for it, a batch and its labels."""

    init: AbstractInit
    trial: Small
    x: Tensor
    label: Tensor

    def step(self, params: Tensors) -> list[Tensor]:
        """Return the loss of the batch, with one set of draws, and its gradient."""
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        seed_default("conformance", "init")
        rng = generator(CPU, "conformance", "init")
        loss = self.init.loss(Handed(self.trial, leaves), self.x, self.label, rng)
        gradients = torch.autograd.grad(loss.sum(), tuple(leaves.values()), materialize_grads=True)
        return [loss.detach(), *gradients]


def _scene(subject: Subject) -> _Scene:
    init = subject.plugin
    assert isinstance(init, AbstractInit)
    form = setting_for(init, "running").form
    return _Scene(
        init=init,
        trial=small(form, lambda width: init.head(width, CLASSES)),
        x=inputs(form, BATCH),
        label=torch.arange(BATCH) % CLASSES,
    )


def the_loss_is_a_finite_scalar(subject: Subject) -> None:
    """The loss is a finite scalar, and the encoder has a gradient."""
    with precision(torch.float64):
        scene = _scene(subject)
        loss, *gradients = scene.step(scene.trial.params)
    require(loss.dim() == 0 and loss.isfinite(), f"its loss is {loss}", "Return a finite scalar.")
    named = zip(scene.trial.params, gradients, strict=True)
    require(
        any(gradient.any() for name, gradient in named if name.startswith("encoder.")),
        "its loss does not depend on the encoder",
        "Compute it from net.encode(x); look for a detach.",
    )


def the_loss_repeats(subject: Subject) -> None:
    """Loss and gradient follow from their inputs and the seeds of the engine."""

    def action() -> Sequence[Tensor]:
        scene = _scene(subject)
        return scene.step(scene.trial.params)

    require_repeats(action, "loss()")


def the_loss_writes_into_nothing(subject: Subject) -> None:
    """Examples and labels are the same after ``loss`` as before."""
    with precision(torch.float64):
        scene = _scene(subject)
        unchanged = Unchanged(x_BCHW=scene.x, label_B=scene.label)
        scene.step(scene.trial.params)
    unchanged.require("loss()")


def the_loss_uses_labels(subject: Subject) -> None:
    """Other labels give another loss: without them it would be a pretext task."""
    with precision(torch.float64):
        scene = _scene(subject)
        other = _Scene(init=scene.init, trial=scene.trial, x=scene.x, label=scene.label.roll(1))
        same = torch.equal(scene.step(scene.trial.params)[0], other.step(scene.trial.params)[0])
    require(not same, "its loss is the same for other labels", "Write it as a pretext task.")


def descending_makes_the_loss_smaller(subject: Subject) -> None:
    """A few steps on one batch make its loss smaller."""
    with precision(torch.float64):
        scene = _scene(subject)
        leaves = {name: value.clone() for name, value in scene.trial.params.items()}
        optimizer = torch.optim.Adam(list(leaves.values()), lr=RATE)
        first = scene.step(leaves)[0]
        for _ in range(STEPS):
            for value, gradient in zip(leaves.values(), scene.step(leaves)[1:], strict=True):
                value.grad = gradient
            optimizer.step()
        last = scene.step(leaves)[0]
    require(
        last < first,
        f"{STEPS} steps on one batch took its loss from {float(first):.6g} to {float(last):.6g}",
        "The engine descends: look for a sign.",
    )
