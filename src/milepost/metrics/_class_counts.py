"""What metrics of classes share: rows counted by class, read back as exact integers, and their ratios, rounded once."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from milepost.core.types import Array, Columns
from milepost.metrics._states import ExactSums, Tally

ONE = 1 << 1074  # 1.0 in the units of an exact sum


def by_class(columns: Columns, weights: Array | None) -> Tally:
    """Rows by label (`support`), by prediction (`predicted`) and the `right` ones: non-finite rows predict none."""
    label, prediction = (columns[name].astype(np.int64) for name in ("label", "prediction"))
    size = int(max(label.max(initial=-1), prediction.max(initial=-1))) + 1
    chosen = {"support": label >= 0, "predicted": prediction >= 0, "right": label == prediction}
    classes = {"support": label, "predicted": prediction, "right": label}
    made = [counted_in(name, classes[name][rows], taken(weights, rows), (size,)) for name, rows in chosen.items()]
    return joined(*made)


class ByClass:
    """What metrics of rows counted by class share: the columns, the state, and the tables of counts."""

    __slots__ = ()
    columns: ClassVar[tuple[str, ...]] = ("label", "prediction")
    direction: ClassVar[str] = "higher"

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        """Count rows by class."""
        return by_class(columns, weights)

    def tables(self, state: Tally) -> dict[str, Array]:
        """Return `support`, `predicted` and `right` by class."""
        return Rows.of(state).tables()


def counted_in(name: str, cells: Array, weights: Array | None, shape: tuple[int, ...]) -> Tally:
    """Count rows, or sum their weights exactly, in cells of an array that grows with the classes met."""
    if weights is not None:
        return Tally({}, {name: ExactSums.of(weights, cells, shape)}, grows=True)
    counts = np.bincount(cells, minlength=math.prod(shape)).astype(np.int64).reshape(shape)
    return Tally({name: counts}, grows=True)


def taken(weights: Array | None, rows: Array) -> Array | None:
    return None if weights is None else weights[rows]


def joined(*tallies: Tally) -> Tally:
    """Put the named counts and sums of several tallies into one that grows."""
    counts = {name: item for tally in tallies for name, item in tally.counts.items()}
    return Tally(counts, {name: item for tally in tallies for name, item in tally.sums.items()}, grows=True)


def exact(state: Tally, name: str) -> Array:
    """Return exact integers: rows (int64), or weights in units of 2**-1074 (dtype object)."""
    units: Any = state.sums[name].units if name in state.sums else state.counts[name]
    return np.asarray(units)


def plain(units: Array, *, weighted: bool) -> Array:
    """Return exact integers as int64, or as the float64 weights that they stand for."""
    if not weighted:
        return units.astype(np.int64)
    return np.array([int(unit) / ONE for unit in units.ravel()]).reshape(units.shape)


def ratios(tops: Array, bottoms: Array) -> Array:
    """Return top / bottom for each class, each rounded once; NaN where the bottom is 0."""
    pairs = zip(tops.tolist(), bottoms.tolist(), strict=True)
    return np.array([top / bottom if bottom else np.nan for top, bottom in pairs], np.float64)


def sum_of_ratios(tops: Array, bottoms: Array) -> tuple[int, int]:
    """Return the exact sum of top / bottom as one fraction; those of equal bottoms are added as integers first.

    The others are joined two by two: integers of like sizes multiply fast, and no divisor is looked for on the way.
    """
    grouped: Counter[int] = Counter()
    for top, bottom in zip(tops.tolist(), bottoms.tolist(), strict=True):
        grouped[bottom] += top
    parts = [(top // common, bottom // common) for bottom, top in grouped.items() for common in [math.gcd(top, bottom)]]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        left = parts[-1:] if len(parts) % 2 else []
        parts = [(a * d + c * b, b * d) for (a, b), (c, d) in pairs] + left
    return parts[0] if parts else (0, 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by class as Python integers, which never overflow: arrays [classes], padded to a number of classes."""

    right: Array
    support: Array
    predicted: Array
    weighted: bool

    @classmethod
    def of(cls, state: Tally, least: int = 0) -> "Rows":
        read = (exact(state, name).astype(object) for name in ("right", "support", "predicted"))
        right, support, predicted = (
            np.concatenate([item, np.zeros(max(0, least - len(item)), object)]) for item in read
        )
        return cls(right, support, predicted, weighted=bool(state.sums))

    @property
    def total(self) -> int:
        return int(self.support.sum())

    @property
    def seen(self) -> Array:
        """Which classes are some row's label or prediction."""
        return np.asarray((self.support != 0) | (self.predicted != 0))

    def tables(self) -> dict[str, Array]:
        arrays = {"support": self.support, "predicted": self.predicted, "right": self.right}
        return {name: plain(item, weighted=self.weighted) for name, item in arrays.items()}
