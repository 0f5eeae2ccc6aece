"""Almost no inner loop. Raghu, Raghu, Bengio and Vinyals (2020), arXiv:1909.09157.

MAML whose inner steps move the head alone (their section 4). With features f(x) of the encoder,
    head' = U(head; f(S)),    k gradient steps on the support's cross-entropy,
    meta-gradient = d loss(head', f(Q)) / d (encoder, head)      (order 2)
Features do not change within a task: support and queries pass the encoder once, and the steps
are those of a linear layer. The encoder is reached through f(Q) and, in order 2, through f(S)
in the steps; in order 1 the steps are constants.

Defaults are those of learn2learn's example for FC100, which trains on a support and as many
queries.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Reals, Space, Tensors, Whole
from bench.inner import gradient_steps, loss_of
from bench.schemes import AbstractHeadLoop


@dataclass(frozen=True, kw_only=True)
class Anil(AbstractHeadLoop):
    """Learn features on which a few gradient steps of the head alone solve a task."""

    reference: ClassVar[str] = "arXiv:1909.09157"
    frozen_encoder: ClassVar[bool] = True
    order: Literal[1, 2] = 2  # 1: inner gradients are constants
    steps: PositiveInt = 5  # inner steps in training; learn2learn's anil_fc100.py
    inner_rate: PositiveFloat = 0.1  # of the head; learn2learn's anil_fc100.py
    rate: PositiveFloat = 1e-3  # Adam on the meta-gradient; learn2learn's anil_fc100.py
    tasks_per_step: PositiveInt = 32  # learn2learn's anil_fc100.py
    task_ways: PositiveInt | None = None  # the ways of the suite, which its head has
    task_shots: PositiveInt = 5
    task_queries: NonNegativeInt = 5  # learn2learn's anil_fc100.py
    zero_head: bool = False  # it starts at zero in each task, and is not meta-trained; the zeroing
    # trick of Kao et al. (2022), arXiv:2106.15367
    added: ClassVar[Mapping[str, object]] = {"zero_head": False}
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        "inner_rate": Reals(low=1e-2, high=1.0, log=True),  # a tenth to ten times the default
        "steps": Whole(low=1, high=10),  # up to twice the default: steps of the head cost little
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
        """Yield parameters after 0, 1, 2, ... steps of gradient descent on the head."""
        rates = {name: self.inner_rate for name in params if name.startswith("head.")}

        def loss(now: Tensors) -> Tensor:
            return loss_of(learner.head(now, z_SD), y_S)

        return gradient_steps(learner, loss, params, rates, differentiable=differentiable)
