"""Warps and pretexts of time series against loops in numpy that share no code with bench.

Shapes: B series, C channels, T steps, H steps to forecast; a series is [C, T] in numpy.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench.augment.warp import Warp
from bench.contract import AbstractNetwork, AbstractPretext, Form, Setting, Tensors
from bench.encoder.tcn import Tcn
from bench.pretext.masked_span import MaskedSpan
from bench.pretext.next_step import NextStep, up_to
from bench.pretext.ts_simclr import TsSimclr
from bench.stages.network import Network
from bench.warps import interpolated, jittered, permuted, scaled, time_warped

Floats = np.ndarray
BATCH, CHANNELS, STEPS, WIDTH, D = 5, 2, 23, 6, 3
FORM = Form(shape=(CHANNELS, STEPS), modality="series")


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rng() -> Generator:
    """Return the generator of the step."""
    return Generator().manual_seed(11)


def series(count: int = BATCH, steps: int = STEPS) -> Tensor:
    """Return random walks, whose level and scale differ."""
    draws = Generator().manual_seed(2)
    walks = torch.randn(count, CHANNELS, steps, generator=draws).cumsum(2)
    return walks * torch.rand(count, CHANNELS, 1, generator=draws) + 3


def close(actual: Tensor, expected: Floats) -> None:
    """Compare to the last few bits."""
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-10, atol=1e-12)


def looked_up(values: Floats, place: float) -> float:
    """Return the value between two steps."""
    before = min(int(place), len(values) - 2)
    return float(values[before] + (place - before) * (values[before + 1] - values[before]))


class Linear(AbstractNetwork):
    """Linear everywhere; remembers what it was shown."""

    def __init__(self, outputs: int, steps: int = STEPS) -> None:
        """Draw encoder and head."""
        draws = Generator().manual_seed(5)
        self._params = {
            "encoder.weight": torch.randn(CHANNELS * steps, WIDTH, generator=draws) / steps,
            "head.weight": torch.randn(WIDTH, outputs, generator=draws),
        }
        self.seen: list[Tensor] = []

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return features."""
        self.seen.append(x)
        return x.flatten(1) @ self._params["encoder.weight"]

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Return outputs, those of a decoder by channel."""
        out = z_BD @ self._params["head.weight"]
        return out if out.shape[1] == D else out.reshape(len(out), CHANNELS, -1)

    def augment(self, x: Tensor, rng: Generator) -> Tensor:
        """Fail: no pretext here may ask for the suite's views."""
        raise PermissionError

    @property
    def params(self) -> Tensors:
        """What would be trained."""
        return self._params

    def using(self, params: Tensors) -> AbstractNetwork:
        """Fail: no pretext here asks for other weights."""
        raise PermissionError

    def answer(self, one_CT: Floats) -> Floats:
        """Return what the head says of one series."""
        weights: Mapping[str, Tensor] = self._params
        features = one_CT.reshape(-1) @ weights["encoder.weight"].numpy()
        return np.asarray(features @ weights["head.weight"].numpy())


def loss_of(pretext: AbstractPretext, net: AbstractNetwork, x: Tensor) -> float:
    """Return the loss of a step."""
    return float(pretext.loss(net, {}, x, rng())[0])


# --- warps --------------------------------------------------------------------------------------


def test_changes_of_strength_zero_change_nothing() -> None:
    """No noise, factors of one, one segment and one speed give back the very same values."""
    x = series()
    assert torch.equal(jittered(x, 0.0, rng()), x)
    assert torch.equal(scaled(x, 0.0, rng()), x)
    assert torch.equal(permuted(x, 1, rng()), x)
    assert torch.equal(time_warped(x, 0.0, 4, rng()), x)


def test_noise_and_factors_have_the_stated_deviations() -> None:
    """Noise differs at every value; factors are one for each channel of each series."""
    zeros, ones = torch.zeros(400, 3, 50), torch.ones(4000, 3, 5)
    noise, factors = jittered(zeros, 0.3, rng()), scaled(ones, 0.1, rng())
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)
    assert abs(float(noise.mean())) < 0.01
    assert torch.equal(factors, factors[..., :1].expand_as(factors))
    assert float(factors[..., 0].std()) == pytest.approx(0.1, rel=0.02)
    assert float(factors.mean()) == pytest.approx(1, rel=0.01)


def parts_of(order: list[int]) -> list[list[int]]:
    """Cut an order of steps where a step does not follow the one before."""
    parts: list[list[int]] = []
    for step in order:
        if parts and step == parts[-1][-1] + 1:
            parts[-1].append(step)
        else:
            parts.append([step])
    return parts


