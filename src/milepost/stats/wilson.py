"""Wilson's interval for a proportion: never outside [0, 1], sound for small counts."""

from dataclasses import dataclass
from statistics import NormalDist

from milepost.errors import UsageError


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval with its level, its method, and what it is about.

    `kind` is "population" (the value on fresh data) or "set" (the value that the whole data set will give).
    """

    low: float
    high: float
    level: float
    method: str
    kind: str


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval (Wilson 1927) for the population's proportion.

    Raises UsageError unless 0 <= successes <= n and n > 0, and 0 < level < 1.

    >>> interval = wilson(38000, 50000)
    >>> round(interval.low, 10), round(interval.high, 10)
    (0.7562366366, 0.7637234153)
    """
    if not 0 <= successes <= n or n == 0:
        raise UsageError(f"an interval needs 0 <= successes <= n and n > 0; found {successes} of {n}")
    if not 0.0 < level < 1.0:
        raise UsageError(f"an interval of level {level}: expected a number between 0 and 1, such as 0.95")
    z = NormalDist().inv_cdf((1.0 + level) / 2.0)
    share = successes / n
    middle = share + z * z / (2 * n)
    reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)) ** 0.5
    scale = 1.0 + z * z / n
    low = 0.0 if successes == 0 else max(0.0, (middle - reach) / scale)
    high = 1.0 if successes == n else min(1.0, (middle + reach) / scale)
    return Interval(low, high, level, "wilson", "population")
