"""What a budget buys: steps, and the examples that these pass forward."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.suite import Budget

if TYPE_CHECKING:
    from bench.contract import AbstractPlugin, Validation

LEAST_STEPS = 2  # of a training, however small the scale
CEILING = 1e-9  # 100 x 0.29 is 29 steps, not 28


def steps_for(examples: int, scale: float, passed: Callable[[int], int]) -> int:
    """Return the most steps that pass at most ``scale`` x ``examples`` examples.

    ``passed`` says how many the first steps pass, each at least one.
    """
    allowed = examples * scale + CEILING * passed(1)
    return bisect_right(range(1, int(allowed) + 1), allowed, key=passed)


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """What a row is pre-trained on, its budget, and the size of the validation split."""

    objective: "AbstractPlugin"
    budget: Budget
    held_out: int

    @property
    def validates(self) -> "Validation | None":
        """The episodes of the validation split that it learns from or is chosen by."""
        from bench.contract import AbstractPretext, AbstractSearch

        if not isinstance(self.objective, AbstractPretext | AbstractSearch):
            return None
        return self.objective.validates

    @property
    def candidates(self) -> tuple["Pretraining", ...]:
        """What a search tries, each with its share; none where none is done.

        What the episodes pass that choose among them comes off the shares of a budget of examples.
        """
        from torch import Generator

        from bench.contract import AbstractSearch

        if not isinstance(self.objective, AbstractSearch):
            return ()
        choices = self.objective.choices(Generator())  # what is drawn decides no cost
        scale, examples = self.budget.scale, self.budget.pretrain_examples
        if examples is None:
            assert self.budget.pretrain_steps is not None
            steps = int(self.budget.pretrain_steps * scale + CEILING) // len(choices)
            share = replace(self.budget, pretrain_steps=steps, scale=1.0)
        else:
            left = round(examples * scale) - self._chosen_by(len(choices))
            share = replace(self.budget, pretrain_examples=max(0, left // len(choices)), scale=1.0)
        return tuple(replace(self, objective=one, budget=share) for one in choices)

    @property
    def batch_size(self) -> int:
        """The examples of a step, before any view; of a search, the most among its candidates."""
        from bench.contract import AbstractInit, AbstractPretext

        if self.candidates:
            return max(one.batch_size for one in self.candidates)
        assert isinstance(self.objective, AbstractPretext | AbstractInit)
        return self.objective.batch_size

    @property
    def bought(self) -> int:
        """The whole steps that the budget buys, maybe too few; of a search, a candidate's."""
        if self.candidates:
            return min(one.bought for one in self.candidates)
        steps, examples = self.budget.pretrain_steps, self.budget.pretrain_examples
        if steps is not None:
            return int(steps * self.budget.scale + CEILING)
        assert examples is not None
        return steps_for(examples, self.budget.scale, self._passed)

    @property
    def steps(self) -> int:
        """The steps that are taken, at least 2; of a search, those of all candidates."""
        if self.candidates:
            return sum(one.steps for one in self.candidates)
        return max(LEAST_STEPS, self.bought)

    @property
    def examples(self) -> int:
        """The examples that these pass forward, those of validation episodes included."""
        tried = self.candidates
        if tried:
            return sum(one.examples for one in tried) + self._chosen_by(len(tried))
        return self._passed(self.steps)

    def _passed(self, steps: int) -> int:
        from bench.contract import AbstractInit, AbstractPretext

        if isinstance(self.objective, AbstractInit):
            return steps * self.objective.batch_size
        assert isinstance(self.objective, AbstractPretext)
        return self.objective.examples(steps) + self._clustered

    def _chosen_by(self, choices: int) -> int:
        """Return the examples that the episodes of a search pass, and what their classes cost."""
        from bench.contract import AbstractSearch

        search = self.objective
        assert isinstance(search, AbstractSearch)
        return choices * search.episodes * search.validates.examples + self._clustered

    @property
    def _clustered(self) -> int:
        """The examples whose features are clustered for validation episodes."""
        return self.held_out if self.validates and self.validates.classes == "clusters" else 0
