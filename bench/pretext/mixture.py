"""Several pretext tasks in one training: the weighted sum of their losses on the same batch.

Joint multi-task self-supervision as in Doersch and Zisserman (2017), arXiv:1708.07860, section 4:
one encoder, a head for each task. Each member has its own head, state and views. A member's loss
is divided by its value on the first batch, so that a weight means the same for each.

Learned weights follow the prototypical loss of episodes of the validation split, as Dery et al.
(2022), arXiv:2109.07437, let auxiliary losses follow the loss of an end task. With members' losses
L_k, w = softmax(v) and one step of gradient descent theta' = theta - a sum_k w_k dL_k(theta),

    dL_outer(theta') / dw_k = -a <dL_outer(theta'), dL_k(theta)>
    dL_outer(theta') / dv_j = w_j (dL_outer / dw_j - sum_k w_k dL_outer / dw_k)

exactly, and without a gradient of a gradient: theta' is linear in w. L_outer is a function of the
encoder alone, so only the encoder takes the step. Adam then descends on v.

Shapes: K members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractNetwork,
    AbstractPretext,
    AtLeastTwo,
    Form,
    Pretext,
    Reals,
    Setting,
    Space,
    Task,
    TaskShape,
    Tensors,
    Validation,
)
from bench.inner import BETA1, adam, prototypical_loss


@dataclass(frozen=True, kw_only=True)
class Mixture(AbstractPretext):
    """Learn several pretext tasks at once, by the weighted sum of their losses.

    `weights` are numbers, one a member; `uniform`; or `learned`, to lower the prototypical loss of
    validation episodes. A member's loss counts in units of its value on the first batch.
    """

    reference: ClassVar[str] = "arXiv:1708.07860"
    revision: ClassVar[int] = 2
    members: Annotated[tuple[Pretext, ...], Field(min_length=2)]  # names, or names and parameters
    weights: tuple[PositiveFloat, ...] | Literal["uniform", "learned"] = "uniform"  # 1 / members
    rate: PositiveFloat = 1e-3  # Adam, as the members have it; of the hypergradient's step too
    batch_size: AtLeastTwo = 64  # of all members, whatever their own
    outer: Literal["instances", "clusters", "labels"] = "instances"  # the validation episodes'
    # classes, where weights are learned: labels are an oracle
    every: PositiveInt = 10  # steps between two steps of the weights; arXiv:2111.01754
    warm_up: NonNegativeInt = 0  # steps before the first of them
    weight_rate: NonNegativeFloat = 0.05  # Adam, on the softmax's logits; arXiv:2109.07437
    outer_ways: AtLeastTwo = 5  # of the validation episodes
    outer_shots: PositiveInt = 1
    outer_queries: PositiveInt = 15  # as episodes are tested with, arXiv:1703.05175
    cluster_size: PositiveInt = 60  # images for each cluster, as the selection rule pseudo_val
    added: ClassVar[dict[str, object]] = {
        "outer": "instances",
        "every": 10,
        "warm_up": 0,
        "weight_rate": 0.05,
        "outer_ways": 5,
        "outer_shots": 1,
        "outer_queries": 15,
        "cluster_size": 60,
    }

    def __post_init__(self) -> None:
        """Refuse weights that are not one for each member, and members that validate."""
        if isinstance(self.weights, tuple) and len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.weights)} weights for {len(self.members)} members")
        if any(member.validates for member in self.members):
            raise ValueError("a mixture with learned weights cannot be a member of another")
        if self.validates and self.outer == "instances" and self.outer_shots > 1:
            raise ValueError("outer: instances has one shot, a second would be a copy")

    @property
    def space(self) -> Mapping[str, Space]:  # type: ignore[override]  # follows from the weights
        """The rate, and of learned weights theirs."""
        own: dict[str, Space] = {
            "rate": Reals(low=1e-4, high=3e-2, log=True),  # a tenth to 30 times the default
        }
        learned: dict[str, Space] = {
            "weight_rate": Reals(low=5e-3, high=0.5, log=True),  # a tenth to ten times the default
        }
        return own | learned if self.weights == "learned" else own

    @property
    def augments(self) -> bool:  # type: ignore[override]  # here it follows from the members
        """Whether a member asks for augmented views, or the validation episodes do."""
        own = self.validates is not None and self.validates.classes == "instances"
        return own or any(member.augments for member in self.members)

    @property
    def validates(self) -> Validation | None:  # type: ignore[override]  # follows from the weights
        """The episodes that learned weights follow."""
        if self.weights != "learned":
            return None
        shape = TaskShape(ways=self.outer_ways, shots=self.outer_shots, queries=self.outer_queries)
        return Validation(classes=self.outer, shape=shape, cluster_size=self.cluster_size)

    @property
    def views(self) -> int:  # type: ignore[override]  # here it follows from the members
        """Forward passes for each example: those of all members."""
        return sum(member.views for member in self.members)

    def examples(self, steps: int) -> int:
        """Return the batches' passes, and the validation episodes' of learned weights."""
        updates = -(-max(0, steps - self.warm_up) // self.every)
        outer = updates * self.validates.examples if self.validates else 0
        return steps * self.views * self.batch_size + outer

    def watched(self, state: Tensors) -> Tensors:
        """Return learned weights by their members' names."""
        if not self.validates:
            return {}
        names = [type(member).__module__.rpartition(".")[2] for member in self.members]
        twice = [
            f"{name} {place}" if names.count(name) > 1 else name
            for place, name in enumerate(names, 1)
        ]
        return {f"weight/{name}": w for name, w in zip(twice, self._weights(state), strict=True)}

    def drawn(self, rng: Generator) -> AbstractPretext:
        """Return the mixture with weights uniform over the simplex, unless it has numbers."""
        if isinstance(self.weights, tuple):
            return self
        share_K = torch.rand(len(self.members), generator=rng, dtype=torch.float64)
        weight_K = (-torch.log1p(-share_K)).clamp(min=1e-9)  # exponential, then made to sum to 1
        return replace(self, weights=tuple((weight_K / weight_K.sum()).tolist()))

    def declines(self, setting: Setting) -> str | None:
        """Where one member declines, so does the mixture."""
        reasons = (member.refuses(setting) for member in self.members)
        return next((reason for reason in reasons if reason), None)

    def head(self, width: int, form: Form) -> nn.Module:
        """Return the members' heads, each a child module by its place."""
        return nn.ModuleList([member.head(width, form) for member in self.members])

    def state(self, net: AbstractNetwork) -> Tensors:
        """Return the members' states, each under its place, and the mixture's own.

        ``scale`` [K] holds the members' first losses, zero until there are any; learned weights
        have logits [K], the moments of Adam, and the number of steps so far.
        """
        states = [m.state(_Member(net, str(place))) for place, m in enumerate(self.members)]
        zero_K = next(iter(net.params.values())).new_zeros(len(self.members))
        own = {"scale": zero_K}
        if self.validates:
            own |= {name: zero_K for name in ("logits", "mean", "square")}
            own |= {"step": zero_K.new_zeros((), dtype=torch.int64)}
        return _joined(states) | own

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the weighted sum of the members' scaled losses on one batch, and the next state.

        Learned weights move after the loss: this step has those of the state it was given.
        """
        losses, states = [], []
        for place, member in enumerate(self.members):
            own = _own(state, place)
            loss, after = member.loss(_Member(net, str(place)), own, x_BCHW, rng)
            losses.append(loss)
            states.append(after)
        loss_K = torch.stack(losses)
        scale_K = _scale(state["scale"], loss_K.detach())
        scaled_K = loss_K / scale_K
        own = {"scale": scale_K}
        if self.validates:
            own |= self._moved(net, state, scaled_K)
        return (scaled_K * self._weights(state)).sum(), _joined(states) | own

    def _weights(self, state: Tensors) -> Tensor:
        """Return the members' weights [K]."""
        if self.weights == "learned":
            return state["logits"].softmax(0)
        if self.weights == "uniform":
            return torch.zeros_like(state["scale"]).softmax(0)
        return state["scale"].new_tensor(self.weights)

    def _moved(self, net: AbstractNetwork, state: Tensors, loss_K: Tensor) -> dict[str, Tensor]:
        """Return what learned weights carry on: moved by a step of Adam where one is due."""
        done = int(state["step"])
        own = {name: state[name] for name in ("logits", "mean", "square")}
        if done >= self.warm_up and (done - self.warm_up) % self.every == 0:
            slope_K = self.hypergradient(net, loss_K, state["logits"])
            moved, (means, squares) = adam(
                {"logits": own["logits"]},
                {"logits": slope_K},
                ({"logits": own["mean"]}, {"logits": own["square"]}),
                step=(done - self.warm_up) // self.every + 1,
                rate=self.weight_rate,
                beta1=BETA1,
            )
            own = {**moved, "mean": means["logits"], "square": squares["logits"]}
        return own | {"step": state["step"] + 1}

    def hypergradient(self, net: AbstractNetwork, loss_K: Tensor, logit_K: Tensor) -> Tensor:
        """Return the slope [K] of a validation episode's loss after one step, by the logits."""
        start = {name: p for name, p in net.params.items() if name.startswith("encoder.")}
        slope_K = [
            torch.autograd.grad(loss, [*start.values()], retain_graph=True, materialize_grads=True)
            for loss in loss_K
        ]
        weight_K = logit_K.softmax(0)
        after = {
            name: (p.detach() - self.rate * _dot(weight_K, slopes)).requires_grad_()
            for (name, p), *slopes in zip(start.items(), *slope_K, strict=True)
        }
        outer = prototypical_loss(net.using(after).encode, net.validation())
        outer_slope = torch.autograd.grad(outer, [*after.values()], materialize_grads=True)
        by_weight_K = -self.rate * torch.stack([_inner(outer_slope, one) for one in slope_K])
        return weight_K * (by_weight_K - (weight_K * by_weight_K).sum())


