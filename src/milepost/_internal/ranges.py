"""Ranges of rows: what is covered and what is missing."""

from collections.abc import Sequence

Ranges = Sequence[tuple[int, int]]


def missing(have: Ranges, stop: int) -> list[tuple[int, int]]:
    """Return the ranges of [0, stop) that are not covered.

    >>> missing([(0, 256), (512, 600)], 1000)
    [(256, 512), (600, 1000)]
    >>> missing([(0, 2000)], 1000)
    []
    """
    gaps = []
    at = 0
    for start, end in [*sorted(have), (stop, stop)]:
        gaps.append((at, min(start, stop)))
        at = max(at, end)
    return [(start, end) for start, end in gaps if start < end]


def covered(have: Ranges, stop: int) -> int:
    """Return how many rows of [0, stop) are covered.

    >>> covered([(0, 256), (512, 600)], 550)
    294
    """
    return stop - sum(end - start for start, end in missing(have, stop))
