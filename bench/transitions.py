"""What every part of a benchmark of control reads from a transition: what was known, what came.

An example of modality ``transition`` is a pair of rows. The first is known before the step: the
scaled state and the scaled action. The second came of it: the scaled change of the state, and
zeros in the action's place.

Shapes: any leading ones, then 2 rows, D = S numbers of a state and A of an action.
"""

import torch
from torch import Tensor

from bench.contract import Task


def transition(state: Tensor, action: Tensor, change: Tensor) -> Tensor:
    """Return transitions [..., 2, D] of scaled states and changes [..., S], actions [..., A]."""
    known = torch.cat([state, action], -1)
    came = torch.cat([change, torch.zeros_like(action)], -1)
    return torch.stack([known, came], -2)


def blanked(x: Tensor) -> Tensor:
    """Return transitions [..., 2, D] as what predicts may see them: nothing of what came."""
    return torch.stack([x[..., 0, :], torch.zeros_like(x[..., 1, :])], -2)


def changes(x: Tensor) -> Tensor:
    """Return what is to be predicted of transitions [..., 2, D]: the second rows [..., D]."""
    return x[..., 1, :]


def regression(support_x: Tensor, query_x: Tensor) -> Task:
    """Return the task of predicting what comes of queries [Q, 2, D], from a support [S, 2, D]."""
    return Task(
        support_x=blanked(support_x),
        support_y=changes(support_x),
        query_x=blanked(query_x),
        query_y=changes(query_x),
        ways=1,
    )
