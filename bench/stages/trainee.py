"""The network as the loss of a pre-training sees it."""

from collections.abc import Callable

from torch import Generator, Tensor

from bench.contract import AbstractNetwork, Task, Tensors
from bench.stages.network import Network, Statistics
from bench.stages.source import Source, Views


class Trainee(AbstractNetwork):
    """A network that one step trains; its batches move the running statistics in place."""

    def __init__(
        self,
        network: Network,
        params: Tensors,
        buffers: Tensors,
        source: Source | Views,
        statistics: Statistics = "learned",
        validation: Callable[[], Task] | None = None,
    ) -> None:
        """Take what the step trains, the source whose policy makes views, and its episode."""
        self._network, self._params, self._buffers = network, params, buffers
        self._source, self._statistics = source, statistics
        self._validation = validation

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return features [B, D], under dropout where that is asked for."""
        return self._network.encode(self._params, self._buffers, x, self._statistics, dropout)

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Apply the head, or one child module of it."""
        return self._network.head(self._params, self._buffers, z_BD, self._statistics, child)

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        """Return one view of each example."""
        return self._source.augment(x, rng)

    @property
    def params(self) -> Tensors:
        """What is being trained."""
        return self._params

    def using(self, params: Tensors) -> "Trainee":
        """Return the network with other parameters; its batches move no statistics."""
        both = {**self._params, **params}
        return Trainee(self._network, both, self._buffers, self._source, "batch", self._validation)

    def validation(self) -> Task:
        """Return this step's episode of the validation split."""
        if self._validation is None:
            raise PermissionError("validation episodes are for training, where a pretext says so")
        return self._validation()
