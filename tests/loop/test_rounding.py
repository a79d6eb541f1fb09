"""Differences between predictions in units of the row's own scale, and what of kept columns they explain."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from milepost.core.types import Array
from milepost.loop.rounding import relative_differences, row_scales, row_tolerances
from milepost.tasks.classification import Classification

SCORES = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 5)), elements=st.floats(-1e6, 1e6, width=32))


@given(SCORES, st.integers(0, 2**32 - 1))
def test_a_rows_difference_is_the_largest_quotient_in_exact_arithmetic(one: Array, seed: int) -> None:
    two = (one * (1 + 1e-3 * np.random.default_rng(seed).standard_normal(one.shape))).astype(np.float32)
    for row, found in enumerate(relative_differences(one, two)):
        pairs = [(Fraction(float(a)), Fraction(float(b))) for a, b in zip(one[row], two[row], strict=True)]
        scale = max(max(abs(a), abs(b)) for a, b in pairs)
        expected = max(abs(a - b) for a, b in pairs) / scale if scale else Fraction(0)
        assert found == pytest.approx(float(expected), rel=1e-12)


def test_rows_are_judged_each_by_its_own_scale() -> None:
    small, large = np.array([[1.0, -2.0]]), np.array([[1000.0, -2000.0]])
    one = np.concatenate([small, large])
    assert row_scales(one).tolist() == [2.0, 2000.0]
    assert relative_differences(one, one + np.array([0.5, 0.0])).tolist() == [0.25, 0.00025]


def test_scores_of_more_axes_are_one_row_each() -> None:
    one = np.arange(24.0).reshape(2, 3, 4)
    two = one.copy()
    two[1, 2, 0] -= 2.3
    assert relative_differences(one, two).tolist() == [0.0, pytest.approx(0.1)]


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ([np.nan, 1], [np.nan, 1], 0),
        ([np.nan, 1], [2, 1], np.inf),
        ([np.inf, 4], [np.inf, 3], 0.25),
        ([np.inf, 1], [-np.inf, 1], np.inf),
        ([-np.inf, -np.inf], [-np.inf, -np.inf], 0),
        ([0, 0], [0, 0], 0),
        ([0, 0], [0, 1], 1),
    ],
)
def test_nonfinite_scores_must_stand_in_the_same_places(one: list[float], two: list[float], expected: float) -> None:
    assert relative_differences(np.array([one]), np.array([two])).tolist() == [expected]


def test_another_shape_is_infinitely_far() -> None:
    assert relative_differences(np.zeros((2, 3)), np.zeros((2, 4))).tolist() == [np.inf, np.inf]


@given(SCORES, st.sampled_from([0.0, 1e-7, 1e-5, 1e-3]), st.integers(0, 2**32 - 1))
def test_columns_of_logits_that_moved_by_so_much_stay_within_the_tolerances(
    scores: Array, relative: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    moved = scores + relative * row_scales(scores)[:, None] * random.choice([-1.0, 1.0], scores.shape)
    labels = random.integers(0, scores.shape[1], len(scores))
    task = Classification(outputs="logits")
    wanted = frozenset({"margin", "nll", "uniform_nll", "confidence", "squared_error"})
    before = task.reduce(scores, labels, wanted)
    after = task.reduce(moved.astype(np.float32), labels, wanted)
    for name in wanted:
        allowed = row_tolerances(before[name], row_scales(scores), relative)
        assert (np.abs(before[name].astype(np.float64) - after[name]) <= allowed).all(), name


def test_a_larger_difference_is_not_explained() -> None:
    values, scales = np.array([1.0, 1.0]), np.array([1.0, 1e4])
    assert (row_tolerances(values, scales, 1e-6) < 0.01).tolist() == [True, False]
    assert np.isnan(row_tolerances(np.array([np.nan]), np.ones(1), 1e-6)).all()
