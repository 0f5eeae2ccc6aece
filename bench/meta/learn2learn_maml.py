"""MAML with learn2learn's inner loop: the cross-check of ``maml``, and its peer.

Finn, Abbeel and Levine (2017), arXiv:1703.03400, by ``learn2learn.algorithms.MAML`` of Arnold et
al. (2020), arXiv:2008.12284. Parameters and defaults are those of ``maml``, and so are its
results up to rounding.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Reals, Space, Tensors, Whole
from bench.inner import Rates
from bench.meta._learn2learn import AsModule, adapted, algorithms
from bench.schemes import AbstractInnerLoop


@dataclass(frozen=True, kw_only=True)
class Learn2LearnMaml(AbstractInnerLoop):
    """Learn a start as maml does, with the inner steps of the library learn2learn."""

    reference: ClassVar[str] = "arXiv:2008.12284"
    extra: ClassVar[str | None] = "learn2learn"
    values: ClassVar[bool] = False  # its inner steps are on cross-entropy
    vectorises: ClassVar[bool] = False  # its steps are autograd's, on modules
    order: Literal[1, 2] = 2  # this and all below: as maml
    steps: PositiveInt = 5
    inner_rate: PositiveFloat = 0.01
    rate: PositiveFloat = 1e-3
    tasks_per_step: PositiveInt = 4
    task_ways: PositiveInt | None = None
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 15
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # this and all below: as maml
        "inner_rate": Reals(low=3e-3, high=0.5, log=True),
        "steps": Whole(low=1, high=5),
    }

    def rates(self, params: Tensors) -> Rates:
        """Encoder and head move at one rate."""
        return dict.fromkeys(params, self.inner_rate)

    def inner_steps(
        self,
        learner: AbstractLearner,
        params: Tensors,
        x: Tensor,
        y: Tensor,
        *,
        differentiable: bool,
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps of learn2learn's MAML."""

        def scores(now: Tensors, x_BCHW: Tensor) -> Tensor:
            return learner.head(now, learner.embed(now, x_BCHW))

        module = AsModule(scores, params)
        maml = algorithms().MAML(module, lr=self.inner_rate, first_order=not differentiable)
        return adapted(maml, params, x, y)
