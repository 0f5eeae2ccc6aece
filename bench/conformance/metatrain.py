"""What every meta-learning algorithm does in training: a loss and a direction for one task."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import get_args

import torch
from torch import Tensor

from bench.conformance.subject import Fault, Subject, Unchanged, close, require, require_repeats
from bench.conformance.world import Small, outputs_of, setting_for, small, task_of
from bench.contract import AbstractMetaTrained, Form, Norm, Task, TaskShape
from bench.stages.engine import over_tasks
from bench.stages.place import precision
from bench.stages.streams import seed_default

STEP = 1e-5  # of finite differences, where a parameter is about 0.1
CLOSE = 1e-4  # of a derivative, most that its finite difference may be off
TINY = 1e-6  # a derivative that finite differences cannot tell from zero
OUTER_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """A method, a network for it, and a task of meta-training."""

    meta: AbstractMetaTrained
    trial: Small
    shape: TaskShape
    form: Form
    norm: Norm

    def task(self, name: str = "task") -> Task:
        return task_of(self.shape, self.form, name)

    def gradient(
        self, task: Task, params: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return loss and direction, as the engine asks for them."""
        params = self.trial.params if params is None else params
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        seed_default("conformance", "metatrain")
        learner = self.trial.learner(self.norm, training=True)
        loss, gradient = self.meta.meta_gradient(learner, leaves, task)
        return loss.detach(), {name: value.detach() for name, value in gradient.items()}


def _scene(subject: Subject, norm: Norm | None = None, *, values: bool | None = None) -> _Scene:
    meta = subject.plugin
    assert isinstance(meta, AbstractMetaTrained)
    norm = norm or meta.norm
    setting = setting_for(meta, norm, tasks=True, values=values)
    assert setting.task is not None
    shape = setting.task
    return _Scene(
        meta=meta,
        trial=small(
            setting.form,
            lambda width: meta.head(width, outputs_of(shape, setting.form)),
            meta.learned,
        ),
        shape=shape,
        form=setting.form,
        norm=norm,
    )


def the_direction_has_every_parameter(subject: Subject) -> None:
    """The direction has the names, shapes and type of the parameters; it is finite, not zero."""
    for dtype in (torch.float32, torch.float64):
        with precision(dtype):
            scene = _scene(subject)
            loss, gradient = scene.gradient(scene.task())
        form = {name: (value.shape, value.dtype) for name, value in gradient.items()}
        wanted = {name: (value.shape, value.dtype) for name, value in scene.trial.params.items()}
        odd = sorted(name for name in form | wanted if form.get(name) != wanted.get(name))
        require(
            not odd,
            f"for parameters of {dtype} its direction is missing, or of another shape or type,"
            f" at {', '.join(odd)}",
            "Return a tensor like the parameter for each name in params: zeros where it stays.",
        )
        require(
            loss.dim() == 0 and loss.isfinite(),
            f"its loss is {loss}",
            "Return a finite scalar: the mean over queries.",
        )
        values = gradient.values()
        require(
            all(value.isfinite().all() for value in values) and any(v.any() for v in values),
            "its direction is zero, or not finite",
            "Look for a detach that cuts the loss off from params, or a division by zero.",
        )


def training_writes_into_nothing(subject: Subject) -> None:
    """Parameters and task are the same after ``meta_gradient`` as before."""
    with precision(torch.float64):
        scene = _scene(subject)
        task = scene.task()
        unchanged = Unchanged(**scene.trial.params, support_x=task.support_x, query_x=task.query_x)
        scene.gradient(task)
    unchanged.require("meta_gradient()")


def the_direction_repeats(subject: Subject) -> None:
    """Loss and direction follow from their inputs and the seeds of the engine."""

    def action() -> Sequence[Tensor]:
        scene = _scene(subject)
        loss, gradient = scene.gradient(scene.task())
        return [loss, *gradient.values()]

    require_repeats(action, "meta_gradient()")


