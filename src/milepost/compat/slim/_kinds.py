"""What is behind each name: from the arrays of a batch to a state of Milepost's, and from a state to a number.

Rows of weight 0 are taken out before any arithmetic.  What has no value (nothing was counted) is NaN.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from milepost.compat.slim._aligned import decided, equal, pair, spread, whole
from milepost.core.types import Array, Value
from milepost.errors import DataError, UsageError
from milepost.metrics._class_counts import Rows, plain
from milepost.metrics._mean import counted, share
from milepost.metrics._states import ExactSums, Tally
from milepost.metrics.balanced_accuracy import BalancedAccuracy
from milepost.metrics.precision import Precision
from milepost.metrics.recall import Recall
from milepost.metrics.top_k import TopK
from milepost.tasks.classification import Classification

Arrays = Mapping[str, Array]
ABSENT = np.iinfo(np.int64).min
"""Fills up rows of fewer labels than others."""


class Kind(ABC):
    """A metric of the table: pure functions of arrays."""

    __slots__ = ()

    @property
    def classes(self) -> int:
        """How many classes its state is laid out for; 0 where it does not grow with them."""
        return 0

    @abstractmethod
    def state(self, arrays: Arrays, weights: Array | None) -> Tally:
        """Summarise a batch; `arrays` by the names of the table, `weights` None where there are none."""

    def value(self, state: Tally) -> float:
        """Return the number, NaN where it has none: the share of what was counted, unless a kind has another."""
        return _number(share(state))

    def update(self, state: Tally) -> Array | float:
        """Return what the update op gives: the same number, or an array of the classes'."""
        return self.value(state)


def _number(value: Value) -> float:
    return float("nan") if value.value is None else float(value.value)


def _kept(weights: Array | None, shape: tuple[int, ...]) -> tuple[slice | Array, Array | None]:
    """Return which values of a shape count (flat), and their weights."""
    flat = spread(weights, shape)
    return (slice(None), None) if flat is None else (flat > 0, flat[flat > 0])


@dataclass(frozen=True, slots=True)
class Mean(Kind):
    """The weighted mean of values of any shape, summed exactly; a NaN or infinity among them shows."""

    def state(self, arrays: Arrays, weights: Array | None) -> Tally:
        values = arrays["values"]
        kept, weight = _kept(weights, values.shape)
        flat = values.ravel()[kept]
        if weight is None:
            return Tally({"n": np.int64(flat.size)}, {"sum": _sum(flat)})
        return Tally({}, {"sum": ExactSums.products(flat, weight), "weight": ExactSums.of(weight)})

    def value(self, state: Tally) -> float:
        if "n" in state.counts:
            return state.sums["sum"].ratio(state.count("n")) if state.count("n") else float("nan")
        weight = state.sums["weight"]
        return state.sums["sum"].ratio(weight) if int(weight.units[()]) else float("nan")


def _sum(values: Array) -> ExactSums:
    if values.dtype.kind in "iu" and values.dtype.itemsize > 4:  # noqa: PLR2004 - float64 holds 53 of their bits
        high, low = values >> values.dtype.type(32), values & values.dtype.type(0xFFFFFFFF)
        return ExactSums.of(high.astype(np.float64) * 2.0**32).merge(ExactSums.of(low))
    return ExactSums.of(values)


@dataclass(frozen=True, slots=True)
class Accuracy(Kind):
    """The share of predictions that equal their labels."""

    threshold: float = 0.5

    def state(self, arrays: Arrays, weights: Array | None) -> Tally:
        labels, predictions = pair(arrays["labels"], arrays["predictions"])
        kept, weight = _kept(weights, labels.shape)
        right = equal(labels.ravel()[kept], predictions.ravel()[kept], self.threshold)
        return counted(right, weight)


@dataclass(frozen=True, slots=True)
class Binary(Kind):
    """What is counted of two classes, 0 and 1: a number of rows, precision or recall.

    A NaN prediction is neither: it is no hit, and counts against its label.
    """

    what: Literal["true_positives", "false_positives", "true_negatives", "false_negatives", "precision", "recall"]
    threshold: float = 0.5

    @property
    def classes(self) -> int:
        return 2

    def state(self, arrays: Arrays, weights: Array | None) -> Tally:
        labels, predictions = pair(arrays["labels"], arrays["predictions"])
        kept, weight = _kept(weights, labels.shape)
        truth = whole(labels.ravel()[kept], "labels")
        if ((truth < 0) | (truth > 1)).any():
            raise DataError(
                f"labels of {self.what}: expected 0, 1, True or False; found {truth[(truth < 0) | (truth > 1)][0]}"
            )
        columns = {"label": truth, "prediction": decided(predictions.ravel()[kept], self.threshold)}
        return Recall().state(columns, weight)

    def value(self, state: Tally) -> float:
        """Return the count (a sum of weights where there are any) or the ratio."""
        if self.what == "precision":
            return _number(Precision(label=1).values(state)["precision_class_1"])
        if self.what == "recall":
            return _number(Recall(label=1).values(state)["recall_class_1"])
        rows = Rows.of(state, 2)
        found = {
            "true_positives": rows.right[1],
            "false_positives": rows.predicted[1] - rows.right[1],
            "true_negatives": rows.right[0],
            "false_negatives": rows.support[1] - rows.right[1],
        }[self.what]
        return float(plain(np.array([found], object), weighted=rows.weighted)[0])


