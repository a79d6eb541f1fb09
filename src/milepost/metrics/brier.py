"""The Brier score: how far the probabilities are from what happened, squared."""

from dataclasses import dataclass
from typing import ClassVar

from milepost.core.types import Array, Columns
from milepost.metrics._mean import RowMean


@dataclass(frozen=True, slots=True, kw_only=True)
class Brier(RowMean):
    """Mean over rows of the sum over classes of (probability - one-hot label)^2, from 0 to 2: lower is better.

    This is Brier's own form for any number of classes (Brier 1950), scikit-learn's with `scale_by_half=False`.  For two
    classes it is twice the mean of (probability of class 1 - label)^2, which is often called by the same name.  The sum
    of the float32 rows is exact and divided once.  Non-finite rows make it undefined unless `nonfinite="skip"`.

    >>> import numpy as np
    >>> metric = Brier()
    >>> rows = {"squared_error": np.array([0.125, 0.5], np.float32), "finite": np.ones(2, np.uint8)}
    >>> metric.values(metric.state(rows, None))["brier"].value
    0.3125
    """

    name: ClassVar[str] = "brier"
    columns: ClassVar[tuple[str, ...]] = ("squared_error", "finite")
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def contribution(self, columns: Columns) -> Array:
        """Return each row's sum of squares; NaN where non-finite."""
        return columns["squared_error"]
