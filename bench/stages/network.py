"""The encoder and a head as functions of their tensors, with batch statistics under control."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from bench.contract import AbstractEncoder, Shape, Tensors
from bench.seeds import Coordinate
from bench.stages.streams import seed_default

Statistics = Literal["stored", "batch", "learned"] | int
"""Whose mean and variance normalise a batch: ``stored`` the running ones; ``batch`` its own;
``learned`` its own, which also move the running ones; a number, those of its first rows."""


@dataclass
class _Control:
    """What every norm layer of one network looks at."""

    statistics: Statistics = "batch"


class _Norm(nn.Module):
    """Batch normalisation over all but the channel axis, whose statistics the engine picks."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm, control: _Control) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self.epsilon, self.momentum = norm.eps, norm.momentum
        self.control = control

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.control.statistics
        if isinstance(statistics, int):
            return self._by_first(x, statistics)
        own = statistics == "batch"
        return F.batch_norm(
            x,
            None if own else self.running_mean,
            None if own else self.running_var,
            self.weight,
            self.bias,
            training=statistics != "stored",
            momentum=0.1 if self.momentum is None else self.momentum,  # torch's default
            eps=self.epsilon,
        )

    def _by_first(self, x: Tensor, rows: int) -> Tensor:
        """Normalise by the first rows alone; gradients flow through their statistics."""
        axes = [axis for axis in range(x.dim()) if axis != 1]
        per_channel = [1, -1] + [1] * (x.dim() - 2)
        mean = x[:rows].mean(axes)  # in two passes, since torch.var_mean is 5 times as slow here
        variance = (x[:rows] - mean.view(per_channel)).square().mean(axes)
        scale = self.weight * (variance + self.epsilon).rsqrt()
        return x * scale.view(per_channel) + (self.bias - mean * scale).view(per_channel)


class _Both(nn.Module):
    """Encoder and head under one set of names: ``encoder.*`` and ``head.*``."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor, part: Literal["encoder", "head"]) -> Tensor:
        features: Tensor = self.encoder(x) if part == "encoder" else self.head(x)
        return features


class Network:
    """Encoder and head, functional: nothing inside changes but which statistics are used."""

    def __init__(self, encoder: nn.Module, head: nn.Module, *, channels_last: bool) -> None:
        """Take over freshly built modules; ``channels_last`` is the images' memory format."""
        self._control = _Control()
        self._module = _Both(_controlled(encoder, self._control), _controlled(head, self._control))
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def tensors(self, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return copies of the freshly built parameters and buffers."""
        params = {name: p.detach().clone() for name, p in self._module.named_parameters()}
        buffers = {name: b.detach().clone() for name, b in self._module.named_buffers()}
        return self.placed(params, device), self.placed(buffers, device)

    def placed(self, tensors: Tensors, device: torch.device) -> dict[str, Tensor]:
        """Move tensors to a device, kernels in this network's memory format."""
        return {
            name: value.to(device, memory_format=self._format)
            if value.dim() == 4
            else value.to(device)
            for name, value in tensors.items()
        }

    def encode(
        self, params: Tensors, buffers: Tensors, x: Tensor, statistics: Statistics
    ) -> Tensor:
        """Return features [B, D]; ``learned`` statistics move ``buffers`` in place."""
        if x.dim() == 4:
            x = x.contiguous(memory_format=self._format)
        return self._call(params, buffers, x, "encoder", statistics)

    def head(
        self, params: Tensors, buffers: Tensors, z_BD: Tensor, statistics: Statistics
    ) -> Tensor:
        """Apply the head to features."""
        return self._call(params, buffers, z_BD, "head", statistics)

    def _call(
        self, params: Tensors, buffers: Tensors, x: Tensor, part: str, statistics: Statistics
    ) -> Tensor:
        with self._using(statistics):
            result: Tensor = functional_call(self._module, {**params, **buffers}, (x, part))
        return result

    @contextmanager
    def _using(self, statistics: Statistics) -> Iterator[None]:
        before, self._control.statistics = self._control.statistics, statistics
        try:
            yield
        finally:
            self._control.statistics = before


def _controlled(module: nn.Module, control: _Control) -> nn.Module:
    """Replace every batch norm in a module by one that the engine controls."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return _Norm(module, control)
    for name, child in module.named_children():
        setattr(module, name, _controlled(child, control))
    return module


def build_encoder(encoder: AbstractEncoder, shape: Shape, *coordinates: Coordinate) -> nn.Module:
    """Build an encoder whose weights are drawn from these coordinates."""
    seed_default("init", *coordinates)
    return encoder.module(shape).to(torch.get_default_dtype())


def width_of(encoder: nn.Module, shape: Shape) -> int:
    """Return how many features the encoder gives for one example."""
    was_training = encoder.training
    with torch.no_grad():
        width = int(encoder.eval()(torch.zeros(1, *shape)).shape[1])
    encoder.train(was_training)
    return width


def part_of(tensors: Mapping[str, Tensor], part: Literal["encoder", "head"]) -> dict[str, Tensor]:
    """Return the tensors of one part, under their full names."""
    return {name: value for name, value in tensors.items() if name.startswith(f"{part}.")}
