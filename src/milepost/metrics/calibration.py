"""Calibration: whether 80 % of the predictions made with a confidence of 80 % are right."""

import math
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import ClassVar, Literal

import numpy as np

from milepost.core.types import Array, Columns, Value
from milepost.metrics._class_counts import ONE, ratios
from milepost.metrics._states import ExactSums, Tally
from milepost.metrics._validation import check_choice, check_count

_DEFAULT_BINS = 15
_CELLS = 1 << 22  # cells of all batches that are counted at once


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Expected calibration error over bins of equal width, and the largest gap of a bin.

    With bins (lower, upper] of the prediction's confidence, the error is the sum over bins of
    |right rows - sum of confidences| / rows (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017).  It depends strongly
    on the number of bins: any other than 15 is part of the value's name.  Non-finite rows make it undefined unless
    `nonfinite="skip"`.

    >>> metric = CalibrationError(bins=15)
    >>> rows = {"confidence": np.array([0.75, 0.75], np.float32), "rank": np.array([0, 3], np.int32)}
    >>> rows["finite"] = np.ones(2, np.uint8)
    >>> metric.values(metric.state(rows, None))["calibration_error"].value
    0.25
    """

    bins: int = _DEFAULT_BINS
    nonfinite: Literal["undefined", "skip"] = "undefined"
    name: ClassVar[str] = "calibration_error"
    columns: ClassVar[tuple[str, ...]] = ("confidence", "rank", "finite")
    direction: ClassVar[str] = "lower"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    examples: ClassVar[tuple[dict[str, int], ...]] = ({"bins": 1}, {"bins": 7})

    def __post_init__(self) -> None:
        check_count("CalibrationError(bins)", self.bins)
        check_choice("CalibrationError(nonfinite)", self.nonfinite, ("undefined", "skip"))

    @property
    def headline(self) -> str:
        """`calibration_error`, with the number of bins where it is not 15."""
        return "calibration_error" if self.bins == _DEFAULT_BINS else f"calibration_error_{self.bins}_bins"

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Count rows, right rows and confidence in each bin."""
        return self._counted(columns, weights, np.zeros(len(columns["finite"]), np.int64), (self.bins,))

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the expected and the largest calibration error."""
        return self._errors(state.count("n"), state.count("nonfinite"), *(item.tolist() for item in _units(state)))

    def batch_values(self, columns: Columns, weights: Array | None, size: int) -> dict[str, list[Value]]:
        """Return the values of every batch of `size` rows, from counts in a table of batches and bins."""
        found: list[dict[str, Value]] = []
        step = max(1, _CELLS // self.bins) * size
        for low in range(0, len(columns["finite"]), step):
            rows = {name: item[low : low + step] for name, item in columns.items()}
            batch = np.arange(len(rows["finite"])) // size
            shape = (int(batch[-1]) + 1, self.bins)
            state = self._counted(rows, None if weights is None else weights[low : low + step], batch, shape)
            sums = (item.tolist() for item in (state.counts["n"], state.counts["nonfinite"], *_units(state)))
            found += [self._errors(*each) for each in zip(*sums, strict=True)]
        return {name: [values[name] for values in found] for name in found[0]}

    def _counted(self, columns: Columns, weights: Array | None, batch: Array, shape: tuple[int, ...]) -> Tally:
        """Count in the bins of each row's batch: arrays of this shape, [batches, bins], or [bins] of one batch."""
        fine = columns["finite"] != 0
        confidence = columns["confidence"][fine].astype(np.float64)
        right = columns["rank"][fine] == 0
        # 24 bits of confidence times the bins is exact in float64: a value on an edge falls below it, always.
        place = np.ceil(confidence * self.bins).astype(np.int64) - 1
        cells = batch[fine] * self.bins + np.clip(place, 0, self.bins - 1)

        def count(rows: Array, shape: tuple[int, ...]) -> Array:
            return np.bincount(rows, minlength=math.prod(shape)).astype(np.int64).reshape(shape)

        counts = {"n": count(batch, shape[:-1]), "nonfinite": count(batch[~fine], shape[:-1])}
        counts["rows"] = count(cells, shape)
        if weights is None:
            counts["right"] = count(cells[right], shape)
            return Tally(counts, {"confidence": ExactSums.of(confidence, cells, shape)})
        weight = weights[fine]
        sums = {
            "confidence": ExactSums.products(confidence, weight, cells, shape),
            "right": ExactSums.of(weight[right], cells[right], shape),
            "weight": ExactSums.of(weight, cells, shape),
        }
        return Tally(counts, sums)

    def _errors(
        self, n: int, nonfinite: int, confidence: list[int], right: list[int], weight: list[int]
    ) -> dict[str, Value]:
        """Return the expected and the largest error of bins in exact integers of one unit."""
        names = (self.headline, f"max_{self.headline}")
        if n == nonfinite or (nonfinite and self.nonfinite != "skip"):
            note = f"undefined: {nonfinite} of {n} rows are non-finite" if n else "undefined: no rows"
            return {name: Value(None, note=note) for name in names}
        total, worst, rows = 0, 0, 1
        for sum_of_confidence, sum_of_right, size in zip(confidence, right, weight, strict=True):
            gap = abs(sum_of_confidence - sum_of_right)
            total += gap
            if gap * rows > worst * size:
                worst, rows = gap, size
        return dict(zip(names, (Value(total / sum(weight)), Value(worst / rows)), strict=True))

    def tables(self, state: Tally) -> dict[str, Array]:
        """Return the reliability table, one row a bin: lower, upper, rows, accuracy, confidence (NaN where empty)."""
        confidence, right, weight = _units(state)
        edges = np.arange(self.bins + 1) / self.bins
        return {
            "lower": edges[:-1],
            "upper": edges[1:],
            "rows": np.asarray(state.counts["rows"]),
            "accuracy": ratios(right, weight),
            "confidence": ratios(confidence, weight),
        }


def _units(state: Tally) -> tuple[Array, Array, Array]:
    """Return confidence, right rows and rows of each bin as integers of one unit: nothing is rounded before the end.

    The unit is the largest that leaves integers: those of 2**-1074 have a thousand bits, and are slow.
    """
    confidence = state.sums["confidence"].units
    if "weight" in state.sums:
        found = (confidence, state.sums["right"].units, state.sums["weight"].units)
        zeros = _zeros(*found)
        return found[0] >> zeros, found[1] >> zeros, found[2] >> zeros
    right, rows = (np.asarray(state.counts[name]).astype(object) for name in ("right", "rows"))
    zeros = min(_zeros(confidence), ONE.bit_length() - 1)
    return confidence >> zeros, right * (ONE >> zeros), rows * (ONE >> zeros)


def _zeros(*sums: Array) -> int:
    """Return how many low bits are 0 in all integers of some arrays."""
    bits = reduce(or_, (unit for units in sums for unit in units.ravel().tolist()), 0)
    return (bits & -bits).bit_length() - 1 if bits else 0
