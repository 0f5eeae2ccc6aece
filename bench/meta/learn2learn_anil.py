"""ANIL with learn2learn's inner loop: the cross-check of ``anil``, and its peer.

Raghu, Raghu, Bengio and Vinyals (2020), arXiv:1909.09157, as in learn2learn's example
``anil_fc100.py``: ``learn2learn.algorithms.MAML``, of Arnold et al. (2020), arXiv:2008.12284,
wraps the head alone. Parameters and defaults are those of ``anil``, and so are its results up to
rounding.

Shapes: S support examples, D features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Reals, Space, Tensors, Whole
from bench.meta._learn2learn import AsModule, adapted, algorithms
from bench.schemes import AbstractHeadLoop


@dataclass(frozen=True, kw_only=True)
class Learn2LearnAnil(AbstractHeadLoop):
    """Learn features as anil does, with the inner steps of the library learn2learn."""

    reference: ClassVar[str] = "arXiv:2008.12284"
    extra: ClassVar[str | None] = "learn2learn"
    values: ClassVar[bool] = False  # its inner steps are on cross-entropy
    vectorises: ClassVar[bool] = False  # its steps are autograd's, on modules
    frozen_encoder: ClassVar[bool] = True
    order: Literal[1, 2] = 2  # this and all below: as anil
    steps: PositiveInt = 5
    inner_rate: PositiveFloat = 0.1
    rate: PositiveFloat = 1e-3
    tasks_per_step: PositiveInt = 32
    task_ways: PositiveInt | None = None
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 5
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # this and all below: as anil
        "inner_rate": Reals(low=1e-2, high=1.0, log=True),
        "steps": Whole(low=1, high=10),
    }

    def head_steps(
        self,
        learner: AbstractLearner,
        params: Tensors,
        z_SD: Tensor,
        y_S: Tensor,
        *,
        differentiable: bool,
    ) -> Iterator[Tensors]:
        """Yield parameters after 0, 1, 2, ... steps of learn2learn's MAML on the head."""
        head = {name: value for name, value in params.items() if name.startswith("head.")}
        maml = algorithms().MAML(
            AsModule(learner.head, head), lr=self.inner_rate, first_order=not differentiable
        )
        return adapted(maml, params, z_SD, y_S)
