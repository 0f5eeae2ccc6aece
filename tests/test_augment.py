"""Augmentations: ranges, shapes, streams, and what each policy keeps."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Generator, Tensor

from bench.augment.affine import Affine
from bench.augment.crop_jitter import TO_YIQ, CropJitter
from bench.augment.none import NoAugment
from bench.contract import AbstractAugment, Setting
from bench.form import Form

STILL = CropJitter(area=1.0, ratio=1.0, jitter=0.0, grey=0.0)  # only flips
POLICIES = [NoAugment(), Affine(), CropJitter()]
RANDOM = [Affine(), CropJitter()]


def rng(seed: int = 0) -> Generator:
    """Return a generator that starts from a seed."""
    return Generator().manual_seed(seed)


def photographs(count: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return images [count, 3, 20, 12] in [0, 1], smooth enough to tell directions apart."""
    coarse = torch.rand(count, 3, 5, 3, generator=rng(7), dtype=dtype)
    return torch.nn.functional.interpolate(coarse, size=(20, 12), mode="bilinear")


def setting(*shape: int) -> Setting:
    """Return a setting with examples of a shape."""
    return Setting(form=Form(shape=shape, modality="image"), norm="running", ways=5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_views_are_images_like_the_examples(policy: AbstractAugment, dtype: torch.dtype) -> None:
    """A view has the shape and type of its example, lies in [0, 1], and leaves it unchanged."""
    images = photographs(dtype=dtype)
    before = images.clone()
    views = policy(images, rng())
    assert (views.shape, views.dtype) == (images.shape, dtype)
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_only_the_given_generator_is_drawn_from(policy: AbstractAugment) -> None:
    """Equal generators give equal bits, and torch's default generator is left alone."""
    before = torch.get_rng_state()
    first, second = policy(photographs(), rng(3)), policy(photographs(), rng(3))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("policy", RANDOM, ids=lambda policy: type(policy).__name__)
def test_each_example_has_draws_of_its_own(policy: AbstractAugment) -> None:
    """Eight copies of one image give eight different views."""
    views = policy(photographs(1).expand(8, -1, -1, -1).contiguous(), rng())
    assert len({view.numpy().tobytes() for view in views}) == 8


@pytest.mark.parametrize("policy", RANDOM, ids=lambda policy: type(policy).__name__)
def test_float64_draws_the_same_views(policy: AbstractAugment) -> None:
    """The precision of the images does not change which views are drawn."""
    single = policy(photographs(), rng())
    double = policy(photographs().double(), rng())
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=0)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_works_under_deterministic_algorithms(policy: AbstractAugment) -> None:
    """Deterministic algorithms are enough, and nothing warns."""
    torch.use_deterministic_algorithms(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            views = policy(photographs(), rng())
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(views, policy(photographs(), rng()))


def test_none_draws_nothing() -> None:
    """Without augmentation a view is the example and the generator stays where it was."""
    stream, images = rng(), photographs()
    assert torch.equal(NoAugment()(images, stream), images)
    assert torch.equal(stream.get_state(), rng().get_state())


def test_affine_of_nothing_is_the_image() -> None:
    """With every range at zero the affine map is the identity."""
    still = Affine(degrees=0.0, shear=0.0, scale=0.0, shift=0.0)
    images = photographs(dtype=torch.float64)
    torch.testing.assert_close(still(images, rng()), images, atol=1e-6, rtol=0)


def test_affine_turns_pixels_and_not_sides() -> None:
    """A turn keeps lengths in pixels, also where images are not square."""
    x_11HW = torch.zeros(1, 1, 41, 81)
    x_11HW[0, 0, 20, 30:51] = 1.0
    turned = Affine(degrees=60.0, shear=0.0, scale=0.0, shift=0.0)(x_11HW, rng(5))
    rows, columns = torch.nonzero(turned[0, 0] > 0.3, as_tuple=True)
    spread = torch.hypot((rows.max() - rows.min()).float(), (columns.max() - columns.min()).float())
    assert rows.max() - rows.min() > 5
    assert float(spread) == pytest.approx(20, abs=1.5)


def test_affine_brings_in_background() -> None:
    """What comes in from outside the image is 0."""
    views = Affine(shift=0.5)(torch.ones(16, 1, 12, 12), rng())
    assert (views == 0).any(dim=(1, 2, 3)).sum() >= 8


def test_affine_scales_within_its_range() -> None:
    """The area of a square changes by at most the square of the scale."""
    images = torch.zeros(400, 1, 40, 40)
    images[:, :, 15:25, 15:25] = 1
    areas = Affine(degrees=0.0, shear=0.0, shift=0.0)(images, rng()).sum(dim=(1, 2, 3)) / 100
    assert areas.min().item() == pytest.approx(0.64, abs=0.03)
    assert areas.max().item() == pytest.approx(1.44, abs=0.03)


def test_flips_half_of_the_images() -> None:
    """Without a crop and colours, a view is its image or its mirror image, about half each."""
    images = photographs(400)
    views = STILL(images, rng())
    same = (views - images).abs().amax(dim=(1, 2, 3)) < 1e-5
    mirrored = (views - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert bool((same ^ mirrored).all())
    assert 160 < int(same.sum()) < 240


def test_crops_are_parts_of_the_image() -> None:
    """A crop of a slope spans at most the whole and at least half of it, and stays inside."""
    slope = torch.linspace(0.1, 0.9, 64).expand(200, 3, 64, 64)
    views = replace(STILL, area=0.25, ratio=1.0)(slope, rng())
    span = (views.amax(dim=(1, 2, 3)) - views.amin(dim=(1, 2, 3))) / 0.8
    assert views.min() >= 0.1 - 1e-6
    assert views.max() <= 0.9 + 1e-6
    assert float(span.min()) == pytest.approx(0.5, abs=0.03)
    assert float(span.max()) == pytest.approx(1.0, abs=0.03)


def test_colours_change_as_often_as_asked() -> None:
    """Four in five examples have other colours, one in five loses them."""
    colour = torch.tensor([0.6, 0.4, 0.3]).view(1, 3, 1, 1).expand(2000, 3, 2, 2)
    views = CropJitter(area=1.0, ratio=1.0)(colour, rng())
    spread = views.amax(1) - views.amin(1)
    lost = (spread < 1e-4).all(dim=(1, 2))
    kept = (views - colour).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert float(lost.float().mean()) == pytest.approx(0.2, abs=0.03)
    assert float(kept.float().mean()) == pytest.approx(0.2 * 0.8, abs=0.03)


def test_grey_images_stay_grey() -> None:
    """Hue and saturation leave an image without colours as it is."""
    only = replace(STILL, jitter=1.0, saturation=0.4, hue=0.5, brightness=0.0, contrast=0.0)
    grey = torch.rand(8, 1, 6, 6, generator=rng()).expand(-1, 3, -1, -1)
    grey = torch.maximum(grey, grey.flip(3))
    torch.testing.assert_close(only(grey, rng()), grey, atol=1e-5, rtol=0)


def test_hue_turns_colours_and_keeps_brightness() -> None:
    """A turn of hue keeps the luma of each pixel and the length of its two colour axes."""
    only = replace(STILL, jitter=1.0, saturation=0.0, hue=0.5, brightness=0.0, contrast=0.0)
    colour = torch.tensor([0.55, 0.45, 0.5], dtype=torch.float64).view(1, 3, 1, 1)
    views = only(colour.expand(50, 3, 1, 1), rng()).flatten(1)
    to_yiq = torch.tensor(TO_YIQ)
    before, after = to_yiq @ colour.flatten(), views @ to_yiq.T
    torch.testing.assert_close(after[:, 0], before[0].expand(50))
    torch.testing.assert_close(after[:, 1:].norm(dim=1), before[1:].norm().expand(50))
    assert views.std(dim=0).min() > 0.01


def test_brightness_is_a_factor_and_contrast_keeps_the_mean() -> None:
    """Brightness multiplies within its range; contrast alone leaves an image's mean."""
    grey = 0.3 + 0.2 * torch.rand(200, 1, 8, 8, generator=rng()).expand(-1, 3, -1, -1)
    off = replace(STILL, jitter=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    factor = replace(off, brightness=0.4)(grey, rng()).mean(dim=(1, 2, 3)) / grey.mean(
        dim=(1, 2, 3)
    )
    spread = replace(off, contrast=0.4)(grey, rng())
    assert float(factor.min()) == pytest.approx(0.6, abs=0.02)
    assert float(factor.max()) == pytest.approx(1.4, abs=0.02)
    torch.testing.assert_close(spread.mean(dim=(1, 2, 3)), grey.mean(dim=(1, 2, 3)))
    ratio = spread.std(dim=(1, 2, 3)) / grey.std(dim=(1, 2, 3))
    assert float(ratio.min()) == pytest.approx(0.6, abs=0.02)
    assert float(ratio.max()) == pytest.approx(1.4, abs=0.02)


@pytest.mark.parametrize(
    ("policy", "shape", "declined"),
    [
        (CropJitter(), (1, 28, 28), True),
        (CropJitter(), (3, 32, 32), False),
        (Affine(), (1, 28, 28), False),
        (NoAugment(), (46,), False),
    ],
)
def test_declines_what_is_no_image_of_its_kind(
    policy: AbstractAugment, shape: tuple[int, ...], declined: bool
) -> None:
    """crop_jitter wants colour images, affine any images, none takes everything."""
    assert (policy.refuses(setting(*shape)) is not None) == declined


@pytest.mark.parametrize(
    ("policy", "params"),
    [
        (CropJitter, {"area": 0.0}),
        (CropJitter, {"grey": 1.1}),
        (CropJitter, {"hue": 0.6}),
        (Affine, {"scale": 1.0}),
        (Affine, {"degrees": -1.0}),
        (Affine, {"flip": 0.5}),
    ],
)
def test_parameters_outside_their_range_are_refused(
    policy: type[AbstractAugment], params: dict[str, float]
) -> None:
    """A value that makes no sense, or an unknown name, fails validation."""
    with pytest.raises(ValidationError):
        TypeAdapter(policy).validate_json(json.dumps(params))
