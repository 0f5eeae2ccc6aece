"""What classifying pretexts show of each class, against loops in numpy; what must not tell it."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench.catalogue import build, entries, load_class
from bench.cell import Json
from bench.contract import AbstractClassifying, AbstractNetwork, Setting, Tensors
from bench.form import Form
from bench.pretext.erased import NOISE, Erased
from bench.pretext.jigsaw import Jigsaw, distant_permutations
from bench.pretext.position import Position
from bench.pretext.recolour import Recolour
from bench.pretext.rotation import Rotation

Floats = np.ndarray
SIDE = 20


def rng() -> Generator:
    """Return the generator of a step."""
    return Generator().manual_seed(11)


def images(count: int, channels: int = 3, height: int = SIDE, width: int = SIDE) -> Tensor:
    """Return random images in float64."""
    draws = Generator().manual_seed(2)
    return torch.rand(count, channels, height, width, generator=draws, dtype=torch.float64)


def shown_of(pretext: AbstractClassifying, x: Tensor, classes: Tensor) -> Floats:
    """Return what a pretext shows, with the draws of one step."""
    return np.asarray(pretext.show(x, classes, rng()).numpy())


def close(actual: Floats, expected: Floats) -> None:
    """Compare to the last few bits."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def resized(patch: Floats, height: int, width: int) -> Floats:
    """Resize [C, h, w] bilinearly, pixel by pixel; pixels are areas, the border is repeated."""

    def at(place: int, small: int, large: int) -> tuple[int, int, float]:
        source = max(0.0, (place + 0.5) * small / large - 0.5)
        low = min(int(source), small - 1)
        return low, min(low + 1, small - 1), source - low

    out = np.empty((len(patch), height, width))
    for row in range(height):
        for column in range(width):
            top, bottom, down = at(row, patch.shape[1], height)
            left, right, across = at(column, patch.shape[2], width)
            upper = patch[:, top, left] * (1 - across) + patch[:, top, right] * across
            lower = patch[:, bottom, left] * (1 - across) + patch[:, bottom, right] * across
            out[:, row, column] = upper * (1 - down) + lower * down
    return out


# --- rotation ----------------------------------------------------------------------------------


def test_four_angles_are_exact_quarter_turns() -> None:
    """Class k is k times: (row, column) goes to (side - 1 - column, row)."""
    x, classes = images(6), torch.tensor([0, 1, 2, 3, 3, 1])
    for shown, image, turns in zip(
        shown_of(Rotation(), x, classes), x.numpy(), classes, strict=True
    ):
        turned = image
        for _ in range(int(turns)):
            turned = turned.transpose(0, 2, 1)[:, ::-1]
        np.testing.assert_array_equal(shown, turned)


def test_other_angles_are_turns_of_a_disc() -> None:
    """Each pixel of the disc is looked up bilinearly where it comes from; outside all is 0."""
    x, classes, angles = images(5, 2), torch.tensor([0, 3, 7, 4, 2]), 8
    jitter = 2 * torch.rand(5, 3, generator=rng()).double().numpy() - 1
    middle = (SIDE - 1) / 2
    expected = np.zeros(x.shape)
    for number, image in enumerate(x.numpy()):
        turn, right, down = jitter[number]
        angle = (int(classes[number]) + turn / 4) * 2 * np.pi / angles
        for row in range(SIDE):
            for column in range(SIDE):
                across, up = column - middle, middle - row
                if across**2 + up**2 > (middle - 0.5) ** 2:
                    continue
                # turned counter-clockwise by ``angle``: it was ``angle`` clockwise of here
                was_across = np.cos(angle) * across + np.sin(angle) * up
                was_up = -np.sin(angle) * across + np.cos(angle) * up
                at_row = middle - was_up + down / 2
                at_column = middle + was_across + right / 2
                top, left = min(int(at_row), SIDE - 2), min(int(at_column), SIDE - 2)
                for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                    share = (1 - abs(at_row - r)) * (1 - abs(at_column - c))
                    expected[number, :, row, column] += share * image[:, r, c]
    np.testing.assert_allclose(shown_of(Rotation(angles=angles), x, classes), expected, atol=1e-9)


