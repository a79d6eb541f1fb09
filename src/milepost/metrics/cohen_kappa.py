"""Cohen's kappa: how far labels and predictions agree beyond chance."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from milepost.core.types import Array, Columns, Value
from milepost.metrics._class_counts import ByClass, Rows, by_class, counted_in, exact, joined, taken
from milepost.metrics._states import Tally
from milepost.metrics._validation import check_choice


@dataclass(frozen=True, slots=True)
class CohenKappa(ByClass):
    """1 - disagreement / disagreement expected by chance, from -1 to 1 (Cohen 1960; weighted: Cohen 1968).

    A row of label i that is predicted as j disagrees by 1 where they differ (`distance="equal"`), by |i - j| ("linear")
    or by (i - j)^2 ("quadratic", for ordered classes); chance pairs every label with every prediction.  Undefined where
    labels and predictions are all one and the same class.

    Non-finite rows are predicted as a class of their own, which differs from every label.  It stands at no distance:
    "linear" and "quadratic" are undefined with non-finite rows.  `nonfinite="skip"` leaves such rows out, of all three.

    >>> rows = {"label": np.array([0, 1, 2, 2]), "prediction": np.array([0, 1, 2, 0], np.int32)}
    >>> for metric in (CohenKappa(), CohenKappa(distance="quadratic")):
    ...     for name, item in metric.values(metric.state(rows, None)).items():
    ...         print(name, item.value)
    cohen_kappa 0.6363636363636364
    cohen_kappa_quadratic 0.38461538461538464
    """

    distance: Literal["equal", "linear", "quadratic"] = "equal"
    nonfinite: Literal["undefined", "skip"] = "undefined"
    name: ClassVar[str] = "cohen_kappa"
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    examples: ClassVar[tuple[dict[str, str], ...]] = ({"distance": "quadratic", "nonfinite": "skip"},)

    def __post_init__(self) -> None:
        check_choice("CohenKappa(distance)", self.distance, ("equal", "linear", "quadratic"))
        check_choice("CohenKappa(nonfinite)", self.nonfinite, ("undefined", "skip"))

    @property
    def headline(self) -> str:
        """`cohen_kappa`, `cohen_kappa_linear`, `cohen_kappa_quadratic`."""
        return "cohen_kappa" if self.distance == "equal" else f"cohen_kappa_{self.distance}"

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Count rows by class, and by how far label and prediction are `apart`: no matrix is needed."""
        label, prediction = (columns[name].astype(np.int64) for name in ("label", "prediction"))
        fine = prediction >= 0
        nonfinite = Tally({"nonfinite": np.int64(len(fine) - np.count_nonzero(fine))})
        if self.nonfinite == "skip":
            label, prediction, weights = label[fine], prediction[fine], taken(weights, fine)
            fine = fine[fine]
        apart = np.abs(label - prediction)[fine]
        shape = (int(apart.max(initial=-1)) + 1,)
        rows = by_class({"label": label, "prediction": prediction}, weights)
        return joined(rows, counted_in("apart", apart, taken(weights, fine), shape), nonfinite)

    def values(self, state: Tally) -> dict[str, Value]:
        """Return kappa, rounded once."""
        rows, nonfinite = Rows.of(state), state.count("nonfinite")
        if not rows.total:
            lost = f"all {nonfinite} rows are non-finite" if nonfinite else "no rows"
            return {self.headline: Value(None, note=f"undefined: {lost}")}
        if nonfinite and self.nonfinite != "skip" and self.distance != "equal":
            lost = f"{nonfinite} rows are non-finite, at no distance from a label"
            return {self.headline: Value(None, note=f'undefined: {lost}; nonfinite="skip" leaves them out')}
        observed, chance = self._observed(rows, exact(state, "apart").astype(object)), self._chance(rows)
        if not chance:
            return {self.headline: Value(None, note="undefined: labels and predictions are all one class")}
        return {self.headline: Value((chance - rows.total * observed) / chance)}

    def _observed(self, rows: Rows, apart: Array) -> int:
        """Return the sum of the rows' disagreements."""
        if self.distance == "equal":
            return rows.total - int(rows.right.sum())
        steps = np.arange(len(apart)).astype(object)
        return int((apart * (steps if self.distance == "linear" else steps * steps)).sum())

    def _chance(self, rows: Rows) -> int:
        """Return the sum of the disagreements of every label with every prediction."""
        labels, predictions, n = rows.support, rows.predicted, rows.total
        if self.distance == "equal":
            return n * n - int((labels * predictions).sum())
        if self.distance == "quadratic":
            at = np.arange(len(labels)).astype(object)
            squares = (at * at * (labels + predictions)).sum()
            return int(n * squares - 2 * (at * labels).sum() * (at * predictions).sum())
        below, under = np.cumsum(labels), np.cumsum(predictions)  # each step from k to k + 1 is crossed by these
        return int((below * (n - under) + (n - below) * under).sum())
