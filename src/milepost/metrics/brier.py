"""The Brier score: how far the probabilities are from what happened, squared."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from milepost.core.types import Array, Columns, Value
from milepost.metrics._mean import mean, summed
from milepost.metrics._states import Tally
from milepost.metrics._validation import check_choice


@dataclass(frozen=True, slots=True)
class Brier:
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

    nonfinite: Literal["undefined", "skip"] = "undefined"
    name: ClassVar[str] = "brier"
    headline: ClassVar[str] = "brier"
    columns: ClassVar[tuple[str, ...]] = ("squared_error", "finite")
    direction: ClassVar[str] = "lower"
    unit: ClassVar[str] = "squared probability"
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)

    def __post_init__(self) -> None:
        """Refuse an unknown rule for non-finite rows."""
        check_choice("Brier(nonfinite)", self.nonfinite, ("undefined", "skip"))

    def contribution(self, columns: Columns) -> Array:
        """Return each row's sum of squares; NaN where non-finite."""
        return columns["squared_error"]

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Sum the rows exactly."""
        return summed(columns["squared_error"], columns["finite"], weights)

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the mean."""
        return {"brier": mean(state, self.nonfinite == "skip")}
