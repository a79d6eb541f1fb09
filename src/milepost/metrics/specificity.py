"""Specificity: of the rows of other classes, the share that is not predicted as a class."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from milepost.core.types import Array
from milepost.metrics._class_counts import Rows
from milepost.metrics._class_ratio import ClassRatio


@dataclass(frozen=True, slots=True, kw_only=True)
class Specificity(ClassRatio):
    """Rows neither of a class nor predicted as it / rows of other classes, for one class (`label`), or averaged.

    Where all rows are of one class, that class has no specificity, which is the data's and not the model's fault:
    `undefined` is "skip" unless asked otherwise.  `average` is "macro" (over `classes`: "present", "seen", or their
    number), "weighted" by rows, or "micro", whose value depends on how many classes there are: those seen, or
    `classes`.

    >>> import numpy as np
    >>> rows = {"label": np.array([0, 0, 1]), "prediction": np.array([0, 1, 1], np.int32)}
    >>> for metric in (Specificity(), Specificity(label=1), Specificity(average="micro", classes=3)):
    ...     for name, item in metric.values(metric.state(rows, None)).items():
    ...         print(name, item.value)
    specificity_macro_present 0.75
    specificity_class_1 0.5
    specificity_micro_of_3 0.8333333333333334
    """

    undefined: Literal["zero", "skip"] = "skip"
    name: ClassVar[str] = "specificity"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"classes": 9}, {"classes": 9, "average": "micro"}, {"label": 2})
    _counted: ClassVar[str] = "rows of other classes"
    _usual: ClassVar[str] = "skip"

    def _hits(self, label: Array, prediction: Array) -> tuple[Array, Array]:
        return prediction != self.label, label != self.label

    def _fractions(self, rows: Rows) -> tuple[Array, Array]:
        others = rows.total - rows.support
        return others - rows.predicted + rows.right, others

    def _is_share(self) -> bool:
        return self.label is not None  # summed over classes, a row counts many times