def test_a_permutation_moves_whole_equal_parts() -> None:
    """What comes out is a number of equal parts of the series, each whole, in another order."""
    steps, segments = 23, 4
    numbered = torch.arange(steps).double().expand(300, 2, steps)
    found = permuted(numbered, segments, rng()).long()
    assert torch.equal(found[:, 0], found[:, 1])  # all channels alike
    allowed = [
        [list(range(-(-steps * k // n), -(-steps * (k + 1) // n))) for k in range(n)]
        for n in range(1, segments + 1)
    ]
    counts = set()
    for row in found[:, 0].tolist():
        fits = []
        for parts in allowed:  # cut the row into this number of parts, each found whole
            rest = list(row)
            while rest:
                part = next((one for one in parts if one == rest[: len(one)]), None)
                if part is None:
                    break
                rest = rest[len(part) :]
            if not rest:
                fits.append(len(parts))
        assert fits, row
        counts.add(max(len(parts_of(row)), 1))
    assert counts == {1, 2, 3, 4}


def test_time_runs_at_the_drawn_speeds() -> None:
    """Speeds are e to the drawn numbers, linear between; time ends where the series does."""
    x, knots, deviation = series(), 3, 0.4
    drawn = (
        torch.randn((BATCH, 1, knots + 2), generator=rng(), dtype=torch.float32)
        .double()
        .numpy()[:, 0]
    )
    expected = np.empty(x.shape)
    for row in range(BATCH):
        logs = deviation * drawn[row]
        reached = [0.0]
        for step in range(STEPS - 1):
            place = step * (knots + 1) / (STEPS - 2)
            reached.append(reached[-1] + float(np.exp(looked_up(logs, place))))
        for channel in range(CHANNELS):
            for step in range(STEPS):
                place = reached[step] * (STEPS - 1) / reached[-1]
                expected[row, channel, step] = looked_up(x[row, channel].numpy(), place)
    actual = time_warped(x, deviation, knots, rng())
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6)
    assert torch.equal(actual[..., 0], x[..., 0])
    np.testing.assert_allclose(actual[..., -1].numpy(), x[..., -1].numpy(), rtol=1e-12)


def test_values_between_steps_are_interpolated() -> None:
    """A place between two steps gets their weighted mean, all channels at the same place."""
    x = series(2)
    place = torch.tensor([[0.0, 0.25, 21.75, 22.0], [3.5, 3.0, 0.1, 10.9]])
    actual = interpolated(x, place.unsqueeze(1))
    for row in range(2):
        for channel in range(CHANNELS):
            for number, at in enumerate(place[row].tolist()):
                expected = looked_up(x[row, channel].numpy(), at)
                assert float(actual[row, channel, number]) == pytest.approx(expected, rel=1e-12)


def test_the_policy_makes_its_changes_in_their_order() -> None:
    """Warp is time, order, scale and noise, with the draws of one generator one after the other."""
    x, policy, draws = series(), Warp(segments=3), rng()
    expected = time_warped(x, policy.warp, policy.knots, draws)
    expected = permuted(expected, 3, draws)
    expected = scaled(expected, policy.scale, draws)
    expected = jittered(expected, policy.jitter, draws)
    assert torch.equal(policy(x, rng()), expected)


# --- ts_simclr ----------------------------------------------------------------------------------


def test_ts_simclr_is_the_contrastive_loss_of_its_own_views() -> None:
    """For each view: minus the log share of its partner among all others, on the unit sphere."""
    x, pretext, net = series(), TsSimclr(temperature=0.3), Linear(D)
    actual = loss_of(pretext, net, x)
    draws = rng()
    views = torch.cat([pretext.view(x, draws), pretext.view(x, draws)]).numpy()
    z = [net.answer(view) for view in views]
    z = [one / np.sqrt((one**2).sum()) for one in z]
    losses = []
    for i in range(2 * BATCH):
        partner = (i + BATCH) % (2 * BATCH)
        scores = {k: np.exp(float(z[i] @ z[k]) / 0.3) for k in range(2 * BATCH) if k != i}
        losses.append(-np.log(scores[partner] / sum(scores.values())))
    assert actual == pytest.approx(np.mean(losses), rel=1e-9)


# --- next_step ----------------------------------------------------------------------------------


def test_next_step_is_the_error_of_forecast_changes() -> None:
    """Against the change from the last visible value, in deviations of the whole channel."""
    x, pretext = series(), NextStep(horizon=0.17, seen=0.2)
    coming = 4  # of 23 steps, 0.17
    net = Linear(CHANNELS * coming)
    cuts = torch.randint(5, STEPS - coming + 1, (BATCH,), generator=rng()).tolist()
    errors = []
    for one, cut in zip(x.numpy(), cuts, strict=True):
        shown = np.empty_like(one)
        for step in range(STEPS):
            shown[:, step] = one[:, max(step - (STEPS - cut), 0)]
        forecast = net.answer(shown).reshape(CHANNELS, coming)
        for channel in range(CHANNELS):
            values = one[channel]
            spread = np.sqrt(((values - values.mean()) ** 2).mean() + 1e-6)
            for k in range(coming):
                change = (values[cut + k] - values[cut - 1]) / spread
                errors.append((forecast[channel, k] - change) ** 2)
    assert loss_of(pretext, net, x) == pytest.approx(np.mean(errors), rel=1e-9)


def test_nothing_after_the_cut_is_shown() -> None:
    """Other values after the cut change nothing that the encoder sees; before it, all are there."""
    x = series()
    visible = torch.tensor([2, 5, 9, 17, 21])
    changed = x.clone()
    for row, cut in enumerate(visible.tolist()):
        changed[row, :, cut:] = 99.0
    shown = up_to(changed, visible)
    assert torch.equal(shown, up_to(x, visible))
    assert float(shown.max()) < 99
    for row, cut in enumerate(visible.tolist()):
        assert torch.equal(shown[row, :, STEPS - cut :], x[row, :, :cut])
        assert torch.equal(shown[row, :, : STEPS - cut], x[row, :, :1].expand(-1, STEPS - cut))


def test_cuts_leave_enough_on_both_sides() -> None:
    """From the share that must be seen to the last one with a whole horizon after it, all occur."""
    pretext = NextStep(horizon=0.1, seen=0.3)
    cuts = pretext.cuts(series(2000, 20), rng())
    assert set(cuts.tolist()) == set(range(6, 19))


def test_a_flat_series_changes_by_nothing() -> None:
    """Without a deviation the target is zero, not undefined."""
    flat = torch.full((3, CHANNELS, STEPS), 7.0)
    pretext = NextStep()
    assert not pretext.changes(flat, pretext.cuts(flat, rng())).any()


@pytest.mark.parametrize(("steps", "fits"), [(2, False), (3, True)])
def test_series_too_short_to_forecast_are_declined(steps: int, fits: bool) -> None:
    """Two steps are seen and one is to come."""
    form = Form(shape=(1, steps), modality="series")
    reason = NextStep().declines(Setting(form=form, norm="running", ways=5))
    assert (reason is None) == fits


# --- masked_span --------------------------------------------------------------------------------


def test_masked_span_is_the_error_of_masked_values_alone() -> None:
    """Masked values show the mean of the visible ones; the target is the standardised series."""
    x, pretext, net = series(), MaskedSpan(ratio=0.3, length=4.0), Linear(CHANNELS * STEPS)
    masked = pretext.mask(x, rng()).numpy()
    assert masked.any()
    errors = []
    for one, hidden in zip(x.numpy(), masked, strict=True):
        shown, target = one.copy(), np.empty_like(one)
        for channel in range(CHANNELS):
            values = one[channel]
            visible = [v for v, gone in zip(values, hidden[channel], strict=True) if not gone]
            for step in range(STEPS):
                if hidden[channel, step]:
                    shown[channel, step] = sum(visible) / len(visible)
            centred = values - values.mean()
            target[channel] = centred / np.sqrt((centred**2).mean() + 1e-6)
        predicted = net.answer(shown).reshape(CHANNELS, STEPS)
        errors += ((predicted - target)[hidden] ** 2).tolist()
    assert loss_of(pretext, net, x) == pytest.approx(np.mean(errors), rel=1e-9)
    np.testing.assert_array_equal(net.seen[0].numpy()[~masked], x.numpy()[~masked])


def test_the_mask_is_the_chain_that_it_is_said_to_be() -> None:
    """A step draws anew where its first number is small, and else is as the step before."""
    x, pretext = series(), MaskedSpan(ratio=0.4, length=5.0)
    first, second = torch.rand((2, *x.shape), generator=rng(), dtype=torch.float32).numpy()
    expected = np.zeros(x.shape, bool)
    for row in range(BATCH):
        for channel in range(CHANNELS):
            for step in range(STEPS):
                anew = step == 0 or first[row, channel, step] < 1 / (5 * 0.6)
                expected[row, channel, step] = (
                    second[row, channel, step] < 0.4 if anew else expected[row, channel, step - 1]
                )
    np.testing.assert_array_equal(pretext.mask(x, rng()).numpy(), expected)


@pytest.mark.parametrize(("ratio", "length"), [(0.15, 3.0), (0.5, 8.0)])
def test_spans_have_the_share_and_the_mean_length(ratio: float, length: float) -> None:
    """The share of masked values, and the lengths of masked and visible spans, are as stated."""
    mask = MaskedSpan(ratio=ratio, length=length).mask(torch.zeros(300, 1, 1000), rng())[:, 0]
    spans: dict[bool, list[int]] = {True: [], False: []}
    for row in mask.numpy():
        edges = np.flatnonzero(np.diff(row.astype(int))) + 1
        for start, end in pairwise(edges.tolist()):  # whole spans, no end cut off
            spans[bool(row[start])].append(end - start)
    assert float(mask.double().mean()) == pytest.approx(ratio, rel=0.03)
    assert np.mean(spans[True]) == pytest.approx(length, rel=0.04)
    assert np.mean(spans[False]) == pytest.approx(length * (1 - ratio) / ratio, rel=0.04)
    assert np.mean([one == 1 for one in spans[True]]) == pytest.approx(1 / length, rel=0.1)


def test_spans_shorter_than_can_be_are_refused() -> None:
    """Spans of one step cannot be six in ten of the values with others between."""
    with pytest.raises(ValueError, match=r"length of 2\.5 or more"):
        MaskedSpan(ratio=0.6, length=2.0)


# --- tcn ----------------------------------------------------------------------------------------


def normed(x_BCT: Floats) -> Floats:
    """Normalise each channel over batch and time, as batch norm at its start does."""
    mean = x_BCT.mean((0, 2), keepdims=True)
    variance = ((x_BCT - mean) ** 2).mean((0, 2), keepdims=True)
    return np.asarray((x_BCT - mean) / np.sqrt(variance + 1e-5))


def convolved(x_BCT: Floats, weight: Floats, dilation: int) -> Floats:
    """Convolve step by step; outside a series all is zero."""
    outputs, _, kernel = weight.shape
    steps = x_BCT.shape[2]
    out = np.zeros((len(x_BCT), outputs, steps))
    for step in range(steps):
        for tap in range(kernel):
            source = step + (tap - kernel // 2) * dilation
            if 0 <= source < steps:
                out[:, :, step] += x_BCT[:, :, source] @ weight[:, :, tap].T
    return out


def test_the_network_is_the_stated_one() -> None:
    """Blocks of two dilated convolutions, norm, ReLU and a way around; then the mean over time."""
    torch.manual_seed(4)
    module = Tcn(width=4, blocks=3, kernel=3).module(FORM)
    network = Network(module, torch.nn.Identity(), channels_last=False, grouped=False)
    params, buffers = network.tensors(torch.device("cpu"))
    x = series()
    actual = network.encode(params, buffers, x, "batch")
    weights = {name: value.numpy() for name, value in params.items()}
    out = x.numpy()
    for number in range(3):
        inner = out
        for layer in (0, 3):
            weight = weights[f"encoder.{number}.body.{layer}.weight"]
            inner = np.maximum(normed(convolved(inner, weight, 2**number)), 0)
        if number == 0:
            around = weights["encoder.0.shortcut.weight"][:, :, 0]
            bias = weights["encoder.0.shortcut.bias"]
            out = np.einsum("oc,bct->bot", around, out) + bias[None, :, None]
        out = np.maximum(inner + out, 0)
    close(actual, out.mean(2))


def test_a_second_derivative_goes_through_it() -> None:
    """The gradient of a gradient's size is finite and not zero: MAML of order 2 needs it."""
    torch.manual_seed(4)
    module = Tcn(width=4, blocks=2, kernel=3).module(FORM)
    weights = list(module.parameters())
    first = torch.autograd.grad(module(series()).square().sum(), weights, create_graph=True)
    second = torch.autograd.grad(
        sum((one.square().sum() for one in first), first[0].sum()), weights
    )
    assert all(one.isfinite().all() for one in second)
    assert any(one.any() for one in second)


def test_a_kernel_without_a_middle_is_refused() -> None:
    """An even kernel would shift a series by half a step."""
    from bench.catalogue import build
    from bench.errors import UserError

    with pytest.raises(UserError, match="no middle"):
        build("encoder", "tcn", {"kernel": 4}, "here")
