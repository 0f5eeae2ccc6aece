"""What it costs to hand every freed page back: one Conv4 training step, with and without.

    python benchmarks/allocator.py

Prints the median CPU seconds of a forward and backward pass in two fresh processes that differ
in glibc's thresholds alone, and their ratio (see ``bench/stages/place.py``).
"""

import subprocess
import sys
import time

import torch

from bench.encoder.conv4 import Conv4
from bench.form import Form
from bench.stages import place

BATCHES = ((400, (1, 28, 28), 32), (75, (3, 32, 32), 64), (400, (3, 32, 32), 64))


def seconds(size: int, shape: tuple[int, int, int], width: int) -> float:
    """Return the median CPU seconds of nine passes over a batch."""
    encoder = (
        Conv4(width=width)
        .module(Form(shape=shape, modality="image"))
        .to(memory_format=torch.channels_last)
    )
    x = torch.rand(size, *shape).contiguous(memory_format=torch.channels_last)
    taken = []
    for _ in range(10):
        start = time.process_time()
        encoder(x).square().sum().backward()
        taken.append(time.process_time() - start)
    return sorted(taken[1:])[4]


def measure(keep: bool) -> list[float]:
    """Measure every batch in a process of its own."""
    command = [sys.executable, __file__, "keep" if keep else "free"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return [float(line) for line in lines]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        if sys.argv[1] == "keep":
            place._keep_memory()
        for batch in BATCHES:
            print(seconds(*batch))
    else:
        freed, kept = measure(keep=False), measure(keep=True)
        for (size, shape, width), before, after in zip(BATCHES, freed, kept, strict=True):
            print(
                f"{size} of {shape}, width {width}: {before:.3f} s freed, {after:.3f} s kept,"
                f" {before / after:.2f}x"
            )
