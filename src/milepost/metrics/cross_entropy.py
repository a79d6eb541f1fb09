"""Cross-entropy: the mean negative log-likelihood of the labels, plain or with smoothed labels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from milepost.core.types import Array, Columns
from milepost.metrics._mean import RowMean
from milepost.metrics._validation import check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy(RowMean):
    """Mean negative log-likelihood of the label, in nats: the exact sum of the float32 rows, divided once.

    Non-finite rows make it undefined unless `nonfinite="skip"`; a label whose score is -inf makes it infinite.

    >>> metric = CrossEntropy()
    >>> rows = {"nll": np.array([0.5, 1.5], np.float32), "finite": np.ones(2, np.uint8)}
    >>> metric.values(metric.state(rows, None))["cross_entropy"].value
    1.0
    """

    name: ClassVar[str] = "cross_entropy"
    columns: ClassVar[tuple[str, ...]] = ("nll", "finite")
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def contribution(self, columns: Columns) -> Array:
        """Return each row's negative log-likelihood; NaN where non-finite."""
        return columns["nll"]


@dataclass(frozen=True, slots=True)
class SmoothedCrossEntropy(RowMean):
    """Mean cross-entropy against smoothed labels, in nats: (1 - s) nll + s (mean over classes of -log p).

    The share `smoothing` of every label is spread evenly over all classes, the label's own included (Szegedy et al.
    2016; `label_smoothing` of PyTorch and Keras).  A row's two terms are joined in float64 and rounded to float32; the
    sum of the rows is exact.  Non-finite rows make it undefined unless `nonfinite="skip"`; any class without
    probability makes it infinite.  The amount of smoothing is part of the value's name.

    >>> metric = SmoothedCrossEntropy(smoothing=0.5)
    >>> rows = {"nll": np.float32([1.0]), "uniform_nll": np.float32([2.0]), "finite": np.ones(1, np.uint8)}
    >>> metric.values(metric.state(rows, None))["cross_entropy_smoothed_0.5"].value
    1.5
    """

    smoothing: float = 0.1
    name: ClassVar[str] = "smoothed_cross_entropy"
    columns: ClassVar[tuple[str, ...]] = ("nll", "uniform_nll", "finite")
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    examples: ClassVar[tuple[dict[str, float], ...]] = ({"smoothing": 1}, {"smoothing": 0.37})
    _infinite: ClassVar[str] = "rows give some class no probability"

    def __post_init__(self) -> None:
        object.__setattr__(self, "smoothing", check_positive("SmoothedCrossEntropy(smoothing)", self.smoothing, 1))
        RowMean.__post_init__(self)

    @property
    def headline(self) -> str:
        """`cross_entropy_smoothed_0.1`."""
        return f"cross_entropy_smoothed_{self.smoothing!r}"

    def contribution(self, columns: Columns) -> Array:
        """Return each row's loss in float32; NaN where non-finite."""
        rest = 1.0 - self.smoothing
        own = rest * columns["nll"].astype(np.float64) if rest else 0.0  # without this, 0 x infinity would be NaN
        return np.asarray(own + self.smoothing * columns["uniform_nll"].astype(np.float64), np.float32)
