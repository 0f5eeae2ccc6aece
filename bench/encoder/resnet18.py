"""torchvision's ResNet-18 without its classifier, and without its stem where images are small.

He et al. (2016), arXiv:1512.03385. Weights start at random: none is downloaded.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bench.contract import AbstractEncoder, Form, Setting

SMALL = 64  # pixels; below it the stem of ImageNet would leave a map of 1 or 2 pixels a side


@dataclass(frozen=True, kw_only=True)
class Resnet18(AbstractEncoder):
    """Eight residual blocks of two 3x3 convolutions in four stages, averaged to 512 features.

    Images with a side below 64 pixels meet a 3x3 convolution of stride 1 and no max-pooling
    first, as in SimCLR on CIFAR-10 (arXiv:2002.05709, appendix B.9); larger ones torchvision's
    own 7x7 of stride 2 and max-pooling. Grey images have one input channel.
    """

    reference: ClassVar[str] = "arXiv:1512.03385"
    modalities: ClassVar[tuple[str, ...] | None] = ("image",)

    def declines(self, setting: Setting) -> str | None:
        """Three stages halve the sides: at 16 x 16 the last sees 2 x 2."""
        if min(setting.form.shape[1:]) < 16:
            return f"resnet18 needs images of at least 16 x 16, not {setting.form.shape}"
        return None

    def module(self, form: Form) -> nn.Module:
        """Return a module from [B, C, H, W] to [B, 512]."""
        from torchvision.models import resnet18

        network: nn.Module = resnet18(weights=None)
        network.fc = nn.Identity()
        channels = form.shape[0]
        if min(form.shape[1:]) < SMALL:
            network.conv1 = _convolution(channels, size=3, stride=1)
            network.maxpool = nn.Identity()
        elif channels != 3:
            network.conv1 = _convolution(channels, size=7, stride=2)
        for module in network.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # what is differentiated twice is not overwritten
        return network


def _convolution(channels: int, *, size: int, stride: int) -> nn.Conv2d:
    """Return a first convolution to 64 channels, with the first weights torchvision gives it."""
    made = nn.Conv2d(channels, 64, size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made
