"""How often a task takes two examples, or clusters, of one true class for two classes.

Tasks without labels guess what a class is. Of w examples drawn without replacement from classes of
n_1, n_2, ... examples, all are of different classes with probability e_w(n) / C(sum n, w), where
e_w is the elementary symmetric polynomial: the coefficient of x^w in the product of 1 + n_i x.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import comb

from bench.variant import Variant


@cache
def probability(counts: tuple[int, ...], ways: int) -> float:
    """Return how probably at least two of ``ways`` examples are of one class."""
    different = [1] + [0] * ways  # coefficients of the product so far
    for count in counts:
        for degree in range(ways, 0, -1):
            different[degree] += count * different[degree - 1]
    return float(1 - Fraction(different[ways], comb(sum(counts), ways)))


def planned(variant: Variant, ways: int) -> float | None:
    """Return how probably two ways of a task are of one true class; None where labels tell.

    Of clusters it is that of pure ones, spread evenly over the classes; None too where they are
    fewer than the classes, since then they cannot all be pure.
    """
    from bench.contract import AbstractTasks

    tasks, counts = variant.plugins.get("tasks"), variant.facts.counts["train"]
    if not isinstance(tasks, AbstractTasks) or not tasks.guesses_classes:
        return None
    if variant.clustered:
        if variant.clustered.k < len(counts):
            return None
        each, more = divmod(variant.clustered.k, len(counts))
        counts = (each + 1,) * more + (each,) * (len(counts) - more)
    return probability(counts, ways) if ways <= sum(counts) else None


def warnings(variants: Sequence[Variant], shots: int) -> list[str]:
    """Say for every variant that guesses classes how often it is planned to be wrong."""
    lines = []
    for one in variants:
        ways = one.task_shape(shots).ways if "tasks" in one.plugins else 0
        found = None if one.beside else planned(one, ways)
        if found is not None:
            lines.append(f"{one.label}: {_told(one, ways, found)}")
        elif one.clustered and not one.beside:
            lines.append(f"{one.label}: {_mixed(one, one.clustered.k)}")
    return lines


def _mixed(variant: Variant, k: int) -> str:
    classes = len(variant.facts.counts["train"])
    return f"{k} clusters for {classes} training classes: they cannot all be pure"


def _told(variant: Variant, ways: int, found: float) -> str:
    what = "clusters" if variant.clustered else "examples"
    said = f"two of a task's {ways} {what} are of one true class with probability {found:.3g}"
    classes = f"{len(variant.facts.counts['train'])} training classes"
    if variant.clustered is None:
        return f"{said} ({classes})"
    return f"{said} if all {variant.clustered.k} are pure, and spread evenly over the {classes}"
