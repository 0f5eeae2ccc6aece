"""Intervals over new seeds and new episodes, of accuracies and of paired differences.

Shapes: S seeds, E test episodes; every variant meets the same episodes with every seed.
Accuracies and differences lie in [-1, 1]; a variance here is always that of a mean.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special  # not scipy.stats: it fails where torch cannot be imported

ROUNDING = 1e-12  # an answer that differs, one of 10,000 x 75 x 20, moves a standard error by 7e-8


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval, and the two-sided p of "the mean is 0".

    ``one_model`` says that it speaks of episodes alone: with one seed nothing is known about
    other seeds, and there is no p. Nor is there one without any variance, but for identical rows.
    """

    mean: float
    low: float
    high: float
    se: float
    p: float | None
    seeds: int
    one_model: bool = False

    @property
    def without_variance(self) -> bool:
        """Whether the standard error is 0 up to rounding: a coincidence, or identical rows.

        Seeds that agree to the last answer say nothing of how far the mean may be off.
        """
        return self.se <= ROUNDING

    @property
    def opposite(self) -> "Interval":
        """The interval of the difference the other way round."""
        return replace(self, mean=-self.mean, low=-self.high, high=-self.low)

    @property
    def identical(self) -> bool:
        """Whether every single difference was 0, so that both rows are the same numbers."""
        return self.without_variance and self.p is not None


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
    p = None if a_SE.any() else 1.0
    if se > ROUNDING:
        p = float(2 * special.stdtr(S - 1, -abs(mean) / se))
    return Interval(mean=mean, low=mean - reach, high=mean + reach, se=se, p=p, seeds=S)


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
