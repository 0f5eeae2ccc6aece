"""Meta-SGD with learn2learn's inner loop: the cross-check of ``meta_sgd``, and its peer.

Li, Zhou, Chen and Li (2017), arXiv:1707.09835, by ``learn2learn.algorithms.MetaSGD`` of Arnold et
al. (2020), arXiv:2008.12284. Parameters and defaults are those of ``meta_sgd``, first rates
included: learn2learn's own are all 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Reals, Space, Tensors, Whole
from bench.inner import Rates
from bench.meta._learn2learn import AsModule, adapted, algorithms
from bench.schemes import AbstractInnerLoop, first_rates, learned_rates


@dataclass(frozen=True, kw_only=True)
class Learn2LearnMetaSgd(AbstractInnerLoop):
    """Learn a start and rates as meta_sgd does, with the inner steps of the library learn2learn."""

    reference: ClassVar[str] = "arXiv:2008.12284"
    extra: ClassVar[str | None] = "learn2learn"
    values: ClassVar[bool] = False  # its inner steps are on cross-entropy
    vectorises: ClassVar[bool] = False  # its steps are autograd's, on modules
    order: Literal[1, 2] = 2  # this and all below: as meta_sgd
    steps: PositiveInt = 1
    rate: PositiveFloat = 1e-3
    tasks_per_step: PositiveInt = 4
    task_ways: PositiveInt | None = None
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 15
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # this and below: as meta_sgd
        "steps": Whole(low=1, high=5),
    }

    @property
    def test_steps(self) -> int:
        """As many as in training."""
        return self.steps

    def learned(self, params: Tensors) -> Tensors:
        """Return the first rates, ``rate.*``, one for each number in encoder and head."""
        return first_rates(params)

    def rates(self, params: Tensors) -> Rates:
        """Encoder and head move, each number at its own rate."""
        return learned_rates(params)

    def inner_steps(
        self,
        learner: AbstractLearner,
        params: Tensors,
        x: Tensor,
        y: Tensor,
        *,
        differentiable: bool,
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps of learn2learn's MetaSGD."""

        def scores(now: Tensors, x_BCHW: Tensor) -> Tensor:
            return learner.head(now, learner.embed(now, x_BCHW))

        rates = self.rates(params)
        module = AsModule(scores, {name: params[name] for name in rates})
        sgd = algorithms().MetaSGD(module, lrs=list(rates.values()), first_order=not differentiable)
        return adapted(sgd, params, x, y)
