"""Where randomness enters: generators from named coordinates, and torch's default generator.

The default generator is seeded too, at every build and every step, because libraries draw from
it (module constructors, dropout, torchvision's transforms). This file alone may do so.
"""

import torch

from bench.seeds import Coordinate, derive


def generator(device: torch.device, *coordinates: Coordinate) -> torch.Generator:
    """Return a generator of its own for these coordinates."""
    return torch.Generator(device).manual_seed(derive(*coordinates))


def seed_default(*coordinates: Coordinate) -> None:
    """Seed torch's default generators (CPU and GPU) for one build or one step.

    ``torch.manual_seed`` does the same, but notes a stack trace for each GPU not yet in use.
    """
    seed = derive(*coordinates)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
