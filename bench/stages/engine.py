"""How tasks are batched, and whose statistics they use: never the business of a method.

On a CPU a loop over tasks is fastest (batched convolutions with weights of their own become
grouped ones, which ran at 0.1 to 0.7 of its speed); a GPU is bound by launches, so tasks go
through ``torch.func.vmap`` together. Constants, chosen by measurement, never at run time.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from bench.contract import AbstractLearner, Loss, Norm, Tensors
from bench.stages.network import Network, Statistics

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TASKS_AT_ONCE = {"cpu": 1, "cuda": 16}  # of one vmap; 1 is a loop
EMBED_AT_ONCE = 512  # examples in one forward pass

Shown = TypeVar("Shown", bound="DataclassInstance")  # tensors, such as a ``Task``, of one shape all


def channels_last(device: torch.device, *, second_order: bool) -> bool:
    """Say whether examples and kernels are stored channels last.

    1.4 to 1.6 times as fast on a CPU, but 0.5 to 0.8 under double backward of a convolution.
    """
    return device.type == "cpu" and not second_order


class Learner(AbstractLearner):
    """A network with the norm mode of a suite; counts the examples it passes forward."""

    def __init__(
        self,
        network: Network,
        buffers: Tensors,
        norm: Norm,
        *,
        training: bool,
        vectorised: bool = False,
    ) -> None:
        """Take ``buffers`` (changed in place only under ``running`` while training)."""
        self._network, self._buffers, self._norm = network, buffers, norm
        self._training, self._vectorised = training, vectorised
        self.passed = 0  # examples, counted once for each forward pass

    def embed(self, params: Tensors, x: Tensor) -> Tensor:
        """Return features [B, D] of a support set."""
        self.passed += len(x)
        return self._network.encode(params, self._buffers, x, self._alone())

    def embed_both(
        self, params: Tensors, support_x: Tensor, query_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return features of a support and its queries.

        ``running`` and ``support`` pass both at once; ``transductive`` gives the queries their
        own statistics.
        """
        if self._norm == "transductive":
            return self.embed(params, support_x), self.embed(params, query_x)
        size = len(support_x)
        self.passed += size + len(query_x)
        statistics = size if self._norm == "support" else self._alone()
        both = self._network.encode(
            params, self._buffers, torch.cat([support_x, query_x]), statistics
        )
        return both[:size], both[size:]

    def embed_queries(self, params: Tensors, support_x: Tensor, query_x: Tensor) -> Tensor:
        """Return features of the queries; the support passes only where it has a say in them."""
        if self._norm == "support" or self._alone() == "learned":
            return self.embed_both(params, support_x, query_x)[1]
        return self.embed(params, query_x)

    def head(self, params: Tensors, z_BD: Tensor) -> Tensor:
        """Apply the method's head."""
        return self._network.head(params, self._buffers, z_BD, self._alone())

    def gradient(
        self, loss: Loss, params: Tensors, *, differentiable: bool = False
    ) -> tuple[Tensor, Tensors]:
        """Return the loss and its gradient, as a constant or as a function of ``params``."""
        return _gradient(loss, params, differentiable=differentiable, traced=self._vectorised)

    def _alone(self) -> Statistics:
        if self._norm != "running":
            return "batch"
        return "learned" if self._training else "stored"


class FeatureLearner(AbstractLearner):
    """A learner whose examples are features already: for methods that leave the encoder alone."""

    def __init__(self, network: Network, buffers: Tensors) -> None:
        """Take the network for its head, which is tested as it was trained."""
        self._network, self._buffers = network, buffers

    def embed(self, params: Tensors, x: Tensor) -> Tensor:
        """Return the features as they are."""
        return x

    def embed_both(
        self, params: Tensors, support_x: Tensor, query_x: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the features as they are."""
        return support_x, query_x

    def head(self, params: Tensors, z_BD: Tensor) -> Tensor:
        """Apply the method's head."""
        return self._network.head(params, self._buffers, z_BD, "stored")

    def gradient(
        self, loss: Loss, params: Tensors, *, differentiable: bool = False
    ) -> tuple[Tensor, Tensors]:
        """Return the loss and its gradient, as a constant or as a function of ``params``."""
        return _gradient(loss, params, differentiable=differentiable, traced=False)


def _gradient(
    loss: Loss, params: Tensors, *, differentiable: bool, traced: bool
) -> tuple[Tensor, Tensors]:
    """Differentiate by torch.func under vmap, else by autograd, which is faster."""
    if not differentiable:  # cut off before, so that an outer gradient does not record this one
        params = {name: p.detach() for name, p in params.items()}
    if traced:
        gradient, value = grad_and_value(loss)(dict(params))
        if differentiable:
            return value, gradient
        return value.detach(), {name: g.detach() for name, g in gradient.items()}
    if not differentiable:
        params = {name: p.requires_grad_() for name, p in params.items()}
    with torch.enable_grad():
        value = loss(params)
        gradients = torch.autograd.grad(
            value, tuple(params.values()), create_graph=differentiable, materialize_grads=True
        )
    return value if differentiable else value.detach(), dict(zip(params, gradients, strict=True))


def in_parts(embed: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Embed examples, as many of them in one pass as is sensible."""
    return torch.cat([embed(one) for one in torch.split(x, EMBED_AT_ONCE)])


def over_tasks(
    function: Callable[[Shown], tuple[Tensor, ...]], tasks: Sequence[Shown], *, vectorised: bool
) -> tuple[Tensor, ...]:
    """Apply a function of one task to several, in a loop or by vmap; results are stacked."""
    if not vectorised:
        results = [function(task) for task in tasks]
        return tuple(torch.stack(parts) for parts in zip(*results, strict=True))
    first = tasks[0]
    names = [one.name for one in fields(first) if isinstance(getattr(first, one.name), Tensor)]

    def of_tensors(parts: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return function(replace(first, **parts))

    stacked = {name: torch.stack([getattr(task, name) for task in tasks]) for name in names}
    return tuple(vmap(of_tensors)(stacked))


def counted(
    learner: Learner,
    function: Callable[[Shown], tuple[Tensor, ...]],
    tasks: Sequence[Shown],
    *,
    vectorised: bool,
) -> tuple[tuple[Tensor, ...], int]:
    """As ``over_tasks``, and how many examples ``learner`` passed forward in all tasks.

    A traced pass is made once for all of them.
    """
    before = learner.passed
    results = over_tasks(function, tasks, vectorised=vectorised)
    traced = len(tasks) if vectorised else 1
    return results, (learner.passed - before) * traced
