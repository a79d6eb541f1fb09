"""Cross-entropy: the mean negative log-likelihood of the labels, plain or with smoothed labels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from milepost.core.types import Array, Columns
from milepost.metrics._mean import RowMean
from milepost.metrics._validation import check_share


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossEntropy(RowMean):
    """Mean negative log-likelihood of the label, in nats: the exact sum of the float32 rows, divided once.

    Non-finite rows make it undefined unless `nonfinite="skip"`; a label whose score is -inf makes it infinite.

    `label_smoothing=s` spreads the share s of every label evenly over all classes, the label's own included (Szegedy
    et al. 2016; `label_smoothing` of PyTorch and Keras): (1 - s) nll + s (mean over classes of -log p).  A row's two
    terms are joined in float64 and rounded to float32.  Any class without probability then makes it infinite.  The
    amount is part of the value's name.

    >>> metric = CrossEntropy()
    >>> rows = {"nll": np.array([0.5, 1.5], np.float32), "finite": np.ones(2, np.uint8)}
    >>> metric.values(metric.state(rows, None))["cross_entropy"].value
    1.0
    >>> smoothed = CrossEntropy(label_smoothing=0.5)
    >>> rows["uniform_nll"] = np.array([2.5, 3.5], np.float32)
    >>> smoothed.values(smoothed.state(rows, None))["cross_entropy_smoothed_0.5"].value
    2.0
    """

    label_smoothing: float = 0.0
    name: ClassVar[str] = "cross_entropy"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    examples: ClassVar[tuple[dict[str, float], ...]] = ({"label_smoothing": 1}, {"label_smoothing": 0.37})

    def __post_init__(self) -> None:
        share = check_share("CrossEntropy(label_smoothing)", self.label_smoothing)
        object.__setattr__(self, "label_smoothing", share)
        RowMean.__post_init__(self)

    @property
    def headline(self) -> str:
        """`cross_entropy`; `cross_entropy_smoothed_0.1`."""
        return f"{self.name}_smoothed_{self.label_smoothing!r}" if self.label_smoothing else self.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The label's negative log-likelihood; with smoothing, also the mean of all classes'."""
        return ("nll", "uniform_nll", "finite") if self.label_smoothing else ("nll", "finite")

    def contribution(self, columns: Columns) -> Array:
        """Return each row's loss in float32; NaN where non-finite."""
        if not self.label_smoothing:
            return columns["nll"]
        rest = 1.0 - self.label_smoothing
        own = rest * columns["nll"].astype(np.float64) if rest else 0.0  # without this, 0 x infinity would be NaN
        return np.asarray(own + self.label_smoothing * columns["uniform_nll"].astype(np.float64), np.float32)

    def _why_infinite(self) -> str:
        return f"rows give {'some class' if self.label_smoothing else 'their label'} no probability"
