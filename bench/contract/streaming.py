"""How a stream is learned: groups of classes, or domains, that come one after the other."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from bench.contract.learning import AbstractLearner
from bench.contract.plugin import AbstractPlugin
from bench.contract.values import Tensors


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A group of a stream as a strategy meets it; C classes in the whole stream.

    ``new_x`` [B, ...] and ``new_y`` [B], in [0, C), are the group's support. ``kept_x`` [M, ...]
    and ``kept_y`` [M] are what is kept of the groups before: nothing before the second.

    ``seen`` [C] says which classes have been met, this group's included; ``own`` [C] which ones
    its examples are told apart among: all that are seen, or the group's where a query is told its
    group. ``kept_own`` [M, C] says the same of each kept example; None: ``own`` holds for all.
    """

    new_x: Tensor
    new_y: Tensor
    kept_x: Tensor
    kept_y: Tensor
    seen: Tensor
    own: Tensor
    kept_own: Tensor | None = None


class AbstractStrategy(AbstractPlugin):
    """What a learner does with each group of a stream, and what it keeps of it.

    It is written for one stream, as functions of tensors; how many streams go at once is the
    engine's business. Nothing but ``params`` and the kept examples goes from group to group.
    """

    oracle: ClassVar[bool] = False  # it is given all earlier examples: no learner of a stream is
    rated: ClassVar[bool] = True  # its steps have a rate, which is chosen; False: it takes none
    kept: int  # examples of each class, and domain, that are kept; of an oracle all are
    pretext_steps: int  # of the row's own pretext on a group without labels, before it is learned

    @abstractmethod
    def head(self, width: int, outputs: int) -> nn.Module:
        """Return what scores ``outputs`` classes on ``width`` features, before the first group."""

    def steps(self, asked: int, groups: int) -> int:
        """Return the steps that are taken on a group, which is the ``groups``-th, from 1."""
        return asked

    @abstractmethod
    def learn(
        self, learner: AbstractLearner, start: Tensors, params: Tensors, lesson: Lesson, rate: float
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps on a group; the engine stops asking.

        ``start`` are those before the first group, ``params`` those after the last one. What takes
        no steps yields once, what it has learned.
        """
