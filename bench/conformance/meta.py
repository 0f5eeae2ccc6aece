"""What every meta-algorithm does at test time: adapt to a support set, predict its queries.

Shapes: N ways, Q queries.
"""

from dataclasses import dataclass, fields, replace
from itertools import islice, permutations

import torch
from torch import Tensor, nn

from bench.catalogue import entries
from bench.conformance.subject import Fault, Subject, Unchanged, close, require, require_repeats
from bench.conformance.world import Small, kind_of, outputs_of, setting_for, small, task_of
from bench.contract import (
    AbstractLearner,
    AbstractMeta,
    AbstractMetaTrained,
    Form,
    Norm,
    Task,
    TaskShape,
    Tensors,
)
from bench.stages.engine import FeatureLearner, over_tasks
from bench.stages.place import precision
from bench.stages.streams import seed_default

STEPS = 2  # of adaptation, where more than none are meant
SHAPE = TaskShape(ways=3, shots=2, queries=3)
SLACK = 1e-7  # batching alone changes the last bits


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """A method, a network for it, and a task."""

    meta: AbstractMeta
    trial: Small
    task: Task
    form: Form
    norm: Norm

    def adapted(self, task: Task | None = None, learner: AbstractLearner | None = None) -> Tensors:
        """Return the parameters after some steps, or as many as the method takes."""
        return self.trajectory(STEPS, task, learner)[-1]

    def trajectory(
        self, steps: int, task: Task | None = None, learner: AbstractLearner | None = None
    ) -> list[Tensors]:
        """Return the parameters after 0, 1, ... steps, as far as they go."""
        task = task or self.task
        seed_default("conformance", "meta")
        steps_taken = self.meta.adapt(
            learner or self.trial.learner(self.norm),
            self.trial.params,
            task.support_x,
            task.support_y,
        )
        with torch.no_grad():
            return list(islice(steps_taken, steps + 1))

    def scores(
        self,
        params: Tensors | None = None,
        task: Task | None = None,
        learner: AbstractLearner | None = None,
    ) -> Tensor:
        """Return the scores [Q, N] of a task's queries."""
        seed_default("conformance", "meta")
        with torch.no_grad():
            return self.meta.predict(
                learner or self.trial.learner(self.norm),
                self.trial.params if params is None else params,
                task or self.task,
            )


def _scene(subject: Subject, norm: Norm | None = None) -> _Scene:
    meta = subject.plugin
    assert isinstance(meta, AbstractMeta)
    # Under transductive norm everything depends on all queries, whatever the method.
    norm = norm or ("support" if meta.norm == "transductive" else meta.norm)
    form = setting_for(meta, norm, tasks=isinstance(meta, AbstractMetaTrained)).form
    return _scene_on(form, meta, norm)


def _scene_on(form: Form, meta: AbstractMeta, norm: Norm) -> _Scene:
    if isinstance(meta, AbstractMetaTrained):
        trial = small(form, lambda width: meta.head(width, outputs_of(SHAPE, form)), meta.learned)
    else:
        trial = small(form, lambda width: nn.Identity())
    return _Scene(meta=meta, trial=trial, task=task_of(SHAPE, form), form=form, norm=norm)


def adaptation_starts_where_it_is_told(subject: Subject) -> None:
    """Adaptation first yields the parameters as they were given: after 0 steps."""
    with precision(torch.float64):
        scene = _scene(subject)
        trajectory = scene.trajectory(0)
    require(
        len(trajectory) == 1,
        "adapt() yields nothing",
        "Yield params first, then what each step leads to; a method without steps yields once.",
    )
    require(
        trajectory[0].keys() == scene.trial.params.keys()
        and all(
            torch.equal(value, trajectory[0][name]) for name, value in scene.trial.params.items()
        ),
        "what adapt() yields first is not the parameters it was given",
        "Begin with `yield params`: the accuracy after 0 steps is reported.",
    )


