"""Methods over several data sets: what holds from one to another, and from how many on.

Shapes: B blocks, which are data sets (shots of one model are not independent), M methods, S seeds.
Blocks are complete: a method that misses one has no aggregate, so nothing is averaged over what
happens to be there. Inference is to other data sets of this kind, if these are a sample of them.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special  # not scipy.stats: it fails where torch cannot be imported

from bench.late import imported
from bench.statistics.interval import ROUNDING
from bench.statistics.verdict import Verdict, flipped, holm


@dataclass(frozen=True, kw_only=True)
class Tally:
    """In how many blocks a method is better, neither, and worse."""

    win: int
    tie: int
    loss: int


def win_tie_loss(verdicts: Iterable[Verdict]) -> Tally:
    """Count verdicts, one a block; a tie is whatever is neither better nor worse."""
    found = Counter(verdicts)
    return Tally(
        win=found["better"], tie=found["equivalent"] + found["undecided"], loss=found["worse"]
    )


@dataclass(frozen=True, kw_only=True)
class BlockMean:
    """A mean over blocks; with one block there is no interval over others, and no p.

    Nor are there where all blocks agree exactly.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    blocks: int


def mean_difference(d_B: np.ndarray, level: float = 0.95) -> BlockMean:
    """Average the paired differences of B >= 1 blocks; mean +- t(B - 1) sd / sqrt(B).

    Each block counts once, whatever its own interval (Student 1908). Blocks' own seeds and
    episodes are in how far the d_B scatter.
    """
    B, mean = len(d_B), float(_complete(d_B).mean())
    se = float(d_B.std(ddof=1)) / B**0.5 if B > 1 else 0.0
    if se <= ROUNDING:
        return BlockMean(mean=mean, low=None, high=None, p=None, blocks=B)
    reach = float(special.stdtrit(B - 1, (1 + level) / 2)) * se
    p = float(2 * special.stdtr(B - 1, -abs(mean) / se))
    return BlockMean(mean=mean, low=mean - reach, high=mean + reach, p=p, blocks=B)


def mean_ranks(a_MB: np.ndarray) -> np.ndarray:
    """Return r_M: each method's rank in a block, 1 for the highest, averaged over blocks.

    Methods that are equal in a block share the average of their ranks.
    """
    ranks_MB = imported("scipy.stats").rankdata(-_complete(a_MB), axis=0)
    return np.asarray(ranks_MB.mean(1))


def signed_rank(d_B: np.ndarray) -> float:
    """Give the exact two-sided p of Wilcoxon's signed-rank test (1945, doi:10.2307/3001968).

    Blocks with a difference of 0 are dropped, equal sizes share their average rank; the rank sum
    is compared with all changes of its signs, so that ties are exact, too. Without blocks 1.
    """
    d_B = _complete(d_B)[d_B != 0]
    return flipped(np.sign(d_B) * imported("scipy.stats").rankdata(abs(d_B)))


@dataclass(frozen=True, kw_only=True)
class CriticalDifference:
    """What a critical-difference diagram shows: mean ranks, and who cannot be told from whom.

    ``p_holm`` is keyed by pairs (i, j) of methods, i < j. A clique lists two or more methods that
    are neighbours in rank, none of which differs from another; no clique lies within another.
    """

    ranks: tuple[float, ...]
    p_holm: Mapping[tuple[int, int], float]
    cliques: tuple[tuple[int, ...], ...]


def critical_difference(a_MB: np.ndarray, level: float = 0.05) -> CriticalDifference | None:
    """Compare all pairs of M methods over B blocks, by exact Wilcoxon tests and Holm.

    None ("not attainable") unless 2^(1 - B), the smallest p there is, is at most level / number
    of pairs: seven blocks for three methods. The form is that of Demsar 2006; not Nemenyi's test,
    whose verdict on a pair depends on the other methods (Benavoli et al. 2016, arXiv 1505.02288).
    """
    M, B = a_MB.shape
    pairs = list(itertools.combinations(range(M), 2))
    if not pairs or 2 ** (B - 1) * level < len(pairs):
        return None
    p = holm([signed_rank(a_MB[i] - a_MB[j]) for i, j in pairs])
    ranks, p_holm = mean_ranks(a_MB), dict(zip(pairs, p, strict=True))
    order = [int(method) for method in np.argsort(ranks, kind="stable")]
    return CriticalDifference(
        ranks=tuple(map(float, ranks)), p_holm=p_holm, cliques=_cliques(order, p_holm, level)
    )


def _cliques(
    order: Sequence[int], p_holm: Mapping[tuple[int, int], float], level: float
) -> tuple[tuple[int, ...], ...]:
    """Return the maximal runs of the order in which no pair differs."""
    found: list[tuple[int, ...]] = []
    reached = 0  # the end of the last run: one that ends no later lies within it
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and all(
            p_holm[min(one, order[end]), max(one, order[end])] >= level for one in order[start:end]
        ):
            end += 1
        if end > max(reached, start + 1):
            found.append(tuple(order[start:end]))
            reached = end
    return tuple(found)


def _complete(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("a block is missing: an aggregate over the others would be of them alone")
    return values
