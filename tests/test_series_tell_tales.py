"""What must not tell a class of a series: of noise, which holds no answer, no class is told.

Interpolation, ends, levels, and a set that was standardised leave traces where care is not taken.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.catalogue import build
from bench.contract import AbstractClassifying
from bench.pretext.series_speed import SeriesSpeed

FAMILY = ["series_erased", "series_jigsaw", "series_position", "series_speed", "series_turned"]


def rng() -> Generator:
    """Return the generator of a step."""
    return Generator().manual_seed(11)


def member(name: str) -> AbstractClassifying:
    """Return a member of the family, with its defaults."""
    pretext = build("pretext", name, {}, "here")
    assert isinstance(pretext, AbstractClassifying)
    return pretext


def simple(x: Tensor) -> Tensor:
    """Return mean, deviation, first and last value, range, and their squares, standardised."""
    low, high = x.amin(2), x.amax(2)
    parts = [x.mean(2), x.std(2), x[:, :, 0], x[:, :, -1], high - low, high, low]
    values = torch.cat(parts, 1)
    values = (values - values.mean(0)) / (values.std(0) + 1e-9)
    return torch.cat([values, values**2 - 1], 1)


def told(features: Tensor, classes: Tensor) -> float:
    """Return how many times chance a linear read-out, fitted to one half, has of the other."""
    half, count = len(features) // 2, int(classes.max()) + 1
    weight = torch.zeros(features.shape[1] + 1, count, requires_grad=True)
    padded = F.pad(features, (0, 1), value=1.0)
    optimizer = torch.optim.LBFGS([weight], max_iter=60)

    def loss() -> float:
        optimizer.zero_grad()
        value = F.cross_entropy(padded[:half] @ weight, classes[:half])
        value = value + 1e-3 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    right = (padded[half:] @ weight).argmax(1) == classes[half:]
    return float(right.double().mean()) * count


def white(count: int, length: int) -> Tensor:
    """Return white noise, uniform in [0, 1]: it has a level and bounds."""
    return torch.rand(count, 1, length, generator=Generator().manual_seed(3))


def whole(count: int, length: int) -> Tensor:
    """Return white noise that was standardised series by series, as archives hold them."""
    x = white(count, length)
    return (x - x.mean(2, keepdim=True)) / x.std(2, keepdim=True)


@pytest.mark.parametrize("noise", [white, whole])
@pytest.mark.parametrize("length", [46, 96])
@pytest.mark.parametrize("name", FAMILY)
def test_nothing_simple_tells_a_class_of_noise(
    name: str, length: int, noise: Callable[[int, int], Tensor]
) -> None:
    """Of noise, which holds no answer, level, range and ends tell no class: no trace was left."""
    pretext = member(name)
    classes = torch.randint(pretext.num_classes, (12000,), generator=Generator().manual_seed(5))
    shown = pretext.show(noise(12000, length), classes, rng())
    sure = 4.5 * np.sqrt(pretext.num_classes / 6000)  # standard errors, in units of chance
    assert told(simple(shown), classes) < 1 + sure


@pytest.mark.parametrize("name", ["series_jigsaw", "series_position", "series_speed"])
def test_smoothness_does_not_tell_a_class_of_noise(name: str) -> None:
    """In every class white noise is drawn out alike: neighbouring steps are as close."""
    pretext = member(name)
    classes = torch.arange(pretext.num_classes).repeat_interleave(600)
    shown = pretext.show(white(len(classes), 46), classes, rng())
    roughness = shown.diff(dim=2).square().mean((1, 2)) / shown.var(2).squeeze(1)
    means = roughness.view(pretext.num_classes, 600).mean(1)
    assert means.max() / means.min() < 1.06


def test_how_much_a_stretch_covers_does_not_tell_its_speed() -> None:
    """Series that were standardised as a whole have mean 0 in each stretch, long or short."""
    draws = Generator().manual_seed(6)
    walks = torch.randn(400, 1, 96, generator=draws, dtype=torch.float64).cumsum(2)
    walks = (walks - walks.mean(2, keepdim=True)) / walks.std(2, keepdim=True)
    shown = SeriesSpeed().show(walks, torch.arange(4).repeat(100), rng())
    torch.testing.assert_close(shown.mean(2), torch.zeros(400, 1, dtype=torch.float64))


def test_a_series_that_is_smooth_tells_its_speed() -> None:
    """The trace that is meant is there: of a sum of waves, faster ones turn more often."""
    time, draws = torch.linspace(0, 1, 96), Generator().manual_seed(4)
    phase = torch.rand(400, 1, 1, generator=draws)
    x = torch.sin(2 * torch.pi * (5 * time + phase))
    turns = [
        (SeriesSpeed().show(x, torch.full((400,), cls), rng()).sign().diff(dim=2) != 0).sum().item()
        for cls in range(4)
    ]
    assert turns[0] * 1.5 < turns[1] < turns[2] < turns[3]
