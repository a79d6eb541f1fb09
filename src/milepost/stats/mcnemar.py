"""Pairs: two models on the same rows, by the counts of rows that only one of them got right."""

import math

from milepost.errors import UsageError


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947) that neither model is right more often.

    Under the null hypothesis each row on which the two disagree is a fair coin: twice the smaller tail of
    Binomial(only_a + only_b, 1/2), at most 1.  The relative error stays below 1e-8 up to a million such rows.  Raises
    UsageError for counts that are no whole numbers from 0.

    >>> round(mcnemar_exact(10, 25), 10), mcnemar_exact(0, 6), mcnemar_exact(0, 0)
    (0.0166738478, 0.03125, 1.0)
    """
    at, below = _tail(only_a, only_b)
    return 1.0 if only_a == only_b else min(1.0, 2.0 * (below + at))


def mcnemar_mid_p(only_a: int, only_b: int) -> float:
    """Return the two-sided mid-p-value of McNemar's test: the outcome that was seen counts half.

    Less conservative than the exact test, and near its level in practice (Fagerland, Lydersen and Laake 2013).  Raises
    UsageError for counts that are no whole numbers from 0.

    >>> round(mcnemar_mid_p(10, 25), 10), mcnemar_mid_p(0, 6), mcnemar_mid_p(7, 7)
    (0.0113309842, 0.015625, 1.0)
    """
    at, below = _tail(only_a, only_b)
    return 1.0 if only_a == only_b else min(1.0, 2.0 * below + at)


def _tail(only_a: int, only_b: int) -> tuple[float, float]:
    """Return P(X = m) and P(X < m) for the smaller count m of n fair coins, from the largest term down."""
    for count in (only_a, only_b):
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise UsageError(f"McNemar's test of {only_a!r} and {only_b!r} rows: expected whole numbers from 0")
    n, smaller = only_a + only_b, min(only_a, only_b)
    logarithm = math.lgamma(n + 1) - math.lgamma(smaller + 1) - math.lgamma(n - smaller + 1) - n * math.log(2.0)
    at = math.exp(logarithm)
    term, below = at, 0.0
    for k in range(smaller, 0, -1):
        term *= k / (n - k + 1)
        if term < below * 1e-18:
            break
        below += term
    return at, below
