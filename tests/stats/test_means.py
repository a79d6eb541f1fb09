"""Student's interval of a mean: SciPy as the judge, Hall's bound, and what it says of itself."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as judge

from milepost.stats.clustered import Spread
from milepost.stats.interval import Interval
from milepost.stats.means import t_interval

VALUES = st.lists(st.floats(-50, 50), min_size=3, max_size=50).filter(lambda values: np.ptp(values) > 1e-3)


def interval(values: list[float], level: float = 0.95) -> Interval:
    found = t_interval(float(np.mean(values)), Spread.of(np.array(values)), level)
    assert found is not None
    return found


@given(VALUES, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_symmetric_mean_has_students_interval(values: list[float], level: float) -> None:
    both = values + [-value for value in values]
    found = interval(both, level)
    error = np.std(both, ddof=1) / math.sqrt(len(both))
    low, high = judge.interval(level, len(both) - 1, 0.0, error)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    assert (found.method, found.kind, found.level) == ("t", "population", level)


@given(VALUES)
def test_a_skewed_mean_reaches_further_on_its_long_side_only(values: list[float]) -> None:
    found, mean = interval(values), float(np.mean(values))
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    low, high = judge.interval(0.95, len(values) - 1, mean, error)
    assert found.low <= low + 1e-9
    assert found.high >= high - 1e-9
    skewness = Spread.of(np.array(values)).skewness
    if abs(skewness) > 1e-3:
        assert (found.high - mean > mean - found.low) == (skewness > 0)


def test_halls_bound() -> None:
    values = [0.0] * 95 + [4.0] * 5
    skewness, t = Spread.of(np.array(values)).skewness, judge.ppf(0.975, 99)
    reach = -3 / skewness * (np.cbrt(1 + skewness * (-t - skewness / 6)) - 1)
    error = np.std(values, ddof=1) / 10
    assert interval(values).high == pytest.approx(0.2 + reach * error)
    assert reach > 1.5 * t


def test_bounds_are_values_that_are_possible() -> None:
    found = t_interval(0.1, Spread.of(np.array([0.0] * 9 + [1.0])), within=(0.0, 2.0))
    assert found is not None
    assert found.low == 0.0


def test_alike_values_have_none() -> None:
    assert t_interval(3.0, Spread.of(np.full(20, 3.0))) is None


def test_values_that_cannot_be_squared_have_none() -> None:
    spread = Spread(9, 9.0, 9.0, math.inf, math.nan, 9.0, grouped=False)
    assert t_interval(3.0, spread) is None


@pytest.mark.parametrize(
    ("values", "groups", "note"),
    [
        (norm.ppf(np.arange(1, 100) / 100), None, None),
        (norm.ppf(np.arange(1, 40) / 40), None, "39 effective rows, fewer than 50: it may cover less than 95 % if"),
        (np.arange(100.0) % 7, np.arange(100) // 20, "too few groups (5 effective of 5; 10 are needed): it may"),
        (np.arange(100) == 3.0, None, "a few values decide this mean (its skewness is 0.98): it may cover less"),
    ],
)
def test_notes(values: np.ndarray, groups: np.ndarray | None, note: str | None) -> None:
    found = t_interval(float(np.mean(values)), Spread.of(values.astype(float), groups=groups))
    assert found is not None
    assert found.note == note or (note is not None and str(found.note).startswith(note))
    assert found.groups == (None if groups is None else 5)
    assert (found.effective_n is None) == (groups is None)