def what_is_for_testing_is_not_for_training(subject: Subject) -> None:
    """Parameters that it says are ``test_only`` change nothing in training."""
    meta = subject.plugin
    assert isinstance(meta, AbstractMetaTrained)
    unknown = sorted(set(meta.test_only) - {field.name for field in fields(meta)})  # type: ignore[arg-type]
    require(not unknown, f"test_only names {', '.join(unknown)}", "Name parameters of it.")
    with precision(torch.float64):
        scene = _scene(subject)
        task = scene.task()
        plain = scene.gradient(task)
        for name in meta.test_only:
            value = getattr(meta, name)
            other = replace(scene, meta=replace(meta, **{name: value + type(value)(1)}))  # type: ignore[type-var]
            loss, gradient = other.gradient(task)
            same = torch.equal(loss, plain[0])
            same &= all(torch.equal(value, gradient[key]) for key, value in plain[1].items())
            require(
                same,
                f"it says that {name} is test_only, but its direction in training depends on it",
                "Take it out of test_only: rows that differ in it must not share their training.",
            )


def the_head_follows_from_the_seed(subject: Subject) -> None:
    """The head's first weights come from torch's default generator, which the engine seeds."""
    meta = subject.plugin
    assert isinstance(meta, AbstractMetaTrained)
    require_repeats(lambda: list(meta.head(16, 3).state_dict().values()), "building its head")


def the_direction_is_the_gradient(subject: Subject) -> None:
    """If it claims an exact gradient, that equals finite differences of its loss in float64.

    It claims one by ``second_order``, or by taking no steps of its own.
    """
    with precision(torch.float64):
        scene = _scene(subject)
        task = scene.task()
        if scene.meta.second_order or not _takes_steps(scene, task):
            _require_exact(scene, task)


def _require_exact(scene: _Scene, task: Task) -> None:
    _, gradient = scene.gradient(task)
    for name, value in scene.trial.params.items():
        along = torch.linspace(1, 9, value.numel(), dtype=torch.float64).cos().view_as(value)
        claimed = (gradient[name] * along).sum()
        measured = _difference(scene, task, name, along)
        size = gradient[name].norm() * along.norm() + TINY
        require(
            close(claimed / size, measured / size, CLOSE),
            f"along {name} its direction says {float(claimed):.8g}, finite differences of its"
            f" loss {float(measured):.8g}",
            "Return the gradient of the very loss that is returned. Where inner steps are to"
            " be seen through, learner.gradient(..., differentiable=True).",
        )


def numbers_are_learned_as_claimed(subject: Subject) -> None:
    """If it says ``values``, its own steps learn tasks of numbers, by an exact gradient if claimed.

    If it does not, it refuses them.
    """
    meta = subject.plugin
    assert isinstance(meta, AbstractMetaTrained)
    if not meta.values:
        refused = False
        try:
            setting_for(meta, meta.norm, tasks=True, values=True)
        except Fault:
            refused = True
        require(
            refused,
            "it does not say values, but does not refuse tasks of numbers",
            "Say values: ClassVar[bool] = True where its losses are bench.inner.loss_of.",
        )
        return
    with precision(torch.float64):
        scene = _scene(subject, values=True)
        task = scene.task()
        if scene.meta.second_order:
            _require_exact(scene, task)
        first, _ = scene.gradient(task)
        last, _ = scene.gradient(task, _descended(scene, task))
    require(
        last < first,
        f"on a task of numbers, its own steps took its loss from {float(first):.6g} to"
        f" {float(last):.6g}",
        "Take the losses of support and queries from bench.inner.loss_of; or say"
        " values: ClassVar[bool] = False.",
    )


def _takes_steps(scene: _Scene, task: Task) -> bool:
    learner = scene.trial.learner(scene.norm)
    steps = scene.meta.adapt(learner, scene.trial.params, task.support_x, task.support_y)
    return len(list(islice(steps, 2))) == 2


