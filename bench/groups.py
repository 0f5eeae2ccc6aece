"""A task drawn from groups of examples, be they classes or clusters.

Shapes: G groups, M examples of the largest, N ways, K shots, Q queries a way.
"""

import torch
from torch import Generator, Tensor

from bench.contract import AbstractSource, Task, TaskShape


def draw_from(
    members_GM: Tensor,
    source: AbstractSource,
    shape: TaskShape,
    rng: Generator,
) -> Task:
    """Draw groups, then different examples of each; labels are in random order.

    ``members_GM`` is padded with -1; every group holds enough for a task.
    """
    device = members_GM.device
    chosen_N = torch.randperm(len(members_GM), generator=rng, device=device)[: shape.ways]
    order_NM = torch.rand(
        (shape.ways, members_GM.shape[1]), generator=rng, device=device
    ).masked_fill(members_GM[chosen_N] < 0, 2.0)
    picked_NM = members_GM[chosen_N].gather(1, order_NM.argsort(1))
    support_KN = picked_NM[:, : shape.shots].T
    query_QN = picked_NM[:, shape.shots : shape.shots + shape.queries].T
    return Task(
        support_x=source.examples(support_KN.flatten()),
        support_y=_labels(support_KN),
        query_x=source.examples(query_QN.flatten()),
        query_y=_labels(query_QN),
        ways=shape.ways,
        classes=chosen_N,
    )


def _labels(index_KN: Tensor) -> Tensor:
    return torch.arange(index_KN.shape[1], device=index_KN.device).repeat(index_KN.shape[0])
