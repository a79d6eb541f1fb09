"""Recall: of the rows of a class, the share that is predicted as it."""

from dataclasses import dataclass
from typing import ClassVar

from milepost.core.types import Array
from milepost.metrics._class_counts import Rows
from milepost.metrics._class_ratio import ClassRatio


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall(ClassRatio):
    """Right rows of a class / its rows (sensitivity), for one class (`label`), or averaged over classes.

    A class without rows has no recall: `undefined` decides how an average over `classes` that include it counts it.
    `average` is "macro" (over `classes`: "present", "seen", or their number), "weighted" by rows, or "micro"; the last
    two are accuracy.

    >>> import numpy as np
    >>> rows = {"label": np.array([0, 0, 1]), "prediction": np.array([0, 2, 1], np.int32)}
    >>> for metric in (Recall(), Recall(classes="seen"), Recall(classes=4), Recall(average="micro")):
    ...     for name, item in metric.values(metric.state(rows, None)).items():
    ...         print(name, item.value, item.note)
    recall_macro_present 0.75 over 2 of 3 classes
    recall_macro_seen 0.5 1 without rows count as 0
    recall_macro_of_4 0.375 2 without rows count as 0
    recall_micro 0.6666666666666666 None
    """

    name: ClassVar[str] = "recall"
    _counted: ClassVar[str] = "rows"

    def _hits(self, label: Array, prediction: Array) -> tuple[Array, Array]:
        return label == prediction, label >= 0 if self.label is None else label == self.label

    def _fractions(self, rows: Rows) -> tuple[Array, Array]:
        return rows.right, rows.support
