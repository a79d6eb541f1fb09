"""Contributions of the same rows to the means of several models, a block of rows at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

FEW_UNITS = 10
"""Of fewer independent rows or groups, the spread of a mean is not worth a test; counts need no spread."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows: `values` is [rows, models] (NaN where a model has none), `units` the number of each row's unit."""

    values: Numbers
    weights: Numbers | None
    units: Index


@dataclass(frozen=True, slots=True)
class PairedSample:
    """Rows on which `models` models were evaluated.

    `units` independent units hold the rows: the rows themselves or, where `grouped`, groups of them.  `shares` marks
    contributions of 0 or 1, `weighted` rows of unequal weight.  `blocks` reads the rows from the start on, in the same
    order each time.
    """

    models: int
    units: int
    blocks: Callable[[], Iterable[Block]]
    shares: bool = False
    weighted: bool = False
    grouped: bool = False

    @property
    def counts(self) -> bool:
        """Whether rows are right or wrong, independent, and of equal weight: then tests count them."""
        return self.shares and not (self.weighted or self.grouped)


def sample_of(
    values: npt.NDArray[np.generic], weights: Numbers | None = None, groups: Index | None = None
) -> PairedSample:
    """Return the sample of rows in memory: values [rows, models], weights above 0, each row's group from 0 on."""
    rows, models = values.shape
    units = np.arange(rows) if groups is None else groups
    block = Block(values.astype(np.float64), weights, units)
    count = int(units.max(initial=-1)) + 1
    shares = values.dtype == np.bool_
    return PairedSample(models, count, lambda: [block], shares, weights is not None, groups is not None)
