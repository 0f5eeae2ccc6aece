"""Images: how they are read, shown and compared.

Shapes: N or B images, C channels, H height, W width.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image as Picture
from torch import Generator, Tensor

from bench.contract import AbstractModality, Form

THUMBNAIL = 96  # pixels, the longest side of a shown image


@dataclass(frozen=True, kw_only=True)
class Image(AbstractModality):
    """Images of 256 levels, stored as uint8 [N, C, H, W]; encoders see floats in [0, 1]."""

    reference: ClassVar[str] = "doi:10.1109/ICIP.2000.899541"
    stored: ClassVar[Literal["uint8", "float32", "int32"]] = "uint8"
    unlike: ClassVar[str] = (
        "Take images of one size and one number of channels: image_folder has size and grey, "
        "fashion_mnist size and channels."
    )
    forms: ClassVar[tuple[Form, ...]] = tuple(
        Form(shape=shape, modality="image")
        for shape in ((3, 20, 20), (1, 20, 20), (3, 32, 32), (1, 28, 28), (3, 84, 84))
    )

    def inputs(self, stored: Tensor) -> Tensor:
        """Return levels as floats in [0, 1]."""
        return stored.to(torch.get_default_dtype()) / 255

    def allows(self, x: Tensor, form: Form) -> str | None:
        """Return why these are no images: values outside [0, 1]."""
        inside = not len(x) or (x.min() >= 0 and x.max() <= 1)
        return None if inside else f"values reach from {x.min():.3g} to {x.max():.3g}, not 0 to 1"

    def altered(self, x: Tensor, form: Form) -> Tensor:
        """Return negatives."""
        return 1 - x

    def looks(self, examples: np.ndarray) -> np.ndarray | None:
        """Return the 64-bit perceptual hash (DCT, ``imagehash``) of images of 1 or 3 channels."""
        import imagehash

        if examples.ndim != 4 or examples.shape[1] not in (1, 3):
            return None
        hashes = np.empty((len(examples), 8), np.uint8)
        for number, one in enumerate(examples):
            hashes[number] = np.packbits(imagehash.phash(_picture(one).convert("L")).hash)
        return hashes.view(np.uint64)[:, 0].copy()

    def blank(self, examples: np.ndarray) -> np.ndarray:
        """Say of each image whether it is of one colour."""
        channels = examples.reshape(*examples.shape[:2], -1)
        found: np.ndarray = (channels == channels[:, :, :1]).all((1, 2))
        return found

    def apart(self, one: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the mean difference over pixels, in [0, 255]."""
        away = np.abs(others.astype(np.int16) - one.astype(np.int16))
        found: np.ndarray = away.reshape(len(others), -1).mean(1)
        return found

    def sheet(self, examples: Sequence[np.ndarray], form: Form) -> bytes:
        """Return images in a row, no larger than THUMBNAIL each, white gaps between them."""
        thumbnails = [_picture(one) for one in examples]
        for one in thumbnails:
            one.thumbnail((THUMBNAIL, THUMBNAIL))
        width, height = thumbnails[0].size
        gap = max(2, width // 14)
        across = len(thumbnails) * (width + gap) - gap
        sheet = Picture.new("RGB", (across, height), "white")
        for number, one in enumerate(thumbnails):
            sheet.paste(one, (number * (width + gap), 0))
        buffer = io.BytesIO()
        sheet.save(buffer, "png")
        return buffer.getvalue()

    def made(self, form: Form, count: int, rng: Generator) -> Tensor:
        """Make up images [count, C, H, W] in [0, 1]: a ramp of its own slope under noise, each."""
        noise = torch.rand(count, *form.shape, generator=rng, dtype=torch.float64)
        ramp = torch.linspace(0, 1, form.shape[-1], dtype=torch.float64)
        tilt = torch.rand(count, 1, 1, 1, generator=rng, dtype=torch.float64)
        return (0.4 * noise + 0.6 * tilt * ramp).to(torch.get_default_dtype())


def _picture(image_CHW: np.ndarray) -> Picture.Image:
    if len(image_CHW) == 1:
        return Picture.fromarray(image_CHW[0])
    return Picture.fromarray(np.ascontiguousarray(image_CHW.transpose(1, 2, 0)))
