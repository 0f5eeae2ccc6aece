"""The statistics of a comparison: crossed intervals, p-values, verdicts, power. Pure functions.

Shapes: S seeds, E test episodes; every variant meets the same episodes with every seed.
Accuracies and differences lie in [-1, 1]; a variance here is always that of a mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special  # not scipy.stats: it fails where torch cannot be imported

Verdict = Literal["better", "equivalent", "worse", "undecided"]
ASSUMED_SEED_SD = 0.008  # 0.8 points: a few-shot model's accuracy from seed to seed


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval, and the two-sided p of "the mean is 0".

    ``one_model`` says that it speaks of episodes alone: with one seed nothing is known about
    other seeds, and there is no p.
    """

    mean: float
    low: float
    high: float
    se: float
    p: float | None
    seeds: int
    one_model: bool = False


@dataclass(frozen=True, kw_only=True)
class Variances:
    """What seeds, episodes, and their interaction add to the variance of a mean over S x E."""

    seeds: float
    episodes: float
    residual: float

    @property
    def shared(self) -> float:
        """The part that every seed shares, which more seeds do not make smaller."""
        return max(self.episodes - self.residual, 0.0)


def variances(a_SE: np.ndarray) -> Variances:
    """Split the variance of the grand mean of [S, E]; S and E are at least 2.

    V_s = var(row means) / S, V_e = var(column means) / E, V_r = var(residuals of the additive
    fit) / (S E), on (S - 1)(E - 1) degrees of freedom: the two-way random-effects layout.
    """
    S, E = a_SE.shape
    rows_S, columns_E = a_SE.mean(1), a_SE.mean(0)
    residual_SE = a_SE - rows_S[:, None] - columns_E[None, :] + a_SE.mean()
    return Variances(
        seeds=float(rows_S.var(ddof=1)) / S,
        episodes=float(columns_E.var(ddof=1)) / E,
        residual=float((residual_SE**2).sum()) / ((S - 1) * (E - 1)) / (S * E),
    )


def crossed_interval(a_SE: np.ndarray, level: float = 0.95) -> Interval:
    """Give the mean of [S, E], E >= 2, an interval over new seeds and new episodes.

    SE^2 = max(V_s + V_e - V_r, V_s); mean +- t(S - 1) SE. One seed: see ``one_model_interval``.
    The same for accuracies and for paired differences. Pooling all S x E as independent calls a
    true null different 63 % of the time.
    """
    S = len(a_SE)
    if S == 1:
        return one_model_interval(a_SE[0], level)
    parts = variances(a_SE)
    se = float(np.sqrt(parts.seeds + parts.shared))
    mean = float(a_SE.mean())
    reach = float(special.stdtrit(S - 1, (1 + level) / 2)) * se
    return Interval(
        mean=mean, low=mean - reach, high=mean + reach, se=se, p=_two_sided(mean, se, S), seeds=S
    )


def _two_sided(mean: float, se: float, seeds: int) -> float:
    if se == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * special.stdtr(seeds - 1, -abs(mean) / se))


def one_model_interval(a_E: np.ndarray, level: float = 0.95) -> Interval:
    """Give the customary mean +- 1.96 sd / sqrt(E) over the episodes of one model.

    It says nothing about other seeds: as a test between methods it is wrong 42 % of the time.
    """
    mean, se = float(a_E.mean()), float(a_E.std(ddof=1) / np.sqrt(len(a_E)))
    reach = float(special.ndtri((1 + level) / 2)) * se
    return Interval(
        mean=mean, low=mean - reach, high=mean + reach, se=se, p=None, seeds=1, one_model=True
    )


def paired_difference(a_SE: np.ndarray, reference_SE: np.ndarray, level: float = 0.95) -> Interval:
    """Compare two variants on the same seeds and episodes: the crossed interval of a - reference.

    Raises:
        ValueError: the shapes differ, so that nothing is paired.
    """
    if a_SE.shape != reference_SE.shape:
        raise ValueError(f"{a_SE.shape} and {reference_SE.shape} are not paired")
    return crossed_interval(a_SE - reference_SE, level)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family so that any false verdict at all has the nominal rate.

    Step-down: the i-th smallest (from 0) of m times (m - i), never below an earlier one, at most
    1 (Holm 1979, doi:10.2307/4615733).
    """
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, position in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[position]))
        adjusted[position] = highest
    return adjusted


def verdict(
    difference: Interval, p_adjusted: float | None, margin: float, level: float = 0.05
) -> Verdict:
    """Judge a paired difference; ``margin`` in [0, 1] is what counts as practically equal.

    Equivalent if the interval lies within +- margin; else better or worse if it excludes 0 and
    the adjusted p is below ``level``; else undecided, as is every comparison of one seed.
    """
    if difference.one_model or p_adjusted is None:
        return "undecided"
    if -margin <= difference.low and difference.high <= margin:
        return "equivalent"
    if p_adjusted < level and difference.low > 0:
        return "better"
    return "worse" if p_adjusted < level and difference.high < 0 else "undecided"


def sign_flip(d_S: np.ndarray) -> float | None:
    """Exact two-sided p of per-seed mean differences under all 2^S changes of their signs.

    None ("not attainable") below six seeds: the smallest p there is, 2^(1 - S), exceeds .05.
    Both halves' signed sums are listed and met in the middle, so that S = 30 takes no time.
    """
    S = len(d_S)
    if S < 6:
        return None
    left, right = _signed_sums(d_S[: S // 2]), np.sort(_signed_sums(d_S[S // 2 :]))
    observed = abs(float(d_S.sum())) * (1 - 1e-12) - 1e-15  # a tie is as extreme, whatever rounds
    above = len(right) - np.searchsorted(right, observed - left, side="left")
    below = np.searchsorted(right, -observed - left, side="right")
    return min(1.0, float((above + below).sum()) / 2.0**S)


def _signed_sums(d_S: np.ndarray) -> np.ndarray:
    sums = np.zeros(1)
    for d in d_S:
        sums = np.concatenate([sums + d, sums - d])
    return sums


def detectable_difference(
    sd: float, seeds: int, *, shared: float = 0.0, power: float = 0.8, level: float = 0.05
) -> float | None:
    """Give the smallest true difference that a two-sided t over ``seeds`` finds with ``power``.

    ``sd`` is that of the per-seed paired differences, ``shared`` the variance that seeds have in
    common. Power is that of the noncentral t with seeds - 1 degrees of freedom, before Holm.
    None with one seed, which detects nothing.
    """
    if seeds < 2:
        return None
    se = math.sqrt(sd**2 / seeds + shared)
    critical = special.stdtrit(seeds - 1, 1 - level / 2)
    # The effect, in standard errors, of which 1 - power stays below; the far tail is nil.
    return se * float(special.nctdtrinc(seeds - 1, 1 - power, critical))
