"""The best of several pretexts: the control that learned weights have to beat at equal images.

Each candidate is trained alone on an equal share of the budget; the one whose encoder has the
lowest prototypical loss on episodes of the validation split is kept. With ``draws`` and a mixture
it is random search over the mixture's weights, the baseline that Li and Talwalkar (2019),
arXiv:1902.07638, hold every learned search to.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Generator

from bench.contract import (
    AbstractPretext,
    AbstractSearch,
    AtLeastTwo,
    Pretext,
    Setting,
    TaskShape,
    Validation,
)


@dataclass(frozen=True, kw_only=True)
class BestOf(AbstractSearch):
    """Try several pretexts on equal shares of the budget, and keep the one that validates best.

    With `draws`, each candidate is tried so often, what it leaves open drawn anew: the weights of
    a mixture, uniformly over the simplex.
    """

    reference: ClassVar[str] = "arXiv:1902.07638"
    candidates: Annotated[tuple[Pretext, ...], Field(min_length=1)]  # names, or with parameters
    draws: PositiveInt | None = None  # of each candidate; None: each once, as it stands
    outer: Literal["instances", "clusters", "labels"] = "instances"  # classes of the validation
    # episodes, as of a mixture with learned weights
    episodes: PositiveInt = 100  # that each candidate is measured on, the same for all
    outer_ways: AtLeastTwo = 5  # of the validation episodes
    outer_shots: PositiveInt = 1
    outer_queries: PositiveInt = 15  # as episodes are tested with, arXiv:1703.05175
    cluster_size: PositiveInt = 60  # images for each cluster, as the selection rule pseudo_val

    def __post_init__(self) -> None:
        """Refuse less than two candidates, equal ones, and candidates that validate."""
        if len(self.candidates) * (self.draws or 1) < 2:
            raise ValueError("one candidate: give another, or draws")
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("two candidates are the same")
        if self.draws and any(one.drawn(Generator()) == one for one in self.candidates):
            raise ValueError("draws: a candidate leaves nothing to draw, as a mixture its weights")
        if any(one.validates for one in self.candidates):
            raise ValueError("a mixture with learned weights cannot be a candidate")
        if self.outer == "instances" and self.outer_shots > 1:
            raise ValueError("outer: instances has one shot, a second would be a copy")

    @property
    def augments(self) -> bool:  # type: ignore[override]  # here it follows from the candidates
        """Whether a candidate asks for augmented views, or the validation episodes do."""
        return self.outer == "instances" or any(one.augments for one in self.candidates)

    @property
    def validates(self) -> Validation:  # type: ignore[override]  # follows from the parameters
        """The episodes that candidates are measured on."""
        shape = TaskShape(ways=self.outer_ways, shots=self.outer_shots, queries=self.outer_queries)
        return Validation(classes=self.outer, shape=shape, cluster_size=self.cluster_size)

    def declines(self, setting: Setting) -> str | None:
        """Where one candidate declines, so does the search."""
        reasons = (one.refuses(setting) for one in self.candidates)
        return next((reason for reason in reasons if reason), None)

    def choices(self, rng: Generator) -> tuple[AbstractPretext, ...]:
        """Return the candidates, each once or as often as it is drawn."""
        if self.draws is None:
            return self.candidates
        return tuple(one.drawn(rng) for one in self.candidates for _ in range(self.draws))