def _difference(scene: _Scene, task: Task, name: str, along: Tensor) -> Tensor:
    """Return the derivative of the loss along a direction of one parameter."""
    high, low = (
        scene.gradient(task, scene.trial.params | {name: scene.trial.params[name] + step * along})[
            0
        ]
        for step in (STEP, -STEP)
    )
    return (high - low) / (2 * STEP)


def descending_makes_the_loss_smaller(subject: Subject) -> None:
    """A few steps of its own optimizer on one task make its loss on the task smaller."""
    with precision(torch.float64):
        scene = _scene(subject)
        task = scene.task()
        first, _ = scene.gradient(task)
        last, _ = scene.gradient(task, _descended(scene, task))
    require(
        last < first,
        f"{OUTER_STEPS} steps of its own optimizer took its loss on one task from"
        f" {float(first):.6g} to {float(last):.6g}",
        "The optimizer descends: it subtracts rate * direction. Look for a sign, or a rate that"
        " is too high.",
    )


def _descended(scene: _Scene, task: Task) -> dict[str, Tensor]:
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "sgd": torch.optim.SGD,
    }
    leaves = {name: value.clone().requires_grad_() for name, value in scene.trial.params.items()}
    optimizer = kinds[scene.meta.optimizer](list(leaves.values()), lr=scene.meta.rate)  # type: ignore[call-arg]
    for _ in range(OUTER_STEPS):
        for name, value in scene.gradient(task, leaves)[1].items():
            leaves[name].grad = value
        optimizer.step()
    return leaves


def examples_are_counted(subject: Subject) -> None:
    """``examples_per_task`` is how many examples pass forward: budgets are counted in them."""
    assert isinstance(subject.plugin, AbstractMetaTrained)
    for norm in get_args(Norm):
        with precision(torch.float64):
            try:
                scene = _scene(subject, norm)
            except Fault:
                if norm == subject.plugin.norm:
                    raise
                continue  # it declines this one
            learner = scene.trial.learner(norm, training=True)
            seed_default("conformance", "metatrain")
            scene.meta.meta_gradient(learner, scene.trial.params, scene.task())
        claimed = scene.meta.examples_per_task(scene.shape, norm)
        require(
            claimed == learner.passed,
            f"examples_per_task says {claimed}, but {learner.passed} examples pass forward for"
            f" {scene.shape} under norm {norm}",
            "Count every example of every forward pass, inner steps included; of embed_queries"
            " shape.passed_with_queries(norm).",
        )


def tasks_can_be_batched(subject: Subject) -> None:
    """If it says ``vectorises``, a loop over tasks and torch.func.vmap give one result."""
    assert isinstance(subject.plugin, AbstractMetaTrained)
    if not subject.plugin.vectorises:
        return
    with precision(torch.float64):
        scene = _scene(subject, "support")
        tasks = [scene.task(name) for name in ("first", "second", "third")]
        apart = _over(scene, tasks, vectorised=False)
        try:
            together = _over(scene, tasks, vectorised=True)
        except RuntimeError as error:
            mend = (
                "Differentiate with learner.gradient, and avoid .item(), indexing by a mask,"
                " in-place operations and branches on values; or say"
                " vectorises: ClassVar[bool] = False."
            )
            raise Fault(f"it fails under torch.func.vmap: {str(error)[:160]}", mend) from error
    require(
        all(close(a, b, 1e-10) for a, b in zip(apart, together, strict=True)),
        "a loop over tasks and torch.func.vmap give different directions",
        "Differentiate with learner.gradient, and compute with the task's tensors alone.",
    )


def _over(scene: _Scene, tasks: list[Task], *, vectorised: bool) -> tuple[Tensor, ...]:
    learner = scene.trial.learner("support", training=True, vectorised=vectorised)

    def one(task: Task) -> tuple[Tensor, ...]:
        loss, gradient = scene.meta.meta_gradient(learner, scene.trial.params, task)
        return loss, *(gradient[name] for name in scene.trial.params)

    seed_default("conformance", "metatrain")
    return over_tasks(one, tasks, vectorised=vectorised)
