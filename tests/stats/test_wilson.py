"""Wilson's interval: golden numbers, SciPy as a judge, and what it must keep."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from milepost.errors import UsageError
from milepost.stats.wilson import Interval, wilson

COUNTS = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def test_golden() -> None:
    found = wilson(38000, 50000)
    assert (found.low, found.high) == pytest.approx((0.7562366366, 0.7637234153), abs=5e-11)
    assert (found.level, found.method, found.kind) == (0.95, "wilson", "population")
    assert wilson(347, 360).low == pytest.approx(0.939, abs=5e-4)
    assert wilson(347, 360).high == pytest.approx(0.979, abs=5e-4)


@given(COUNTS, st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999]))
def test_agrees_with_scipy(counts: tuple[int, int], level: float) -> None:
    judged = binomtest(*counts).proportion_ci(confidence_level=level, method="wilson")
    found = wilson(*counts, level)
    assert (found.low, found.high) == pytest.approx((judged.low, judged.high), rel=1e-9, abs=1e-12)


@given(COUNTS)
def test_stays_within_0_and_1_around_the_share(counts: tuple[int, int]) -> None:
    successes, n = counts
    found = wilson(successes, n)
    assert 0.0 <= found.low <= successes / n <= found.high <= 1.0
    assert found.low < found.high
    mirrored = wilson(n - successes, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 10, 10**9, 2**60])
def test_the_ends_are_exact(n: int) -> None:
    assert wilson(0, n).low == 0.0
    assert wilson(n, n).high == 1.0


def test_a_higher_level_is_wider() -> None:
    widths = [item.high - item.low for item in (wilson(7, 10, level) for level in (0.5, 0.9, 0.99))]
    assert widths == sorted(widths)


@pytest.mark.parametrize("counts", [(1, 0), (0, 0), (-1, 5), (6, 5), (0, -3)])
def test_impossible_counts_are_refused(counts: Any) -> None:
    with pytest.raises(UsageError, match=f"found {counts[0]} of {counts[1]}"):
        wilson(*counts)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_impossible_levels_are_refused(level: float) -> None:
    with pytest.raises(UsageError, match="level"):
        wilson(1, 2, level)


def test_is_a_value() -> None:
    assert wilson(1, 2) == Interval(
        *[getattr(wilson(1, 2), name) for name in ("low", "high", "level", "method", "kind")]
    )
