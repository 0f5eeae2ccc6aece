"""Pictures in files, as sources of images read them: upright, scaled, cropped to a square."""

from pathlib import Path

import numpy as np

from bench.errors import UserError

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_picture(file: Path, size: int, *, grey: bool, data: str) -> np.ndarray:
    """Return one image [C, size, size], upright; what is transparent becomes white.

    It is scaled (bilinear) and cropped around the centre; ``data`` is the source that asks.

    Raises:
        UserError: it cannot be read as an image of 8 bits a channel.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):
                raise OSError(f"its values are not of 8 bits, mode {image.mode}")
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            image = image.convert("L" if grey else "RGB")
            pixels = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        found = f"it cannot be read as an image ({error})"
        works = "Replace it with an image of 8 bits a channel, or remove it."
        raise UserError(f"data {data}: {file}", found, works) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
