"""A task is an environment. Nagabandi et al. (2019), arXiv:1803.11347, section 4.

They adapt a model of the dynamics by gradient steps on a few transitions, and meta-train it so that
these steps help: MAML and its kin on a loss of regression, where a task is a stretch of time in
which the environment is one. Here a task is a whole environment of a family with hidden parameters
(mass, length, gravity): support and queries are different transitions of it, drawn at random from
those that were collected there. (Theirs are the last and the coming steps of one rollout, since
their robot has to notice a change on the way.)

Which environment a transition was collected in is known to whoever collects it: tasks are of the
classes of the data, but nobody has labelled anything. What the parameters are is not told.

Shapes: B transitions, 2 rows (state and action; change), D numbers of a row.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt
from torch import Generator

from bench.contract import AbstractSource, AbstractTasks, Form, Task, TaskShape
from bench.groups import draw_from
from bench.transitions import regression


@dataclass(frozen=True, kw_only=True)
class Environments(AbstractTasks):
    """Transitions of one environment: some to learn its dynamics from, others to predict."""

    reference: ClassVar[str] = "arXiv:1803.11347"
    modalities: ClassVar[tuple[str, ...] | None] = ("transition",)
    uses_labels: ClassVar[bool] = True
    known_origins: ClassVar[bool] = True
    values: ClassVar[bool] = True
    ways: Literal[1] = 1  # one environment
    shots: PositiveInt | Literal["match"] | None = "match"  # as at test
    queries: NonNegativeInt | None = None

    def outputs(self, form: Form, shape: TaskShape) -> int:
        """The numbers of a change."""
        return form.shape[-1]

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        """Draw an environment, then different transitions of it."""
        members_CM, _ = source.classes()
        drawn = draw_from(members_CM, source, shape, rng)
        return regression(drawn.support_x, drawn.query_x)
