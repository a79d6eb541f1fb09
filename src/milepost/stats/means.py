"""Student's interval for a mean, whose far bound takes the skewness into account."""

import math

from milepost.stats.clustered import Spread
from milepost.stats.interval import LEVEL, Interval, check_level, few_groups, less
from milepost.stats.student import t_quantile

_FEW = 50
_SKEWED = 0.3


def t_interval(
    mean: float, spread: Spread, level: float = LEVEL, within: tuple[float, float] = (-math.inf, math.inf)
) -> Interval | None:
    """Return the interval of a mean of numbers; None where all are the same, which tells nothing, or too large.

    Its bounds are `mean` -+ t sqrt(variance), with one degree of freedom less than there are effective units, and
    never outside of the values that are possible (`within`).  On the side of the long tail Hall's transformation (1992)
    gives the bound where that lies further away: the losses of a good classifier are mostly near 0 and sometimes large,
    and the plain interval of 360 such rows covers 90 % (benchmarks/coverage.py).  Raises UsageError for fewer than two
    effective units.

    >>> import numpy as np
    >>> interval = t_interval(2.0, Spread.of(np.array([1.0, 1.5, 2.0, 2.5, 3.0])))
    >>> round(interval.low, 6), round(interval.high, 6), interval.method
    (1.018378, 2.981622, 't')
    """
    check_level(level)
    t = t_quantile(level, spread.effective_units - 1.0)
    if not 0.0 < spread.variance < math.inf:
        return None
    error = math.sqrt(spread.variance)
    low = mean - error * max(t, _hall(t, spread.skewness))
    high = mean + error * max(t, -_hall(-t, spread.skewness))
    note = few_groups(spread, level)
    if note is None and spread.effective_units < _FEW:
        note = f"{spread.effective_units:.3g} effective {'groups' if spread.grouped else 'rows'}, fewer than {_FEW}"
        note = f"{note}: {less(level)} if their values are skewed"
    if note is None and abs(spread.skewness) > _SKEWED:
        note = f"a few values decide this mean (its skewness is {spread.skewness:.2f}): {less(level)}"
    dependent = spread.grouped or spread.rows != spread.units
    return Interval(
        max(low, within[0]),
        min(high, within[1]),
        level,
        "t",
        effective_n=spread.effective_n if dependent else None,
        groups=spread.units if spread.grouped else None,
        note=note,
    )


def _hall(t: float, skewness: float) -> float:
    """Return the t statistic of a mean of this skewness that Hall's transformation turns into t."""
    if abs(skewness) < 1e-6:  # noqa: PLR2004 - what remains is below the rounding
        return t
    return 3.0 * (math.cbrt(1.0 + skewness * (t - skewness / 6.0)) - 1.0) / skewness
