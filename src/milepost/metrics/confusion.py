"""The confusion matrix: rows by label and prediction, and the recall and precision of each class."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from milepost.core.types import Array, Columns, Value
from milepost.metrics._class_counts import ByClass, counted_in, exact, plain, ratios, sum_of_ratios
from milepost.metrics._states import ExactSums, Tally


@dataclass(frozen=True, slots=True)
class Confusion(ByClass):
    """Rows by label and prediction; its headline is the mean recall of the classes that are present among the labels.

    Absent classes do not enter the mean (tf.metrics.mean_per_class_accuracy counts them as 0).  Non-finite rows
    are predicted as no class: they stand in a column of their own and count against their label's recall.

    >>> metric = Confusion()
    >>> rows = {"label": np.array([0, 0, 1]), "prediction": np.array([0, 1, 1], np.int32)}
    >>> metric.values(metric.state(rows, None))["mean_per_class_accuracy"].value
    0.75
    """

    name: ClassVar[str] = "confusion"
    headline: ClassVar[str] = "mean_per_class_accuracy"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Count rows by label and prediction; column 0 of the matrix holds the non-finite ones."""
        label, prediction = (columns[name].astype(np.int64) for name in self.columns)
        size = int(max(label.max(initial=-1), prediction.max(initial=-1))) + 1
        return counted_in("matrix", label * (size + 1) + prediction + 1, weights, (size, size + 1))

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the mean recall over the classes present, rounded once."""
        matrix = exact(state, "matrix")
        return self._value(np.diagonal(matrix, 1), matrix.sum(axis=1), len(matrix))

    def batch_values(self, columns: Columns, weights: Array | None, size: int) -> dict[str, list[Value]]:
        """Return the value of every batch of `size` rows, without the matrix, which many classes make large."""
        label, prediction = (columns[name].astype(np.int64) for name in self.columns)
        highest = np.maximum.reduceat(np.maximum(label, prediction), np.arange(0, len(label), size)).tolist()
        classes = max(highest) + 1
        cells, where, support = np.unique(
            np.arange(len(label)) // size * classes + label, return_inverse=True, return_counts=True
        )
        hit = label == prediction
        right = np.bincount(where[hit], minlength=len(cells))
        if weights is not None:
            support = ExactSums.of(weights, where, cells.shape).units
            right = ExactSums.of(weights[hit], where[hit], cells.shape).units
        ends = np.searchsorted(cells, np.arange(len(highest) + 1) * classes)
        batches = zip(pairwise(ends.tolist()), highest, strict=True)
        return {
            self.headline: [self._value(right[a:b], support[a:b], top + 1)[self.headline] for (a, b), top in batches]
        }

    def _value(self, right: Array, support: Array, classes: int) -> dict[str, Value]:
        here = support != 0
        present = int(np.count_nonzero(here))
        if not present:
            return {self.headline: Value(None, note="undefined: no rows")}
        top, bottom = sum_of_ratios(right[here], support[here])
        note = None if present == classes else f"over {present} classes present of {classes}"
        return {self.headline: Value(top / (bottom * present), note=note)}

    def tables(self, state: Tally) -> dict[str, Array]:
        """Return `matrix` [label, prediction], `nonfinite` [label], and per class `support`, `recall`, `precision`."""
        matrix = exact(state, "matrix")
        square = matrix[:, 1:]
        right = np.diagonal(square)
        support, predicted = matrix.sum(axis=1), square.sum(axis=0)
        weighted = "matrix" in state.sums
        return {
            "matrix": plain(square, weighted=weighted),
            "nonfinite": plain(matrix[:, 0], weighted=weighted),
            "support": plain(support, weighted=weighted),
            "recall": ratios(right, support),
            "precision": ratios(right, predicted),
        }
