"""What every mean shares: a state of numerator and denominator, and their ratio, rounded once."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from milepost.core.types import Array, Columns, Value
from milepost.metrics._states import ExactSums, Tally
from milepost.metrics._validation import check_choice


def counted(hits: Array, weights: Array | None) -> Tally:
    """Return the state of a share of rows: integers, or exact sums of weights where there are weights."""
    n = np.int64(len(hits))
    if weights is None:
        return Tally({"hits": np.int64(np.count_nonzero(hits)), "n": n})
    return Tally({"n": n}, {"hits": ExactSums.of(weights[hits]), "weight": ExactSums.of(weights)})


def share(state: Tally) -> Value:
    """Return hits over rows (integers), or over weight; undefined where there are no rows."""
    if state.count("n") == 0:
        return Value(None, 0, 0, "undefined: no rows")
    if "hits" in state.counts:
        hits, n = state.count("hits"), state.count("n")
        return Value(hits / n, hits, n, proportion=True)
    hit, weight = state.sums["hits"], state.sums["weight"]
    return Value(hit.ratio(weight), hit.value(), weight.value())


def summed(values: Array, finite: Array, weights: Array | None) -> Tally:
    """Return the state of a mean of float values; rows with `finite` 0 are counted as non-finite and not summed."""
    fine = finite != 0
    kept = values[fine]
    counts = {"n": np.int64(len(values)), "nonfinite": np.int64(len(values) - len(kept))}
    if weights is None:
        return Tally(counts, {"sum": ExactSums.of(kept)})
    weight = weights[fine]
    return Tally(counts, {"sum": ExactSums.products(kept, weight), "weight": ExactSums.of(weight)})


def mean(state: Tally, skip: bool, why: str = "rows have no finite value") -> Value:  # noqa: FBT001 - the metric's own field
    """Return the mean; undefined without rows, and where rows are non-finite unless these are skipped.

    `why` follows a number of rows in the note: why these make the mean infinite.
    """
    n, nonfinite = state.count("n"), state.count("nonfinite")
    if n == 0:
        return Value(None, note="undefined: no rows")
    if nonfinite and not skip:
        return Value(None, note=f'undefined: {nonfinite} of {n} rows are non-finite; nonfinite="skip" leaves them out')
    if nonfinite == n:
        return Value(None, note=f"undefined: all {n} rows are non-finite")
    total = state.sums["sum"]
    weight = state.sums.get("weight")
    value = total.ratio(weight if weight is not None else n - nonfinite)
    bottom = weight.value() if weight is not None else n - nonfinite
    note = f"infinite: {int(total.plus)} {why}" if math.isinf(value) else None
    top = total.value()
    return Value(value, None if math.isinf(top) and note is None else top, bottom, note)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMean(ABC):
    """A mean over rows of a number that is NaN where the row is non-finite; its kinds give the rows' contributions.

    Non-finite rows make it undefined unless `nonfinite="skip"`.
    """

    nonfinite: Literal["undefined", "skip"] = "undefined"
    name: ClassVar[str]
    direction: ClassVar[str] = "lower"

    def __post_init__(self) -> None:
        check_choice(f"{type(self).__name__}(nonfinite)", self.nonfinite, ("undefined", "skip"))

    @property
    def headline(self) -> str:
        return self.name

    def _why_infinite(self) -> str:
        """Return why rows make the mean infinite, to follow their number."""
        return "rows are infinite"

    @abstractmethod
    def contribution(self, columns: Columns) -> Array:
        """Return one number a row; NaN where non-finite."""

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        return summed(self.contribution(columns), columns["finite"], weights)

    def values(self, state: Tally) -> dict[str, Value]:
        return {self.headline: mean(state, self.nonfinite == "skip", self._why_infinite())}
