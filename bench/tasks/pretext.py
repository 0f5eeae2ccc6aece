"""Tasks without labels that are themselves self-supervised problems.

After Bansal et al. (2021), arXiv:2111.01322, who meta-train over several kinds of self-supervised
tasks at once: there on text, here on a family of pretexts that each show any example as one of
a few classes. For a task of N ways, K shots and Q queries one member of the family is drawn, then N
of its classes; N (K + Q) different examples are shown as these. To tell the classes apart is to
learn the pretext; support and queries share no example, so that none can be recognised.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Generator

from bench.contract import (
    AbstractClassifying,
    AbstractPretext,
    AbstractSource,
    AbstractTasks,
    AtLeastTwo,
    Pretext,
    Setting,
    Task,
    TaskShape,
)


@dataclass(frozen=True, kw_only=True)
class Pretexts(AbstractTasks):
    """Classes of a pretext task: different examples, each shown as one of them."""

    reference: ClassVar[str] = "arXiv:2111.01322"
    uses_labels: ClassVar[bool] = False
    fixed_classes: ClassVar[bool] = True
    family: Annotated[tuple[Pretext, ...], Field(min_length=1)]  # names, or names and parameters
    ways: AtLeastTwo | None = None
    shots: PositiveInt | Literal["match"] | None = None
    queries: NonNegativeInt | None = None

    def declines(self, setting: Setting) -> str | None:
        """Each member has to have classes, and as many as a task has ways."""
        reasons = (_reason(member, setting) for member in self.family)
        return next((reason for reason in reasons if reason), None)

    def examples_needed(self, shape: TaskShape) -> int:
        """Each is shown once."""
        return shape.num_support + shape.num_queries

    def num_classes(self, source: AbstractSource) -> int:
        """The classes of all members, one member after the other."""
        return sum(self._counts())

    def sample(self, source: AbstractSource, shape: TaskShape, rng: Generator) -> Task:
        """Draw a member, some of its classes in random order, and an example for each example."""
        device, counts = source.device, self._counts()
        place = int(torch.randint(len(self.family), (), generator=rng, device=device))
        member = self.family[place]
        assert isinstance(member, AbstractClassifying)
        chosen_N = torch.randperm(counts[place], generator=rng, device=device)[: shape.ways]
        example = torch.randperm(source.num_examples, generator=rng, device=device)
        way = torch.arange(shape.ways, device=device).repeat(shape.shots + shape.queries)
        x = source.examples(example[: self.examples_needed(shape)])
        shown = member.show(x, chosen_N[way], rng)
        first = sum(counts[:place])  # of the member's classes, among all
        rivals = torch.zeros(sum(counts), dtype=torch.bool, device=device)
        rivals[first : first + counts[place]] = True
        return Task(
            support_x=shown[: shape.num_support],
            support_y=way[: shape.num_support],
            query_x=shown[shape.num_support :],
            query_y=way[shape.num_support :],
            ways=shape.ways,
            classes=first + chosen_N,
            rivals=rivals,
        )

    def _counts(self) -> list[int]:
        return [m.num_classes for m in self.family if isinstance(m, AbstractClassifying)]


def _reason(member: AbstractPretext, setting: Setting) -> str | None:
    name = type(member).__module__.rpartition(".")[2]
    if not isinstance(member, AbstractClassifying):
        return f"{name} has no classes, so it cannot be in a family of tasks"
    if setting.task and member.num_classes < setting.task.ways:
        ways = setting.task.ways
        return f"{name} has {member.num_classes} classes, the tasks of its family {ways} ways"
    return member.refuses(setting)
