"""Top-k accuracy: the share of rows whose label is among the k highest scores."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from milepost.core.types import Array, Columns, Value
from milepost.metrics._mean import counted, share
from milepost.metrics._states import Tally
from milepost.metrics._validation import check_choice, check_count


@dataclass(frozen=True, slots=True)
class TopK:
    """Share of rows whose label ranks among the first `k` classes; non-finite rows count as wrong.

    Equal scores rank by class index, so that top-1 agrees with argmax and constant scores give chance.
    `ties="in_top_k"` counts a label that ties with the k-th score as right, as TensorFlow's in_top_k does.

    >>> metric = TopK(1)
    >>> metric.values(metric.state({"rank": np.array([0, 2, 0, 1], np.int32)}, None))["top1"].value
    0.5
    """

    k: int = 1
    ties: Literal["class_index", "in_top_k"] = "class_index"
    name: ClassVar[str] = "top_k"
    direction: ClassVar[str] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    examples: ClassVar[tuple[dict[str, int | str], ...]] = ({"k": 5}, {"k": 3, "ties": "in_top_k"})

    def __post_init__(self) -> None:
        check_count("TopK(k)", self.k)
        check_choice("TopK(ties)", self.ties, ("class_index", "in_top_k"))

    @property
    def headline(self) -> str:
        """`top1`, `top5`; `top5_in_top_k` with TensorFlow's rule."""
        return f"top{self.k}" if self.ties == "class_index" else f"top{self.k}_in_top_k"

    @property
    def columns(self) -> tuple[str, ...]:
        """The rank of the label; with TensorFlow's rule, the number of higher scores."""
        return ("rank",) if self.ties == "class_index" else ("above",)

    def trivial(self, classes: int) -> str | None:
        """Return what the value says where k reaches the number of classes: that rows are finite."""
        if self.k < classes:
            return None
        return f"{self.headline} counts every finite row as right: the model has {classes} outputs; choose a smaller k"

    def contribution(self, columns: Columns) -> Array:
        """Return True for each row that is right."""
        return np.asarray(columns[self.columns[0]] < self.k)

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Count the right rows."""
        return counted(self.contribution(columns), weights)

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the share of right rows."""
        return {self.headline: share(state)}
