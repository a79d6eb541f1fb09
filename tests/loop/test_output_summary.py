"""What is noted of a batch's scores, in numbers that a record of JSON can hold."""

import json

import numpy as np

from milepost.loop.output_summary import output_summary


def test_sums_are_of_rows_of_finite_scores() -> None:
    scores = np.array([[1.0, 2.0], [np.nan, 0.0], [-np.inf, 9.0], [0.5, -4.0]])
    assert output_summary(scores) == {"shape": [2], "rows": 2, "least": -4.0, "largest": 2.0, "sums": [-3.5, 3.0]}


def test_scores_of_other_tasks_have_no_sums() -> None:
    assert output_summary(np.ones((2, 3, 4))) == {"shape": [3, 4], "rows": 2, "least": 1.0, "largest": 1.0}
    assert output_summary(np.array([1.0, np.inf])) == {"shape": [], "rows": 1, "least": 1.0, "largest": 1.0}
    assert output_summary(np.full((2, 3), np.nan)) == {"shape": [3], "rows": 0}


def test_a_sum_beyond_float64_is_plain_json_too() -> None:
    found = output_summary(np.full((1, 4), 1e308))
    assert "sums" not in found
    json.dumps(found, allow_nan=False)
