"""Which rows' outcomes differ beyond rounding: columns that were predicted again against those on record."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from milepost._internal.text import counted
from milepost.core.types import Array, Columns
from milepost.loop.rounding import row_tolerances

_SCALE = "scale"
"""The column of the rows' scales, where the task keeps it."""


def differing_rows(made: Columns, stored: Columns, relative: float) -> dict[str, Array]:
    """Return by the name of each stored column which rows differ, bool [rows]; every row of a column that is not made.

    Integers and text are compared as they are, floats within the rows' tolerances (`loop.rounding`), where no score
    moves by more than `relative` of its row's scale.

    >>> differing_rows({"rank": np.array([0, 1])}, {"rank": np.array([0, 2])}, 0.0)
    {'rank': array([False,  True])}
    """
    return {name: _differs(made.get(name), column, stored.get(_SCALE), relative) for name, column in stored.items()}


def in_words(differing: Mapping[str, Array]) -> str:
    """Return how many rows differ, by column; "" where none does.

    >>> in_words({"rank": np.array([True, True]), "ties": np.array([False, False])})
    'rank in 2 rows'
    """
    counts = {name: int(np.count_nonzero(rows)) for name, rows in differing.items()}
    return ", ".join(f"{name} in {counted(count, 'row')}" for name, count in counts.items() if count)


def relative_of(environments: Iterable[Mapping[str, Any]]) -> float:
    """Return the largest difference, in units of a row's scale, that the model checks of some parts measured."""
    checks = [item.get("model_check") or {} for item in environments]
    return max((float(check.get("relative") or 0.0) for check in checks), default=0.0)


def _differs(made: Array | None, stored: Array, scales: Array | None, relative: float) -> Array:
    if made is None or made.shape != stored.shape:
        return np.ones(len(stored), bool)
    same = made == stored
    if made.dtype.kind == stored.dtype.kind == "f":
        own = np.abs(stored) if scales is None else scales.reshape(-1, *[1] * (stored.ndim - 1))
        with np.errstate(invalid="ignore"):
            near = np.abs(made.astype(np.float64) - stored) <= row_tolerances(stored, own, relative)
            same |= (np.isfinite(made) & np.isfinite(stored) & near) | (np.isnan(made) & np.isnan(stored))
    return np.asarray(~same.reshape(len(stored), -1).all(axis=1))