@dataclass(frozen=True, slots=True)
class MeanPerClassAccuracy(Kind):
    """The mean of the accuracies of the classes that are there; the update op gives those of all classes."""

    num_classes: int

    def __post_init__(self) -> None:
        if not isinstance(self.num_classes, int | np.integer) or self.num_classes < 1:
            raise UsageError(f"num_classes is {self.num_classes!r}; expected an integer of 1 or more")

    @property
    def classes(self) -> int:
        return int(self.num_classes)

    def state(self, arrays: Arrays, weights: Array | None) -> Tally:
        """Count rows by class; a prediction beyond the classes is wrong, a label beyond them a `DataError`."""
        labels, predictions = arrays["labels"].ravel(), arrays["predictions"].ravel()
        if labels.shape != predictions.shape:
            raise DataError(f"{labels.size} labels came with {predictions.size} predictions; expected as many")
        kept, weight = _kept(weights if weights is None or not weights.ndim else weights.ravel(), labels.shape)
        truth = whole(labels[kept], "labels")
        found = predictions[kept]
        guess = whole(np.where(np.isnan(found), -1, found) if found.dtype.kind == "f" else found, "predictions")
        outside = (truth < 0) | (truth >= self.num_classes)
        if outside.any():
            raise DataError(f"labels: {truth[outside][0]} is none of the {self.num_classes} classes declared")
        columns = {"label": truth, "prediction": np.where((guess < 0) | (guess >= self.num_classes), -1, guess)}
        return BalancedAccuracy().state(columns, weight)

    def value(self, state: Tally) -> float:
        return _number(BalancedAccuracy().values(state)["balanced_accuracy"])

    def update(self, state: Tally) -> Array | float:
        """Return the accuracy of each class, NaN for those that are not there."""
        return BalancedAccuracy().tables(state)["accuracy"]


@dataclass(frozen=True, slots=True)
class InTopK(Kind):
    """The share of rows whose label is among the k highest scores; equal scores rank by class."""

    k: int

    def __post_init__(self) -> None:
        TopK(self.k)

    def state(self, arrays: Arrays, weights: Array | None) -> Tally:
        labels, scores = arrays["labels"], arrays["predictions"]
        kept, weight = _kept(weights, labels.shape)
        truth = whole(labels[kept], "labels")
        columns = Classification(outputs="scores").reduce(scores[kept], truth, frozenset({"rank"}))
        return TopK(self.k).state(columns, weight)


@dataclass(frozen=True, slots=True)
class RecallAtK(Kind):
    """Of the labels of all rows (a row may have several), the share that is among its k highest scores.

    Equal scores rank by class.  A label that is no class is never hit, as in TensorFlow; `ABSENT` is no label.
    """

    k: int
    class_id: int | None = None

    def __post_init__(self) -> None:
        TopK(self.k)

    def state(self, arrays: Arrays, weights: Array | None) -> Tally:
        """Count labels, each once a row, and those that are hit."""
        scores, labels = arrays["predictions"], arrays["labels"]
        classes = scores.shape[-1]
        if self.k > classes:
            raise DataError(f"k is {self.k}, but there are {classes} classes")
        if labels.ndim < scores.ndim:
            labels = labels[..., None]
        if labels.shape[:-1] != scores.shape[:-1]:
            raise DataError(f"labels have shape {labels.shape} and predictions {scores.shape}; expected as many rows")
        kept, weight = _kept(weights, labels.shape[:-1])
        truth = whole(labels.reshape(-1, labels.shape[-1])[kept], "labels")
        wanted, hit = _sets(scores.reshape(-1, classes)[kept], truth, self.k, self.class_id)
        missed = np.zeros(len(truth), np.int64) if self.class_id is not None else _outside(truth, classes)
        right = np.concatenate([hit[wanted], np.zeros(int(missed.sum()), bool)])
        if weight is None:
            return counted(right, None)
        rows = [np.repeat(weight, times) for times in (wanted.sum(axis=1), missed)]
        return counted(right, np.concatenate(rows))


def _sets(scores: Array, labels: Array, k: int, class_id: int | None) -> tuple[Array, Array]:
    """Return which classes are a row's labels, and which its k highest scores: both [rows, classes]."""
    rows, classes = scores.shape
    wanted = np.zeros((rows, classes + 1), bool)
    inside = (labels >= 0) & (labels < classes)
    np.put_along_axis(wanted, np.where(inside, labels, classes), values=True, axis=1)
    wanted = wanted[:, :classes]
    if class_id is not None:
        wanted &= np.arange(classes) == class_id
    # The rank rule of Classification: a stable sort puts the lower class first; a non-finite row hits nothing.
    usable = ~(np.isnan(scores) | (scores == np.inf)).any(axis=1) & (scores != -np.inf).any(axis=1)
    order = np.argsort(-np.where(usable[:, None], scores, 0).astype(np.float64), axis=1, kind="stable")[:, :k]
    hit = np.zeros((rows, classes), bool)
    np.put_along_axis(hit, order, values=True, axis=1)
    return wanted, hit & usable[:, None]


def _outside(labels: Array, classes: int) -> Array:
    """Return how many different labels of each row are no class."""
    ordered = np.sort(labels, axis=1)
    new = np.ones(ordered.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    found: Array = (new & ((ordered < 0) | (ordered >= classes)) & (ordered != ABSENT)).sum(axis=1)
    return found
