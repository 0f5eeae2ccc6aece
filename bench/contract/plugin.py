"""What every plug-in is, and those that hold neither an objective nor a learner."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict
from torch import Generator, Tensor, nn

from bench.contract.values import Examples, Setting, Shape
from bench.space import Space


class AbstractPlugin(ABC):
    """What every plug-in has: a source, a revision, and the right to decline a combination."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    reference: ClassVar[str]  # "arXiv:1703.03400" or "doi:10...": the bibliography is made from it
    revision: ClassVar[int] = 1  # raised when the method's numbers change on purpose
    extra: ClassVar[str | None] = None  # a module that it needs, and the extra that brings it
    added: ClassVar[Mapping[str, object]] = {}
    """Fields that came later, and the value under which keys leave them out: earlier results,
    made when there was no such field, then stay valid."""
    space: ClassVar[Mapping[str, Space]] = {}
    """Which parameters ``bench tune`` may change, and within which bounds; the others stay.

    They are such as are tuned in practice, never such as say what is compared. It is asked of an
    instance: a property where it follows from other parameters, which are none of its own."""

    def declines(self, setting: Setting) -> str | None:
        """Return why this combination makes no sense, or None; the plan prints the reason."""
        return None


class AbstractTrained(AbstractPlugin):
    """A plug-in whose steps the engine takes: it owns the optimizer, the plug-in the settings."""

    optimizer: ClassVar[Literal["adam", "sgd"]] = "adam"
    rate: float  # the optimizer's learning rate at its highest

    def schedule(self, progress: float) -> float:
        """Return the factor on ``rate`` when ``progress`` (in [0, 1)) of the steps are done."""
        return 1.0


class AbstractData(AbstractPlugin):
    """A source of examples with disjoint train, val and test classes."""

    augment: ClassVar[str] = "none"  # the policy that suits this source, unless a suite names one
    digest: ClassVar[str | None] = None  # what the whole set must hash to, where that is known
    known_duplicates: ClassVar[tuple[str, ...]] = ()
    """The sha256 of the bytes (uint8, as ``read`` returns them) of each example that is known to
    stand in two splits: the audit of a suite then notes it, and raises no alarm."""

    @abstractmethod
    def read(self, root: Path | None) -> Examples:
        """Read everything below ``root`` (None: no root folder is set).

        Raises:
            UserError: the set is not there or not whole; says what to fetch, where to put it.
        """

    @abstractmethod
    def fingerprint(self, root: Path | None) -> str:
        """Return what changes when ``read`` would return something else, without reading it all.

        Raises:
            UserError: as for ``read``.
        """


class AbstractEncoder(AbstractPlugin):
    """A network that turns one example into a vector.

    Batch normalisation is written as ``nn.BatchNorm2d`` (or 1d): the engine decides whose
    statistics it uses.
    """

    @abstractmethod
    def module(self, shape: Shape) -> nn.Module:
        """Return a module from [B, *shape] to [B, D]."""


class AbstractAugment(AbstractPlugin):
    """A random change of examples that keeps what they are."""

    @abstractmethod
    def __call__(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return changed copies of a whole batch in [0, 1], each with draws of its own."""
