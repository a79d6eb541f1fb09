"""Rounding, row by row: how far two predictions of a row lie apart, and how far they may.

The unit is the row's own scale, its largest score: floating-point kernels round in proportion to what they add up, so
that one absolute bound for all rows would be wide for small ones and narrow for large ones.
"""

import numpy as np

from milepost.core.types import Array

FLOAT32_STEP = 2.0**-23
"""The distance from 1 to the next float32."""

_KEPT_STEPS = 8
"""Steps by which a kept column may differ beside its scores: float32 sums of a few terms, rounded to be kept."""


def row_scales(scores: Array) -> Array:
    """Return the largest finite |score| of each row [rows, ...] as float64; 0 where none is finite.

    >>> row_scales(np.array([[1.0, -3.0], [-np.inf, 2.0]])).tolist()
    [3.0, 2.0]
    """
    flat = np.abs(scores.reshape(len(scores), -1).astype(np.float64))
    return np.asarray(np.where(np.isfinite(flat), flat, 0.0).max(axis=1, initial=0.0))


def relative_differences(one: Array, two: Array) -> Array:
    """Return max |difference| / max |score| of each row of two predictions [rows, ...], as float64.

    The larger of both predictions' scales counts.  Infinite where shapes differ, and in rows where NaN or infinities
    stand in other places.

    >>> relative_differences(np.array([[4.0, 1.0], [0.0, 0.0]]), np.array([[4.0, 2.0], [0.0, 0.0]])).tolist()
    [0.25, 0.0]
    """
    if one.shape != two.shape:
        return np.full(len(one), np.inf)
    first, second = (item.reshape(len(item), -1).astype(np.float64) for item in (one, two))
    fine = np.isfinite(first) & np.isfinite(second)
    with np.errstate(invalid="ignore"):
        alike = (fine | (first == second) | (np.isnan(first) & np.isnan(second))).all(axis=1)
        gaps = np.where(fine, np.abs(first - second), 0.0).max(axis=1, initial=0.0)
    scales = np.maximum(row_scales(one), row_scales(two))
    return np.where(alike, np.divide(gaps, scales, out=np.zeros_like(gaps), where=gaps > 0.0), np.inf)


def row_tolerances(values: Array, scales: Array, relative: float) -> Array:
    """Return by how much each row's value of a kept float column may differ between two predictions of the row.

    `values` [rows] are one of the two columns, `scales` [rows] the rows' scales, and no score moves by more than
    `relative` of its row's scale.  A margin or a log-likelihood of logits then moves by at most twice that, a
    probability by less; the rounding of scores and values to float32 is added.  (The log-likelihood of declared
    probabilities may move by more, where they are small.)  NaN where value or scale is.

    >>> row_tolerances(np.array([1.0, 1.0]), np.array([10.0, 1000.0]), 1e-6).round(6).tolist()
    [2.3e-05, 0.002239]
    """
    rounded = _KEPT_STEPS * FLOAT32_STEP * np.abs(values.astype(np.float64))
    return np.asarray(2.0 * (relative + FLOAT32_STEP) * scales.astype(np.float64) + rounded)
