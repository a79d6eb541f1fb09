"""Which rows differ: integers at all, floats beyond the rounding of their own row."""

import numpy as np
import pytest

from milepost.run.outcome_differences import differing_rows, in_words, relative_of


@pytest.mark.parametrize(
    ("made", "stored", "relative", "expected"),
    [
        ([0, 1], [0, 1], 0.0, ""),
        ([0, 1], [0, 2], 1.0, "x in 1 row"),
        ([0, 1], [1, 2], 0.0, "x in 2 rows"),
        ([0.5, 1.0], [0.5, 1.001], 0.0, "x in 1 row"),
        ([0.5, 1.0], [0.5, 1.001], 0.001, ""),
        ([np.nan, np.inf], [np.nan, np.inf], 0.0, ""),
        ([np.nan, 1.0], [1.0, np.nan], 1.0, "x in 2 rows"),
        ([np.inf], [-np.inf], 1.0, "x in 1 row"),
        ([np.inf], [1.0], 1.0, "x in 1 row"),
    ],
)
def test_differences(made: list[float], stored: list[float], relative: float, expected: str) -> None:
    dtype = np.int32 if all(isinstance(item, int) for item in made) else np.float32
    found = differing_rows({"x": np.array(made, dtype)}, {"x": np.array(stored, dtype)}, relative)
    assert in_words(found) == expected


def test_a_row_has_the_tolerance_of_its_own_scale() -> None:
    stored = {"margin": np.ones(2, np.float32), "scale": np.array([1.0, 1e6], np.float32)}
    made = {**stored, "margin": np.full(2, 1.01, np.float32)}
    assert differing_rows(made, stored, 1e-6)["margin"].tolist() == [True, False]
    wide = {"probabilities": np.ones((2, 3), np.float32), "scale": stored["scale"]}
    made = {**wide, "probabilities": np.array([[1, 1, 1.01], [1, 1, 1.01]], np.float32)}
    assert differing_rows(made, wide, 1e-6)["probabilities"].tolist() == [True, False]


def test_what_is_not_made_any_more_is_not_taken_for_equal() -> None:
    stored = {"rank": np.zeros(2, np.int32), "name": np.array(["a", "b"])}
    assert in_words(differing_rows({"rank": stored["rank"]}, stored, 0.0)) == "name in 2 rows"
    assert in_words(differing_rows({**stored, "name": np.array(["a", "c"])}, stored, 0.0)) == "name in 1 row"
    assert in_words(differing_rows({**stored, "rank": np.zeros((2, 1))}, stored, 0.0)) == "rank in 2 rows"


def test_the_largest_measured_difference_counts() -> None:
    assert relative_of([]) == relative_of([{}, {"model_check": None}, {"model_check": {}}]) == 0.0
    assert relative_of([{"model_check": {"relative": 1e-7}}, {"model_check": {"relative": 1e-6}}]) == 1e-6
