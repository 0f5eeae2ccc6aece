"""The residual encoders: their sizes, their arithmetic, and their second derivatives.

Shapes: B examples, C channels, H height, W width.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, vmap

from bench.contract import AbstractEncoder, Setting, Shape, Tensors
from bench.encoder.resnet12 import Resnet12
from bench.encoder.resnet18 import Resnet18
from bench.form import Form
from bench.stages.network import Network, Statistics

STEP = 1e-8  # of differences: small, so that no ReLU and no maximum changes sides
SMALL = Resnet12(widths=(16, 16, 32, 32))


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Draw weights and examples from one seed, and compute in float64."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    yield
    torch.set_default_dtype(torch.float32)


def weights_in(module: nn.Module) -> int:
    """Return how many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


# --- shapes and sizes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "shape", "width"),
    [
        (SMALL, (3, 84, 84), 32),
        (SMALL, (1, 28, 28), 32),
        (Resnet12(widths=(4, 4, 4, 6), pool="none"), (3, 84, 84), 6 * 5 * 5),
        (Resnet12(widths=(4, 4, 4, 6), pool="none"), (3, 48, 32), 6 * 3 * 2),
        (Resnet18(), (3, 84, 84), 512),
        (Resnet18(), (3, 32, 32), 512),
        (Resnet18(), (1, 28, 28), 512),
        (Resnet18(), (1, 64, 64), 512),
    ],
)
def test_images_become_vectors(encoder: AbstractEncoder, shape: Shape, width: int) -> None:
    """Colour or grey, small or large, an image becomes a vector of the stated width."""
    assert encoder.module(Form(shape=shape, modality="image"))(torch.rand(2, *shape)).shape == (
        2,
        width,
    )


@pytest.mark.parametrize("encoder", [Resnet12(), Resnet18()], ids=["resnet12", "resnet18"])
def test_what_is_too_small_is_declined(encoder: AbstractEncoder) -> None:
    """Images of fewer than 16 pixels a side are declined in words; 16 are not."""
    for shape in ((3, 15, 32), (3, 32, 15)):
        assert "at least 16 x 16" in str(
            encoder.declines(
                Setting(form=Form(shape=shape, modality="image"), norm="running", ways=5)
            )
        )
    assert (
        encoder.declines(
            Setting(form=Form(shape=(1, 16, 16), modality="image"), norm="running", ways=5)
        )
        is None
    )
    assert (
        encoder.module(Form(shape=(1, 16, 16), modality="image"))(torch.rand(2, 1, 16, 16)).shape[0]
        == 2
    )


def test_resnet12_has_the_published_size() -> None:
    """12.4 million weights: three 3x3 kernels and a 1x1 one a block, a norm after each."""
    size, before = 0, 3
    for after in (64, 160, 320, 640):
        size += 9 * before * after + 2 * 9 * after * after + before * after + 4 * 2 * after
        before = after
    assert (
        weights_in(Resnet12().module(Form(shape=(3, 84, 84), modality="image")))
        == size
        == 12_424_320
    )


def test_resnet18_has_the_published_size() -> None:
    """With ten outputs 11.17 million weights on CIFAR; with a thousand, torchvision's count."""
    from torchvision.models import ResNet18_Weights

    own = ResNet18_Weights.IMAGENET1K_V1.meta["num_params"]
    assert (
        weights_in(Resnet18().module(Form(shape=(3, 32, 32), modality="image"))) + 513 * 10
        == 11_173_962
    )
    assert (
        weights_in(Resnet18().module(Form(shape=(3, 224, 224), modality="image"))) + 513 * 1000
        == own
        == 11_689_512
    )


# --- arithmetic -----------------------------------------------------------------------------


