"""How far a mean may be off: the spread of what its independent units (rows, or groups of rows) contribute.

The mean is sum(w x) / sum(w) over rows.  Rows of one group may depend on each other in any way; groups are taken to be
drawn independently.  The variance is that of the jackknife, which leaves out one unit at a time (Tukey 1958; for groups
CV3 of MacKinnon, Nielsen and Webb 2023): of G groups of equal weight it is the plain cluster-robust variance with the
factor G / (G - 1), and of n single rows of equal weight s^2 / n.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from milepost.errors import UsageError

Numbers = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Spread:
    """What `units` (rows; groups of rows where `grouped`) say of how far their mean may be off.

    `rows` and `effective_units` are the numbers of rows and units of equal weight that they amount to: the square of
    the sum of weights / the sum of their squares (Kish 1965).  `variance` and `skewness` are those of the mean.
    `effective_n` is the number of independent rows of equal weight whose mean has this variance, at most `rows`.
    """

    units: int
    rows: float
    effective_units: float
    variance: float
    skewness: float
    effective_n: float
    grouped: bool

    @classmethod
    def of(cls, values: Numbers, weights: Numbers | None = None, groups: Index | None = None) -> "Spread":
        """Return the spread of rows in memory: values, weights above 0, and the number from 0 of each row's group.

        Raises UsageError for fewer than two units.

        >>> spread = Spread.of(np.array([0.0, 0.0, 1.0, 1.0]), groups=np.array([0, 0, 1, 1]))
        >>> spread.units, spread.variance, spread.effective_n
        (2, 0.25, 1.3333333333333333)
        """
        weight = np.ones(len(values)) if weights is None else weights
        total = math.fsum(weight)
        away = values - math.fsum(values * weight) / total
        row_variance, rows = math.fsum(weight * away**2) / total, kish(weight)
        errors, effective = weight * away, rows
        if groups is not None:
            errors, weight = group_totals(errors, groups), group_totals(weight, groups)
            effective = kish(weight)
        if len(errors) < 2:  # noqa: PLR2004 - one unit has no spread
            raise UsageError(f"the spread of a mean needs two independent rows or groups; found {len(errors)}")
        pulls = errors / (total - weight)
        sums = (math.fsum(pulls**2), math.fsum(pulls**3))
        known = {"rows": rows, "row_variance": row_variance}
        return cls.of_sums(len(errors), effective, *sums, **known, grouped=groups is not None)

    @classmethod
    def of_sums(
        cls,
        units: int,
        effective: float,
        squares: float,
        cubes: float,
        *,
        rows: float,
        row_variance: float,
        grouped: bool,
    ) -> "Spread":
        """Return the spread from sums over two or more units.

        `squares` and `cubes` are those of a unit's pull, which is weight times (its mean - the mean) / the weight of
        the others: how far the mean moves without it.  `row_variance` is the weighted mean over rows of
        (x - mean)^2.
        """
        variance = squares * ((units - 1) / units)
        known = min(rows, row_variance / variance / (1.0 - 1.0 / rows)) if variance else effective
        skewness = cubes / squares / math.sqrt(squares) if squares else 0.0
        return cls(units, rows, effective, variance, skewness, known, grouped)


def kish(weights: Numbers) -> float:
    """Return how many units of equal weight these amount to (Kish 1965).

    >>> kish(np.array([1.0, 1.0, 2.0]))
    2.6666666666666665
    """
    return math.fsum(weights) ** 2 / math.fsum(weights * weights)


def group_totals(values: Numbers, groups: Index) -> Numbers:
    """Return the sum of the values of each group that has rows, in order of their numbers.

    The same bits for every order of the rows: values are cut into leading and trailing digits whose sums are exact
    (Rump, Ogita and Oishi 2008), so that only the last additions round.  Values are finite and below 2**900 in size.

    >>> group_totals(np.array([1e16, 1.0, -1e16, 0.5]), np.array([0, 0, 0, 2])).tolist()
    [1.0, 0.5]
    """
    rest, totals = values, np.zeros(int(groups.max(initial=-1)) + 1)
    levels = []
    for _ in range(_LEVELS):
        largest = float(np.abs(rest).max(initial=0.0))
        if largest == 0.0:
            break
        anchor = math.ldexp(1.0, math.frexp(largest)[1] + len(rest).bit_length() + 1)
        leading = (rest + anchor) - anchor
        levels.append(np.bincount(groups, leading))
        rest = rest - leading
    for level in reversed(levels):
        totals = totals + level
    return totals[np.bincount(groups) > 0]
