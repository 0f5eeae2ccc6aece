"""Patches cut out of images, as pretext tasks about the places of patches look at them.

And the same of series: windows, how they are drawn out to a length, and how they lose their level.

Shapes: B images or series, C channels, H height, W width, P side of a patch in pixels; T steps of
a series, P steps of a window.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

FLAT = 1e-3  # of a series' deviation, that of a window which shows nothing


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


def window(x_BCT: Tensor, cell_B: Tensor, *, cells: int, spare: float, rng: Generator) -> Tensor:
    """Cut a window [B, C, P] from one of the equal cells of each series, at a random place in it.

    As with patches, the share ``spare`` of a cell is left out, and half of it, at most, lies before
    the window. Where the cells do not divide a series, steps between two of them are in none.
    """
    length = x_BCT.shape[2]
    side = length // cells
    width = side - round(spare * side)
    jitter_B = torch.randint(
        (side - width) // 2 + 1, cell_B.shape, generator=rng, device=x_BCT.device
    )
    steps_P = torch.arange(width, device=x_BCT.device)
    return steps_of(x_BCT, (cell_B * length // cells + jitter_B).unsqueeze(1) + steps_P)


def steps_of(x_BCT: Tensor, step_BP: Tensor) -> Tensor:
    """Return some steps [B, C, P] of each series, in the order given; channels stay together."""
    return x_BCT.gather(2, step_BP.unsqueeze(1).expand(-1, x_BCT.shape[1], -1))


def drawn_out(x_BCP: Tensor, length: int) -> Tensor:
    """Resize windows to [B, C, length], linearly; a step is a stretch of time, not a point."""
    return F.interpolate(x_BCP, length, mode="linear", align_corners=False)


def standardised(x_BCP: Tensor, whole_BCT: Tensor) -> Tensor:
    """Give windows mean 0 and deviation 1, in each channel; those that are flat remain so.

    Flat is what moves by a thousandth of its series' deviation or less: it is rounding, or close.
    """
    deviation = x_BCP.std(2, keepdim=True, correction=0)
    least = FLAT * whole_BCT.std(2, keepdim=True, correction=0)
    centred = x_BCP - x_BCP.mean(2, keepdim=True)
    return torch.where(deviation > least, centred / deviation, torch.zeros_like(centred))
