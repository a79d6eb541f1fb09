"""The F score: precision and recall of a class in one number."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from milepost.core.types import Array
from milepost.metrics._class_counts import Rows
from milepost.metrics._class_ratio import ClassRatio
from milepost.metrics._validation import check_positive


@dataclass(frozen=True, slots=True)
class FBeta(ClassRatio):
    """Weighted harmonic mean of precision and recall, for one class (`label`), or averaged over classes.

    With `beta` = b it is (1 + b^2) right / (b^2 rows of the class + rows predicted as it): recall counts b times as
    much as precision (van Rijsbergen 1979).  A class without rows and predictions has none: `undefined` decides how
    it counts.  `average` is "macro" (the mean of the classes' F, over `classes`: "present", "seen", or their number),
    "weighted" by rows, or "micro".

    >>> import numpy as np
    >>> rows = {"label": np.array([0, 0, 1]), "prediction": np.array([0, 1, 1], np.int32)}
    >>> for metric in (FBeta(), FBeta(2), FBeta(0.5, label=0), FBeta(average="micro")):
    ...     for name, item in metric.values(metric.state(rows, None)).items():
    ...         print(name, item.value)
    f1_macro_present 0.6666666666666666
    f2_macro_present 0.6944444444444444
    f0.5_class_0 0.8333333333333334
    f1_micro 0.6666666666666666
    """

    beta: float = 1.0
    name: ClassVar[str] = "f_beta"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"beta": 0.5, "classes": 9}, {"beta": 2, "label": 2})
    _counted: ClassVar[str] = "rows or predictions"

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", check_positive("FBeta(beta)", self.beta))
        ClassRatio.__post_init__(self)

    def _short(self) -> str:
        return f"f{int(self.beta)}" if self.beta.is_integer() else f"f{self.beta!r}"

    def _fractions(self, rows: Rows) -> tuple[Array, Array]:
        top, bottom = (Fraction(self.beta) ** 2).as_integer_ratio()
        return (top + bottom) * rows.right, top * rows.support + bottom * rows.predicted

    def _is_share(self) -> bool:
        return False
