"""Student's t: SciPy as the judge, and the refusals."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as judge

from milepost.errors import UsageError
from milepost.stats.student import t_p_value, t_quantile

DEGREES = st.one_of(st.floats(1.0, 60.0), st.floats(1.0, 2000.0), st.floats(500.0, 1e9), st.integers(1, 10**6))
LEVELS = st.one_of(st.sampled_from([0.5, 0.9, 0.95, 0.99]), st.floats(0.001, 0.999999))


@given(LEVELS, DEGREES)
def test_quantiles(level: float, degrees: float) -> None:
    assert t_quantile(level, degrees) == pytest.approx(judge.ppf((1 + level) / 2, degrees), rel=1e-9, abs=1e-12)
    assert t_quantile(level, degrees) == pytest.approx(-judge.ppf((1 - level) / 2, degrees), rel=1e-10)


@given(st.floats(0.001, 15.0), DEGREES)
def test_p_values(t: float, degrees: float) -> None:
    expected = 2 * judge.sf(t, degrees)
    assert t_p_value(t, degrees) == pytest.approx(expected, rel=1e-10)
    assert t_p_value(-t, degrees) == t_p_value(t, degrees)


@given(st.floats(0.01, 0.9999), DEGREES)
def test_one_undoes_the_other(level: float, degrees: float) -> None:
    assert 1 - t_p_value(t_quantile(level, degrees), degrees) == pytest.approx(level, rel=1e-9)


@pytest.mark.parametrize("wrong", [(0.0, 5), (1.0, 5), (0.95, 0.5), (0.95, float("nan")), (float("nan"), 5)])
def test_other_numbers_are_refused(wrong: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match="expected 0 < level < 1, and 1 or more"):
        t_quantile(*wrong)


@pytest.mark.parametrize("wrong", [(2.0, 0.5), (float("nan"), 5)])
def test_other_statistics_are_refused(wrong: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match="expected a number, and 1 degree or more"):
        t_p_value(*wrong)
