"""Small inputs that plug-ins are tried on: examples, tasks, and a smooth network.

Shapes: B inputs, C channels, T tokens, D features, N ways.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import torch
from torch import Generator, Tensor, nn

from bench.catalogue import build, entries
from bench.conformance.subject import Fault
from bench.contract import (
    AbstractModality,
    AbstractNetwork,
    AbstractPlugin,
    Form,
    Norm,
    Setting,
    Task,
    TaskShape,
    Tensors,
)
from bench.stages.checkpoint import prefixed
from bench.stages.engine import Learner
from bench.stages.network import Network, width_of
from bench.stages.streams import generator, seed_default
from bench.tokens import PAD, UNKNOWN
from bench.transitions import regression

CPU = torch.device("cpu")
WAYS = 3
TASKS = (
    TaskShape(ways=WAYS, shots=2, queries=3),
    TaskShape(ways=WAYS, shots=1, queries=3),
    TaskShape(ways=WAYS, shots=5, queries=0),
)


def setting_for(
    plugin: AbstractPlugin, norm: Norm, *, tasks: bool = False, values: bool | None = None
) -> Setting:
    """Return a small setting that the plug-in does not decline; ``values``: of numbers or not."""
    reasons = []
    for form, task in product(_forms(plugin), TASKS if tasks else (None,)):
        numbers = kind_of(form.modality).values
        if values not in (None, numbers):
            continue
        if numbers and task:
            task = replace(task, ways=1)
        setting = Setting(
            form=form,
            norm=norm,
            ways=1 if numbers else WAYS,
            task=task,
            fixed_classes=tasks and not numbers,
            values=numbers,
        )
        reason = plugin.refuses(setting)
        if reason is None:
            return setting
        reasons.append(f"{list(form.shape)}: {reason}")
    raise Fault(
        "it declines every setting that was tried: " + "; ".join(reasons),
        "Let declines() return None for one of these shapes.",
    )


def _forms(plugin: AbstractPlugin) -> list[Form]:
    """Return what examples of the kinds of data that a plug-in is made for can be."""
    kinds = entries("modality") if plugin.modalities is None else plugin.modalities
    return [form for kind in kinds for form in kind_of(kind).forms]


def kind_of(name: str) -> AbstractModality:
    """Return a modality by its name."""
    modality = build("modality", name, {}, f"modality/{name}")
    assert isinstance(modality, AbstractModality)
    return modality


def inputs(form: Form, count: int, name: str = "inputs") -> Tensor:
    """Return [count, *form.shape], floats in torch's default precision; each is another."""
    rng = generator(CPU, "conformance", name)
    return kind_of(form.modality).made(form, count, rng)


def outputs_of(task: TaskShape, form: Form) -> int:
    """Return how many numbers a head gives for a query of ``task_of``."""
    return form.shape[-1] if kind_of(form.modality).values else task.ways


def task_of(task: TaskShape, form: Form, name: str = "task") -> Task:
    """Return a task whose classes differ, support in the order of the contract.

    Its ways are all the classes that there are, the last one first. Where numbers are predicted of
    examples, as many of these make a task without classes.
    """
    if kind_of(form.modality).values:
        support, queries = (
            inputs(form, count, f"{name} {role}")
            for count, role in ((task.num_support, "support"), (task.num_queries, "query"))
        )
        return regression(support, queries)
    centres = inputs(form, task.ways, f"{name} centres")
    support_y = torch.arange(task.ways).repeat(task.shots)
    query_y = torch.arange(task.ways).repeat(task.queries)
    return Task(
        support_x=_between(centres[support_y], inputs(form, len(support_y), f"{name} support")),
        support_y=support_y,
        query_x=_between(centres[query_y], inputs(form, len(query_y), f"{name} query")),
        query_y=query_y,
        ways=task.ways,
        classes=torch.arange(task.ways).flip(0),
        rivals=torch.ones(task.ways, dtype=torch.bool),
    )


def _between(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean of two batches; of ids, every other one of each, as far as both reach."""
    if one.is_floating_point():
        return 0.5 * one + 0.5 * other
    even = torch.arange(one.shape[1]) % 2 == 0
    return torch.where(even, one, other) * ((one != PAD) & (other != PAD))


def noisy(x: Tensor, rng: Generator) -> Tensor:
    """Return copies with some noise; of ids, some are unknown."""
    noise = torch.rand(x.shape, generator=rng, dtype=torch.float32)
    if x.is_floating_point():
        return 0.8 * x + 0.2 * noise.to(x.dtype)
    return x.masked_fill((noise < 0.2) & (x != PAD), UNKNOWN)


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
    form: Form,
    head: Callable[[int], nn.Module],
    learned: Callable[[Tensors], Tensors] | None = None,
) -> Small:
    """Build a network that is smooth everywhere: finite differences meet no kink."""
    seed_default("conformance", "encoder")
    encoder = _encoder(form).to(torch.get_default_dtype())
    width = width_of(encoder, form)
    seed_default("conformance", "head")
    top = head(width).to(torch.get_default_dtype())
    network = Network(encoder, top, channels_last=False, grouped=False)
    params, buffers = network.tensors(CPU)
    params |= prefixed(learned(params), "meta.") if learned else {}
    return Small(network=network, params=params, buffers=buffers)


def _encoder(form: Form) -> nn.Module:
    """Return layers without a bias before a norm: its gradient would be rounding alone."""
    shape = form.shape
    if form.vocabulary:
        return nn.Sequential(
            nn.Embedding(len(form.vocabulary), 8),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(8 * shape[0], 8, bias=False),
            nn.BatchNorm1d(8),
            nn.Softplus(),
        )
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

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return features, and count."""
        self.spent[0] += len(x)
        return self._trial.network.encode(self._params, self._buffers, x, "learned", dropout)

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Apply the head, or one child of it."""
        return self._trial.network.head(self._params, self._buffers, z_BD, "learned", child)

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        """Return noisy copies."""
        return noisy(x, rng)

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
