"""Cross-entropy: the mean negative log-likelihood of the labels."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from milepost.core import Array, Columns, Value
from milepost.metrics._checks import check_choice
from milepost.metrics._mean import mean, summed
from milepost.states import Tally


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """Mean negative log-likelihood of the label, in nats: the exact sum of the float32 rows, divided once.

    Spoiled rows make it undefined unless `nonfinite="skip"`; a label whose score is -inf makes it infinite.

    >>> import numpy as np
    >>> metric = CrossEntropy()
    >>> rows = {"nll": np.array([0.5, 1.5], np.float32), "finite": np.ones(2, np.uint8)}
    >>> metric.values(metric.state(rows, None))["cross_entropy"].value
    1.0
    """

    nonfinite: Literal["undefined", "skip"] = "undefined"
    name: ClassVar[str] = "cross_entropy"
    headline: ClassVar[str] = "cross_entropy"
    columns: ClassVar[tuple[str, ...]] = ("nll", "finite")
    direction: ClassVar[str] = "lower"
    unit: ClassVar[str] = "nats"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def __post_init__(self) -> None:
        """Refuse an unknown rule for spoiled rows."""
        check_choice("CrossEntropy(nonfinite)", self.nonfinite, ("undefined", "skip"))

    def contribution(self, columns: Columns) -> Array:
        """Return each row's negative log-likelihood; NaN where spoiled."""
        return columns["nll"]

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Sum the rows exactly."""
        return summed(columns["nll"], columns["finite"], weights)

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the mean."""
        return {"cross_entropy": mean(state, self.nonfinite == "skip")}
