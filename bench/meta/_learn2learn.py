"""What the ``learn2learn_*`` methods share: our network as a module that learn2learn adapts.

Arnold, Mahajan, Datta, Bunner and Zarkias (2020), arXiv:2008.12284. Its inner steps stand in the
place of ours; network, norm, tasks and the outer gradient stay the same. It is an extra, so it
is imported when it is used.

Shapes: B examples, or their features.
"""

from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from types import ModuleType
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contract import Tensors


def algorithms() -> ModuleType:
    """Import learn2learn's algorithms."""
    with redirect_stderr(StringIO()):  # gym, which it brings along, advertises its successor
        from learn2learn import algorithms as found
    assert isinstance(found, ModuleType)
    return found


class AsModule(nn.Module):
    """A function of tensors and of an input, as a module whose parameters the tensors are."""

    def __init__(self, function: Callable[[Tensors, Tensor], Tensor], tensors: Tensors) -> None:
        """Take the tensors themselves: gradients reach what they were computed from."""
        super().__init__()
        self.function, self.names = function, tuple(tensors)
        for number, value in enumerate(tensors.values()):
            leaf = value if value.requires_grad else value.detach().requires_grad_()
            self._parameters[str(number)] = leaf  # type: ignore[assignment]  # as in its clones

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The parameters under the names they came with; in a clone, the adapted ones."""
        return dict(zip(self.names, self.parameters(), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function to the parameters and an input."""
        return self.function(self.tensors, x)


class Wrapper(Protocol):
    """What learn2learn's algorithms are to us, around the module that holds what moves."""

    module: AsModule

    def clone(self) -> "Wrapper":
        """Return a copy that can be adapted; gradients reach the original."""

    def adapt(self, loss: Tensor) -> None:
        """Take a step on a loss of this copy."""

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the module."""


def adapted(wrapper: Wrapper, params: Tensors, x: Tensor, y_B: Tensor) -> Iterator[Tensors]:
    """Yield ``params`` after 0, 1, 2, ... steps on the cross-entropy of ``x``, without end."""
    with torch.enable_grad():
        clone = wrapper.clone()
    while True:
        yield {**params, **clone.module.tensors}
        with torch.enable_grad():
            clone.adapt(F.cross_entropy(clone(x), y_B))
