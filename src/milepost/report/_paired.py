"""Two checkpoints on the same rows: the counts and the exact difference, as sums of pieces of the rows."""

from dataclasses import dataclass

import numpy as np

from milepost.core.types import Array
from milepost.metrics._states import ExactSums


@dataclass(frozen=True, slots=True)
class Paired:
    """What some rows say of A and B; `merge` adds pieces up.

    `boolean` contributions count `both`, `only_a`, `only_b` and `neither` (right, that is: the better of the two
    outcomes); for others `only_a` counts the rows on which A is better, `only_b` those on which B is, and `both` those
    on which they are equal.  `nonfinite` rows have no number in one of the two, and are in none of these counts nor in
    `total`, the sum of A minus B, each times its weight.
    """

    boolean: bool
    total: ExactSums
    weight: ExactSums | None
    n: int
    both: int
    only_a: int
    only_b: int
    neither: int
    nonfinite: int

    def merge(self, other: "Paired") -> "Paired":
        weight = self.weight.merge(other.weight) if self.weight is not None and other.weight is not None else None
        names = ("n", "both", "only_a", "only_b", "neither", "nonfinite")
        counts = [getattr(self, name) + getattr(other, name) for name in names]
        return Paired(self.boolean, self.total.merge(other.total), weight, *counts)

    def difference(self) -> float | None:
        """Return the mean of A minus B over rows that are not non-finite, rounded once; None where it is no number."""
        if self.n == self.nonfinite:
            return None
        found = self.total.ratio(self.n - self.nonfinite if self.weight is None else self.weight)
        return None if found != found else found  # noqa: PLR0124 - infinite on both sides is NaN


def paired(a: Array, b: Array, weights: Array | None, *, higher: bool) -> Paired:
    """Count rows of contributions, one number a row (boolean, float32 or float64); `higher` says which is better.

    >>> found = paired(np.array([True, True, False]), np.array([True, False, False]), None, higher=True)
    >>> found.both, found.only_a, found.only_b, found.neither, round(found.difference(), 6)
    (1, 1, 0, 1, 0.333333)
    """
    boolean = bool(a.dtype == np.bool_ and b.dtype == np.bool_)
    fine = np.ones(len(a), np.bool_) if boolean else ~(np.isnan(a) | np.isnan(b))
    left, right = a[fine], b[fine]
    weight = None if weights is None else weights[fine]
    if boolean:
        one, two = (left, right) if higher else (~left, ~right)
        masks = (one & two, one & ~two, ~one & two, ~(one | two))
    else:
        better, worse = (left > right, left < right) if higher else (left < right, left > right)
        masks = (left == right, better, worse, np.zeros(len(left), np.bool_))
    counts = [int(np.count_nonzero(mask)) for mask in (*masks, ~fine)]
    total = _sum(left, weight).merge(_sum(-right.astype(np.float64), weight))
    return Paired(boolean, total, None if weight is None else ExactSums.of(weight), len(a), *counts)


def _sum(values: Array, weight: Array | None) -> ExactSums:
    return ExactSums.of(values) if weight is None else ExactSums.products(values, weight)