def adaptation_is_pure(subject: Subject) -> None:
    """Steps write into nothing, keep every name and shape, and stay finite."""
    with precision(torch.float64):
        scene = _scene(subject)
        unchanged = Unchanged(
            **scene.trial.params, support_x=scene.task.support_x, support_y=scene.task.support_y
        )
        trajectory = scene.trajectory(STEPS)
    unchanged.require("adapt()")
    for params in trajectory:
        shapes = {name: value.shape for name, value in params.items()}
        require(
            shapes | {name: value.shape for name, value in scene.trial.params.items()} == shapes,
            "adapt() yields parameters without some that it was given, or of other shapes",
            "Yield a mapping with every name of params, the ones that stay as they are too; it may"
            " hold more.",
        )
        require(
            all(value.isfinite().all() for value in params.values()),
            "adapt() yields parameters that are not finite",
            "Look for division by zero, or a rate that is too high by default.",
        )


def predictions_repeat(subject: Subject) -> None:
    """Adaptation and prediction follow from their inputs and the seeds of the engine."""

    def action() -> list[Tensor]:
        scene = _scene(subject)
        return [scene.scores(scene.adapted())]

    require_repeats(action, "a prediction")


def scores_have_their_shape(subject: Subject) -> None:
    """Scores are finite, one for each query and way, with and without steps."""
    with precision(torch.float64):
        scene = _scene(subject)
        for scores in (scene.scores(), scene.scores(scene.adapted())):
            require(
                tuple(scores.shape) == (SHAPE.num_queries, SHAPE.ways),
                f"scores are {list(scores.shape)}, not {[SHAPE.num_queries, SHAPE.ways]}",
                "Return a score for each query (rows) and way (columns).",
            )
            require(scores.isfinite().all(), "scores are not finite", "Look for 0 / 0 or log 0.")


class _Sealed(Task):
    """A task whose query labels must not be read."""

    def __getattribute__(self, name: str) -> object:
        if name == "query_y":
            raise Fault(
                "predict() reads the labels of the queries, task.query_y",
                "Predict from support_x, support_y and query_x alone.",
            )
        return super().__getattribute__(name)


def every_kind_of_data_will_do(subject: Subject) -> None:
    """It adapts to whatever examples are; numbers are predicted by those that say ``values``."""
    meta = subject.plugin
    assert isinstance(meta, AbstractMeta)
    for form in (kind_of(one).forms[0] for one in meta.modalities or entries("modality")):
        if kind_of(form.modality).values and not getattr(meta, "values", False):
            continue
        with precision(torch.float64):
            scene = _scene_on(form, meta, "support" if meta.norm == "transductive" else meta.norm)
            try:
                scores = scene.scores(scene.adapted())
            except (RuntimeError, TypeError) as error:
                mend = "Compute with features, as learner.embed gives them, and not with examples."
                raise Fault(f"it fails on {form}: {str(error)[:160]}", mend) from error
        require(
            scores.shape == (SHAPE.num_queries, outputs_of(SHAPE, form))
            and scores.isfinite().all(),
            f"on {form} its scores are {list(scores.shape)}, or not finite",
            "Compute with features, as learner.embed gives them, and not with examples.",
        )


def query_labels_are_not_read(subject: Subject) -> None:
    """Predictions are made without the labels of the queries."""
    with precision(torch.float64):
        scene = _scene(subject)
        task = scene.task
        sealed = _Sealed(**{field.name: getattr(task, field.name) for field in fields(Task)})
        scene.scores(scene.adapted(), sealed)


def the_order_of_queries_says_nothing(subject: Subject) -> None:
    """Queries in another order get the same predictions, in that order."""
    with precision(torch.float64):
        scene = _scene(subject)
        order = torch.arange(SHAPE.num_queries).flip(0).roll(1)
        params = scene.adapted()
        shuffled = scene.scores(params, _with_queries(scene.task, order))
        require(
            close(shuffled, scene.scores(params)[order], SLACK),
            "a query's scores depend on its place among the queries",
            "Queries are sorted by label, so their order would give the labels away: treat each"
            " row alike.",
        )


def other_queries_are_ignored(subject: Subject) -> None:
    """Unless it says ``transductive``, a query's prediction does not depend on other queries."""
    assert isinstance(subject.plugin, AbstractMeta)
    if subject.plugin.transductive:
        return
    with precision(torch.float64):
        scene = _scene(subject)
        params = scene.adapted()
        among = scene.scores(params)
        alone = scene.scores(params, _with_queries(scene.task, torch.arange(1)))
        altered_x = scene.task.query_x.clone()
        altered_x[1:] = 1 - altered_x[1:]
        altered = scene.scores(params, replace(scene.task, query_x=altered_x))
    require(
        close(alone, among[:1], SLACK) and close(altered[:1], among[:1], SLACK),
        "a query's prediction changes when other queries are removed or altered",
        "Use no statistic over the queries, or say transductive: ClassVar[bool] = True; the"
        " report marks such rows.",
    )


