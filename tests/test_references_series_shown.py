"""What classifying pretexts show of series, against loops in numpy."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench.catalogue import build
from bench.cell import Json
from bench.contract import AbstractClassifying, Form, Setting
from bench.patches import drawn_out, standardised, window
from bench.pretext.series_erased import NOISE, SeriesErased
from bench.pretext.series_jigsaw import SeriesJigsaw
from bench.pretext.series_position import SeriesPosition
from bench.pretext.series_speed import SeriesSpeed
from bench.pretext.series_turned import SeriesTurned

Floats = np.ndarray
FAMILY = {
    "series_erased": 8,
    "series_jigsaw": 24,
    "series_position": 4,
    "series_speed": 4,
    "series_turned": 4,
}
LENGTHS = [48, 53]  # one that every number of cells but 5 divides, and one that none does


def rng() -> Generator:
    """Return the generator of a step."""
    return Generator().manual_seed(11)


def series(count: int, length: int = 48, channels: int = 2) -> Tensor:
    """Return random walks, each with a level and a scale of its own, in float64."""
    draws = Generator().manual_seed(2)
    steps = torch.randn(count, channels, length, generator=draws, dtype=torch.float64)
    level, scale = torch.randn(2, count, channels, 1, generator=draws, dtype=torch.float64)
    walks: Tensor = steps.cumsum(2) * scale.exp() + 3 * level
    return walks


def shown_of(pretext: AbstractClassifying, x: Tensor, classes: Tensor) -> Floats:
    """Return what a pretext shows, with the draws of one step."""
    return np.asarray(pretext.show(x, classes, rng()).numpy())


def close(actual: Floats, expected: Floats) -> None:
    """Compare to the last few bits."""
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def resized(values_CP: Floats, length: int) -> Floats:
    """Resize [C, P] linearly, step by step; steps are stretches, the ends are repeated."""
    count = values_CP.shape[1]
    out = np.empty((len(values_CP), length))
    for step in range(length):
        source = max(0.0, (step + 0.5) * count / length - 0.5)
        low = min(int(source), count - 1)
        high, share = min(low + 1, count - 1), source - low
        out[:, step] = values_CP[:, low] * (1 - share) + values_CP[:, high] * share
    return out


# --- each against a loop -----------------------------------------------------------------------


def test_turned_runs_backwards_or_stands_upside_down() -> None:
    """Class 1 is backwards, class 2 negated, class 3 both; each channel is about its mean."""
    x = series(4)
    shown = shown_of(SeriesTurned(), x, torch.arange(4))
    for cls, one in enumerate(x.numpy()):
        expected = np.empty_like(one)
        for channel, values in enumerate(one):
            mean = sum(values) / len(values)
            for step in range(len(values)):
                value = values[len(values) - 1 - step] if cls in (1, 3) else values[step]
                expected[channel, step] = mean - value if cls in (2, 3) else value - mean
        close(shown[cls], expected)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("speeds", [4, 3])
def test_speed_leaves_out_steps(length: int, speeds: int) -> None:
    """Class k shows steps k + 1 apart, as many in each, standardised, drawn out to the length."""
    classes = torch.arange(2 * speeds) % speeds
    x, count = series(2 * speeds, length), length // speeds
    draws = torch.rand(2 * speeds, generator=rng()).numpy()
    shown = shown_of(SeriesSpeed(speeds=speeds), x, classes)
    for number, cls in enumerate(classes.tolist()):
        apart, one = cls + 1, x[number].numpy()
        starts = [start for start in range(length) if start + (count - 1) * apart < length]
        start = starts[int(draws[number] * len(starts))]
        stretch = np.stack([one[:, start + apart * step] for step in range(count)], 1)
        mean, deviation = stretch.mean(1, keepdims=True), stretch.std(1, keepdims=True)
        close(shown[number], resized((stretch - mean) / deviation, length))


def test_a_stretch_may_stand_anywhere() -> None:
    """At each speed every place that has room is drawn, the last one included."""
    x = torch.arange(12.0).expand(4000, 1, 12).contiguous()
    for cls, last in ((0, 9), (1, 7), (2, 5), (3, 3)):
        seen: set[float] = set()

        def noted(chosen: Tensor, whole: Tensor, seen: set[float] = seen) -> Tensor:
            seen.update(chosen[:, 0, 0].tolist())
            return chosen

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bench.pretext.series_speed.standardised", noted)
            SeriesSpeed().show(x, torch.full((4000,), cls), rng())
        assert seen == set(map(float, range(last + 1)))


def test_what_is_flat_remains_flat() -> None:
    """A stretch that hardly moves is not blown up, a series without any movement stays finite."""
    x = torch.zeros(1, 2, 40)
    x[:, 0, 20:] = 1
    x[:, 0, :20] += 1e-9 * torch.rand(20, generator=rng())
    assert standardised(x[:, :, :20], x).abs().max() == 0
    standard = standardised(x, x)
    assert standard[0, 0].std(correction=0) == pytest.approx(1)
    assert standard[0, 1].abs().max() == 0


@pytest.mark.parametrize("length", LENGTHS)
def test_position_is_two_windows_side_by_side(length: int) -> None:
    """The first half is a jittered window of the middle cell, the second one of its class's."""
    x, classes = series(4, length), torch.tensor([2, 0, 3, 1])
    side = length // 5
    width = side - round(0.25 * side)
    draws = rng()
    places = (side - width) // 2 + 1
    middles, others = (torch.randint(places, (4,), generator=draws).numpy() for _ in range(2))
    shown = shown_of(SeriesPosition(), x, classes)
    for number, cls in enumerate(classes.tolist()):
        one, cell = x[number].numpy(), [0, 1, 3, 4][cls]
        first, second = 2 * length // 5 + middles[number], cell * length // 5 + others[number]
        halves = (
            resized(one[:, first : first + width], length // 2),
            resized(one[:, second : second + width], length - length // 2),
        )
        close(shown[number], np.concatenate(halves, axis=1))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("segments", [4, 3])
def test_jigsaw_is_jittered_segments_in_the_order_of_its_class(length: int, segments: int) -> None:
    """Place s of the series holds a jittered piece of segment order[s], drawn out to a cell."""
    x, classes = series(5, length), torch.tensor([0, 5, 3, 1, 2])
    orders, side = sorted(permutations(range(segments))), length // segments
    width = side - round(0.25 * side)
    places = (side - width) // 2 + 1
    jitter = torch.randint(places, (5 * segments,), generator=rng()).numpy()
    shown = shown_of(SeriesJigsaw(segments=segments), x, classes)  # type: ignore[arg-type]
    for number, cls in enumerate(classes.tolist()):
        pieces = []
        for place, cell in enumerate(orders[cls]):
            start = cell * length // segments + jitter[number * segments + place]
            pieces.append(resized(x[number].numpy()[:, start : start + width], side))
        close(shown[number], resized(np.concatenate(pieces, axis=1), length))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("segments", "spare"), [(8, 0.25), (4, 0.5)])
def test_erased_fills_a_stretch_of_one_segment(length: int, segments: int, spare: float) -> None:
    """A stretch within the class's segment is the series' mean under noise; all else stays."""
    classes = torch.arange(segments)
    x, draws = series(segments, length), rng()
    side = length // segments
    stays = max(2, round(spare * side))
    jitter = torch.randint(stays - 1, (segments,), generator=draws).tolist()
    noise = 2 * torch.rand(x.shape, generator=draws).double().numpy() - 1
    shown = shown_of(SeriesErased(segments=segments, spare=spare), x, classes)
    for cls in range(segments):
        expected = x[cls].numpy().copy()
        first = cls * length // segments + 1 + jitter[cls]
        for step in range(first, first + side - stays):
            for channel, values in enumerate(x[cls].numpy()):
                fill = values.mean() + 0.3 * values.std() * noise[cls, channel, step]
                expected[channel, step] = fill
        close(shown[cls], expected)


def test_a_step_at_either_end_of_a_segment_stays() -> None:
    """Wherever the stretch falls, no border of a segment is erased, nor an end of the series."""
    x = series(800, 53)
    classes = torch.arange(800) % 8
    gone = SeriesErased(spare=0.5).show(x, classes, rng()) != x
    for cls in range(8):
        start = cls * 53 // 8
        steps = gone[classes == cls].any(1).any(0)
        assert steps.nonzero().flatten().tolist() == list(range(start + 1, start + 53 // 8 - 1))
    assert (gone.sum(2) == 53 // 8 - 3).all()


def test_what_is_erased_stands_out_of_a_smooth_series() -> None:
    """Noise in its place never leaves the series' mean by more than a part of its deviation."""
    x = torch.linspace(-1, 1, 64).expand(8, 1, 64).contiguous()
    shown = SeriesErased().show(x, torch.arange(8), rng())
    gone = shown != x
    assert shown[gone].abs().max() <= NOISE * x[0].std(correction=0) + 1e-6
    assert gone.sum() == 8 * (8 - 2)


# --- what they share ---------------------------------------------------------------------------


def test_windows_of_two_cells_never_touch() -> None:
    """A gap of half of what is spare, at least, lies between windows of neighbouring cells."""
    length, cells = 53, 4
    x = torch.arange(float(length)).expand(2000, 1, length)
    for cell in range(cells - 1):
        before, after = (
            window(x, torch.full((2000,), at), cells=cells, spare=0.25, rng=rng())
            for at in (cell, cell + 1)
        )
        assert after.min() - before.max() > 1
        assert (
            len(set(before[:, 0, 0].tolist())) == 2
        )  # places that a window of 10 has in a cell of 13


def test_windows_are_drawn_out_linearly() -> None:
    """A straight line stays one, but for the steps beyond the first and last of its middle."""
    line = drawn_out(torch.arange(6.0).view(1, 1, 6), 24)[0, 0]
    torch.testing.assert_close(line[2:-2].diff(), torch.full((19,), 0.25))
    close(line.double().numpy()[None], resized(np.arange(6.0)[None], 24))


# --- all of them -------------------------------------------------------------------------------


def test_every_member_has_four_classes_or_more() -> None:
    """They can stand in one family of four-way tasks; each counts its classes."""
    made = {name: build("pretext", name, {}, "here") for name in FAMILY}
    assert {name: one.num_classes for name, one in made.items()} == FAMILY  # type: ignore[attr-defined]
    assert min(FAMILY.values()) >= 4


@pytest.mark.parametrize(
    ("name", "params", "length", "reason"),
    [
        ("series_turned", {}, 4, "series_turned needs series of at least 4 steps"),
        ("series_speed", {}, 32, "series_speed of 4 speeds needs series of at least 32 steps"),
        ("series_speed", {"speeds": 2}, 16, "series_speed of 2 speeds needs series of at least 16"),
        ("series_position", {}, 30, "series_position of 5 cells needs at least 30 steps"),
        ("series_jigsaw", {}, 24, "series_jigsaw of 4 segments needs at least 24 steps"),
        ("series_erased", {}, 32, "series_erased of 8 segments needs at least 32 steps"),
    ],
)
def test_series_that_are_too_short_are_declined(
    name: str, params: dict[str, Json], length: int, reason: str
) -> None:
    """Each member says how many steps it needs, shows series of as many, and declines one less."""
    pretext = build("pretext", name, params, "here")
    assert isinstance(pretext, AbstractClassifying)

    def said(steps: int) -> str | None:
        form = Form(shape=(1, steps), modality="series")
        return pretext.refuses(Setting(form=form, norm="running", ways=5))

    assert said(length) is None
    assert (said(length - 1) or "").startswith(reason)
    classes = torch.arange(pretext.num_classes)
    x = series(1, length, 1).expand(len(classes), 1, length)
    shown = pretext.show(x, classes, rng())
    assert len(torch.unique(shown, dim=0)) == len(classes)


@pytest.mark.parametrize("name", FAMILY)
def test_images_are_declined(name: str) -> None:
    """Members for series say so where a suite holds images."""
    form = Form(shape=(1, 48, 48), modality="image")
    said = build("pretext", name, {}, "here").refuses(Setting(form=form, norm="running", ways=5))
    assert said is not None
    assert said.startswith(f"{name} is made for series data")
