"""McNemar's test: golden vectors, an outside judge, and its laws."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.errors import UsageError
from milepost.stats.mcnemar import mcnemar_exact, mcnemar_mid_p


@pytest.mark.parametrize(
    ("counts", "exact", "mid_p"),
    [
        ((10, 25), 0.0166738478, 0.0113309842),
        ((5, 15), 0.0413894653, 0.0266036987),
        ((0, 6), 0.03125, 0.015625),
        ((0, 0), 1.0, 1.0),
        ((1, 0), 1.0, 0.5),
    ],
)
def test_golden_vectors(counts: tuple[int, int], exact: float, mid_p: float) -> None:
    assert mcnemar_exact(*counts) == pytest.approx(exact, abs=5e-11)
    assert mcnemar_mid_p(*counts) == pytest.approx(mid_p, abs=5e-11)


counts = st.integers(0, 400)


@given(counts, counts)
@settings(max_examples=60, deadline=None)
def test_whole_numbers_are_the_judge(a: int, b: int) -> None:
    n, m = a + b, min(a, b)
    below, at = sum(math.comb(n, k) for k in range(m)), math.comb(n, m)
    assert mcnemar_exact(a, b) == pytest.approx(min(1.0, 2 * (below + at) / 2**n), rel=1e-10)
    assert mcnemar_mid_p(a, b) == pytest.approx((2 * below + at) / 2**n if a != b else 1.0, rel=1e-10)
    assert mcnemar_exact(a, b) == mcnemar_exact(b, a)
    assert 0 <= mcnemar_mid_p(a, b) <= mcnemar_exact(a, b) <= 1


@pytest.mark.parametrize("pair", [(2100, 1900), (500_000, 501_200), (30, 2000), (1_000, 1)])
def test_scipy_agrees_on_large_counts(pair: tuple[int, int]) -> None:
    binomtest: Any = pytest.importorskip("scipy.stats", reason="scipy is the judge here").binomtest
    assert mcnemar_exact(*pair) == pytest.approx(binomtest(pair[0], sum(pair)).pvalue, rel=1e-7, abs=1e-300)


@pytest.mark.parametrize("wrong", [(-1, 3), (True, 3), (1.5, 3)])
def test_other_things_than_counts_are_refused(wrong: tuple[Any, Any]) -> None:
    for test in (mcnemar_exact, mcnemar_mid_p):
        with pytest.raises(UsageError, match="expected whole numbers from 0"):
            test(*wrong)
