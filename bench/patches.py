"""Patches cut out of images, as pretext tasks about the places of patches look at them.

Shapes: B images, C channels, H height, W width, P side of a patch in pixels.
"""

import torch
from torch import Generator, Tensor


def jittered(
    x_BCHW: Tensor, cell_B2: Tensor, *, cells: int, spare: float, rng: Generator
) -> Tensor:
    """Cut a square patch [B, C, P, P] from one cell of each image, at a random place within it.

    Images have ``cells`` x ``cells`` square cells; ``cell_B2`` is (row, column). The share
    ``spare`` of a cell's side is left out; half of it, at most, lies before the patch, so that
    patches of two neighbours always have a gap between them.
    """
    side = min(x_BCHW.shape[-2:]) // cells
    patch = side - round(spare * side)
    jitter = torch.randint(  # half of what is spare, so that a gap always remains
        (side - patch) // 2 + 1, cell_B2.shape, generator=rng, device=x_BCHW.device
    )
    corner_B2 = cell_B2 * side + jitter
    steps_P = torch.arange(patch, device=x_BCHW.device)
    rows_BP1 = (corner_B2[:, :1] + steps_P).unsqueeze(2)
    columns_B1P = (corner_B2[:, 1:] + steps_P).unsqueeze(1)
    images_B11 = torch.arange(len(x_BCHW), device=x_BCHW.device)[:, None, None]
    return x_BCHW[images_B11, :, rows_BP1, columns_B1P].permute(0, 3, 1, 2)
