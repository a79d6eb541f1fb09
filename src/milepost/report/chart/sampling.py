"""Fewer points than a long curve has, with its extremes kept: what is drawn looks the same."""

from itertools import pairwise

import numpy as np

from milepost.core.types import Array


def fewer(y: Array, most: int, keep: Array | None = None) -> Array:
    """Return the places, ascending, of at most about `most` points that draw like all of `y`.

    Of each of `most` / 4 stretches the first, the last, the lowest and the highest stay; so do those that `keep` marks,
    and NaN, which interrupts a line.

    >>> fewer(np.array([0.0, 1.0, 9.0, 1.0, 0.0, -5.0, 0.0, 0.0]), 4).tolist()
    [0, 2, 5, 7]
    """
    count = len(y)
    if count <= most:
        return np.arange(count)
    chosen = np.zeros(count, np.bool_) if keep is None else keep.copy()
    gaps = np.isnan(y)
    chosen |= gaps
    edges = np.unique(np.linspace(0, count, max(1, most // 4) + 1).astype(np.int64))
    low, high = np.where(gaps, np.inf, y), np.where(gaps, -np.inf, y)
    for start, stop in pairwise(edges.tolist()):
        chosen[[start, stop - 1, start + np.argmin(low[start:stop]), start + np.argmax(high[start:stop])]] = True
    return np.flatnonzero(chosen)
