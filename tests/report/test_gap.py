"""The gap between batch mean and exact value, against batches that are really averaged."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.core.types import Array
from milepost.report.gap import closed_form, explain


def records(right: Array, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    n = len(right)
    means = [right[start : start + size].mean() for start in range(0, n, size)]
    exact = {"value": right.sum() / n, "denominator": n, "n": n}
    return exact, {"value": float(np.mean(means)), "batch_size": size}


def test_360_rows_in_batches_of_359() -> None:
    right = np.array([1] * 298 + [0] * 61 + [1])
    exact, mean = records(right, 359)
    assert round(exact["value"], 6) == 0.830556
    assert round(mean["value"], 6) == 0.915042
    assert explain(exact, mean) == (
        "the last batch of 1 row counts like 359: (1.000000 - 0.830084) x (1/2 - 1/360) = +0.084486"
    )


@given(st.lists(st.integers(0, 1), min_size=2, max_size=200), st.integers(1, 60))
def test_the_means_of_full_and_last_batches_are_found_from_the_values_alone(hits: list[int], size: int) -> None:
    right = np.array(hits)
    exact, mean = records(right, size)
    found = closed_form(exact, mean)
    assert found is not None
    assert found.gap == pytest.approx(mean["value"] - exact["value"])
    last = len(right) - (found.batches - 1) * size
    assert found.last_rows == last
    if found.batches > 1 and last < size:
        assert found.full is not None
        assert found.last is not None
        assert found.last == pytest.approx(right[-last:].mean(), abs=1e-9)
        assert found.full == pytest.approx(right[:-last].mean(), abs=1e-9)
        predicted = (found.last - found.full) * (1 / found.batches - last / len(right))
        assert found.gap == pytest.approx(predicted, abs=1e-9)


def test_a_records_own_closed_form_goes_first() -> None:
    gap = {"value": 0.1, "batches": 3, "last_rows": 2, "last": 0.9, "full": 0.5, "closed_form": 0.1}
    mean = {"value": 0.7, "batch_size": 5, "gap": gap}
    events = explain({"value": 0.6, "denominator": None, "n": 12}, mean)
    assert events == "the last batch of 2 rows counts like 5: (0.900000 - 0.500000) x (1/3 - 2/12) = +0.100000"


@pytest.mark.parametrize(
    ("exact", "mean", "words"),
    [
        ({"value": 0.5, "denominator": 6, "n": 6}, {"value": 0.5, "batch_size": 10}, "all rows are in one batch"),
        ({"value": 0.5, "denominator": 6, "n": 6}, {"value": 0.5, "batch_size": 3}, "same number of rows"),
        ({"value": 0.5, "denominator": None, "n": 6}, {"value": 0.6, "batch_size": 3}, "no closed form"),
        ({"value": None, "denominator": None, "n": 6}, {"value": 0.6, "batch_size": 3}, "undefined"),
        ({"value": 0.5, "n": 6}, {"value": "inf", "batch_size": 3}, "infinite"),
    ],
)
def test_words_where_there_is_no_closed_form(exact: dict[str, Any], mean: dict[str, Any], words: str) -> None:
    assert words in explain(exact, mean)
