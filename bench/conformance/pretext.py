"""What every pretext task is: a loss of encoder and head that can be trained and repeated."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.conformance.subject import Fault, Subject, Unchanged, require, require_repeats
from bench.conformance.world import (
    CPU,
    Handed,
    Small,
    inputs,
    kind_of,
    setting_for,
    small,
    task_of,
)
from bench.contract import AbstractClassifying, AbstractPretext, Form, Task, Tensors
from bench.stages.checkpoint import prefixed
from bench.stages.place import precision
from bench.stages.streams import generator, seed_default

COUNT = 6  # examples in a batch
STEPS, RATE = 25, 0.01  # of Adam, on one batch with one set of draws
COUNTED = 12  # steps whose examples are counted: some are taken at a few steps alone
LIKE = 1e-3  # relative, most that float32 and float64 may differ


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """A pretext, a network for it, and a batch."""

    pretext: AbstractPretext
    form: Form
    trial: Small
    x: Tensor
    state: Tensors

    def head(self) -> nn.Module:
        return self.pretext.head(16, self.form)

    def episode(self) -> Task:
        asked = self.pretext.validates
        assert asked is not None
        with precision(self.x.dtype):
            return task_of(asked.shape, self.form)

    def loss(self, params: Tensors | None = None, *, default_seed: int = 0) -> "_Step":
        """Compute the loss of the batch with the draws of one and the same step."""
        params = params or self.trial.params
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        net = Handed(self.trial, leaves, self.episode if self.pretext.validates else None)
        seed_default("conformance", "pretext", default_seed)
        rng = generator(CPU, "conformance", "pretext")
        loss, state = self.pretext.loss(net, self.state, self.x, rng)
        return _Step(loss=loss, state=state, params=leaves, encoded=net.encoded)

    def after(self) -> "_Scene":
        """Return the scene with the state that one step leaves."""
        state = {name: value.detach() for name, value in self.loss().state.items()}
        return replace(self, state=state)


@dataclass(frozen=True, kw_only=True)
class _Step:
    loss: Tensor
    state: Tensors
    params: Tensors
    encoded: int

    def gradient(self) -> dict[str, Tensor]:
        """Differentiate the loss by encoder and head."""
        try:
            found = torch.autograd.grad(
                self.loss, list(self.params.values()), materialize_grads=True
            )
        except RuntimeError as error:
            mend = "Build the loss from net.encode and net.head alone, without .detach or .item."
            raise Fault(f"its loss cannot be differentiated: {error}", mend) from error
        return dict(zip(self.params, found, strict=True))


def _scene(subject: Subject, count: int = COUNT) -> _Scene:
    pretext = subject.plugin
    assert isinstance(pretext, AbstractPretext)
    pretext = replace(pretext, batch_size=count)  # type: ignore[type-var]  # plug-ins are dataclasses
    form = setting_for(pretext, "running").form
    trial = small(form, lambda width: pretext.head(width, form))
    state = pretext.state(Handed(trial, trial.params))
    return _Scene(pretext=pretext, form=form, trial=trial, x=inputs(form, count), state=state)


def the_loss_can_be_trained(subject: Subject) -> None:
    """The loss is a finite scalar, and its gradient reaches encoder and head."""
    with precision(torch.float64):
        step = _scene(subject).loss()
        shape, value = list(step.loss.shape), step.loss.detach()
        require(not shape, f"its loss has the shape {shape}", "Return a scalar: the mean.")
        require(value.isfinite(), f"its loss is {value}", "Look for log or / of 0.")
        gradient = step.gradient()
    for part in ("encoder", "head"):
        found = [value for name, value in gradient.items() if name.startswith(part)]
        require(
            not found or any(value.any() for value in found),
            f"the gradient of its loss with respect to the {part} is zero",
            f"Let the loss depend on net.{'encode' if part == 'encoder' else 'head'}.",
        )
        require(
            all(value.isfinite().all() for value in found),
            f"the gradient of its loss with respect to the {part} is not finite",
            "Look for sqrt, log, norm or division at zero; F.normalize has a safe one.",
        )


def a_step_writes_into_nothing(subject: Subject) -> None:
    """Batch, parameters and state are the same after a step as before."""
    with precision(torch.float64):
        scene = _scene(subject)
        unchanged = Unchanged(x=scene.x, **scene.trial.params, **prefixed(scene.state, "state/"))
        scene.loss()
    unchanged.require("its loss")


def a_step_follows_from_its_seed(subject: Subject) -> None:
    """The loss and its gradient follow from the generators the engine seeds."""

    def action() -> list[Tensor]:
        step = _scene(subject).loss()
        return [step.loss.detach(), *step.gradient().values()]

    require_repeats(action, "its loss")


def the_head_follows_from_the_seed(subject: Subject) -> None:
    """The head's first weights come from torch's default generator, which the engine seeds."""
    scene = _scene(subject)
    require_repeats(lambda: list(scene.head().state_dict().values()), "building its head")


def views_are_counted(subject: Subject) -> None:
    """As many examples are encoded as ``views`` and ``examples`` say: budgets count them."""
    with precision(torch.float64):
        scene = _scene(subject)
        pretext, encoded = scene.pretext, 0
        for steps in range(1, COUNTED + 1):
            step = scene.loss()
            encoded, times = encoded + step.encoded, step.encoded / len(scene.x)
            if type(pretext).examples is AbstractPretext.examples:
                found = f"views is {pretext.views}, but each example of a batch is encoded"
                found += f" {times:g} times"
                mend = f"Write views: ClassVar[int] = {round(times)}."
            else:
                found = f"examples({steps}) is {pretext.examples(steps)}, but {encoded} are encoded"
                mend = "Let examples() count every forward pass of that many steps."
            require(encoded == pretext.examples(steps), found, mend)
            scene = scene.after()


def what_is_watched_is_told(subject: Subject) -> None:
    """What the learning curve is to hold are scalars, of the same names after each step."""
    with precision(torch.float64):
        scene = _scene(subject)
        before, after = (scene.pretext.watched(one.state) for one in (scene, scene.after()))
    shapes = {name: list(value.shape) for name, value in after.items()}
    require(
        before.keys() == after.keys() and not any(shapes.values()),
        f"it watches {sorted(before)} at first, and {shapes} after a step",
        "Return scalars of the state from watched(), of the same names at every step.",
    )


def the_state_keeps_its_form(subject: Subject) -> None:
    """The next state has the names, shapes and types of the one before."""
    with precision(torch.float64):
        scene = _scene(subject)
        after = scene.loss().state
    before = {name: (value.shape, value.dtype) for name, value in scene.state.items()}
    now = {name: (value.shape, value.dtype) for name, value in after.items()}
    require(
        before == now,
        f"its state is {now} after a step, and was {before}",
        "Return every tensor that state() returned, in its shape and type.",
    )


def two_examples_are_enough(subject: Subject) -> None:
    """The smallest batch that holds a comparison gives a finite loss."""
    with precision(torch.float64):
        loss = _scene(subject, 2).loss().loss
    require(
        loss.isfinite().all(),
        f"on a batch of two examples its loss is {float(loss.detach())}",
        "Divide by what cannot be zero, or refuse the batch_size in __post_init__.",
    )


def any_number_of_examples_will_do(subject: Subject) -> None:
    """As an auxiliary loss it is given the examples of tasks, as many as these have."""
    with precision(torch.float64):
        scene = _scene(subject)
        if scene.pretext.validates:
            return  # such a pretext is refused as an auxiliary loss
        other = inputs(scene.form, COUNT + 1, "examples of tasks")
        step = replace(scene, x=other).loss()
        gradient = step.gradient()
    require(
        step.loss.isfinite() and any(v.any() for n, v in gradient.items() if "encoder" in n),
        f"on {COUNT + 1} examples, of a batch_size of {COUNT}, its loss is"
        f" {float(step.loss.detach()):.6g}, or does not reach the encoder",
        "Take the number of examples from the batch, len(x), and not from batch_size.",
    )
    require(
        step.encoded == scene.pretext.views * len(other),
        f"of {len(other)} examples, of a batch_size of {COUNT}, it encodes {step.encoded} views",
        "Encode every example of the batch as often as views says.",
    )


def steps_make_the_loss_smaller(subject: Subject) -> None:
    """A few steps of Adam on one batch make its loss smaller."""
    with precision(torch.float64):
        scene = _scene(subject).after()  # what a state holds of the first batch is then there
        first = float(scene.loss().loss.detach())
        params = _trained(scene.loss, scene.trial.params)
        last = float(scene.loss(params).loss.detach())
    require(
        last < first,
        f"{STEPS} steps of Adam took its loss from {first:.4g} to {last:.4g}",
        "Look for a sign, or for a gradient that .detach() or torch.no_grad() cuts off.",
    )


def _trained(loss: Callable[[Tensors], _Step], params: Tensors) -> Tensors:
    leaves = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=RATE)
    for _ in range(STEPS):
        for name, value in loss(leaves).gradient().items():
            leaves[name].grad = value
        optimizer.step()
    return leaves


def both_precisions_agree(subject: Subject) -> None:
    """In float32 the loss is a float32, near the one in float64."""
    scene = _scene(subject)
    single, other = scene.loss().loss.detach(), scene.loss(default_seed=1).loss.detach()
    if not torch.equal(single, other):
        return  # it draws from torch's default generator, whose draws depend on the precision
    doubled = replace(
        scene,
        x=_double(scene.x),
        state={name: _double(value) for name, value in scene.state.items()},
        trial=replace(
            scene.trial,
            params={name: _double(value) for name, value in scene.trial.params.items()},
            buffers={name: _double(value) for name, value in scene.trial.buffers.items()},
        ),
    )
    double = doubled.loss().loss.detach()
    require(
        (single.dtype, double.dtype) == (torch.float32, torch.float64),
        f"its loss is {single.dtype} in float32 and {double.dtype} in float64",
        "Make tensors in the type of the batch: torch.zeros(..., dtype=x.dtype).",
    )
    require(
        abs(single - double) <= LIKE * abs(double) + LIKE,
        f"its loss is {float(single):.6g} in float32 and {float(double):.6g} in float64",
        "Use stable forms: F.cross_entropy, F.log_softmax, F.normalize.",
    )


def what_is_shown_is_an_example(subject: Subject) -> None:
    """If it has classes, it shows any example as each: another that could be real, repeatably.

    The examples, and what numpy's and Python's generators hold, stay as they are; two classes of
    one example do not look alike.
    """
    pretext = subject.plugin
    if not isinstance(pretext, AbstractClassifying):
        return
    require(
        pretext.num_classes >= 2,
        f"num_classes is {pretext.num_classes}",
        "Return how many classes show() knows: two are the fewest that can be told apart.",
    )
    for dtype in (torch.float32, torch.float64):
        with precision(dtype):
            _require_shown(pretext)


def _require_shown(pretext: AbstractClassifying) -> None:
    form = setting_for(pretext, "running").form
    x = inputs(form, 1)
    x = x.repeat(pretext.num_classes, *[1] * (x.dim() - 1))
    unchanged = Unchanged(x=x)
    classes = torch.arange(pretext.num_classes)

    def show() -> list[Tensor]:
        return [pretext.show(x, classes, generator(CPU, "conformance", "show"))]

    show()
    unchanged.require("show()")
    (shown,) = require_repeats(show, "show()")
    require(
        shown.shape == x.shape and shown.dtype == x.dtype,
        f"show() makes {shown.dtype} {list(shown.shape)} of {x.dtype} {list(x.shape)}",
        "Return one example for each, of the same shape and type.",
    )
    reason = kind_of(form.modality).allows(shown, form)
    require(
        reason is None,
        f"what it shows is no {form.modality} data: {reason}",
        "Keep what is shown an example: of images, clamp what noise or interpolation adds.",
    )
    require(
        len(torch.unique(shown, dim=0)) == len(shown),
        "it shows one example alike in two of its classes",
        "Each class of [0, num_classes) has to change the example in its own way.",
    )


def _double(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value