def _with_queries(task: Task, index: Tensor) -> Task:
    return replace(task, query_x=task.query_x[index], query_y=task.query_y[index])


def the_encoder_is_frozen_as_claimed(subject: Subject) -> None:
    """If it says ``frozen_encoder``, features made beforehand lead to the same predictions."""
    assert isinstance(subject.plugin, AbstractMeta)
    if not subject.plugin.frozen_encoder:
        return
    with precision(torch.float64):
        scene = _scene(subject, "running")
        learner = scene.trial.learner("running")
        embedded = replace(
            scene.task,
            support_x=learner.embed(scene.trial.params, scene.task.support_x),
            query_x=learner.embed(scene.trial.params, scene.task.query_x),
        )
        ordinary = scene.scores(scene.adapted())
        features = FeatureLearner(scene.trial.network, scene.trial.fresh_buffers())
        try:
            params = scene.adapted(embedded, features)
            from_features = scene.scores(params, embedded, features)
        except (TypeError, RuntimeError) as error:
            mend = "Say frozen_encoder: ClassVar[bool] = False."
            raise Fault(f"it says frozen_encoder, but fails on features: {error}", mend) from error
    require(
        close(ordinary, from_features, 1e-5),
        "it says frozen_encoder, but features made beforehand lead to other predictions",
        "Use learner.embed or embed_both only, with the parameters as given; or say"
        " frozen_encoder: ClassVar[bool] = False.",
    )


def labels_are_only_names(subject: Subject) -> None:
    """Before it adapts it knows what the support tells, or guesses: 1 / ways over all namings."""
    with precision(torch.float64):
        scene = _scene(subject)
        task, plain = scene.task, scene.scores().argmax(1)
        guesses, renamed = [], True
        for order in permutations(range(SHAPE.ways)):
            names = torch.tensor(order)
            other = replace(task, support_y=names[task.support_y], query_y=names[task.query_y])
            predicted = scene.scores(task=other).argmax(1)
            renamed &= torch.equal(predicted, names[plain])
            guesses.append((predicted == other.query_y).double().mean())
        accuracy = float(torch.stack(guesses).mean())
    require(
        renamed or abs(accuracy - 1 / SHAPE.ways) < 1e-9,
        f"after 0 steps its accuracy over all namings of {SHAPE.ways} classes is {accuracy:.3f},"
        " and its predictions do not follow the names in the support",
        "Treat every label alike. Labels are numbers from 0 to ways - 1 without an order.",
    )


def tests_can_be_batched(subject: Subject) -> None:
    """If it says ``vectorises``, a loop over test tasks and torch.func.vmap predict the same."""
    assert isinstance(subject.plugin, AbstractMeta)
    if not subject.plugin.vectorises:
        return
    with precision(torch.float64):
        scene = _scene(subject, "support")
        tasks = [task_of(SHAPE, scene.form, name) for name in ("first", "second", "third")]
        apart = _predictions(scene, tasks, vectorised=False)
        try:
            together = _predictions(scene, tasks, vectorised=True)
        except RuntimeError as error:
            mend = (
                "Avoid .item(), indexing by a mask, in-place operations and branches on values; or"
                " say vectorises: ClassVar[bool] = False."
            )
            raise Fault(f"it fails under torch.func.vmap: {str(error)[:160]}", mend) from error
    require(
        close(apart, together, SLACK),
        "a loop over test tasks and torch.func.vmap, by which a GPU runs them, predict differently",
        "Differentiate with learner.gradient, and compute with the task's tensors alone.",
    )


def _predictions(scene: _Scene, tasks: list[Task], *, vectorised: bool) -> Tensor:
    learner = scene.trial.learner("support", vectorised=vectorised)

    def one(task: Task) -> tuple[Tensor]:
        steps = scene.meta.adapt(learner, scene.trial.params, task.support_x, task.support_y)
        params = list(islice(steps, STEPS + 1))[-1]
        return (scene.meta.predict(learner, params, task),)

    seed_default("conformance", "meta")
    with torch.no_grad():
        return over_tasks(one, tasks, vectorised=vectorised)[0]
