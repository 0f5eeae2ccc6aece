"""Pretexts that predict pixels, against loops in numpy that share no code with bench."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from bench.contract import AbstractNetwork, Setting, Shape, Tensors
from bench.form import Form
from bench.pretext.colorize import Colorize
from bench.pretext.mae import Mae

Floats = np.ndarray


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@dataclass(kw_only=True)
class Fixed(AbstractNetwork):
    """Remembers what it is shown; its head answers the same, whatever the features."""

    answer: Tensor
    seen: list[Tensor] = field(default_factory=list)

    def encode(self, x: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Keep the batch, and return one feature."""
        self.seen.append(x.clone())
        return x.flatten(1)[:, :1]

    def head(self, z_BD: Tensor, child: str | None = None) -> Tensor:
        """Return the answer."""
        assert child is None
        return self.answer

    def augment(self, x_BCHW: Tensor, rng: Generator) -> Tensor:
        """Refuse: neither pretext augments."""
        raise PermissionError

    @property
    def params(self) -> Tensors:
        """Return nothing: the loss alone is looked at."""
        return {}

    def using(self, params: Tensors) -> AbstractNetwork:
        """Return itself: it has nothing to replace."""
        return self


def rng(seed: int = 11) -> Generator:
    """Return the generator of a step."""
    return Generator().manual_seed(seed)


def images(*shape: int, seed: int = 2) -> Tensor:
    """Return random images."""
    return torch.rand(*shape, generator=rng(seed))


def setting(*shape: int) -> Setting:
    """Return a setting of images of a shape."""
    return Setting(form=Form(shape=shape, modality="image"), norm="running", ways=5)