def block_by_hand(state: Tensors, x_BCHW: Tensor, block: str) -> Tensor:
    """Return MetaOptNet's block in the order of its code: activation first, then pooling."""

    def normed(x_BCHW: Tensor, name: str, place: int) -> Tensor:
        kernel = state[f"{block}.{name}.{place}.weight"]
        maps = F.conv2d(x_BCHW, kernel, padding=kernel.shape[-1] // 2)
        mean = maps.mean((0, 2, 3), keepdim=True)
        variance = ((maps - mean) ** 2).mean((0, 2, 3), keepdim=True)
        scale, shift = (
            state[f"{block}.{name}.{place + 1}.{one}"].view(1, -1, 1, 1)
            for one in ("weight", "bias")
        )
        return scale * (maps - mean) / (variance + 1e-5).sqrt() + shift

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.1 * x)

    first = leaky(normed(x_BCHW, "body", 0))
    second = leaky(normed(first, "body", 3))
    last = leaky(normed(second, "body", 6) + normed(x_BCHW, "shortcut", 0))
    height, width = last.shape[2] // 2, last.shape[3] // 2
    whole = last[:, :, : 2 * height, : 2 * width]
    tiles = whole.reshape(*last.shape[:2], height, 2, width, 2)
    return tiles.amax((3, 5))


@pytest.mark.parametrize("pool", ["average", "none"])
def test_resnet12_is_the_blocks_of_its_authors(pool: str) -> None:
    """Features are those of the block written out, and its average or all its positions."""
    encoder = Resnet12(widths=(4, 5, 6, 7), pool="average" if pool == "average" else "none")
    module = encoder.module(Form(shape=(2, 36, 37), modality="image")).train()
    state = {
        name: value + 0.1 * torch.randn_like(value)
        for name, value in module.state_dict().items()
        if value.is_floating_point()
    }
    module.load_state_dict(state, strict=False)
    x_BCHW = expected = torch.randn(3, 2, 36, 37)
    for block in range(4):
        expected = block_by_hand(state, expected, str(block))
    expected = expected.mean((2, 3)) if pool == "average" else expected.flatten(1)
    torch.testing.assert_close(module(x_BCHW), expected, rtol=1e-10, atol=1e-10)


def test_resnet18_is_torchvisions_where_images_are_large() -> None:
    """From one seed, colour images of 64 pixels and more get torchvision's own features."""
    from torchvision.models import resnet18

    x_BCHW = torch.rand(2, 3, 64, 64)
    torch.manual_seed(7)
    theirs: nn.Module = resnet18(weights=None)
    theirs.fc = nn.Identity()
    torch.manual_seed(7)
    assert torch.equal(
        Resnet18().module(Form(shape=(3, 64, 64), modality="image"))(x_BCHW), theirs(x_BCHW)
    )


@pytest.mark.parametrize(("side", "expected"), [(28, 28), (63, 63), (64, 16), (84, 21)])
def test_the_stem_keeps_small_images_whole(side: int, expected: int) -> None:
    """Below 64 pixels the first stage sees every pixel; from 64 on, maps of a quarter the side."""
    module = Resnet18().module(Form(shape=(1, side, side), modality="image"))
    maps = torch.rand(1, 1, side, side)
    for name in ("conv1", "bn1", "relu", "maxpool"):
        maps = module.get_submodule(name)(maps)
    assert maps.shape == (1, 64, expected, expected)


@pytest.mark.parametrize(
    ("encoder", "shape"),
    [(Resnet12(), (3, 32, 32)), (Resnet18(), (1, 28, 28)), (Resnet18(), (1, 64, 64))],
)
def test_first_weights_are_of_the_authors_scale(encoder: AbstractEncoder, shape: Shape) -> None:
    """Every kernel starts normal, with variance 2 / (outputs x kernel's area): He's, fan out."""
    for module in encoder.module(Form(shape=shape, modality="image")).modules():
        if isinstance(module, nn.Conv2d):
            kernel = module.weight
            fan_out = kernel.shape[0] * kernel.shape[2] * kernel.shape[3]
            spread = float(kernel.detach().std() / (2 / fan_out) ** 0.5)
            assert spread == pytest.approx(1, abs=5 / (2 * kernel.numel()) ** 0.5)


