"""The spread of a mean: fractions as the judge of the jackknife, formulas of others, and laws."""

import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.core.types import Array
from milepost.errors import UsageError
from milepost.stats.clustered import Spread, group_totals, kish

ROWS = st.lists(
    st.tuples(st.floats(-50, 50), st.sampled_from([0.25, 1.0, 3.0, 0.1]), st.integers(0, 5)), min_size=2, max_size=40
).filter(lambda rows: len({group for _, _, group in rows}) > 1 and len({value for value, _, _ in rows}) > 1)


def columns(rows: list[tuple[float, float, int]]) -> tuple[Array, Array, Array]:
    values, weights, groups = (np.array(item) for item in zip(*rows, strict=True))
    return values, weights, groups


def mean_of(rows: list[tuple[float, float, int]]) -> Fraction:
    weights = [Fraction(weight) for _, weight, _ in rows]
    return sum((Fraction(row[0]) * weight for row, weight in zip(rows, weights, strict=True)), Fraction()) / sum(
        weights
    )


@given(ROWS)
def test_the_variance_is_that_of_leaving_out_one_group(rows: list[tuple[float, float, int]]) -> None:
    mean, groups = mean_of(rows), sorted({group for _, _, group in rows})
    moves = [mean_of([row for row in rows if row[2] != group]) - mean for group in groups]
    expected = sum(move**2 for move in moves) * Fraction(len(groups) - 1, len(groups))
    found = Spread.of(*columns(rows))
    assert found.units == len(groups)
    assert found.variance == pytest.approx(float(expected), rel=1e-9, abs=1e-18)
    third = -sum(move**3 for move in moves)  # a unit pulls the other way than the mean moves without it
    if expected > 1e-12:
        assert found.skewness == pytest.approx(
            float(third) / float(sum(m**2 for m in moves)) ** 1.5, rel=1e-6, abs=1e-6
        )


@given(ROWS)
def test_single_rows_are_groups_of_one(rows: list[tuple[float, float, int]]) -> None:
    values, weights, _ = columns(rows)
    alone, grouped = Spread.of(values, weights), Spread.of(values, weights, np.arange(len(values)))
    assert (alone.variance, alone.skewness, alone.effective_n) == pytest.approx(
        (grouped.variance, grouped.skewness, grouped.effective_n)
    )
    assert (alone.grouped, grouped.grouped) == (False, True)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=50).filter(lambda values: len(set(values)) > 1))
def test_of_rows_of_equal_weight_it_is_the_plain_standard_error(values: list[float]) -> None:
    found = Spread.of(np.array(values))
    assert found.variance == pytest.approx(np.var(values, ddof=1) / len(values), rel=1e-9, abs=1e-18)
    assert (found.rows, found.effective_units) == (len(values), len(values))
    assert found.effective_n == pytest.approx(len(values))


def test_equal_groups_have_the_plain_cluster_robust_variance() -> None:
    values, groups = np.arange(12.0) % 5, np.arange(12) // 3
    sums = [(values[groups == group] - values.mean()).sum() for group in range(4)]
    assert Spread.of(values, groups=groups).variance == pytest.approx(4 / 3 * sum(s**2 for s in sums) / 12**2)
    assert Spread.of(values, groups=groups).effective_units == pytest.approx(4)
    # Miller 2024, as inspect_ai computes it, with the factor C / (C - 1)
    miller = Spread.of(np.array([1.0, 1, 0, 0, 1, 0]), groups=np.array([0, 0, 1, 1, 2, 2]))
    assert math.sqrt(miller.variance) == pytest.approx(0.2886751346, abs=5e-11)


def test_rows_that_repeat_a_group_count_as_one() -> None:
    outcomes = np.array([1.0, 0, 1, 1, 0, 1, 1, 1])
    found = Spread.of(np.repeat(outcomes, 50), groups=np.repeat(np.arange(8), 50))
    assert found.variance == pytest.approx(Spread.of(outcomes).variance)
    assert found.effective_n == pytest.approx(8, rel=0.15)


def test_alike_rows_count_one_a_unit() -> None:
    found = Spread.of(np.ones(30), groups=np.arange(30) // 5)
    assert (found.variance, found.skewness) == (0.0, 0.0)
    assert found.effective_n == pytest.approx(6)


def test_one_unit_is_refused() -> None:
    with pytest.raises(UsageError, match="needs two independent rows or groups; found 1"):
        Spread.of(np.arange(3.0), groups=np.zeros(3, np.int64))


def test_kish() -> None:
    assert kish(np.full(7, 0.1)) == pytest.approx(7)
    assert kish(np.array([1.0, 1e-9])) == pytest.approx(1)


@given(
    st.lists(st.tuples(st.floats(-1e200, 1e200), st.integers(0, 6)), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_totals_are_near_the_exact_ones_and_know_no_order(rows: list[tuple[float, int]], random: Random) -> None:
    values, groups = (np.array(item) for item in zip(*rows, strict=True))
    found = group_totals(values, groups)
    there = sorted({group for _, group in rows})
    exact = [float(sum(Fraction(value) for value, at in rows if at == group)) for group in there]
    assert found.tolist() == pytest.approx(exact, rel=1e-15, abs=float(np.abs(values).max()) * 1e-30)
    for _ in range(3):
        random.shuffle(rows)
        values, groups = (np.array(item) for item in zip(*rows, strict=True))
        assert group_totals(values, groups).tobytes() == found.tobytes()
