"""Small inputs that plug-ins are tried on: images, tasks, and a smooth network.

Shapes: B inputs, C channels, H height, W width, D features, N ways.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod

import torch
from torch import Generator, Tensor, nn

from bench.conformance.subject import Fault
from bench.contract import (
    AbstractNetwork,
    AbstractPlugin,
    Norm,
    Setting,
    Shape,
    Task,
    TaskShape,
    Tensors,
)
from bench.stages.checkpoint import prefixed
from bench.stages.engine import Learner
from bench.stages.network import Network, width_of
from bench.stages.streams import generator, seed_default

CPU = torch.device("cpu")
WAYS = 3
SHAPES: tuple[Shape, ...] = (
    (3, 20, 20), (1, 20, 20), (3, 32, 32), (1, 28, 28), (3, 84, 84), (2, 64), (1, 64), (32,)
)  # fmt: skip  # the first that a plug-in does not decline
TASKS = (
    TaskShape(ways=WAYS, shots=2, queries=3),
    TaskShape(ways=WAYS, shots=1, queries=3),
    TaskShape(ways=WAYS, shots=5, queries=0),
)


def setting_for(plugin: AbstractPlugin, norm: Norm, *, tasks: bool = False) -> Setting:
    """Return a small setting that the plug-in does not decline."""
    reasons = []
    for shape, task in product(SHAPES, TASKS if tasks else (None,)):
        setting = Setting(shape=shape, norm=norm, ways=WAYS, task=task, fixed_classes=tasks)
        reason = plugin.declines(setting)
        if reason is None:
            return setting
        reasons.append(f"{list(shape)}: {reason}")
    raise Fault(
        "it declines every setting that was tried: " + "; ".join(reasons),
        "Let declines() return None for one of these shapes.",
    )


def inputs(shape: Shape, count: int, name: str = "inputs") -> Tensor:
    """Return [count, *shape] in [0, 1], torch's default precision; smooth, and each another."""
    rng = generator(CPU, "conformance", name)
    noise = torch.rand(count, *shape, generator=rng, dtype=torch.float64)
    ramp = torch.linspace(0, 1, shape[-1], dtype=torch.float64)
    tilt = torch.rand(count, *[1] * len(shape), generator=rng, dtype=torch.float64)
    return (0.4 * noise + 0.6 * tilt * ramp).to(torch.get_default_dtype())


def task_of(task: TaskShape, shape: Shape, name: str = "task") -> Task:
    """Return a task whose classes differ, support in the order of the contract.

    Its ways are all the classes that there are, the last one first.
    """
    centres = inputs(shape, task.ways, f"{name} centres")
    support_y = torch.arange(task.ways).repeat(task.shots)
    query_y = torch.arange(task.ways).repeat(task.queries)
    return Task(
        support_x=0.5 * centres[support_y] + 0.5 * inputs(shape, len(support_y), f"{name} support"),
        support_y=support_y,
        query_x=0.5 * centres[query_y] + 0.5 * inputs(shape, len(query_y), f"{name} query"),
        query_y=query_y,
        ways=task.ways,
        classes=torch.arange(task.ways).flip(0),
        rivals=torch.ones(task.ways, dtype=torch.bool),
    )


@dataclass(frozen=True, kw_only=True)
class Small:
    """A small network and its tensors."""

    network: Network
    params: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def fresh_buffers(self) -> dict[str, Tensor]:
        """Return copies, which a pass may move."""
        return {name: value.clone() for name, value in self.buffers.items()}

    def learner(self, norm: Norm, *, training: bool = False, vectorised: bool = False) -> Learner:
        """Return a learner with running statistics of its own."""
        return Learner(
            self.network, self.fresh_buffers(), norm, training=training, vectorised=vectorised
        )


def small(
    shape: Shape,
    head: Callable[[int], nn.Module],
    learned: Callable[[Tensors], Tensors] | None = None,
) -> Small:
    """Build a network that is smooth everywhere: finite differences meet no kink."""
    seed_default("conformance", "encoder")
    encoder = _encoder(shape).to(torch.get_default_dtype())
    width = width_of(encoder, shape)
    seed_default("conformance", "head")
    top = head(width).to(torch.get_default_dtype())
    network = Network(encoder, top, channels_last=False, grouped=False)
    params, buffers = network.tensors(CPU)
    params |= prefixed(learned(params), "meta.") if learned else {}
    return Small(network=network, params=params, buffers=buffers)


def _encoder(shape: Shape) -> nn.Module:
    """Return layers without a bias before a norm: its gradient would be rounding alone."""
    if len(shape) != 3:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(prod(shape), 8, bias=False), nn.BatchNorm1d(8), nn.Softplus()
        )
    side = min(shape[1:])
    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.Softplus(),
        nn.Conv2d(4, 6, 3, stride=max(1, side // 8), padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.Softplus(),
        nn.Flatten(),
    )


class Handed(AbstractNetwork):
    """A network as the engine hands it to a pre-training; counts the examples that are encoded."""

    def __init__(
        self, trial: Small, params: Tensors, episode: Callable[[], Task] | None = None
    ) -> None:
        """Take parameters of a small network; its running statistics are copies."""
        self._trial, self._params, self._buffers = trial, params, trial.fresh_buffers()
        self._episode = episode
        self.spent = [0]

    @property
    def encoded(self) -> int:
        """Examples passed forward, here and in networks with other parameters."""
        return self.spent[0]

    def encode(self, x_BCHW: Tensor) -> Tensor:
        """Return features, and count."""
        self.spent[0] += len(x_BCHW)
        return self._trial.network.encode(self._params, self._buffers, x_BCHW, "learned")

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Apply the head, or one child of it."""
        return self._trial.network.head(self._params, self._buffers, z_BD, "learned", child)

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Return noisy copies."""
        noise = torch.rand(x_BCHW.shape, generator=rng, dtype=torch.float32)
        return 0.8 * x_BCHW + 0.2 * noise.to(x_BCHW.dtype)

    @property
    def params(self) -> Tensors:
        """What is being trained."""
        return self._params

    def using(self, params: Tensors) -> "Handed":
        """Return the network with other parameters, whose statistics are not the trained one's."""
        other = Handed(self._trial, {**self._params, **params}, self._episode)
        other.spent = self.spent
        return other

    def validation(self) -> Task:
        """Return an episode, where the pretext says that it validates."""
        return self._episode() if self._episode else super().validation()
