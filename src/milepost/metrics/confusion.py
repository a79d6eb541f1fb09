"""The confusion matrix and what it says of each class."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from milepost.core import Array, Columns, Value
from milepost.states import ExactSums, Tally


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows by label and prediction; its headline is the mean recall of the classes that are present among the labels.

    Absent classes do not enter the mean (tf.metrics.mean_per_class_accuracy counts them as 0).  Spoiled rows are
    predicted as no class: they stand in a column of their own and count against their label's recall.

    >>> import numpy as np
    >>> metric = Confusion()
    >>> rows = {"label": np.array([0, 0, 1]), "prediction": np.array([0, 1, 1], np.int32)}
    >>> metric.values(metric.state(rows, None))["mean_per_class_accuracy"].value
    0.75
    """

    name: ClassVar[str] = "confusion"
    headline: ClassVar[str] = "mean_per_class_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("label", "prediction")
    direction: ClassVar[str] = "higher"
    unit: ClassVar[str] = "ratio"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Count rows by label and prediction; column 0 of the matrix holds the spoiled ones."""
        label = columns["label"].astype(np.int64)
        prediction = columns["prediction"].astype(np.int64)
        size = int(max(label.max(initial=-1), prediction.max(initial=-1))) + 1
        shape = (size, size + 1)
        cells = label * (size + 1) + prediction + 1
        matrix = np.bincount(cells, minlength=size * (size + 1)).astype(np.int64).reshape(shape)
        sums = {} if weights is None else {"matrix": ExactSums.of(weights, cells, shape)}
        return Tally({"matrix": matrix}, sums, grows=True)

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the mean recall over the classes present, rounded once."""
        matrix = _exact(state)
        return self._value(np.diagonal(matrix, 1), matrix.sum(axis=1), len(matrix))

    def values_of(self, columns: Columns, weights: Array | None) -> dict[str, Value]:
        """Return `values(state(columns, weights))` without the matrix, which many classes make large."""
        if weights is not None:
            return self.values(self.state(columns, weights))
        label, prediction = columns["label"].astype(np.int64), columns["prediction"].astype(np.int64)
        present, where, support = np.unique(label, return_inverse=True, return_counts=True)
        right = np.bincount(where[prediction == label], minlength=len(present))
        classes = int(max(label.max(initial=-1), prediction.max(initial=-1))) + 1
        return self._value(right, support, classes)

    def _value(self, right: Array, support: Array, classes: int) -> dict[str, Value]:
        """Average the recalls exactly: those of equal support are added before they become fractions."""
        tops: Counter[int] = Counter()
        present = 0
        for top, bottom in zip(right.tolist(), support.tolist(), strict=True):
            if bottom:
                tops[bottom] += top
                present += 1
        if not present:
            return {self.headline: Value(None, note="undefined: no rows")}
        whole = sum((Fraction(top, bottom) for bottom, top in tops.items()), Fraction(0)) / present
        note = None if present == classes else f"over {present} classes present of {classes}"
        return {self.headline: Value(whole.numerator / whole.denominator, note=note)}

    def tables(self, state: Tally) -> dict[str, Array]:
        """Return `matrix` [label, prediction], `spoiled` [label], and per class `support`, `recall`, `precision`."""
        matrix = _exact(state)
        square = matrix[:, 1:]
        right = np.diagonal(square)
        support, predicted = matrix.sum(axis=1), square.sum(axis=0)
        weighted = "matrix" in state.sums
        return {
            "matrix": _plain(square, weighted),
            "spoiled": _plain(matrix[:, 0], weighted),
            "support": _plain(support, weighted),
            "recall": _ratios(right, support),
            "precision": _ratios(right, predicted),
        }


def _exact(state: Tally) -> Array:
    """Return the matrix as exact integers: counts, or weights in units of 2**-1074 (dtype object)."""
    units: Any = state.sums["matrix"].units if "matrix" in state.sums else state.counts["matrix"]
    return np.asarray(units)


def _plain(units: Array, weighted: bool) -> Array:  # noqa: FBT001 - private
    if not weighted:
        return units.astype(np.int64)
    return np.array([int(unit) / (1 << 1074) for unit in units.ravel()]).reshape(units.shape)


def _ratios(tops: Array, bottoms: Array) -> Array:
    pairs = zip(tops.tolist(), bottoms.tolist(), strict=True)
    return np.array([top / bottom if bottom else np.nan for top, bottom in pairs], np.float64)
