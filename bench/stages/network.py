"""The encoder and a head as functions of their tensors, with batch statistics under control."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from bench.contract import AbstractEncoder, Form, Tensors
from bench.seeds import Coordinate
from bench.stages.source import modality_of
from bench.stages.streams import seed_default

CHANNELS_PER_GROUP = 16  # Wu and He (2018), arXiv:1803.08494, table 3: as good as 32 groups

Statistics = Literal["stored", "batch", "learned"] | int
"""Whose mean and variance normalise a batch: ``stored`` the running ones; ``batch`` its own;
``learned`` its own, which also move the running ones; a number, those of its first rows."""


@dataclass
class _Control:
    """What every norm and dropout layer of one network looks at."""

    statistics: Statistics = "batch"
    channels_last: bool = False
    dropout: float = 0.0


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
        """Normalise by the first rows alone; gradients flow through their statistics.

        Split and joined, since adding the gradient of a slice is slow in channels-last format.
        """
        first, rest = torch.split(x, [rows, len(x) - rows])
        mean, variance = self._moments(first)
        scale = self.weight * (variance + self.epsilon).rsqrt()
        shift = self.bias - mean * scale
        return torch.cat([_affine(first, scale, shift), _affine(rest, scale, shift)])

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each channel; axes in the order of memory, as gradients."""
        if self.control.channels_last and x.dim() == 4:
            x = x.movedim(1, -1)
            mean = x.mean((0, 1, 2))  # in two passes, since torch.var_mean is 5 times as slow here
            return mean, (x - mean).square().mean((0, 1, 2))
        axes = [axis for axis in range(x.dim()) if axis != 1]
        mean = x.mean(axes, keepdim=True)
        return mean.flatten(), (x - mean).square().mean(axes)


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale and shift each channel: batch norm by mean 0 and variance 1 does it in one pass."""
    zero = torch.zeros(x.shape[1], dtype=x.dtype, device=x.device)
    # By the operator: torch.nn.functional refused an epsilon of 0 in torch 2.11.
    return torch.batch_norm(
        x, scale, shift, zero, zero + 1, False, 0.0, 0.0, torch.backends.cudnn.enabled
    )


class _Dropout(nn.Module):
    """Dropout with the probability that is asked for at a call, whatever the mode; else none."""

    def __init__(self, control: _Control) -> None:
        super().__init__()
        self.control = control

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.control.dropout) if self.control.dropout else x


class _Both(nn.Module):
    """Encoder and head under one set of names: ``encoder.*`` and ``head.*``."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor, part: str) -> Tensor:
        """Apply one part, or a child of it: ``encoder``, ``head``, ``head.projector``."""
        features: Tensor = self.get_submodule(part)(x)
        return features


class Network:
    """Encoder and head, functional: nothing inside changes but which statistics are used."""

    def __init__(
        self, encoder: nn.Module, head: nn.Module, *, channels_last: bool, grouped: bool
    ) -> None:
        """Take over freshly built modules.

        ``channels_last`` is the memory format of what has four dimensions; ``grouped`` puts group
        normalisation in the place of batch normalisation.
        """
        self._control = _Control(channels_last=channels_last)
        self._norm = _grouped if grouped else partial(_Norm, control=self._control)
        self._module = _Both(self._controlled(encoder), self._controlled(head))
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._tied = _tied(self._module)

    def beside(self, head: nn.Module) -> "Network":
        """Return the same encoder with another freshly built head, called ``head.*`` there too."""
        other = copy(self)
        other._module = _Both(self._module.encoder, self._controlled(head))
        other._tied = _tied(other._module)
        return other

    def _controlled(self, module: nn.Module) -> nn.Module:
        """Put the engine's own layers in the place of every batch norm and dropout of a module."""
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return self._norm(module)
        if isinstance(module, nn.Dropout):
            return _Dropout(self._control)
        for name, child in module.named_children():
            setattr(module, name, self._controlled(child))
        return module

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
        self,
        params: Tensors,
        buffers: Tensors,
        x: Tensor,
        statistics: Statistics,
        dropout: float = 0.0,
    ) -> Tensor:
        """Return features [B, D]; ``learned`` statistics move ``buffers`` in place."""
        if x.dim() == 4:
            x = x.contiguous(memory_format=self._format)
        if dropout and not any(isinstance(one, _Dropout) for one in self._module.encoder.modules()):
            raise ValueError("dropout is asked for, and the encoder has no nn.Dropout")
        return self._call(params, buffers, x, "encoder", statistics, dropout)

    def head(
        self,
        params: Tensors,
        buffers: Tensors,
        z_BD: Tensor,
        statistics: Statistics,
        child: str | None = None,
    ) -> Tensor:
        """Apply the head, or one child module of it, to features."""
        return self._call(params, buffers, z_BD, f"head.{child}" if child else "head", statistics)

    def _call(
        self,
        params: Tensors,
        buffers: Tensors,
        x: Tensor,
        part: str,
        statistics: Statistics,
        dropout: float = 0.0,
    ) -> Tensor:
        both = {**params, **buffers}
        used = {name: value for name, value in both.items() if name.startswith(f"{part}.")}
        with self._using(statistics, dropout):
            result: Tensor = functional_call(self._module, used, (x, part), tie_weights=self._tied)
        return result

    @contextmanager
    def _using(self, statistics: Statistics, dropout: float) -> Iterator[None]:
        control = self._control
        before = control.statistics, control.dropout
        control.statistics, control.dropout = statistics, dropout
        try:
            yield
        finally:
            control.statistics, control.dropout = before


def _tied(module: nn.Module) -> bool:
    """Say whether a tensor has two names; looking for them at every call takes a while."""
    every = module.named_parameters, module.named_buffers
    return any(len(list(f(remove_duplicate=False))) > len(list(f())) for f in every)


def _grouped(norm: nn.modules.batchnorm._BatchNorm) -> nn.GroupNorm:
    """Return group normalisation with the scale and shift of a batch norm."""
    groups = max(1, norm.num_features // CHANNELS_PER_GROUP)
    while norm.num_features % groups:
        groups -= 1
    layer = nn.GroupNorm(groups, norm.num_features, eps=norm.eps)
    layer.weight, layer.bias = norm.weight, norm.bias
    return layer


def build_encoder(encoder: AbstractEncoder, form: Form, *coordinates: Coordinate) -> nn.Module:
    """Build an encoder whose weights are drawn from these coordinates."""
    seed_default("init", *coordinates)
    return encoder.module(form).to(torch.get_default_dtype())


def width_of(encoder: nn.Module, form: Form) -> int:
    """Return how many features the encoder gives for one example."""
    was_training = encoder.training
    with torch.no_grad():
        x = modality_of(form).inputs(torch.zeros(1, *form.shape, dtype=torch.uint8))
        width = int(encoder.eval()(x).shape[1])
    encoder.train(was_training)
    return width


def part_of(
    tensors: Mapping[str, Tensor], part: Literal["encoder", "head", "auxiliary"]
) -> dict[str, Tensor]:
    """Return the tensors of one part, under their full names."""
    return {name: value for name, value in tensors.items() if name.startswith(f"{part}.")}
