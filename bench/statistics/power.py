"""What numbers of seeds can tell apart."""

import math

from scipy import special  # not scipy.stats: it fails where torch cannot be imported

ASSUMED_SEED_SD = 0.008  # 0.8 points: a few-shot model's accuracy from seed to seed


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