def squares(image: Floats, side: int) -> list[tuple[slice, slice]]:
    """Return the patches of an image, row by row; those at an end may be smaller."""
    _, height, width = image.shape
    return [
        (slice(top, min(top + side, height)), slice(left, min(left + side, width)))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


SIDES = [(1, 28, 28), (3, 32, 32), (2, 10, 7)]  # of the last, 4 x 4 patches are cut at both ends


@pytest.mark.parametrize("shape", SIDES)
@pytest.mark.parametrize("normalise", [False, True])
def test_mae_equals_its_equation(shape: Shape, normalise: bool) -> None:
    """The mean over masked pixels of the squared error, of pixels by their patch if normalised."""
    pretext, x = Mae(patch=4, normalise=normalise), images(5, *shape)
    predicted = images(5, shape[0], shape[1] + 2, shape[2] + 2, seed=3)  # more than is looked at
    masked = pretext.mask(x, rng()).numpy()
    errors = []
    for image, guess, mask in zip(x.numpy(), predicted.numpy(), masked, strict=True):
        for rows, columns in squares(image, 4):
            values = image[:, rows, columns]
            if normalise:
                mean = sum(values.ravel()) / values.size
                variance = sum((values.ravel() - mean) ** 2) / values.size
                values = (values - mean) / np.sqrt(variance + 1e-6)
            if mask[0, rows, columns].all():
                errors += list(((guess[:, rows, columns] - values) ** 2).ravel())
    loss = float(pretext.loss(Fixed(answer=predicted), {}, x, rng())[0])
    assert loss == pytest.approx(np.mean(errors), rel=1e-10)


@pytest.mark.parametrize("shape", SIDES)
def test_mae_masks_whole_patches_and_as_many_in_each_image(shape: Shape) -> None:
    """A patch is masked as a whole or not at all, 60 % of them, others in other images."""
    x = images(40, *shape)
    masked = Mae(patch=4, ratio=0.6).mask(x, rng()).numpy()
    patches = squares(x[0].numpy(), 4)
    shares = np.array([[mask[0][patch].mean() for patch in patches] for mask in masked])
    assert set(np.unique(shares)) == {0.0, 1.0}
    assert (shares.sum(1) == round(0.6 * len(patches))).all()
    assert len({tuple(row) for row in shares}) > 10


def test_mae_masks_every_patch_alike() -> None:
    """No patch is masked more often than another: 60 % of 4000 draws, within five deviations."""
    masked = Mae(patch=4, ratio=0.6).mask(images(4000, 1, 20, 20), rng())
    often = masked[:, 0, ::4, ::4].double().mean(0)
    assert (often - 0.6).abs().max() < 5 * np.sqrt(0.6 * 0.4 / 4000)


@pytest.mark.parametrize(("ratio", "count"), [(0.01, 1), (0.5, 2), (0.99, 3)])
def test_mae_masks_one_patch_at_least_and_leaves_one(ratio: float, count: int) -> None:
    """Of four patches one is masked and one is visible, however small or large the ratio."""
    masked = Mae(patch=4, ratio=ratio).mask(images(6, 1, 8, 8), rng())
    assert (masked.flatten(1).sum(1) == 16 * count).all()


@pytest.mark.parametrize("shape", SIDES)
def test_mae_shows_no_masked_pixel(shape: Shape) -> None:
    """The encoder is shown the same whatever the masked pixels hold, and all of the visible ones.

    A masked pixel is shown in the mean colour of the image's visible ones.
    """
    pretext, x, net = Mae(patch=4), images(5, *shape), Fixed(answer=torch.zeros(1, 1, 40, 40))
    masked = pretext.mask(x, rng())
    other = torch.where(masked, images(5, *shape, seed=9), x)
    for batch in (x, other):
        pretext.loss(net, {}, batch, rng())
    assert not torch.equal(x, other)
    assert torch.equal(*net.seen)
    for image, seen, mask in zip(x.numpy(), net.seen[0].numpy(), masked[:, 0].numpy(), strict=True):
        for channel, shown in zip(image, seen, strict=True):
            assert (shown[~mask] == channel[~mask]).all()
            assert shown[mask] == pytest.approx(np.mean(channel[~mask]))


@pytest.mark.parametrize("shape", SIDES)
def test_a_decoder_covers_the_image(shape: Shape) -> None:
    """The decoder of mae gives each channel of each pixel, where patches are cut short too."""
    pretext = Mae()
    out = pretext.head(9, Form(shape=shape, modality="image"))(torch.ones(2, 9))
    assert out.shape[:2] == (2, shape[0])
    assert all(have - 4 < need <= have for have, need in zip(out.shape[2:], shape[1:], strict=True))


def test_mae_declines_what_it_cannot_mask() -> None:
    """Images of a single patch are declined; cut patches are not."""
    assert Mae(patch=28).declines(setting(1, 28, 28)) is not None
    assert Mae(patch=20).declines(setting(1, 28, 28)) is None


def nearest(chroma: float) -> int:
    """Return which of 23 values, evenly from -1 to 1, is nearest."""
    return int(np.argmin([abs(chroma - value) for value in np.linspace(-1, 1, 23)]))


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 10, 7)])
def test_colorize_equals_its_equation(shape: Shape) -> None:
    """The mean over cells of the surprise at the value nearest to the cell's mean chroma."""
    pretext, x = Colorize(cell=4), images(5, *shape)
    cells = len(squares(x[0].numpy(), 4))
    rows = -(-shape[1] // 4)
    scores = images(5, 23**2, rows, cells // rows, seed=3) * 9
    terms = []
    for image, guess in zip(x.numpy(), scores.flatten(2).numpy(), strict=True):
        for place, patch in enumerate(squares(image, 4)):
            red, green, blue = (float(np.mean(channel[patch])) for channel in image)
            grey = 0.299 * red + 0.587 * green + 0.114 * blue
            right = 23 * nearest((blue - grey) / 0.886) + nearest((red - grey) / 0.701)
            column = guess[:, place]
            terms.append(np.log(sum(np.exp(score) for score in column)) - column[right])
    loss = float(pretext.loss(Fixed(answer=scores), {}, x, rng())[0])
    assert loss == pytest.approx(np.mean(terms), rel=1e-10)


def test_colorize_shows_grey_alone() -> None:
    """The encoder is shown one luma in all channels: of two images that differ in chroma, one."""
    x, net = images(2, 3, 8, 8) / 2, Fixed(answer=torch.zeros(2, 23**2, 2, 2))
    tint = torch.tensor([0.114, 0.114, -0.299 - 0.587]).view(3, 1, 1) / 4  # has no luma
    for batch in (x, x + tint):
        Colorize().loss(net, {}, batch, rng())
    grey = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    for seen in net.seen:
        for channel in range(3):
            assert torch.allclose(seen[:, channel], grey)
    assert not torch.equal(Colorize().chroma(x), Colorize().chroma(x + tint))


def test_chroma_spans_its_grid() -> None:
    """Grey is the middle of the grid; pure blue and yellow, red and cyan are its ends."""
    black_white = torch.stack([torch.zeros(3), torch.ones(3), torch.full((3,), 0.3)])
    blue, yellow = torch.tensor([[0.0, 0, 1], [1, 1, 0]])
    colours = torch.cat([black_white, torch.stack([blue, yellow, 1 - yellow, 1 - blue])])
    values = Colorize(cell=4).chroma(colours[:, :, None, None].expand(-1, 3, 4, 4)).flatten()
    assert (values[:3] == 23 * 11 + 11).all()
    assert values[3:].div(23, rounding_mode="floor").tolist() == [22, 0, 22, 0]
    red, cyan = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    ends = torch.stack([red, cyan])[:, :, None, None].expand(-1, 3, 4, 4)
    assert (Colorize(cell=4).chroma(ends).flatten() % 23).tolist() == [22, 0]


def test_its_head_has_a_score_for_each_chroma_of_each_cell() -> None:
    """The head of colorize gives 23 x 23 scores for each cell, those cut short included."""
    head: nn.Module = Colorize(cell=4).head(9, Form(shape=(3, 10, 7), modality="image"))
    assert head(torch.ones(2, 9)).shape == (2, 529, 3, 2)


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 64), (4, 32, 32)])
def test_colorize_declines_all_but_colour(shape: Shape) -> None:
    """What has not three channels has no colours to predict."""
    assert Colorize().declines(setting(*shape)) is not None
    assert Colorize().declines(setting(3, 32, 32)) is None
