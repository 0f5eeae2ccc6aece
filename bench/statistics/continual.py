"""What a stream of groups leaves: metrics of an accuracy matrix, as continual learning has them.

Shapes: M[..., t, j], both of T groups, is the accuracy on the queries of group j once group t has
been learned; t and j count from 1 in the text. What stands above the diagonal is never read: those
groups have not come yet, and NaN may stand there. Means are the same as those of Avalanche
(Lomonaco et al. 2021, arXiv 2104.00405; Carta et al. 2023, arXiv 2302.01766).
"""

import numpy as np


def average_accuracy(M: np.ndarray) -> np.ndarray:
    """Return [..., T]: after each group t, the mean of M[t, j] over the groups j <= t.

    The last is ACC of Lopez-Paz & Ranzato 2017 (arXiv 1706.08840, section 2) where the test is on
    all groups; A_k of Chaudhry et al. 2018 (arXiv 1801.10112, section 3).
    """
    T = _groups(M)
    met_TT = np.tri(T, dtype=bool)
    return np.asarray(np.where(met_TT, M, 0.0).sum(-1) / np.arange(1, T + 1))


def forgetting(M: np.ndarray) -> np.ndarray:
    """Return [...]: the mean over the groups j < T of M[j, j] - M[T, j]; below 0 is a gain.

    What was known of a group just after it was learned, less what is at the end: Avalanche's
    StreamForgetting after the last group, which leaves the last group out, since it has had no
    time to be forgotten. Chaudhry et al. 2018 (arXiv 1801.10112, eq. 3) take the best accuracy
    before the end in the place of the first, which can only be more; Avalanche's and this do not.
    0 for a stream of one group, of which nothing can be forgotten.
    """
    T = _groups(M)
    if T == 1:
        return np.zeros(M.shape[:-2])
    first, last = np.diagonal(M, axis1=-2, axis2=-1), M[..., -1, :]
    return np.asarray((first - last)[..., :-1].mean(-1))


def backward_transfer(M: np.ndarray) -> np.ndarray:
    """Return [...]: the mean over the groups j < T of M[T, j] - M[j, j]; above 0 is a gain.

    BWT of Lopez-Paz & Ranzato 2017 (arXiv 1706.08840, eq. 3), and Avalanche's StreamBWT after the
    last group: minus ``forgetting``.
    """
    return 0.0 - forgetting(M)


def learning_accuracy(M: np.ndarray) -> np.ndarray:
    """Return [...]: the mean of M[j, j], the accuracy on each group just after it was learned.

    It tells what does not learn from what forgets (Riemer et al. 2019, arXiv 1810.11910, where it
    is LA): who learns nothing forgets nothing.
    """
    _groups(M)
    return np.asarray(np.diagonal(M, axis1=-2, axis2=-1).mean(-1))


def _groups(M: np.ndarray) -> int:
    """Return T of [..., T, T]."""
    if M.ndim < 2 or M.shape[-1] != M.shape[-2] or not M.shape[-1]:
        raise ValueError(f"a matrix of T x T accuracies is needed, not {list(M.shape)}")
    return int(M.shape[-1])
