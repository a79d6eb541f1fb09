"""The Matthews correlation: how far predictions and labels go together, for any number of classes."""

import math
from dataclasses import dataclass
from typing import ClassVar

from milepost.core.types import Value
from milepost.metrics._class_counts import ByClass, Rows
from milepost.metrics._states import Tally

_BITS = 128  # of the square root, before it is rounded to 53


@dataclass(frozen=True, slots=True)
class Matthews(ByClass):
    """Correlation of labels and predictions (Matthews 1975; for several classes R_K of Gorodkin 2004), from -1 to 1.

    With n rows, c right ones, t rows of each class and p rows predicted as it, it is
    (c n - sum t p) / sqrt((n^2 - sum p^2) (n^2 - sum t^2)), computed in integers and rounded once.  Undefined where all
    labels or all predictions are one class (scikit-learn says 0).  Non-finite rows are predicted as a class of their
    own.

    >>> import numpy as np
    >>> metric = Matthews()
    >>> rows = {"label": np.array([1, 1, 1, 0]), "prediction": np.array([1, 0, 1, 1], np.int32)}
    >>> metric.values(metric.state(rows, None))["matthews"].value
    -0.3333333333333333
    """

    name: ClassVar[str] = "matthews"
    headline: ClassVar[str] = "matthews"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the correlation."""
        rows = Rows.of(state)
        n, nonfinite = rows.total, rows.total - int(rows.predicted.sum())
        labels = n * n - int((rows.support * rows.support).sum())
        predictions = n * n - int((rows.predicted * rows.predicted).sum()) - nonfinite * nonfinite
        if not n:
            return {"matthews": Value(None, note="undefined: no rows")}
        if not labels or not predictions:
            which = "predictions" if labels else "labels"
            return {"matthews": Value(None, note=f"undefined: all {which} are one class")}
        top = int(rows.right.sum()) * n - int((rows.support * rows.predicted).sum())
        root = _root(top * top, labels * predictions)
        return {"matthews": Value(-root if top < 0 else root)}


def _root(top: int, bottom: int) -> float:
    """Return the square root of top / bottom, rounded once; both are integers above or at 0, the bottom above."""
    shift = max(0, 2 * _BITS + bottom.bit_length() - top.bit_length())
    shift += shift % 2
    square, rest = divmod(top << shift, bottom)
    root = math.isqrt(square)
    sticky = rest != 0 or root * root != square  # keeps what is cut off from looking like half a unit
    return (2 * root + sticky) / (1 << shift // 2 + 1)
