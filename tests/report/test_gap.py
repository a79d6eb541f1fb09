"""The gap between batch mean and exact value in words, for batches that are really averaged and scored."""

from typing import Any

import numpy as np
import pytest

from milepost.core.types import Array
from milepost.report.gap import explain


def batch_mean(right: Array, size: int, *, closed: bool = True) -> dict[str, Any]:
    n = len(right)
    batches = [right[start : start + size] for start in range(0, n, size)]
    means = [float(batch.mean()) for batch in batches]
    gap = {"value": float(np.mean(means)) - float(right.mean()), "batches": len(means), "last_rows": len(batches[-1])}
    if closed:
        full = means[:-1] if len(batches[-1]) < size and len(means) > 1 else means
        gap |= {"full": float(np.mean(full)), "last": means[-1]}
    return {"value": float(np.mean(means)), "batch_size": size, "n": n, "gap": gap}


def test_360_rows_in_batches_of_359() -> None:
    mean = batch_mean(np.array([1] * 298 + [0] * 61 + [1]), 359)
    assert round(mean["value"], 6) == 0.915042
    assert explain(mean) == (
        "the last batch of 1 row counts like 359: (1.000000 - 0.830084) x (1/2 - 1/360) = +0.084486"
    )


@pytest.mark.parametrize(
    ("size", "closed", "words"),
    [
        (10, True, "no gap: all rows are in one batch"),
        (3, True, "no gap: every batch has the same number of rows"),
        (4, True, "the last batch of 2 rows counts like 4: (0.250000 - 0.500000) x (1/2 - 2/6)"),
        (4, False, "no closed form"),
    ],
)
def test_words(size: int, closed: bool, words: str) -> None:
    right = np.array([1, 1, 0, 0, 0, 0.5])
    assert words in explain(batch_mean(right, size, closed=closed))


def test_a_last_batch_like_the_others_has_no_gap() -> None:
    assert explain(batch_mean(np.array([1, 0, 0.5]), 2)) == "no gap: the last batch has the same mean as the others"


def test_an_undefined_or_infinite_value_has_no_gap() -> None:
    assert "undefined or infinite" in explain({"value": "inf", "batch_size": 3, "n": 6})
