"""The same arithmetic as a user of learn2learn writes it: an ordinary module, and its wrappers.

``tests/parity`` holds our methods against these functions to rounding, ``step.py`` times them.
They follow learn2learn's examples (examples/vision of its 0.2.0): layers are torch's own, in
train mode, so that every batch is normalised by itself; tensors are in torch's own format.

Shapes: N ways, S support examples, Q queries, D features.
"""

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from learn2learn.algorithms import MAML, MetaSGD
from torch import Tensor, nn

from bench.contract import Shape, Task, Tensors

Loss = Callable[[Task], Tensor]


class Classifier(nn.Module):
    """Four blocks of convolution, batch norm, ReLU and pooling, and a linear layer."""

    def __init__(self, shape: Shape, width: int, ways: int) -> None:
        """Build it for examples of a shape (C, H, W)."""
        super().__init__()
        blocks = [
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for before, after in pairwise([shape[0], *[width] * 4])
        ]
        self.encoder = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Linear(width * (shape[1] // 16) * (shape[2] // 16), ways)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return scores [B, N]."""
        scores: Tensor = self.head(self.encoder(x_BCHW))
        return scores

    def take(self, tensors: Tensors) -> None:
        """Copy weights and running statistics of one of our networks; the names are the same."""
        with torch.no_grad():
            for name, value in self.state_dict().items():
                if name in tensors:
                    value.copy_(tensors[name])


def maml(model: nn.Module, task: Task, *, order: int, steps: int, rate: float) -> Tensor:
    """Return the query loss after steps of the whole model; as in maml_miniimagenet.py."""
    learner = MAML(model, lr=rate, first_order=order == 1).clone()
    for _ in range(steps):
        learner.adapt(F.cross_entropy(learner(task.support_x), task.support_y))
    return F.cross_entropy(learner(task.query_x), task.query_y)


def meta_sgd(model: nn.Module, rates: nn.ParameterList, task: Task, *, steps: int) -> Tensor:
    """Return the query loss after steps at learned rates, in the order of the parameters."""
    learner = MetaSGD(model, lrs=rates).clone()
    for _ in range(steps):
        learner.adapt(F.cross_entropy(learner(task.support_x), task.support_y))
    return F.cross_entropy(learner(task.query_x), task.query_y)


def anil(model: Classifier, task: Task, *, order: int, steps: int, rate: float) -> Tensor:
    """Return the query loss after steps of the head on features; as in anil_fc100.py."""
    support_SD, query_QD = model.encoder(task.support_x), model.encoder(task.query_x)
    learner = MAML(model.head, lr=rate, first_order=order == 1).clone()
    for _ in range(steps):
        learner.adapt(F.cross_entropy(learner(support_SD), task.support_y))
    return F.cross_entropy(learner(query_QD), task.query_y)


def protonet(model: Classifier, task: Task) -> Tensor:
    """Return the query loss; as in protonet_miniimagenet.py."""
    return F.cross_entropy(distances(model, task), task.query_y)


def distances(model: Classifier, task: Task) -> Tensor:
    """Return minus the squared distances [Q, N] of queries to prototypes; both pass at once."""
    z_BD = model.encoder(torch.cat([task.support_x, task.query_x]))
    support_SD, query_QD = z_BD[: len(task.support_x)], z_BD[len(task.support_x) :]
    prototypes_ND = support_SD.reshape(-1, task.ways, support_SD.shape[1]).mean(0)
    shape = (len(query_QD), task.ways, -1)
    away_QND = query_QD.unsqueeze(1).expand(*shape) - prototypes_ND.unsqueeze(0).expand(*shape)
    scores: Tensor = -(away_QND**2).sum(dim=2)
    return scores


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, tasks: Sequence[Task], loss: Loss
) -> float:
    """Take a step on the mean loss of tasks, one after the other; return it."""
    optimizer.zero_grad()
    total = 0.0
    for task in tasks:
        one = loss(task)
        torch.autograd.backward([one])
        total += one.item()
    for value in model.parameters():
        if value.grad is not None:
            value.grad.mul_(1.0 / len(tasks))
    optimizer.step()
    return total / len(tasks)


def reptile_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    tasks: Sequence[Task],
    *,
    steps: int,
    rate: float,
    batch: int,
) -> float:
    """Move the start towards where Adam goes on each task; as in reptile_miniimagenet.py.

    As in our method, Adam begins anew in each task, and minibatches go round in order.
    """
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    total = 0.0
    for task in tasks:
        learner = copy.deepcopy(model)
        adam = torch.optim.Adam(learner.parameters(), lr=rate, betas=(0.0, 0.999))
        x = torch.cat([task.support_x, task.query_x])
        y = torch.cat([task.support_y, task.query_y])
        for number in range(steps):
            index = (torch.arange(batch) + number * batch) % len(x)
            adam.zero_grad()
            loss = F.cross_entropy(learner(x[index]), y[index])
            torch.autograd.backward([loss])
            adam.step()
        for value, end in zip(model.parameters(), learner.parameters(), strict=True):
            assert value.grad is not None
            value.grad.add_(end.data, alpha=-1.0)
        total += loss.item()
    for value in model.parameters():
        assert value.grad is not None
        value.grad.mul_(1.0 / len(tasks)).add_(value.data)
    optimizer.step()
    return total / len(tasks)
