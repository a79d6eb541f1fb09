"""Two models on the same rows: how far apart their means are, and how far apart they may be on new data."""

import math
from dataclasses import dataclass

from milepost.errors import UsageError
from milepost.stats.clustered import Spread
from milepost.stats.interval import LEVEL, Interval, check_level
from milepost.stats.means import t_interval
from milepost.stats.student import t_p_value, t_quantile

_STEPS = 100


@dataclass(frozen=True, slots=True)
class PairedMean:
    """A mean difference's standard error, Student's interval, and the two-sided p-value of the paired t test.

    There is no interval where the difference is the same in every unit, and no p-value where that is not 0: then its
    error cannot be told.
    """

    standard_error: float
    interval: Interval | None
    p_value: float | None


def paired_mean(difference: float, spread: Spread, level: float = LEVEL) -> PairedMean:
    """Return what the spread of row-wise differences says of their mean; of groups or weighted rows too.

    >>> import numpy as np
    >>> rows = np.array([0.5, -0.25, 0.75, 0.5, 0.0])
    >>> round(paired_mean(0.3, Spread.of(rows)).p_value, 6)
    0.177808
    """
    error = math.sqrt(spread.variance)
    p_value = None if difference else 1.0
    if error:
        p_value = t_p_value(difference / error, max(1.0, spread.effective_units - 1.0))
    return PairedMean(error, t_interval(difference, spread, level), p_value)


def share_error(only_a: int, only_b: int, n: int) -> float:
    """Return the standard error of (only_a - only_b) / n, the difference of two shares of the same n >= 2 rows.

    >>> round(share_error(2100, 1900, 50_000), 12)
    0.001264797215
    """
    return math.sqrt((only_a + only_b - (only_a - only_b) ** 2 / n) / (n * (n - 1)))


def tango(only_a: int, only_b: int, n: int, level: float = LEVEL) -> Interval:
    """Return Tango's score interval (1998) for the difference of two shares of the same n rows.

    `only_a` and `only_b` are the rows that only one of the two has right.  It holds 0 just where McNemar's score test
    does not reject, stays within [-1, 1], and is no point where the two agree on every row.  Raises UsageError for
    counts below 0, and for more of them than rows.

    >>> found = tango(12, 5, 100)
    >>> round(found.low, 4), round(found.high, 4)
    (-0.0119, 0.1574)
    """
    check_level(level)
    if min(only_a, only_b) < 0 or n < 1 or only_a + only_b > n:
        raise UsageError(f"expected counts from 0, of at most {n} rows together; found {only_a} and {only_b}")
    z, middle = t_quantile(level, math.inf), (only_a - only_b) / n

    def bound(end: float) -> float:
        inside, outside = middle, end
        for _ in range(_STEPS):
            half = (inside + outside) / 2
            if half in (inside, outside):
                break
            if _distance(half, only_a, only_b, n) <= z:
                inside = half
            else:
                outside = half
        return inside

    return Interval(bound(-1.0), bound(1.0), level, "tango")


def _distance(difference: float, only_a: int, only_b: int, n: int) -> float:
    """Return how many standard errors the counts are from a true difference, whose likeliest shares give the error."""
    apart = only_a - only_b - n * difference
    b = (2 * n - only_a + only_b) * difference - only_a - only_b
    c = -only_b * difference * (1.0 - difference)
    only_b_share = (math.sqrt(max(0.0, b * b - 8.0 * n * c)) - b) / (4.0 * n)
    variance = n * (2.0 * only_b_share + difference * (1.0 - difference))
    if variance <= 0.0:
        return 0.0 if apart == 0.0 else math.inf
    return abs(apart) / math.sqrt(variance)
