"""Student's t distribution: two-sided p-values and quantiles, for any real number of degrees of freedom."""

import math
from functools import lru_cache
from statistics import NormalDist

from milepost.errors import UsageError

_MANY = 1000.0  # from here on series in 1 / degrees are exact enough
_STEPS = 60


def t_p_value(t: float, degrees: float) -> float:
    """Return the two-sided p-value of a t statistic: how probable a variable of Student (1908) is as far from 0.

    The relative error stays below 1e-10.  Raises UsageError for fewer degrees than 1, and for a t that is NaN.

    >>> round(t_p_value(2.0, 10), 12), t_p_value(0.0, 3), t_p_value(float("inf"), 3)
    (0.073388034771, 1.0, 0.0)
    """
    if not degrees >= 1.0 or math.isnan(t):
        raise UsageError(f"Student's t of {t} with {degrees} degrees: expected a number, and 1 degree or more")
    if t == 0.0 or math.isinf(t):
        return 0.0 if t else 1.0
    if degrees >= _MANY:
        return _normal_tail(t, degrees)
    # The regularised incomplete beta function I_x(degrees / 2, 1/2) at x = degrees / (degrees + t^2).
    half, rest = degrees / 2.0, t * t / degrees
    power = -half * math.log1p(rest) + 0.5 * (math.log(rest) - math.log1p(rest))
    front = math.exp(power + math.lgamma(half + 0.5) - math.lgamma(half)) / math.sqrt(math.pi)
    if 1.0 / (1.0 + rest) < (half + 1.0) / (half + 2.5):
        return min(1.0, front * _fraction(half, 0.5, 1.0 / (1.0 + rest)) / half)
    return max(0.0, 1.0 - 2.0 * front * _fraction(0.5, half, rest / (1.0 + rest)))


@lru_cache(maxsize=1024)
def t_quantile(level: float, degrees: float) -> float:
    """Return the t that Student's variable does not exceed in size with probability `level`: 95 % within [-t, t].

    The relative error stays below 1e-10.  Raises UsageError unless 0 < level < 1, and for fewer degrees than 1.

    >>> round(t_quantile(0.95, 1), 9), round(t_quantile(0.95, 9.5), 9), round(t_quantile(0.95, 1e6), 9)
    (12.706204736, 2.244137461, 1.959966357)
    """
    if not (0.0 < level < 1.0 and degrees >= 1.0):
        raise UsageError(f"Student's t of level {level}, {degrees} degrees: expected 0 < level < 1, and 1 or more")
    normal = NormalDist().inv_cdf((1.0 + level) / 2.0)
    if degrees >= _MANY:
        return _series(normal, degrees)
    # The logarithm of the p-value is a concave function of log t, so that Newton's steps cannot miss.
    t, target = max(normal, _series(normal, degrees)), math.log(1.0 - level)
    half = degrees / 2.0
    scale = math.lgamma(half + 0.5) - math.lgamma(half) - 0.5 * math.log(degrees * math.pi)
    for _ in range(_STEPS):
        p_value = t_p_value(t, degrees)
        density = math.exp(scale - (half + 0.5) * math.log1p(t * t / degrees))
        step = (math.log(p_value) - target) * p_value / (2.0 * density * t)
        t *= math.exp(step)
        if abs(step) < 1e-13:  # noqa: PLR2004 - a rounding step of t or two
            break
    return t


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function (DLMF 8.17.22) for x < (a + 1) / (a + b + 2)."""
    value = 1.0
    for m in range(12 + int(3.0 * math.sqrt(max(a, b))), 0, -1):
        value = 1.0 - (a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)) / value
        value = 1.0 + m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)) / value
    return 1.0 / (1.0 - (a + b) * x / (a + 1.0) / value)


def _normal_tail(t: float, degrees: float) -> float:
    """Return the two-sided p-value of the normal number that a t of many degrees stands for (Hill 1970)."""
    a = degrees - 0.5
    b = 48.0 * a * a
    square = a * math.log1p(t * t / degrees)
    w = math.sqrt(square)
    rest = (((4.0 * square + 33.0) * square + 240.0) * square + 855.0) * w / (10.0 * b * (b + 0.8 * square**2 + 100.0))
    return math.erfc((w + (square + 3.0) * w / b - rest) / math.sqrt(2.0))


def _series(z: float, degrees: float) -> float:
    """Return t from the normal quantile z, to the fourth power of 1 / degrees (Abramowitz and Stegun 1964, 26.7.5)."""
    s = z * z
    addends = (
        z,
        z * (s + 1.0) / 4.0,
        z * ((5.0 * s + 16.0) * s + 3.0) / 96.0,
        z * (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0,
        z * ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) / 92160.0,
    )
    return sum(term / degrees**power for power, term in enumerate(addends))
