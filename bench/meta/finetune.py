"""Training on the support alone: the control of every method that learns before it is tested.

As in the from-scratch rows of CACTUs, Hsu, Levine and Finn (2019), arXiv:1810.02334: gradient
descent on the cross-entropy of a task's support, from the weights that the encoder has: fresh
ones, or those of pre-training. Encoder and head both move. Two differences from the authors'
code: the linear head starts at zero, where theirs is drawn (all scores are equal before the
first step), and the norm is the suite's (there each batch has its own statistics).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, AbstractMeta, Reals, Space, Task, Tensors, Whole
from bench.inner import BIAS, WEIGHT, gradient_steps, own_loss, own_scores


@dataclass(frozen=True, kw_only=True)
class Finetune(AbstractMeta):
    """Train encoder and a fresh linear head on the support; nothing is meta-trained."""

    reference: ClassVar[str] = "arXiv:1810.02334"
    steps: PositiveInt = 200  # authors' main.py, from_scratch
    inner_rate: PositiveFloat = 0.1  # authors' omniglot_scratch.sh
    space: ClassVar[Mapping[str, Space]] = {
        "inner_rate": Reals(low=1e-2, high=1.0, log=True),  # a tenth to ten times the authors'
        "steps": Whole(low=50, high=200, log=True),  # authors: 50 after meta-training, 200 without
    }

    @property
    def test_steps(self) -> int:
        """All of its training happens at test."""
        return self.steps

    def adapt(
        self, learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor
    ) -> Iterator[Tensors]:
        """Yield ``params``, then with a head of the task after 1, 2, ... gradient steps."""
        yield params
        z_SD = learner.embed(params, support_x)
        head = {WEIGHT: torch.zeros_like(z_SD), BIAS: torch.zeros_like(z_SD[:, 0])}
        start = {**params, **head}

        def loss(now: Tensors) -> Tensor:
            return own_loss(now, learner.embed(now, support_x), support_y)

        rates = dict.fromkeys(start, self.inner_rate)
        steps = gradient_steps(learner, loss, start, rates, differentiable=False)
        yield from islice(steps, 1, None)

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the scores of the task's head, equal ones where there is none yet."""
        if WEIGHT not in params:
            return task.query_x.new_zeros(len(task.query_x), task.ways)
        query_QD = learner.embed_queries(params, task.support_x, task.query_x)
        return own_scores(params, query_QD)[:, : task.ways]
