"""All pairs of several means at once: below which p-value a single pair is worth a claim.

The best of K means is chosen by the data, so that its difference to any other is one of all K (K - 1) / 2 that could
have been looked at.  The largest of the studentised differences of all pairs has a distribution that depends on how the
means vary together.  A bootstrap with Gaussian multipliers (Chernozhukov, Chetverikov and Kato 2013) draws from it: its
draws are normal with the covariance of the means, so that the rows need not be drawn again.
"""

import math

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

DRAWS = 999
"""One draw more, the sample's own, makes a thousand: of these the largest 5 % are a whole number."""
_NOTHING = 1e-12
"""Below this share of their own variances the variance of a difference is rounding: the two means are one."""


def pair_level(covariance: Numbers, seed: int, level: float = 0.05) -> float:
    """Return the level of a single pair at which some pair of equal means is significant with probability `level`.

    `covariance` is that of the K means.  It is never below Bonferroni's, `level` over the number of pairs.

    >>> pair_level(np.array([[2.0, 1.0], [1.0, 2.0]]), seed=0) > 0.04, round(pair_level(np.eye(20), seed=0), 4)
    (True, 0.0004)
    """
    spread = np.diag(covariance)
    variances = spread[:, None] + spread[None, :] - 2.0 * covariance
    differ = variances > _NOTHING * (spread[:, None] + spread[None, :])
    pairs = int(np.count_nonzero(np.triu(differ, 1)))
    if pairs == 0:
        return level
    scales = differ / np.sqrt(np.where(differ, variances, 1.0))
    draws = np.random.default_rng(seed).standard_normal((DRAWS, len(covariance))) @ square_root(covariance)
    largest = np.sort(_largest(draws, scales))
    reached = float(largest[math.ceil((1.0 - level) * (DRAWS + 1)) - 1])
    return max(math.erfc(reached / math.sqrt(2.0)), level / pairs)


def square_root(covariance: Numbers) -> Numbers:
    """Return the matrix that turns independent normal numbers, [draws, K] @ it, into ones of this covariance."""
    variances, axes = np.linalg.eigh(covariance)
    return np.asarray(np.sqrt(np.maximum(variances, 0.0))[:, None] * axes.T)


def _largest(draws: Numbers, scales: Numbers) -> Numbers:
    """Return the largest studentised difference of each draw."""
    found = np.zeros(len(draws))
    for one in range(draws.shape[1] - 1):
        away = np.abs(draws[:, one + 1 :] - draws[:, one, None])
        away *= scales[one, one + 1 :]
        np.maximum(found, away.max(axis=1), out=found)
    return found
