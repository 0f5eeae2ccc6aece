"""What is drawn as PNG, and back: few colours, no date, no version of what wrote it."""

import io

import numpy as np
from PIL import Image

MOST_BYTES = 300_000  # of a PNG
PACKING = ((256, 6), (256, 9), (32, 9))  # colours and level; 9: a tenth smaller, ten times slower


def packed(drawn_HWC: np.ndarray) -> bytes:
    """Return what was drawn, uint8 [height, width, 3 or 4], as the bytes of a PNG.

    256 colours lose nothing in any figure so far; a large one is packed harder, then has fewer.
    """
    image, content = Image.fromarray(drawn_HWC).convert("RGB"), b""
    for colours, level in PACKING:
        buffer = io.BytesIO()
        few = image.quantize(colours, dither=Image.Dither.NONE)
        few.save(buffer, format="png", compress_level=level)
        content = buffer.getvalue()
        if len(content) < MOST_BYTES:
            break
    return content


def unpacked(content: bytes) -> np.ndarray:
    """Return what a PNG shows, as uint8 [height, width], or with colours."""
    return np.asarray(Image.open(io.BytesIO(content)))
