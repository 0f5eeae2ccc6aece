"""What every plug-in is, and those that hold neither an objective nor a learner."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict
from torch import Generator, Tensor, nn

from bench.contract.values import Examples, Setting
from bench.form import Form
from bench.space import Space


class AbstractPlugin(ABC):
    """What every plug-in has: a source, a revision, and the right to decline a combination."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    reference: ClassVar[str]  # "arXiv:1703.03400" or "doi:10...": the bibliography is made from it
    revision: ClassVar[int] = 1  # raised when the method's numbers change on purpose
    extra: ClassVar[str | None] = None  # of its package, that it needs
    brings: ClassVar[str | None] = None  # the module that the extra brings; None: of its name
    added: ClassVar[Mapping[str, object]] = {}
    """Fields that came later, and the value under which keys leave them out: earlier results,
    made when there was no such field, then stay valid."""
    space: ClassVar[Mapping[str, Space]] = {}
    """Which parameters ``bench tune`` may change, and within which bounds; the others stay.

    They are such as are tuned in practice, never such as say what is compared. It is asked of an
    instance: a property where it follows from other parameters, which are none of its own."""

    modalities: ClassVar[tuple[str, ...] | None] = None
    """The kinds of data it is made for, such as ``("image",)``; None: any."""

    def declines(self, setting: Setting) -> str | None:
        """Return why this combination makes no sense, or None; the plan prints the reason."""
        return None

    def refuses(self, setting: Setting) -> str | None:
        """Return why the plug-in is not made for such data, or what ``declines`` says."""
        made_for = self.modalities
        if made_for is not None and setting.form.modality not in made_for:
            name = type(self).__module__.rpartition(".")[2]
            return f"{name} is made for {' and '.join(made_for)} data, not {setting.form}"
        return self.declines(setting)


class AbstractTrained(AbstractPlugin):
    """A plug-in whose steps the engine takes: it owns the optimizer, the plug-in the settings."""

    optimizer: ClassVar[Literal["adam", "sgd"]] = "adam"
    rate: float  # the optimizer's learning rate at its highest

    def schedule(self, progress: float) -> float:
        """Return the factor on ``rate`` when ``progress`` (in [0, 1)) of the steps are done."""
        return 1.0


class AbstractData(AbstractPlugin):
    """A source of examples with disjoint train, val and test classes."""

    modality: ClassVar[str]  # the name of the plug-in that says what its examples are
    encoder: ClassVar[str]  # what suits this source, unless a suite names one
    augment: ClassVar[str] = "none"  # the policy that suits this source, unless a suite names one
    digest: ClassVar[str | None] = None  # what the whole set must hash to, where that is known
    unlabelled: ClassVar[bool] = False  # examples without classes or splits: for pre-training alone
    known_duplicates: ClassVar[tuple[str, ...]] = ()
    """The sha256 of the bytes (as ``read`` returns them) of each example that is known to
    stand in two splits: the audit of a suite then notes it, and raises no alarm."""

    @property
    def title(self) -> str | None:
        """What the report calls this set; None: by the plug-in's name."""
        return None

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
    statistics it uses. ``nn.Dropout`` drops nothing, except where a pretext asks for it.
    """

    @abstractmethod
    def module(self, form: Form) -> nn.Module:
        """Return a module from [B, *form.shape] to [B, D]."""


class AbstractAugment(AbstractPlugin):
    """A random change of examples that keeps what they are."""

    @abstractmethod
    def __call__(self, x: Tensor, rng: Generator) -> Tensor:
        """Return changed copies of a whole batch, as valid as before, each with its own draws."""


class AbstractModality(AbstractPlugin):
    """What examples of a kind are: how they are read, shown, compared and made up.

    Shapes: N or B examples, as stored [N, *shape] or as encoders see them [B, *shape].
    """

    stored: ClassVar[Literal["uint8", "float32", "int32"]]  # the type of stored examples
    values: ClassVar[bool] = False  # of examples numbers are predicted: see ``Task``
    unlike: ClassVar[str] = "Take sets whose examples are of one form."
    """What to do where a row's sets, to train and to be tested on, hold examples of two forms."""
    forms: ClassVar[tuple[Form, ...]]
    """What plug-ins are tried on by the conformance suite: the first that they do not decline."""

    @abstractmethod
    def inputs(self, stored: Tensor) -> Tensor:
        """Return examples as encoders see them; floats are of torch's default precision."""

    @abstractmethod
    def allows(self, x: Tensor, form: Form) -> str | None:
        """Return why these could not be examples as encoders see them; None: they could."""

    @abstractmethod
    def altered(self, x: Tensor, form: Form) -> Tensor:
        """Return as many other examples, as encoders see them; each that shows anything differs."""

    @abstractmethod
    def looks(self, examples: np.ndarray) -> np.ndarray | None:
        """Return a hash [N] (uint64) of what near duplicates, of stored examples, have in common.

        It is advice: the audit shows pairs of one hash that stand in two splits. None: there is
        no such hash for examples of this shape.
        """

    @abstractmethod
    def blank(self, examples: np.ndarray) -> np.ndarray:
        """Say of each stored example whether it shows nothing, so that a likeness tells nothing."""

    @abstractmethod
    def apart(self, one: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return how far stored examples [N] are from one, 0 being equal: the nearest is shown."""

    @abstractmethod
    def sheet(self, examples: Sequence[np.ndarray], form: Form) -> bytes:
        """Return stored examples side by side as a small PNG."""

    @abstractmethod
    def made(self, form: Form, count: int, rng: Generator) -> Tensor:
        """Make up inputs [count, *form.shape], each another, for the conformance suite."""