def test_corners_do_not_tell_an_angle() -> None:
    """A white image looks the same in every class, quarter turns included."""
    x, classes = torch.ones(8, 1, SIDE, SIDE), torch.arange(8)
    shown = Rotation(angles=8).show(x, classes, rng())
    assert not shown[:, :, 0, 0].any()
    assert shown[:, :, SIDE // 2, SIDE // 2].min() > 0.999
    torch.testing.assert_close(shown, shown[:1].expand_as(shown))


def test_sharpness_does_not_tell_an_angle() -> None:
    """Quarter turns are interpolated as much as the angles between them."""
    x = torch.rand(4000, 1, SIDE, SIDE, generator=Generator().manual_seed(3))
    shown = Rotation(angles=8).show(x, torch.arange(8).repeat(500), rng())
    inner = shown[:, 0, 5:-5, 5:-5]
    spread = inner.flatten(1).var(1).view(500, 8).mean(0)
    assert spread.max() / spread.min() < 1.1
    assert spread.max() < 0.8 * x.var()


def test_the_loss_of_other_angles_shows_them_all() -> None:
    """With A angles each image passes A times, once as each class, and the head has A scores."""
    pretext, seen = Rotation(angles=3), []

    class Net(AbstractNetwork):
        def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
            seen.append(x)
            return x.flatten(1)[:, :3]

        def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
            return z_BD

        def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
            raise AssertionError

        @property
        def params(self) -> Tensors:
            return {}

        def using(self, params: Tensors) -> AbstractNetwork:
            return self

    x = images(4, 1)
    pretext.loss(Net(), {}, x, rng())
    turns = torch.arange(3).repeat_interleave(4)
    assert torch.equal(seen[0], pretext.show(x.repeat(3, 1, 1, 1), turns, rng()))
    assert pretext.views == 3
    assert pretext.head(7, Form(shape=(1, 4, 4), modality="image")).state_dict()[
        "weight"
    ].shape == (3, 7)


# --- patches -----------------------------------------------------------------------------------

NEIGHBOURS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)]


