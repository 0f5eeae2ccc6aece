"""What a factorial table and its heat maps show of two crossed factors.

Shapes: G levels of the first factor, H levels of the second. Accuracies lie in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.report.headline import ACCURACY, Headline
from bench.statistics.interval import Interval

Effect = tuple[str, Interval | None, str]  # level, effect (None: the reference level), verdict


@dataclass(frozen=True, kw_only=True)
class FactorialView:
    """Two crossed factors in one setting: cell means, main effects, and the interaction.

    ``departure_GH`` is each cell's departure from the sum of the two main effects; ``certain_GH``
    says which of them are told from 0 after adjustment for all of these. A cell that lacks a
    variant or a seed is NaN everywhere.
    """

    title: str
    slug: str
    first: str
    second: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    accuracy_GH: np.ndarray
    headline: Headline = ACCURACY
    main_first: Sequence[Effect]
    main_second: Sequence[Effect]
    departure_GH: np.ndarray
    certain_GH: np.ndarray
