"""Precision: of the rows that are predicted as a class, the share that is of it."""

from dataclasses import dataclass
from typing import ClassVar

from milepost.core.types import Array
from milepost.metrics._class_counts import Rows
from milepost.metrics._class_ratio import ClassRatio


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision(ClassRatio):
    """Right rows of a class / rows predicted as it, for one class (`label`), or averaged over classes.

    A class that no row is predicted as has no precision: `undefined` decides how an average counts it.  `average` is
    "macro" (over `classes`: "present", "seen", or their number), "weighted" by rows, or "micro".  Micro precision is
    accuracy over the rows that have a prediction, non-finite ones aside.

    >>> import numpy as np
    >>> rows = {"label": np.array([0, 0, 1, 2]), "prediction": np.array([0, 1, 1, 1], np.int32)}
    >>> for metric in (Precision(), Precision(undefined="skip"), Precision(label=1), Precision(average="micro")):
    ...     for name, item in metric.values(metric.state(rows, None)).items():
    ...         print(name, item.value, item.note)
    precision_macro_present 0.4444444444444444 1 without predictions count as 0
    precision_macro_present_skip 0.6666666666666666 over 2 of 3 classes
    precision_class_1 0.3333333333333333 None
    precision_micro 0.5 None
    """

    name: ClassVar[str] = "precision"
    _counted: ClassVar[str] = "predictions"

    def _hits(self, label: Array, prediction: Array) -> tuple[Array, Array]:
        return label == prediction, prediction >= 0 if self.label is None else prediction == self.label

    def _fractions(self, rows: Rows) -> tuple[Array, Array]:
        return rows.right, rows.predicted
