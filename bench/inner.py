"""Steps on a support set, and heads that exist in one task alone, shared by the meta-algorithms.

Shapes: N ways, S support examples, B examples, D features.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.contract import AbstractLearner, Loss, Task, Tensors

Yielded = TypeVar("Yielded")
Rates = Mapping[str, float | Tensor]  # of gradient descent, by the name of what moves
Moments = tuple[Tensors, Tensors]  # means of the gradient and of its square

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults, Kingma and Ba (2015)
WEIGHT, BIAS = "tuned.weight", "tuned.bias"  # of a head that exists in one task alone

# --- loss ---------------------------------------------------------------------------------------


def loss_of(predicted: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of scores [B, N] where ``y`` are classes [B], in nats.

    Where ``y`` are numbers [B, D], the mean squared error of what is predicted of them [B, D].
    """
    if y.is_floating_point():
        return F.mse_loss(predicted, y)
    return F.cross_entropy(predicted, y)


# --- steps -------------------------------------------------------------------------------------


def after(trajectory: Iterator[Yielded], steps: int) -> Yielded:
    """Return what ``trajectory`` yields after ``steps`` steps."""
    return next(islice(trajectory, steps, None))


def gradient_steps(
    learner: AbstractLearner, loss: Loss, params: Tensors, rates: Rates, *, differentiable: bool
) -> Iterator[Tensors]:
    """Yield ``params`` after 0, 1, 2, ... steps of gradient descent on ``loss``, without end.

    What has no rate stays. ``differentiable``: the result is a function of ``params`` that
    second-order meta-gradients see through; else gradients are constants (first order).
    """
    while True:
        yield params
        slopes = _slopes(learner, loss, params, rates, differentiable=differentiable)
        params = {**params, **{n: params[n] - rates[n] * slope for n, slope in slopes.items()}}


def _slopes(
    learner: AbstractLearner,
    loss: Loss,
    params: Tensors,
    names: Mapping[str, object],
    *,
    differentiable: bool = False,
) -> Tensors:
    """Return the gradient of a loss of all ``params`` with respect to some of them."""
    _, slopes = learner.gradient(
        lambda some: loss({**params, **some}),
        {name: params[name] for name in names},
        differentiable=differentiable,
    )
    return slopes


def adam_steps(
    learner: AbstractLearner, loss: Loss, params: Tensors, rate: float
) -> Iterator[Tensors]:
    """Yield ``params`` after 0, 1, 2, ... steps of Adam on ``loss``, without end."""
    moments, step = zero_moments(params), 0
    while True:
        yield params
        step += 1
        _, gradient = learner.gradient(loss, params)
        params, moments = adam(params, gradient, moments, step=step, rate=rate, beta1=BETA1)


def zero_moments(params: Tensors) -> Moments:
    """Return what Adam knows before its first step."""
    zeros = {name: torch.zeros_like(value) for name, value in params.items()}
    return zeros, zeros


def adam(
    params: Tensors, gradient: Tensors, moments: Moments, *, step: int, rate: float, beta1: float
) -> tuple[dict[str, Tensor], Moments]:
    """Take step number ``step`` (from 1) of Adam; Kingma and Ba (2015), algorithm 1."""
    first, second = moments
    first = {n: beta1 * old + (1 - beta1) * gradient[n] for n, old in first.items()}
    second = {n: BETA2 * old + (1 - BETA2) * gradient[n].square() for n, old in second.items()}
    moved = {
        name: value
        - rate
        * (first[name] / (1 - beta1**step))
        / ((second[name] / (1 - BETA2**step)).sqrt() + EPSILON)
        for name, value in params.items()
    }
    return moved, (first, second)


# --- a linear head of one task -----------------------------------------------------------------


def memberships(y_S: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Return 1 where an example is of a class, else 0: [classes, S]."""
    label_N1 = torch.arange(classes, device=y_S.device).unsqueeze(1)
    return (y_S == label_N1).to(dtype)


def prototypes(z_SD: Tensor, y_S: Tensor, classes: int) -> Tensor:
    """Return the mean features of each class [classes, D], zero where it has no examples."""
    members_NS = memberships(y_S, classes, z_SD.dtype)
    return members_NS @ z_SD / members_NS.sum(1, keepdim=True).clamp(min=1)


def prototypical_scores(
    support_SD: Tensor, support_y: Tensor, query_QD: Tensor, ways: int
) -> Tensor:
    """Return minus the squared distance of each query to each prototype [Q, N].

    Snell, Swersky and Zemel (2017), arXiv:1703.05175, equation 2.
    """
    prototypes_ND = prototypes(support_SD, support_y, ways)
    return -(query_QD.unsqueeze(1) - prototypes_ND).square().sum(2)


def prototypical_loss(encode: Callable[[Tensor], Tensor], task: Task) -> Tensor:
    """Return the cross-entropy of the queries by their prototypical scores, all as one batch."""
    z_BD = encode(torch.cat([task.support_x, task.query_x]))
    support_SD, query_QD = z_BD[: len(task.support_x)], z_BD[len(task.support_x) :]
    scores_QN = prototypical_scores(support_SD, task.support_y, query_QD, task.ways)
    return F.cross_entropy(scores_QN, task.query_y)


def own_scores(params: Tensors, z_BD: Tensor) -> Tensor:
    """Apply the task's own head."""
    return F.linear(z_BD, params[WEIGHT], params[BIAS])


def own_loss(params: Tensors, z_SD: Tensor, y_S: Tensor) -> Tensor:
    """Return the cross-entropy of a support set under the task's own head.

    The head has S rows, since adaptation is not told the ways and there are at most S; rows of
    classes without examples take no part.
    """
    absent_N = memberships(y_S, len(y_S), torch.int64).sum(1) == 0
    return F.cross_entropy(own_scores(params, z_SD).masked_fill(absent_N, -torch.inf), y_S)


def prototype_tuning(
    learner: AbstractLearner, params: Tensors, support_x: Tensor, support_y: Tensor, rate: float
) -> Iterator[Tensors]:
    """Yield ``params``, then with a linear head after 1, 2, ... steps from the prototypes.

    ProtoTune of Medina, Devos and Grossglauser (2020), arXiv:2006.11325, section 2.2. With
    prototypes p the score -|z - p|^2 = 2 p z - |p|^2 - |z|^2 is that of a linear head of weight
    2 p and bias -|p|^2, but for a term that all classes share. Adam then descends on the
    support's cross-entropy, the encoder standing still. The authors take minibatches of one
    example a class; here a step sees the whole support.
    """
    yield params
    support_SD = learner.embed(params, support_x)
    means = prototypes(support_SD, support_y, len(support_y))
    start = {WEIGHT: 2 * means, BIAS: -means.square().sum(1)}
    tuned = adam_steps(learner, lambda own: own_loss(own, support_SD, support_y), start, rate)
    yield from ({**params, **own} for own in islice(tuned, 1, None))
