"""Which rows of which part count, where parts of two processes overlap: pure functions of the parts' bounds."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows [start, stop) taken from the part that covers [first, last)."""

    first: int
    last: int
    start: int
    stop: int


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that touch or overlap.

    >>> merged([(5, 9), (0, 2), (2, 6), (20, 21)])
    [(0, 9), (20, 21)]
    """
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        elif stop > start:
            found.append((start, stop))
    return found


def overlapping(ranges: Iterable[tuple[int, int]]) -> bool:
    """Return whether two ranges share a row."""
    return any(start < stop for (_, stop), (start, _) in pairwise(sorted(ranges)))


def cut(ranges: Iterable[tuple[int, int]]) -> list[Taken]:
    """Take every row once, from the first part, in order of bounds, that covers it.

    >>> cut([(0, 4), (2, 8), (0, 6)])
    [Taken(first=0, last=4, start=0, stop=4), Taken(first=0, last=6, start=4, stop=6), \
Taken(first=2, last=8, start=6, stop=8)]
    """
    taken = []
    end = 0
    for start, stop in sorted(set(ranges)):
        if stop > end:
            taken.append(Taken(start, stop, max(start, end), stop))
            end = stop
    return taken


def whole(ranges: Iterable[tuple[int, int]]) -> list[Taken]:
    """Choose parts that do not overlap and cover the most rows: states cannot be cut.

    >>> [(p.start, p.stop) for p in whole([(0, 4), (2, 8), (0, 2), (8, 9)])]
    [(0, 2), (2, 8), (8, 9)]
    """
    parts = sorted(set(ranges), key=lambda bounds: (bounds[1], bounds[0]))
    stops = [stop for _, stop in parts]
    best: list[int] = [0]
    for index, (start, stop) in enumerate(parts):
        before = bisect_right(stops, start, 0, index)
        best.append(max(best[index], best[before] + stop - start))
    chosen = []
    index = len(parts)
    while index:
        start, stop = parts[index - 1]
        if best[index] == best[index - 1]:
            index -= 1
        else:
            chosen.append(Taken(start, stop, start, stop))
            index = bisect_right(stops, start, 0, index - 1)
    return chosen[::-1]
