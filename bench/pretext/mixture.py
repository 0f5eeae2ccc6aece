"""Several pretext tasks in one training: the weighted sum of their losses on the same batch.

Joint multi-task self-supervision as in Doersch and Zisserman (2017), arXiv:1708.07860, section 4:
one encoder, a head for each task. Each member has its own head, state and views.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch import Generator, Tensor, nn

from bench.contract import (
    AbstractNetwork,
    AbstractPretext,
    AtLeastTwo,
    Pretext,
    Setting,
    Shape,
    Tensors,
)


@dataclass(frozen=True, kw_only=True)
class Mixture(AbstractPretext):
    """Learn several pretext tasks at once, by the weighted sum of their losses."""

    reference: ClassVar[str] = "arXiv:1708.07860"
    members: Annotated[tuple[Pretext, ...], Field(min_length=2)]  # names, or names and parameters
    weights: tuple[PositiveFloat, ...] | None = None  # of the losses; None: 1 / members for each
    rate: PositiveFloat = 1e-3  # Adam, as the members have it
    batch_size: AtLeastTwo = 64  # of all members, whatever their own

    def __post_init__(self) -> None:
        """Refuse weights that are not one for each member."""
        if self.weights is not None and len(self.weights) != len(self.members):
            raise ValueError(f"{len(self.weights)} weights for {len(self.members)} members")

    @property
    def augments(self) -> bool:  # type: ignore[override]  # here it follows from the members
        """Whether a member asks for augmented views."""
        return any(member.augments for member in self.members)

    @property
    def views(self) -> int:  # type: ignore[override]  # here it follows from the members
        """Forward passes for each example: those of all members."""
        return sum(member.views for member in self.members)

    def declines(self, setting: Setting) -> str | None:
        """Where one member declines, so does the mixture."""
        reasons = (member.declines(setting) for member in self.members)
        return next((reason for reason in reasons if reason), None)

    def head(self, width: int, shape: Shape) -> nn.Module:
        """Return the members' heads, each a child module by its place."""
        return nn.ModuleList([member.head(width, shape) for member in self.members])

    def state(self, net: AbstractNetwork) -> Tensors:
        """Return the members' states, each under its place."""
        states = [m.state(_Member(net, str(place))) for place, m in enumerate(self.members)]
        return _joined(states)

    def loss(
        self, net: AbstractNetwork, state: Tensors, x_BCHW: Tensor, rng: Generator
    ) -> tuple[Tensor, Tensors]:
        """Return the weighted sum of the members' losses on one batch, and their next states."""
        losses, states = [], []
        for place, member in enumerate(self.members):
            own = _own(state, place)
            loss, after = member.loss(_Member(net, str(place)), own, x_BCHW, rng)
            losses.append(loss)
            states.append(after)
        stacked = torch.stack(losses)
        weights = self.weights or (1 / len(self.members),) * len(self.members)
        return (stacked * stacked.new_tensor(weights)).sum(), _joined(states)


class _Member(AbstractNetwork):
    """The network as one member sees it: its own head."""

    def __init__(self, net: AbstractNetwork, child: str) -> None:
        self._net, self._child = net, child

    def encode(self, x_BCHW: Tensor) -> Tensor:
        return self._net.encode(x_BCHW)

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        return self._net.head(z_BD, f"{self._child}.{child}" if child else self._child)

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        return self._net.augment(x_BCHW, rng)

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


def _own(state: Tensors, place: int) -> Tensors:
    prefix = f"{place}/"
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def _joined(states: Sequence[Tensors]) -> Tensors:
    return {f"{place}/{n}": v for place, state in enumerate(states) for n, v in state.items()}
