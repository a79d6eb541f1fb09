"""The short way to a batch's values gives what the state gives."""

import numpy as np
import pytest

from milepost.core.types import Array
from milepost.metrics import Confusion


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 64, 500])
def test_confusion(rows: int, weighted: bool) -> None:
    rng = np.random.default_rng(rows)
    columns: dict[str, Array] = {
        "label": rng.integers(0, 40, rows),
        "prediction": rng.integers(-1, 40, rows).astype(np.int32),
    }
    weights = rng.random(rows) + 0.5 if weighted else None
    metric = Confusion()
    assert metric.values_of(columns, weights) == metric.values(metric.state(columns, weights))