@pytest.mark.parametrize("width", [SIDE, SIDE + 1])
def test_position_is_two_patches_side_by_side(width: int) -> None:
    """The left half is a jittered patch of the centre, the right half one of the neighbour's."""
    x, classes = images(8, 2, width=width), torch.tensor([5, 0, 1, 2, 3, 4, 6, 7])
    cell, patch, draws = 6, 4, rng()
    centres, others = (torch.randint(2, (8, 2), generator=draws).numpy() for _ in range(2))
    shown = shown_of(Position(), x, classes)

    def cut(number: int, place: tuple[int, int], jitter: Floats) -> Floats:
        row, column = (cell * at + move for at, move in zip(place, jitter, strict=True))
        return np.asarray(x[number].numpy()[:, row : row + patch, column : column + patch])

    for number, cls in enumerate(classes.tolist()):
        left = resized(cut(number, (1, 1), centres[number]), SIDE, width // 2)
        right = cut(number, NEIGHBOURS[cls], others[number])
        right = resized(right, SIDE, width - width // 2)
        close(shown[number], np.concatenate([left, right], axis=2))


@pytest.mark.parametrize("grid", [2, 3])
def test_jigsaw_is_jittered_tiles_in_the_order_of_its_class(grid: int) -> None:
    """Place t of the image holds a jittered piece of tile order[t], resized to a cell."""
    x, count = images(5, 2), 24
    classes = torch.tensor([0, 23, 7, 11, 2])
    cell = SIDE // grid
    patch = cell - round(0.25 * cell)
    orders = distant_permutations(grid**2, count)
    tiles = grid**2
    jitter = torch.randint((cell - patch) // 2 + 1, (5 * tiles, 2), generator=rng()).numpy()
    shown = shown_of(Jigsaw(grid=grid), x, classes)  # type: ignore[arg-type]
    for number, cls in enumerate(classes.tolist()):
        canvas = np.empty((2, grid * cell, grid * cell))
        for place, tile in enumerate(orders[cls]):
            down, across = jitter[number * tiles + place]
            row, column = tile // grid * cell + down, tile % grid * cell + across
            piece = x[number].numpy()[:, row : row + patch, column : column + patch]
            top, left = place // grid * cell, place % grid * cell
            canvas[:, top : top + cell, left : left + cell] = resized(piece, cell, cell)
        close(shown[number], resized(canvas, SIDE, SIDE))


def test_the_permutations_of_four_tiles_are_all_of_them() -> None:
    """24 classes of 2 x 2 tiles are each permutation once; class 0 leaves tiles where they are."""
    orders = distant_permutations(4, 24)
    assert sorted(orders) == sorted(permutations(range(4)))
    assert orders[0] == (0, 1, 2, 3)


def test_few_permutations_are_far_apart() -> None:
    """Each next permutation is as far from the nearest before it as any could be."""
    for length, count in ((4, 6), (5, 9)):
        orders = distant_permutations(length, count)
        for number in range(1, count):

            def nearest(one: tuple[int, ...], before: int) -> int:
                return min(sum(map(int.__ne__, one, other)) for other in orders[:before])  # noqa: B023

            best = max(nearest(one, number) for one in permutations(range(length)))
            assert nearest(orders[number], number) == best


def test_the_permutations_of_nine_tiles_share_little() -> None:
    """24 of the 362880 orders of 3 x 3 tiles differ pairwise in seven places or more."""
    orders = np.array(distant_permutations(9, 24))
    assert len({tuple(one) for one in orders.tolist()}) == 24
    assert (np.sort(orders, axis=1) == np.arange(9)).all()
    distances = [(a != b).sum() for i, a in enumerate(orders) for b in orders[:i]]
    assert min(distances) >= 7


def test_more_permutations_than_there_are_are_refused() -> None:
    """A head with classes that no order fills is a mistake in the suite."""
    with pytest.raises(ValueError, match="25 permutations, but 2 x 2 tiles have 24"):
        Jigsaw(permutations=25)
    assert Jigsaw(grid=3, permutations=25).num_classes == 25


# --- colours and cells -------------------------------------------------------------------------

SIX = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


def test_recolour_gives_channels_another_order() -> None:
    """Of an image in colour, channel c is channel order[c]."""
    x, classes = images(6), torch.arange(6)
    expected = [image[list(order)] for image, order in zip(x.numpy(), SIX, strict=True)]
    np.testing.assert_array_equal(shown_of(Recolour(), x, classes), expected)


def levels() -> Tensor:
    """Return every tone of 8 bits, as one image for each of six classes."""
    return (torch.arange(256, dtype=torch.float64) / 255).view(1, 1, 16, 16).repeat(6, 1, 1, 1)


def test_recolour_moves_and_mirrors_bands_of_tones() -> None:
    """Of an image of one channel, band b goes to place order[b]; what moves is mirrored."""
    shown = shown_of(Recolour(), levels(), torch.arange(6)).reshape(6, 256)
    for cls, order in enumerate(SIX):
        for level in range(256):
            tone = (level + 0.5) / 256
            band = 0 if level < 85 else 1 if level < 171 else 2
            within, place = tone - band / 3, order[band]
            expected = tone if place == band else (place + 1) / 3 - within
            assert shown[cls, level] == pytest.approx(expected, abs=1e-12)


def test_recoloured_tones_can_be_told_apart() -> None:
    """In every class 256 tones stay 256 tones in (0, 1), and black and white keep a distance."""
    single = Recolour().show(levels().float(), torch.arange(6), rng()).view(6, 256)
    assert all(len(tones.unique()) == 256 for tones in single)
    assert 0 < single.min() < single.max() < 1
    assert (single[:, 0] - single[:, 255]).abs().min() > 0.32
    black_and_white = single[:, [0, 255]]
    assert torch.cdist(black_and_white, black_and_white).add(9 * torch.eye(6)).min() > 0.32


@pytest.mark.parametrize("size", [(20, 20), (22, 19)])
def test_erased_fills_one_cell(size: tuple[int, int]) -> None:
    """In the cell of its class stands the image's mean under noise; all else stays."""
    x, classes = images(16, 2, *size), torch.arange(16)
    noise = torch.rand(x.shape, generator=rng()).double().numpy()
    shown = shown_of(Erased(), x, classes)
    for cls in range(16):
        expected = x[cls].numpy().copy()
        for row in range(size[0]):
            for column in range(size[1]):
                if (row * 4 // size[0]) * 4 + column * 4 // size[1] == cls:
                    for channel in range(2):
                        mean = x[cls, channel].numpy().mean()
                        fill = mean + 0.1 * (2 * noise[cls, channel, row, column] - 1)
                        expected[channel, row, column] = min(max(fill, 0), 1)
        close(shown[cls], expected)


@pytest.mark.parametrize("tone", [0.0, 0.5, 1.0])
def test_what_is_erased_can_be_seen_on_plain_ground(tone: float) -> None:
    """On black, grey and white the cell differs from the rest, by no more than the noise."""
    x = torch.full((16, 1, SIDE, SIDE), tone)
    change = (Erased().show(x, torch.arange(16), rng()) - x).abs()
    cells = change.view(16, 4, 5, 4, 5).mean((2, 4)).view(16, 16)
    assert torch.equal(cells > 0.01, torch.eye(16, dtype=torch.bool))
    assert change.max() <= NOISE + 1e-6


# --- all of them -------------------------------------------------------------------------------

PLAIN: dict[str, dict[str, Json]] = {"mixture": {"members": ["rotation", "simclr"]}}
CLASSIFYING = [
    name
    for name in entries("pretext")
    if issubclass(load_class("pretext", name), AbstractClassifying)
]


def test_the_family_is_complete() -> None:
    """These pretexts have classes, and this many."""
    made = [build("pretext", name, PLAIN.get(name, {}), "here") for name in CLASSIFYING]
    counts = {name: one.num_classes for name, one in zip(CLASSIFYING, made, strict=True)}  # type: ignore[attr-defined]
    expected = {"erased": 16, "jigsaw": 24, "position": 8, "recolour": 6, "rotation": 4}
    assert expected.items() <= counts.items()


@pytest.mark.parametrize("name", ["erased", "jigsaw", "recolour"])
def test_its_own_loss_is_the_cross_entropy_of_the_class(name: str) -> None:
    """Each image is shown once as a class drawn uniformly; the mean surprise at it is the loss."""
    pretext, draws = build("pretext", name, {}, "here"), rng()
    assert isinstance(pretext, AbstractClassifying)
    x = images(6)
    weight = torch.randn(x[0].numel(), pretext.num_classes, generator=rng(), dtype=torch.float64)
    classes = torch.randint(pretext.num_classes, (6,), generator=draws)
    scores = (pretext.show(x, classes, draws).flatten(1) @ weight / 9).numpy()
    terms = [
        np.log(np.exp(row).sum()) - row[cls]
        for row, cls in zip(scores, classes.tolist(), strict=True)
    ]

    class Net(AbstractNetwork):
        def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
            return x.flatten(1)

        def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
            return z_BD @ weight / 9

        def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
            raise AssertionError

        @property
        def params(self) -> Tensors:
            return {}

        def using(self, params: Tensors) -> AbstractNetwork:
            return self

    loss, state = pretext.loss(Net(), {}, x, rng())
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-10)
    assert state == {}


@pytest.mark.parametrize(
    ("name", "params", "shape", "reason"),
    [
        ("rotation", {"angles": 8}, (1, 20, 24), "rotation needs square images"),
        ("jigsaw", {}, (3, 11, 20), "jigsaw with 2 tiles a side needs images of at least 12"),
        (
            "jigsaw",
            {"grid": 3},
            (3, 17, 20),
            "jigsaw with 3 tiles a side needs images of at least 18",
        ),
        ("recolour", {}, (2, 20, 20), "recolour needs images of one or three channels"),
        ("erased", {}, (3, 7, 20), "erased needs images of at least 8 pixels a side"),
    ],
)
def test_images_that_hold_no_class_are_declined(
    name: str, params: dict[str, Json], shape: tuple[int, ...], reason: str
) -> None:
    """Each member says why it makes no sense for some images."""
    said = build("pretext", name, params, "here").declines(
        Setting(form=Form(shape=shape, modality="image"), norm="running", ways=5)
    )
    assert (said or "").startswith(reason)
