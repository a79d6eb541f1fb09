"""Calibration: whether 80 % of the predictions made with a confidence of 80 % are right."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from milepost.core.types import Array, Columns, Value
from milepost.metrics._states import ExactSums, Tally
from milepost.metrics._validation import check_choice, check_count

_ONE = 1 << 1074  # 1.0 in the units of an exact sum
_DEFAULT_BINS = 15
_CELLS = 1 << 22  # cells of all batches that are counted at once


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Expected calibration error over bins of equal width, and the largest gap of a bin.

    With bins (lower, upper] of the prediction's confidence, the error is the sum over bins of
    |right rows - sum of confidences| / rows (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017).  It depends strongly
    on the number of bins: any other than 15 is part of the value's name.  Spoiled rows make it undefined unless
    `nonfinite="skip"`.

    >>> import numpy as np
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
    unit: ClassVar[str] = "ratio"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    examples: ClassVar[tuple[dict[str, int], ...]] = ({"bins": 1}, {"bins": 7})

    def __post_init__(self) -> None:
        """Refuse a number of bins that is no positive integer, and an unknown rule for non-finite rows."""
        check_count("CalibrationError(bins)", self.bins)
        check_choice("CalibrationError(nonfinite)", self.nonfinite, ("undefined", "skip"))

    @property
    def headline(self) -> str:
        """`calibration_error`, with the number of bins where it is not 15."""
        return "calibration_error" if self.bins == _DEFAULT_BINS else f"calibration_error_{self.bins}_bins"

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Count rows, right rows and confidence in each bin."""
        fine = columns["finite"] != 0
        confidence = columns["confidence"][fine].astype(np.float64)
        right = columns["rank"][fine] == 0
        bins = self._bins(confidence)
        shape = (self.bins,)
        counts = {
            "n": np.int64(len(fine)),
            "nonfinite": np.int64(np.count_nonzero(~fine)),
            "rows": np.bincount(bins, minlength=self.bins).astype(np.int64),
        }
        if weights is None:
            counts["right"] = np.bincount(bins[right], minlength=self.bins).astype(np.int64)
            return Tally(counts, {"confidence": ExactSums.of(confidence, bins, shape)})
        weight = weights[fine]
        return Tally(
            counts,
            {
                "confidence": ExactSums.products(confidence, weight, bins, shape),
                "right": ExactSums.of(weight[right], bins[right], shape),
                "weight": ExactSums.of(weight, bins, shape),
            },
        )

    def values(self, state: Tally) -> dict[str, Value]:
        """Return the expected and the largest calibration error."""
        names = (self.headline, f"max_{self.headline}")
        n, nonfinite = state.count("n"), state.count("nonfinite")
        if n == nonfinite or (nonfinite and self.nonfinite != "skip"):
            note = f"undefined: {nonfinite} of {n} rows are non-finite" if n else "undefined: no rows"
            return {name: Value(None, note=note) for name in names}
        return dict(zip(names, _errors(*_units(state)), strict=True))

    def batch_values(self, columns: Columns, size: int) -> dict[str, list[Value]] | None:
        """Return the values of every batch of `size` rows at once; None where that would not be quicker."""
        rows = len(columns["finite"])
        batches = -(-rows // size)
        if not columns["finite"].all() or batches * self.bins > _CELLS:
            return None
        confidence = columns["confidence"].astype(np.float64)
        shape = (batches, self.bins)
        cells = np.arange(rows) // size * self.bins + self._bins(confidence)
        counts = np.bincount(cells, minlength=batches * self.bins).reshape(shape)
        right = np.bincount(cells[columns["rank"] == 0], minlength=batches * self.bins).reshape(shape)
        sums = ExactSums.of(confidence, cells, shape).units
        pairs = [
            _errors(units, [count * _ONE for count in hits], [count * _ONE for count in all_])
            for units, hits, all_ in zip(sums.tolist(), right.tolist(), counts.tolist(), strict=True)
        ]
        return {self.headline: [pair[0] for pair in pairs], f"max_{self.headline}": [pair[1] for pair in pairs]}

    def _bins(self, confidence: Array) -> Array:
        # 24 bits of confidence times the bins is exact in float64: a value on an edge falls below it, always.
        bins: Array = np.clip(np.ceil(confidence * self.bins).astype(np.int64) - 1, 0, self.bins - 1)
        return bins

    def tables(self, state: Tally) -> dict[str, Array]:
        """Return the reliability table, one row a bin: lower, upper, rows, accuracy, confidence (NaN where empty)."""
        confidence, right, weight = _units(state)
        edges = np.arange(self.bins + 1) / self.bins
        return {
            "lower": edges[:-1],
            "upper": edges[1:],
            "rows": np.asarray(state.counts["rows"]),
            "accuracy": _shares(right, weight),
            "confidence": _shares(confidence, weight),
        }


def _errors(confidence: list[int], right: list[int], weight: list[int]) -> tuple[Value, Value]:
    """Return the expected and the largest error of bins in exact integers of one unit."""
    gaps = [abs(a - b) for a, b in zip(confidence, right, strict=True)]
    worst, rows = 0, 1
    for gap, size in zip(gaps, weight, strict=True):
        if gap * rows > worst * size:
            worst, rows = gap, size
    return Value(sum(gaps) / sum(weight)), Value(worst / rows)


def _units(state: Tally) -> tuple[list[int], list[int], list[int]]:
    """Return confidence, right rows and rows of each bin as integers of one unit: nothing is rounded before the end."""
    confidence = [int(unit) for unit in state.sums["confidence"].units]
    if "weight" in state.sums:
        right, weight = ([int(unit) for unit in state.sums[name].units] for name in ("right", "weight"))
    else:
        right, weight = ([int(count) * _ONE for count in state.counts[name]] for name in ("right", "rows"))
    return confidence, right, weight


def _shares(tops: list[int], bottoms: list[int]) -> Array:
    return np.array([top / bottom if bottom else np.nan for top, bottom in zip(tops, bottoms, strict=True)])
