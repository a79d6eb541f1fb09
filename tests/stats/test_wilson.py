"""Wilson's interval: golden numbers, SciPy as a judge, and what it must keep."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from scipy.stats import t as judge

from milepost.errors import UsageError
from milepost.stats.clustered import Spread
from milepost.stats.interval import Interval
from milepost.stats.wilson import wilson, wilson_of

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
    found = wilson(50, 100)
    assert found == Interval(found.low, found.high, 0.95, "wilson", "population")


@pytest.mark.parametrize(
    ("counts", "noted"), [((5, 10), False), ((4, 100), True), ((96, 100), True), ((95, 100), False)]
)
def test_few_rows_on_one_side_are_noted(counts: tuple[int, int], noted: bool) -> None:
    note = wilson(*counts).note
    assert note == (f"4 of {counts[1]} rows on one side, fewer than 5: it may cover less than 95 %" if noted else None)


@given(COUNTS.filter(lambda counts: counts[1] > 50), st.sampled_from([0.5, 0.95, 0.99]))
def test_of_independent_rows_the_effective_one_is_the_plain_one_with_t(counts: tuple[int, int], level: float) -> None:
    successes, n = counts
    share = successes / n
    spread = Spread(n, float(n), float(n), share * (1 - share) / (n - 1), 0.0, float(n), grouped=False)
    normal = judge.ppf((1 + level) / 2, n - 1)  # the level at which the plain interval has this quantile
    plain, found = wilson(successes, n, 2 * float(norm.cdf(normal)) - 1), wilson_of(share, spread, level)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=1e-6, abs=1e-9)


def test_groups_count_as_their_effective_rows() -> None:
    outcomes, groups = np.arange(400) // 20 % 4 > 0, np.arange(400) // 10  # each two groups have one outcome
    spread = Spread.of(outcomes.astype(float), groups=groups)
    found = wilson_of(float(outcomes.mean()), spread)
    assert (found.groups, found.method, found.note) == (
        40,
        "wilson",
        "fewer than 10 effective rows on one side: it may cover less than 95 %",
    )
    assert found.effective_n == pytest.approx(39.0, rel=0.03)
    assert found.high - found.low > 2.8 * (wilson(300, 400).high - wilson(300, 400).low)
    few = wilson_of(0.75, Spread.of(outcomes.astype(float), groups=groups // 8))
    assert few.note == "too few groups (5 effective of 5; 10 are needed): it may cover less than 95 %"


def test_alike_rows_of_groups_count_one_a_group() -> None:
    found = wilson_of(1.0, Spread.of(np.ones(400), groups=np.arange(400) // 10))
    assert found.high == 1.0
    assert wilson(40, 40).low > found.low > wilson(39, 40).low - 0.1
    assert found.effective_n == pytest.approx(40)
