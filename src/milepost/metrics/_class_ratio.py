"""Ratios of one class against the others (precision, recall, ...), for one class or averaged over classes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from milepost.core.types import Array, Columns, Value
from milepost.errors import UsageError
from milepost.metrics._class_counts import ByClass, Rows, by_class, exact, plain, ratios, sum_of_ratios
from milepost.metrics._states import Tally
from milepost.metrics._validation import check_choice, check_class, check_count


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRatio(ByClass, ABC):
    """A ratio of one class against the others (precision, recall, ...), of one class or averaged over classes.

    All kinds have these settings, and a table of every class.

    - `average="macro"` is the plain mean over `classes`: "present" (some row has the label), "seen" (label or
      prediction; scikit-learn's default), or an integer C: all of 0 to C-1, present or not.  "weighted" weighs each
      class by its rows.  "micro" adds up numerators and denominators of all classes before it divides.
    - `undefined` decides about a class whose denominator is 0 (such as the precision of a class that is never
      predicted): "zero" counts it as 0, "skip" leaves it out (scikit-learn's `zero_division` 0 and nan).
    - `label=c` is the ratio of class c alone; undefined where its denominator is 0.

    A non-finite row is predicted as no class: it counts against its label, and for no other.
    """

    average: Literal["macro", "micro", "weighted"] = "macro"
    classes: Literal["present", "seen"] | int = "present"
    undefined: Literal["zero", "skip"] = "zero"
    label: int | None = None
    name: ClassVar[str]
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    examples: ClassVar[tuple[dict[str, int | str], ...]] = (
        {"classes": "seen"},
        {"classes": 9, "undefined": "skip"},
        {"average": "micro", "classes": 9},
        {"label": 2},
    )
    _counted: ClassVar[str] = ""  # what the denominator counts
    _usual: ClassVar[str] = "zero"  # the default of `undefined`, which the name leaves out

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_choice(f"{owner}(average)", self.average, ("macro", "micro", "weighted"))
        check_choice(f"{owner}(undefined)", self.undefined, ("zero", "skip"))
        if isinstance(self.classes, str):
            check_choice(f"{owner}(classes)", self.classes, ("present", "seen"))
        else:
            check_count(f"{owner}(classes)", self.classes)
        if self.label is None:
            return
        check_class(f"{owner}(label)", self.label)
        if (self.average, self.classes, self.undefined) != ("macro", "present", self._usual):
            raise UsageError(
                f"{owner}(label={self.label}) is about one class: leave out average, classes and undefined"
            )

    @property
    def headline(self) -> str:
        """`precision_macro_present`, `precision_macro_of_10`, `precision_micro`, `precision_class_3`."""
        if self.label is not None:
            return f"{self._short()}_class_{self.label}"
        words = [self._short(), self.average]
        if isinstance(self.classes, int):
            words.append(f"of_{self.classes}")
        elif self.average == "macro":
            words.append(self.classes)
        return "_".join(words + [self.undefined] * (self.undefined != self._usual))

    def _short(self) -> str:
        return self.name

    @abstractmethod
    def _fractions(self, rows: Rows) -> tuple[Array, Array]:
        """Return the numerator and the denominator of each class."""

    def _is_share(self) -> bool:
        """Return whether both count rows, each of them once: then the value is a proportion."""
        return True

    def _hits(self, _label: Array, _prediction: Array) -> tuple[Array, Array] | None:
        """Return which rows are hits and which rows count, of one class or of all; None where it is no share."""
        return None

    def hits(self, columns: Columns) -> tuple[Array, Array] | None:
        """Return which rows are hits and which rows count; None where it averages over classes, or is no share."""
        if not self._is_share() or (self.label is None and self.average != "micro"):
            return None
        return self._hits(columns["label"], columns["prediction"])

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Count rows by class; a UsageError for a class beyond those that are declared."""
        state = by_class(columns, weights)
        met = len(exact(state, "support"))
        if isinstance(self.classes, int) and met > self.classes:
            raise UsageError(
                f"{type(self).__name__}(classes={self.classes}): class {met - 1} occurs among the rows; "
                f"expected 0 to {self.classes - 1}: give the number of the model's outputs"
            )
        return state

    def values(self, state: Tally) -> dict[str, Value]:
        rows = self._rows(state)
        if not rows.total:
            return {self.headline: Value(None, note="undefined: no rows")}
        tops, bottoms = self._fractions(rows)
        if self.label is not None:
            return {self.headline: self._one(tops[self.label], bottoms[self.label], f"class {self.label} has", rows)}
        if self.average == "micro":
            chosen = slice(None) if isinstance(self.classes, int) else rows.seen
            return {self.headline: self._one(tops[chosen].sum(), bottoms[chosen].sum(), "there are", rows)}
        return {self.headline: self._mean(tops, bottoms, rows)}

    def tables(self, state: Tally) -> dict[str, Array]:
        """Return the ratio by class under its short name (NaN where undefined), `support`, `predicted`, `right`."""
        rows = self._rows(state)
        return {self._short(): ratios(*self._fractions(rows)), **rows.tables()}

    def _rows(self, state: Tally) -> Rows:
        least = self.classes if isinstance(self.classes, int) else 0
        return Rows.of(state, max(least, 0 if self.label is None else self.label + 1))

    def _one(self, top: int, bottom: int, what: str, rows: Rows) -> Value:
        if not bottom:
            return Value(None, note=f"undefined: {what} no {self._counted}")
        if not self._is_share():
            return Value(top / bottom)
        numerator, denominator = plain(np.array([top, bottom], object), weighted=rows.weighted).tolist()
        return Value(top / bottom, numerator, denominator, proportion=not rows.weighted)

    def _mean(self, tops: Array, bottoms: Array, rows: Rows) -> Value:
        shares = rows.support if self.average == "weighted" else np.array([1] * len(tops), object)
        chosen = self._chosen(rows)
        used = chosen & (bottoms != 0)
        over = used if self.undefined == "skip" else chosen
        if not over.any():
            return Value(None, note=f"undefined: no class has {self._counted}")
        top, bottom = sum_of_ratios((tops * shares)[used], bottoms[used])
        value = top / (bottom * int(shares[over].sum()))
        lost = int(np.count_nonzero(chosen)) - int(np.count_nonzero(used))
        notes = [f"over {np.count_nonzero(over)} of {len(tops)} classes"] * (not over.all())
        notes += [f"{lost} without {self._counted} count as 0"] * (lost > 0 and self.undefined == "zero")
        return Value(value, note="; ".join(notes) or None)

    def _chosen(self, rows: Rows) -> Array:
        if self.average == "weighted" or self.classes == "present":
            return np.asarray(rows.support != 0)
        return rows.seen if self.classes == "seen" else np.ones(len(rows.support), bool)
