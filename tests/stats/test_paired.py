"""Paired differences against outside judges: SciPy's t test, and Tango's interval by maximum likelihood."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.errors import UsageError
from milepost.stats.clustered import Spread
from milepost.stats.paired import paired_mean, share_error, tango


def test_the_t_test_and_error_are_scipys() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.exponential(size=(2, 60))
    away = one - two
    found, judge = paired_mean(float(away.mean()), Spread.of(away)), scipy.stats.ttest_rel(one, two)
    assert found.p_value == pytest.approx(judge.pvalue, rel=1e-9)
    assert found.standard_error == pytest.approx(scipy.stats.sem(away), rel=1e-12)
    assert found.interval is not None
    judged = judge.confidence_interval()
    assert found.interval.low <= judged.low + 1e-12  # the side of the long tail reaches further
    assert found.interval.high >= judged.high - 1e-12


def test_groups_count_as_their_totals() -> None:
    rng = np.random.default_rng(1)
    groups = np.arange(200) // 10
    away = np.repeat(rng.normal(size=20), 10)
    found = paired_mean(float(away.mean()), Spread.of(away, groups=groups))
    assert found.p_value == pytest.approx(scipy.stats.ttest_1samp(away[::10], 0.0).pvalue, rel=1e-9)


def test_a_difference_that_never_varies_has_no_error_and_no_test() -> None:
    found = paired_mean(0.25, Spread.of(np.full(50, 0.25)))
    assert (found.interval, found.p_value) == (None, None)
    assert paired_mean(0.0, Spread.of(np.zeros(50))).p_value == 1.0


def test_the_error_of_a_difference_of_shares() -> None:
    rows = np.repeat([1.0, -1.0, 0.0], [30, 12, 58])
    assert share_error(30, 12, 100) == pytest.approx(scipy.stats.sem(rows), rel=1e-12)
    assert share_error(2100, 1900, 50_000) == pytest.approx(0.0012647972, rel=1e-7)  # facts/statistics.md


def judged(difference: float, only_a: int, only_b: int, n: int) -> float:
    """Return Tango's statistic: the likeliest shares are found numerically."""

    def unlikely(share: float) -> float:  # of rows that only B has right
        shares = (share + difference, share, 1.0 - 2.0 * share - difference)
        counts = (only_a, only_b, n - only_a - only_b)
        return -sum(
            count * math.log(max(chance, 1e-300)) for count, chance in zip(counts, shares, strict=True) if count
        )

    bounds = (max(0.0, -difference), (1.0 - difference) / 2.0)
    share = scipy.optimize.minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    return abs(only_a - only_b - n * difference) / math.sqrt(n * (2 * share + difference * (1.0 - difference)))


@pytest.mark.parametrize("counts", [(12, 5, 100), (30, 30, 200), (1, 9, 40), (80, 10, 100)])
def test_tangos_bounds_are_where_the_score_statistic_is_the_quantile(counts: tuple[int, int, int]) -> None:
    found = tango(*counts)
    for bound in (found.low, found.high):
        assert judged(bound, *counts) == pytest.approx(scipy.stats.norm.ppf(0.975), rel=1e-4)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_tangos_interval_is_the_mirror_and_agrees_with_mcnemar(only_a: int, only_b: int, alike: int) -> None:
    n = only_a + only_b + alike
    if n == 0:
        return
    found, mirror = tango(only_a, only_b, n), tango(only_b, only_a, n)
    assert found.low == pytest.approx(-mirror.high, abs=1e-9)
    assert -1.0 <= found.low <= (only_a - only_b) / n <= found.high <= 1.0
    assert found.low < found.high
    if only_a + only_b:
        z = abs(only_a - only_b) / math.sqrt(only_a + only_b)
        if abs(z - 1.959963985) > 1e-6:
            assert (found.low <= 0.0 <= found.high) == (z < 1.959963985)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 10 rows together; found 8 and 3"):
        tango(8, 3, 10)
