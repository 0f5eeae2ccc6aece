"""Random changes of whole batches of time series, for policies and for pretext tasks with views.

The four of Um et al. (2017), arXiv:1706.00527, that keep the channels of a series apart; Iwana and
Uchida (2021), doi:10.1371/journal.pone.0254841, compare them on the UCR archive. Strength 0 (of a
permutation: one segment) changes nothing. Draws are in float32, whatever the series are in.

Shapes: B series, C channels, T steps, K knots or segments, P places.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def jittered(x_BCT: Tensor, deviation: float, rng: Generator) -> Tensor:
    """Add normal noise of this standard deviation to every value."""
    return x_BCT + deviation * _normal(x_BCT, tuple(x_BCT.shape), rng)


def scaled(x_BCT: Tensor, deviation: float, rng: Generator) -> Tensor:
    """Multiply each channel of each series by a factor from N(1, deviation^2)."""
    return x_BCT * (1 + deviation * _normal(x_BCT, (*x_BCT.shape[:2], 1), rng))


def permuted(x_BCT: Tensor, segments: int, rng: Generator) -> Tensor:
    """Cut each series into 1 to ``segments`` equal parts and put these in random order.

    How many is drawn for each series, each number as likely; parts differ by one step at most,
    where the number does not divide T. All channels are cut alike.
    """
    count, steps = len(x_BCT), x_BCT.shape[2]
    pieces_B1 = torch.randint(1, segments + 1, (count, 1), generator=rng, device=x_BCT.device)
    place_T = torch.arange(steps, device=x_BCT.device)
    segment_BT = place_T * pieces_B1 // steps
    rank_BK = torch.rand((count, segments), generator=rng, device=x_BCT.device, dtype=torch.float32)
    order_BT = rank_BK.gather(1, segment_BT).argsort(dim=1, stable=True)
    return x_BCT.gather(2, order_BT.unsqueeze(1).expand_as(x_BCT))


def time_warped(x_BCT: Tensor, deviation: float, knots: int, rng: Generator) -> Tensor:
    """Run through each series at a speed that changes smoothly, from its first step to its last.

    The logarithm of the speed is drawn from N(0, deviation^2) at both ends and at ``knots`` places
    between, and linear in between; values between two steps are interpolated. Um et al. let a
    cubic spline run through speeds from N(1, deviation^2), by which time may run backwards.
    All channels are warped alike.
    """
    steps = x_BCT.shape[2]
    drawn_B1K = deviation * _normal(x_BCT, (len(x_BCT), 1, knots + 2), rng)
    between = F.interpolate(drawn_B1K, size=max(steps - 1, 1), mode="linear", align_corners=True)
    reached = F.pad(between.exp().cumsum(2), (1, 0))  # after 0, 1, ... T - 1 steps
    return interpolated(x_BCT, reached[..., :steps] * ((steps - 1) / reached[..., -1:]))


def interpolated(x_BCT: Tensor, place_B1P: Tensor) -> Tensor:
    """Return the values [B, C, P] of all channels at places in [0, T - 1] of each series.

    Between two steps they are interpolated linearly.
    """
    last = x_BCT.shape[2] - 1
    before = place_B1P.floor().clamp(0, max(last - 1, 0))
    share = (place_B1P - before).clamp(0, 1)
    before = before.long().expand(-1, x_BCT.shape[1], -1)
    earlier, later = x_BCT.gather(2, before), x_BCT.gather(2, (before + 1).clamp(max=last))
    return earlier + share * (later - earlier)


def _normal(like: Tensor, shape: tuple[int, ...], rng: Generator) -> Tensor:
    draws = torch.randn(shape, generator=rng, device=like.device, dtype=torch.float32)
    return draws.to(like.dtype)
