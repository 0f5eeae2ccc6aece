"""What every strategy does with a stream: learn each group, keep what it says, and no more."""

from collections.abc import Iterable
from dataclasses import fields, replace

import torch
from torch import Tensor

from bench.catalogue import entries
from bench.conformance.stream import (
    CLASSES,
    GROUPS,
    RATES,
    STEPS,
    WAYS,
    Raised,
    Scene,
    scene_of,
    scene_on,
)
from bench.conformance.subject import Fault, Subject, Unchanged, close, require, require_repeats
from bench.conformance.world import inputs, kind_of
from bench.contract import AbstractStrategy, Lesson, Tensors
from bench.stages.engine import over_tasks
from bench.stages.place import precision

ENOUGH = 60  # steps with which a group must have been learned, at one of the rates
SLACK = 1e-7  # batching alone changes the last bits


def numbers_are_what_they_say(subject: Subject) -> None:
    """Steps, kept examples and steps of the pretext are whole numbers from 0."""
    strategy = subject.plugin
    assert isinstance(strategy, AbstractStrategy)
    asked = {f"steps({STEPS}, {n})": strategy.steps(STEPS, n) for n in range(1, GROUPS + 1)}
    for name, value in (
        *asked.items(),
        ("kept", strategy.kept),
        ("pretext_steps", strategy.pretext_steps),
    ):
        require(
            type(value) is int and value >= 0,
            f"its {name} is {value!r}",
            "Return a whole number from 0; annotate a parameter as NonNegativeInt.",
        )


def learning_yields_parameters(subject: Subject) -> None:
    """Each lesson yields parameters: finite, with every name, shape and type that was given."""
    for dtype in (torch.float64, torch.float32):
        with precision(dtype):
            scene = scene_of(subject)
            given = {name: (p.shape, p.dtype) for name, p in scene.trial.params.items()}
            for trajectory in scene.stream():
                require(trajectory, "learn() yields nothing", "Yield what the lesson has led to.")
                for params in trajectory:
                    _require_like(params, given)


def _require_like(params: Tensors, given: dict[str, tuple[torch.Size, torch.dtype]]) -> None:
    found = {name: (p.shape, p.dtype) for name, p in params.items()}
    require(
        found == given,
        "learn() yields parameters without some that it was given, with others, or of other"
        " shapes or types",
        "Yield a mapping with every name of params, the ones that stay as they are too; what is"
        " to go on to the next group is a parameter of head().",
    )
    require(
        all(value.isfinite().all() for value in params.values()),
        "learn() yields parameters that are not finite",
        "Scores of classes that are not own are left out of a loss, never its target; look for"
        " a mean over nothing: before the second group nothing is kept.",
    )


def learning_starts_where_it_is_told(subject: Subject) -> None:
    """If it is ``rated``, a lesson first yields what it was given, or the stream's start."""
    strategy = subject.plugin
    assert isinstance(strategy, AbstractStrategy)
    if not strategy.rated:
        return
    with precision(torch.float64):
        scene = scene_of(subject)
        before = scene.lesson(0)[-1]
        first = scene.lesson(1, before)[0]
    require(
        any(
            all(torch.equal(first[name], value) for name, value in given.items())
            for given in (before, scene.trial.params)
        ),
        "what learn() yields first is neither params nor start",
        "Begin with what is there after 0 steps; or say rated: ClassVar[bool] = False.",
    )


def lessons_write_into_nothing(subject: Subject) -> None:
    """Neither the start, nor parameters, nor the examples of a lesson are written into."""
    with precision(torch.float64):
        scene = scene_of(subject)
        params: Tensors = {name: value.clone() for name, value in scene.trial.params.items()}
        for number, lesson in enumerate(scene.lessons):
            unchanged = Unchanged(
                **{f"start {name}": value for name, value in scene.trial.params.items()},
                **{f"params {name}": value for name, value in params.items()},
                **_tensors(lesson),
            )
            params = scene.lesson(number, params)[-1]
            unchanged.require("learn()")


def _tensors(lesson: Lesson) -> dict[str, Tensor]:
    parts = {field.name: getattr(lesson, field.name) for field in fields(lesson)}
    return {name: value for name, value in parts.items() if isinstance(value, Tensor)}


def streams_repeat(subject: Subject) -> None:
    """A stream follows from its lessons and the seeds of the engine."""

    def action() -> list[Tensor]:
        return [value for params in scene_of(subject).stream() for value in params[-1].values()]

    require_repeats(action, "learning a stream")


def every_kind_of_data_will_do(subject: Subject) -> None:
    """It learns images, series, ids of tokens alike, and scores every class of each example."""
    strategy = subject.plugin
    assert isinstance(strategy, AbstractStrategy)
    mend = (
        "Compute with features, as learner.embed gives them, and not with examples; head(width,"
        " outputs) is a module from [B, width] to [B, outputs]."
    )
    for form in (kind_of(one).forms[0] for one in strategy.modalities or entries("modality")):
        if kind_of(form.modality).values:
            continue  # a stream is of classes
        with precision(torch.float64):
            try:
                scene = scene_on(form, strategy)
                learned = [scene.trial.params, *(steps[-1] for steps in scene.stream() if steps)]
                every = [scene.scores(params, inputs(form, 5)) for params in learned]
            except (RuntimeError, TypeError, IndexError) as error:
                raise Fault(f"it fails on {form}: {str(error)[:160]}", mend) from error
        for scores in every:
            require(
                scores.shape == (5, CLASSES) and scores.isfinite().all(),
                f"on {form} scores of 5 examples among {CLASSES} classes are"
                f" {list(scores.shape)}, or not finite",
                mend,
            )


