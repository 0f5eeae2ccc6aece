"""A small stream that strategies are tried on: its lessons, and a network that learns them.

Shapes: B examples, C classes of the whole stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from bench.conformance.subject import Subject
from bench.conformance.world import Small, setting_for, small, task_of
from bench.contract import (
    AbstractLearner,
    AbstractStrategy,
    Form,
    Lesson,
    Loss,
    TaskShape,
    Tensors,
)
from bench.stages.streams import seed_default

GROUPS, WAYS, SHOTS = 3, 2, 4
CLASSES = GROUPS * WAYS
STEPS = 2  # asked for of a group, where more than none are meant
RATES = (0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A strategy, a network for it, and the lessons of a stream.

    Features are under stored statistics: an example stands alone, as in a suite.
    """

    strategy: AbstractStrategy
    trial: Small
    lessons: list[Lesson]

    def learner(self, *, vectorised: bool = False) -> AbstractLearner:
        """Return what embeds and scores, of the network."""
        return self.trial.learner("running", vectorised=vectorised)

    def lesson(
        self,
        number: int,
        params: Tensors | None = None,
        *,
        lesson: Lesson | None = None,
        learner: AbstractLearner | None = None,
        steps: int = STEPS,
        rate: float = RATES[1],
    ) -> list[Tensors]:
        """Return what a lesson yields, as far as the engine would ask."""
        seed_default("conformance", "strategy", number)
        learned = self.strategy.learn(
            learner or self.learner(),
            self.trial.params,
            self.trial.params if params is None else params,
            lesson or self.lessons[number],
            rate,
        )
        with torch.no_grad():
            return list(islice(learned, self.strategy.steps(steps, number + 1) + 1))

    def stream(self) -> Iterator[list[Tensors]]:
        """Yield what each lesson of the stream yields, from what the one before has led to."""
        params: Tensors = self.trial.params
        for number in range(GROUPS):
            trajectory = self.lesson(number, params)
            yield trajectory
            params = trajectory[-1] if trajectory else params

    def scores(self, params: Tensors, x: Tensor) -> Tensor:
        """Return scores [B, C]."""
        learner = self.learner()
        with torch.no_grad():
            return learner.head(params, learner.embed(params, x))


def scene_of(subject: Subject, *, told: bool = False, name: str = "stream") -> Scene:
    """Return a scene on a kind of data that the strategy does not decline; see ``scene_on``."""
    strategy = subject.plugin
    assert isinstance(strategy, AbstractStrategy)
    return scene_on(setting_for(strategy, "group").form, strategy, told=told, name=name)


def scene_on(
    form: Form, strategy: AbstractStrategy, *, told: bool = False, name: str = "stream"
) -> Scene:
    """Return a scene on examples of a form.

    ``told``: each example is told its group, else it is told apart from all classes met so far.
    ``name`` says which examples there are.
    """
    trial = small(form, lambda width: strategy.head(width, CLASSES))
    return Scene(strategy=strategy, trial=trial, lessons=_lessons(strategy, form, told, name))


def _lessons(strategy: AbstractStrategy, form: Form, told: bool, name: str) -> list[Lesson]:
    """Make a stream; of earlier groups it hands out the shots that the strategy keeps."""
    shots = TaskShape(ways=CLASSES, shots=SHOTS, queries=0)
    task = task_of(shots, form, name)
    shot_B, y_B = torch.arange(shots.num_support) // CLASSES, task.support_y
    group_B, group_C = y_B // WAYS, torch.arange(CLASSES) // WAYS
    kept_B = torch.ones_like(shot_B, dtype=torch.bool)
    if not strategy.oracle:
        kept_B = shot_B < strategy.kept
    lessons = []
    for number in range(GROUPS):
        new_B, old_B = group_B == number, (group_B < number) & kept_B
        seen = group_C <= number
        lessons.append(
            Lesson(
                new_x=task.support_x[new_B],
                new_y=y_B[new_B],
                kept_x=task.support_x[old_B],
                kept_y=y_B[old_B],
                seen=seen,
                own=group_C == number if told else seen,
                kept_own=group_B[old_B].unsqueeze(1) == group_C if told else None,
            )
        )
    return lessons


class Raised(AbstractLearner):
    """A learner whose head scores some classes higher than it does, and more steeply."""

    def __init__(self, learner: AbstractLearner, raised: Tensor) -> None:
        """Take a learner, and which classes [C] are raised."""
        self._learner, self._raised = learner, raised

    def embed(self, params: Tensors, x: Tensor) -> Tensor:
        """Return its features."""
        return self._learner.embed(params, x)

    def embed_both(
        self, params: Tensors, support_x: Tensor, query_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return its features."""
        return self._learner.embed_both(params, support_x, query_x)

    def head(self, params: Tensors, z_BD: Tensor) -> Tensor:
        """Return its scores, changed where classes are raised."""
        scores = self._learner.head(params, z_BD)
        return torch.where(self._raised, 3 * scores + 2, scores)

    def gradient(
        self, loss: Loss, params: Tensors, *, differentiable: bool = False
    ) -> tuple[Tensor, Tensors]:
        """Return its gradient."""
        return self._learner.gradient(loss, params, differentiable=differentiable)