# --- derivatives ----------------------------------------------------------------------------


class Meta:
    """The loss on queries after one step on a support set, as a function of some weights.

    The weights are the first kernel, and the scales and shifts of every norm: the way from the
    last layer to the first is differentiated twice, at a tenth of the time that all would take.
    """

    def __init__(self, encoder: AbstractEncoder, statistics: Statistics, *, grouped: bool) -> None:
        """Draw the weights, and two batches of examples."""
        shape = (2, 16, 16)
        module = encoder.module(Form(shape=shape, modality="image"))
        self.network = Network(module, nn.Identity(), channels_last=False, grouped=grouped)
        self.others, self.buffers = self.network.tensors(torch.device("cpu"))
        first = next(iter(self.others))
        self.params = {n: p for n, p in self.others.items() if p.dim() == 1 or n == first}
        self.statistics: Statistics = statistics
        self.support, self.query = torch.rand(2, 2 if statistics == "batch" else 3, *shape).unbind()

    def loss(self, params: Tensors, x_BCHW: Tensor) -> Tensor:
        """Return a smooth loss of the features of a batch."""
        z_BD = self.network.encode({**self.others, **params}, self.buffers, x_BCHW, self.statistics)
        return z_BD.square().mean() + z_BD.sin().mean()

    def __call__(self, params: Tensors, support: Tensor, query: Tensor) -> Tensor:
        """Return the loss on the queries after a step."""
        slopes = grad(self.loss)(params, support)
        return self.loss({name: p - 0.1 * slopes[name] for name, p in params.items()}, query)


def test_nothing_is_overwritten() -> None:
    """No activation of torchvision's works in place, where a second derivative would miss it."""
    modules = Resnet18().module(Form(shape=(3, 32, 32), modality="image")).modules()
    assert {one.inplace for one in modules if isinstance(one, nn.ReLU)} == {False}


each_mode = pytest.mark.parametrize(
    ("encoder", "statistics", "grouped"),
    [
        (SMALL, "batch", False),
        (SMALL, 2, False),
        (SMALL, "batch", True),
        (Resnet18(), "batch", False),
    ],
    ids=["resnet12", "resnet12-by-first", "resnet12-group", "resnet18"],
)


@each_mode
def test_second_order_gradients_are_differences(
    encoder: AbstractEncoder, statistics: Statistics, grouped: bool
) -> None:
    """The gradient through a gradient step is the slope of the loss, along a random direction."""
    meta = Meta(encoder, statistics, grouped=grouped)
    size = sum(p.numel() for p in meta.params.values()) ** 0.5
    along = {name: torch.randn_like(p) / size for name, p in meta.params.items()}

    def value(step: float) -> Tensor:
        moved = {name: p + step * along[name] for name, p in meta.params.items()}
        return meta(moved, meta.support, meta.query)

    slopes = grad(meta)(meta.params, meta.support, meta.query)
    expected = (value(STEP) - value(-STEP)) / (2 * STEP)
    actual = sum((slopes[name] * along[name]).sum() for name in slopes)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


@each_mode
def test_second_order_gradients_of_tasks_at_once(
    encoder: AbstractEncoder, statistics: Statistics, grouped: bool
) -> None:
    """Under vmap, by which a GPU takes several tasks, a task's meta-gradient is its own."""
    meta = Meta(encoder, statistics, grouped=grouped)
    tasks = torch.stack([meta.support, meta.query]), torch.stack([meta.query, meta.support])
    step: Callable[..., Tensors] = grad(meta)
    together = vmap(step, in_dims=(None, 0, 0))(meta.params, *tasks)
    alone = step(meta.params, meta.query, meta.support)
    for name, slope in alone.items():
        torch.testing.assert_close(together[name][1], slope, rtol=1e-8, atol=1e-10)