def it_learns(subject: Subject) -> None:
    """With steps enough, at a rate of several, the examples of each group are told apart."""
    with precision(torch.float64):
        scene = scene_of(subject, told=True)
        for number, lesson in enumerate(scene.lessons):
            right = max(_right_after(scene, number, lesson, rate) for rate in RATES)
            require(
                right > 0.9,
                f"it tells only {right:.0%} of the examples of group {number + 1} apart that it"
                f" has just learned, after {ENOUGH} steps at the best of the rates {RATES}",
                "Learn from new_x and new_y, and begin with what params holds.",
            )


def _right_after(scene: Scene, number: int, lesson: Lesson, rate: float) -> float:
    params = scene.lesson(number, steps=ENOUGH, rate=rate)[-1]
    scores = scene.scores(params, lesson.new_x).masked_fill(~lesson.own, -torch.inf)
    return float((scores.argmax(1) == lesson.new_y).double().mean())


def other_classes_have_no_say(subject: Subject) -> None:
    """What the head says of classes that no example is told apart from changes nothing."""
    with precision(torch.float64):
        for told in (False, True):
            scene = scene_of(subject, told=told)
            for number, lesson in enumerate(scene.lessons):
                among = lesson.own
                if lesson.kept_own is not None:
                    among = among | lesson.kept_own.any(0)
                raised = Raised(scene.learner(), ~among)
                plain, other = (
                    scene.lesson(number, learner=learner)[-1] for learner in (None, raised)
                )
                require(
                    all(close(plain[name], other[name], SLACK) for name in plain),
                    "the scores of classes that an example is not told apart from change what is"
                    " learned",
                    "Leave them out: scores.masked_fill(~own, -torch.inf), own being lesson.own"
                    " for new examples and lesson.kept_own, where there is one, for kept ones.",
                )


def what_is_kept_is_what_it_says(subject: Subject) -> None:
    """If it keeps examples they matter; with ``kept`` 0 none do, unless it is an ``oracle``."""
    with precision(torch.float64):
        scene = scene_of(subject)
        keeps = scene.strategy.oracle or scene.strategy.kept > 0
        lesson, other = scene.lessons[1], scene_of(subject, name="other stream").lessons[1]
        if keeps:
            other = replace(lesson, kept_x=other.kept_x)
        else:
            other = replace(lesson, kept_x=lesson.new_x, kept_y=lesson.new_y - WAYS)
        plain, changed = (scene.lesson(1, lesson=one)[-1] for one in (lesson, other))
        same = all(close(plain[name], changed[name], SLACK) for name in plain)
    if keeps:
        require(
            not same,
            "it says that it keeps examples, or is an oracle, but they change nothing",
            "Learn from kept_x and kept_y; or say kept: ClassVar[int] = 0 and no oracle.",
        )
    else:
        require(
            same,
            "it says that it keeps no example, but learns from kept_x",
            "Say how many of a class it keeps, kept: NonNegativeInt = ...; or leave them alone.",
        )


def a_rate_matters_as_claimed(subject: Subject) -> None:
    """If it is ``rated`` its rate matters; if not, any rate leads to the same."""
    with precision(torch.float64):
        scene = scene_of(subject)
        slow, fast = (scene.lesson(0, rate=rate)[-1] for rate in (RATES[0], RATES[-1]))
        same = all(close(slow[name], fast[name], SLACK) for name in slow)
    if scene.strategy.rated:
        require(
            not same,
            "two rates lead to the same parameters",
            "Take the steps at the rate that is handed over; or say rated: ClassVar[bool] ="
            " False, so that none is chosen.",
        )
    else:
        require(
            same,
            "it says that it takes no rate, but two rates lead to different parameters",
            "Leave rate alone; or say rated: ClassVar[bool] = True, so that one is chosen.",
        )


def streams_can_be_batched(subject: Subject) -> None:
    """A loop over streams and torch.func.vmap, by which a GPU runs them, learn the same."""
    with precision(torch.float64):
        for told in (False, True):
            scenes = [scene_of(subject, told=told, name=name) for name in ("first", "second")]
            for number in range(2):
                lessons = [scene.lessons[number] for scene in scenes]
                apart = _learned(scenes[0], number, lessons, vectorised=False)
                try:
                    together = _learned(scenes[0], number, lessons, vectorised=True)
                except RuntimeError as error:
                    mend = (
                        "Avoid .item(), indexing by a mask, in-place operations and branches on"
                        " values."
                    )
                    raise Fault(
                        f"it fails under torch.func.vmap: {str(error)[:160]}", mend
                    ) from error
                require(
                    all(close(one, other, SLACK) for one, other in zip(apart, together)),  # noqa: B905  # both have every name
                    "a loop over streams and torch.func.vmap learn different parameters",
                    "Differentiate with learner.gradient, and compute with the lesson's tensors"
                    " alone.",
                )


def _learned(
    scene: Scene, number: int, lessons: Iterable[Lesson], *, vectorised: bool
) -> tuple[Tensor, ...]:
    learner = scene.learner(vectorised=vectorised)

    def one(lesson: Lesson) -> tuple[Tensor, ...]:
        return tuple(scene.lesson(number, lesson=lesson, learner=learner)[-1].values())

    return over_tasks(one, list(lessons), vectorised=vectorised)