class _Member(AbstractNetwork):
    """The network as one member sees it: its own head."""

    def __init__(self, net: AbstractNetwork, child: str) -> None:
        self._net, self._child = net, child

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        return self._net.encode(x, dropout=dropout)

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        return self._net.head(z_BD, f"{self._child}.{child}" if child else self._child)

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return self._net.augment(x_BCHW, rng)

    def validation(self) -> Task:
        return self._net.validation()

    @property
    def params(self) -> Tensors:
        other = f"head.{self._child}."
        named = self._net.params.items()
        shared = {name: value for name, value in named if not name.startswith("head.")}
        own = {f"head.{n.removeprefix(other)}": v for n, v in named if n.startswith(other)}
        return shared | own

    def using(self, params: Tensors) -> AbstractNetwork:
        own = {
            n.replace("head.", f"head.{self._child}.", 1) if n.startswith("head.") else n: v
            for n, v in params.items()
        }
        return _Member(self._net.using(own), self._child)


def _scale(known_K: Tensor, loss_K: Tensor) -> Tensor:
    """Return what losses are divided by: their first values, or 1 for one that begins at 0."""
    size_K = loss_K.abs()
    first_K = torch.where(size_K > 0, size_K, torch.ones_like(size_K))
    return torch.where(known_K > 0, known_K, first_K)


def _dot(weight_K: Tensor, slopes: Sequence[Tensor]) -> Tensor:
    """Return the weighted sum of one tensor's slopes."""
    return torch.stack([w * slope for w, slope in zip(weight_K, slopes, strict=True)]).sum(0)


def _inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two lists of tensors."""
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


def _own(state: Tensors, place: int) -> Tensors:
    prefix = f"{place}/"
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def _joined(states: Sequence[Tensors]) -> dict[str, Tensor]:
    return {f"{place}/{n}": v for place, state in enumerate(states) for n, v in state.items()}
