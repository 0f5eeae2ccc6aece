"""What numbers of seeds and episodes can tell apart, and what more of them would buy."""

import math
from dataclasses import dataclass

from scipy import special  # not scipy.stats: it fails where torch cannot be imported

from bench.statistics.interval import Variances

ASSUMED_SEED_SD = 0.008  # 0.8 points: a few-shot model's accuracy from seed to seed


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances of a single seed, of a single episode, and of one seed on one episode.

    ``Variances`` are those of means over the S x E that were run; these foretell other numbers.
    """

    seed: float
    episode: float
    residual: float


def components(parts: Variances, seeds: int, episodes: int) -> Components:
    """Estimate the components from a run of ``seeds`` x ``episodes``, none below 0.

    By expected mean squares of the two-way random layout (Searle, Casella, McCulloch 1992,
    chapter 4): sigma_seed^2 = S (V_s - V_r), sigma_episode^2 = E (V_e - V_r),
    sigma_residual^2 = S E V_r.
    """
    return Components(
        seed=seeds * max(parts.seeds - parts.residual, 0.0),
        episode=episodes * parts.shared,
        residual=seeds * episodes * parts.residual,
    )


def predicted_se(found: Components, seeds: int, episodes: int) -> float:
    """Foretell the standard error of a mean over other numbers of seeds and episodes.

    SE^2 = sigma_seed^2 / S + sigma_residual^2 / (S E) + sigma_episode^2 / E, in the data's unit.
    """
    return math.sqrt(
        found.seed / seeds + found.residual / (seeds * episodes) + found.episode / episodes
    )


def share_of_episodes(found: Components, seeds: int, episodes: int) -> float:
    """Say which share (0 to 1) of the variance of the mean more episodes would remove.

    The rest, sigma_seed^2 / S, only more seeds make smaller. Without any variance it is 0.
    """
    removed = found.residual / (seeds * episodes) + found.episode / episodes
    return removed / (found.seed / seeds + removed) if removed else 0.0


def power_of(difference: float, se: float, seeds: int, level: float = 0.05) -> float:
    """Give the chance that a two-sided t(seeds - 1) finds a true difference; at least 2 seeds.

    By the noncentral t at difference / se, both tails, before Holm. With a part that all seeds
    share it is an approximation: its error is smaller than t(seeds - 1) allows for.
    """
    if se == 0:
        return 1.0 if difference else 0.0
    effect, freedom = abs(difference) / se, seeds - 1
    critical = special.stdtrit(freedom, 1 - level / 2)
    return 1 - _below(critical, freedom, effect) + _below(-critical, freedom, effect)


def _below(t: float, freedom: int, effect: float) -> float:
    """Give the distribution function of the noncentral t; scipy has nan where it vanishes."""
    below = float(special.nctdtr(freedom, effect, t))
    return 0.0 if math.isnan(below) else below


def seeds_needed(
    difference: float,
    found: Components,
    episodes: int,
    *,
    power: float = 0.8,
    level: float = 0.05,
    most: int = 100,
) -> int | None:
    """Give the least number of seeds that finds a true difference of this size with ``power``.

    ``episodes`` is the number that each would be tested on. None if more than ``most`` were
    needed, as where what seeds share is too large for any number of them.
    """
    for seeds in range(2, most + 1):
        if power_of(difference, predicted_se(found, seeds, episodes), seeds, level) >= power:
            return seeds
    return None


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
