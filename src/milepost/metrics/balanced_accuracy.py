"""Balanced accuracy: every class counts the same, however many rows it has."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from milepost.core.types import Array, Value
from milepost.metrics._class_counts import ByClass, Rows, ratios, sum_of_ratios
from milepost.metrics._states import Tally
from milepost.metrics._validation import check_flag


@dataclass(frozen=True, slots=True)
class BalancedAccuracy(ByClass):
    """Mean of the accuracies (recalls) of the classes that are present among the labels; non-finite rows are wrong.

    `adjusted=True` rescales it so that guessing one class of P scores 0: (mean - 1/P) / (1 - 1/P), at most 1; undefined
    for one class only.  scikit-learn's `balanced_accuracy_score` (Brodersen et al. 2010).  It is the headline of
    `Confusion`, without the matrix; the accuracy of each class is in its table.

    >>> metric = BalancedAccuracy()
    >>> rows = {"label": np.array([0, 0, 0, 1]), "prediction": np.array([0, 0, 1, 1], np.int32)}
    >>> metric.values(metric.state(rows, None))["balanced_accuracy"].value
    0.8333333333333334
    >>> metric.tables(metric.state(rows, None))["accuracy"].round(3).tolist()
    [0.667, 1.0]
    """

    adjusted: bool = False
    name: ClassVar[str] = "balanced_accuracy"
    examples: ClassVar[tuple[dict[str, bool], ...]] = ({"adjusted": True},)

    def __post_init__(self) -> None:
        check_flag("BalancedAccuracy(adjusted)", self.adjusted)

    @property
    def headline(self) -> str:
        """`balanced_accuracy`, or `balanced_accuracy_adjusted`."""
        return "balanced_accuracy_adjusted" if self.adjusted else "balanced_accuracy"

    @property
    def range(self) -> tuple[float, float]:
        """0 to 1; adjusted, from -1 (two classes, all wrong)."""
        return (-1.0, 1.0) if self.adjusted else (0.0, 1.0)

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the mean over the classes present, rounded once."""
        rows = Rows.of(state)
        here = rows.support != 0
        present = int(np.count_nonzero(here))
        top, bottom = sum_of_ratios(rows.right[here], rows.support[here])
        if self.adjusted:  # (top / bottom / P - 1/P) / (1 - 1/P)
            top, present = top - bottom, present - 1
        if present < 1:
            why = "all rows are of one class" if here.any() else "no rows"
            return {self.headline: Value(None, note=f"undefined: {why}")}
        note = None if here.all() else f"over {np.count_nonzero(here)} classes present of {len(here)}"
        return {self.headline: Value(top / (bottom * present), note=note)}

    def tables(self, state: Tally) -> dict[str, Array]:
        """Return by class: `accuracy` (NaN without rows), `support`, `predicted` and `right`."""
        rows = Rows.of(state)
        return {"accuracy": ratios(rows.right, rows.support), **rows.tables()}
