"""Wilson's interval for a proportion: never outside [0, 1], sound for small counts."""

from statistics import NormalDist

from milepost.errors import UsageError
from milepost.stats.clustered import Spread
from milepost.stats.interval import LEVEL, Interval, check_level, few_groups, less
from milepost.stats.student import t_quantile

_FEW = 5
_FEW_EFFECTIVE = 10


def wilson(successes: int, n: int, level: float = LEVEL) -> Interval:
    """Return Wilson's score interval (Wilson 1927) for the population's proportion, of independent rows.

    Raises UsageError unless 0 <= successes <= n and n > 0, and 0 < level < 1.

    >>> interval = wilson(38000, 50000)
    >>> round(interval.low, 10), round(interval.high, 10)
    (0.7562366366, 0.7637234153)
    """
    if not 0 <= successes <= n or n == 0:
        raise UsageError(f"an interval needs 0 <= successes <= n and n > 0; found {successes} of {n}")
    check_level(level)
    low, high = wilson_bounds(successes / n, n, NormalDist().inv_cdf((1.0 + level) / 2.0))
    rare = min(successes, n - successes)
    note = f"{rare} of {n} rows on one side, fewer than {_FEW}: {less(level)}" if rare < _FEW else None
    return Interval(low, high, level, "wilson", note=note)


def wilson_of(share: float, spread: Spread, level: float = LEVEL) -> Interval:
    """Return Wilson's interval of a proportion of rows that have weights or belong to groups.

    The number of rows is the effective one, and the quantile that of Student's t with one degree less than there are
    effective units (Korn and Graubard 1998 do so for exact intervals).  Where all rows have one outcome they say
    nothing of their dependence, and each unit counts as one row.  Raises UsageError for fewer than two effective units.

    >>> import numpy as np
    >>> rows = np.arange(200) % 5 > 0
    >>> spread = Spread.of(rows.astype(float), groups=np.arange(200) // 10)
    >>> interval = wilson_of(0.8, spread)
    >>> round(interval.low, 4), round(interval.high, 4), interval.effective_n, interval.groups
    (0.7347, 0.8525, 200.0, 20)
    """
    check_level(level)
    low, high = wilson_bounds(share, spread.effective_n, t_quantile(level, spread.effective_units - 1.0))
    note = few_groups(spread, level)
    if note is None and spread.effective_n * min(share, 1.0 - share) < _FEW_EFFECTIVE:
        note = f"fewer than {_FEW_EFFECTIVE} effective rows on one side: {less(level)}"
    groups = spread.units if spread.grouped else None
    return Interval(low, high, level, "wilson", effective_n=spread.effective_n, groups=groups, note=note)


def wilson_bounds(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Return the bounds of Wilson's interval for a share of `n` rows, with this quantile of its error.

    >>> wilson_bounds(0.5, 100.0, 1.96)[0] + wilson_bounds(0.5, 100.0, 1.96)[1]
    1.0
    """
    middle = share + quantile * quantile / (2 * n)
    reach = quantile * (share * (1.0 - share) / n + quantile * quantile / (4.0 * n * n)) ** 0.5
    scale = 1.0 + quantile * quantile / n
    low = 0.0 if share == 0.0 else max(0.0, (middle - reach) / scale)
    high = 1.0 if share == 1.0 else min(1.0, (middle + reach) / scale)
    return low, high
