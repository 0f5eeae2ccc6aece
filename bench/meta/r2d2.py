"""Ridge regression as the head of a task, R2-D2. Bertinetto et al. (2019), arXiv:1805.08136.

With X [S, D+1] the support's features and a column of ones, and Y [S, N] its labels, one-hot,
    W = argmin |X W - Y|^2 / S + lambda |W|^2
      = (X'X + S lambda I)^-1 X'Y = X' (X X' + S lambda I)^-1 Y,
the last by Woodbury's identity: a system in the S examples of the support and not in the D
features. A query's scores are scale * x W, and the encoder, scale and lambda are trained
through this solution on the cross-entropy of the queries; nothing is iterated.

As in the authors' code the squares are a mean over the support (it divides X and Y by sqrt(S)),
and the ones are penalised like features. Lambda is learned by its logarithm, as the paper's text
has it; the authors' released configuration keeps it where it starts. The constant that they add
to all scores is left out, since a softmax does not see it. Their encoder (96 to 512 channels,
dropout, two layers' features joined) and the shots they draw anew for each task are not part of
the head: this is the head on the suite's encoder.

Shapes: N ways, S support examples, Q queries, B examples, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from bench.contract import AbstractLearner, Norm, Reals, Space, Task, Tensors
from bench.inner import memberships
from bench.schemes import AbstractComputedHead


@dataclass(frozen=True, kw_only=True)
class R2d2(AbstractComputedHead):
    """Learn features on which ridge regression tells the classes."""

    reference: ClassVar[str] = "arXiv:1805.08136"
    norm: ClassVar[Norm] = "running"
    frozen_encoder: ClassVar[bool] = True
    regularisation: PositiveFloat = 50.0  # lambda at first; authors' fewshots.yaml
    scale: PositiveFloat = 10.0  # at first; authors' experiments.sh, CIFAR-FS and Omniglot
    rate: PositiveFloat = 5e-3  # Adam; authors' fewshots.yaml
    halve_every: PositiveFloat = 0.1  # share of training; authors: every 2,000 episodes, and at
    # least 20,000 before they stop
    tasks_per_step: PositiveInt = 1  # authors' code
    task_ways: PositiveInt | None = 20  # authors' experiments.sh, CIFAR-FS
    task_shots: PositiveInt = 5  # authors: drawn from 1 to 9 for each task
    task_queries: NonNegativeInt = 7  # authors' experiments.sh: 240 examples in a 20-way task
    space: ClassVar[Mapping[str, Space]] = {
        "rate": Reals(low=1e-4, high=3e-2, log=True),  # as every rate of Adam here
        "regularisation": Reals(low=5.0, high=500.0, log=True),  # a tenth to ten times the authors'
        "scale": Reals(low=1.0, high=100.0, log=True),  # a tenth to ten times the authors'
    }

    def learned(self, params: Tensors) -> Tensors:
        """Return the factor of the scores, and the logarithm of the penalty."""
        first = {"scale": self.scale, "log_lambda": log(self.regularisation)}
        return {name: torch.tensor(value) for name, value in first.items()}

    def predict(self, learner: AbstractLearner, params: Tensors, task: Task) -> Tensor:
        """Return the scaled values of the regression for each query and way."""
        support_SD, query_QD = learner.embed_both(params, task.support_x, task.query_x)
        target_SN = memberships(task.support_y, task.ways, support_SD.dtype).T
        weights = ridge(_with_ones(support_SD), target_SN, params["meta.log_lambda"].exp())
        return params["meta.scale"] * (_with_ones(query_QD) @ weights)


def ridge(x_SD: Tensor, y_SN: Tensor, penalty: Tensor) -> Tensor:
    """Return the weights [D, N] that minimise |x w - y|^2 / S + penalty |w|^2."""
    size = len(x_SD)
    identity = torch.eye(size, dtype=x_SD.dtype, device=x_SD.device)
    dual_SN: Tensor = torch.linalg.solve(x_SD @ x_SD.T + size * penalty * identity, y_SN)
    return x_SD.T @ dual_SN


def _with_ones(z_BD: Tensor) -> Tensor:
    return torch.cat([z_BD, torch.ones_like(z_BD[:, :1])], 1)
