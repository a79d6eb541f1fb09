"""Where a pass may be cut into parts: on the grid, and for grouped data at the first group end at or after it.

The same data has the same cells however it is read: a group begins a cell if a multiple of the grid lies between the
group before it and itself.  So states of cells add up to the same bits for any range, batch size and resumption.
"""

from collections.abc import Sequence

import numpy as np

from milepost.core.protocols import Source
from milepost.core.types import GRID, Array, Batch

_ENDLESS = 1 << 62


def is_grouped(source: Source) -> bool:
    """Return whether the rows of a source belong to groups, which are never split."""
    order = source.fingerprint().get("order")
    return isinstance(order, dict) and bool(order.get("groups"))


class GridCuts:
    """The bounds of one pass over positions [start, stop): the range itself, or that of whole groups.

    Of grouped data a range begins and ends at the first group end at or after each of its bounds.  `done` is how far
    rows may be handed on: a group may go on in the next batch.

    >>> cuts = GridCuts(start=0, stop=1000, grouped=False)
    >>> cuts.meet(Batch(None, np.zeros(300), start=0))
    (0, 256)
    >>> cuts.done(300)
    256
    """

    def __init__(self, start: int, stop: int, *, grouped: bool, size: int | None = None) -> None:
        self._grouped = grouped
        self.start, self.stop = start, stop
        self._begin: int | None = start if not grouped or start == 0 else None
        self._end = None if grouped else stop
        self._size = _ENDLESS if size is None else size
        self._cell = start  # where the last cell of a grouped pass began
        self._last = start  # where the last group began
        self._before: Array | None = None  # the group of the row before the batch

    @property
    def asked(self) -> tuple[int, int]:
        """The range to read: of groups with the row before, which shows whether its group goes on, up to the end."""
        if not self._grouped:
            return self.start, self.stop
        return max(self.start - 1, 0), self._size if self.start < self.stop else self.start

    def meet(self, batch: Batch) -> tuple[int, ...]:
        """Return where cells begin in a batch: first the one that goes on from before it."""
        if not self._grouped:
            first = batch.start - batch.start % GRID
            return tuple(range(first, batch.start + len(batch.labels), GRID))
        starts = self._starts(batch)
        if self._begin is None:
            starts = [start for start in starts if start >= self.start]
            if not starts:
                return (self._cell,)
            self._begin = self._cell = self._last = starts[0]
        if self._end is None:
            self._end = next((start for start in starts if start >= max(self.stop, self._begin)), None)
        cells = (self._cell, *self._crossing(starts))
        self._cell = cells[-1]
        return cells

    def rows(self, batch: Batch) -> tuple[int, int]:
        """Return the positions of a batch, which was met, that belong to the range: low, high."""
        last = batch.start + len(batch.labels)
        low = last if self._begin is None else min(max(self._begin, batch.start), last)
        return low, max(low, last if self._end is None else min(self._end, last))

    def over(self, position: int) -> bool:
        """Return whether the range ends at or before a position."""
        return self._end is not None and self._end <= position

    def done(self, position: int) -> int:
        """Return how far rows can be handed on once all before `position` are there."""
        if self._end is not None and self._end <= position:
            return self._end
        return self._cell if self._grouped else position - position % GRID

    def _starts(self, batch: Batch) -> list[int]:
        """Return the positions in a batch at which a group begins."""
        groups = batch.groups
        assert groups is not None, "a grouped source gives its batches groups"  # noqa: S101 - a law of sources
        changed = np.flatnonzero(groups[1:] != groups[:-1]) + 1
        first = batch.start == 0 or (self._before is not None and bool(groups[0] != self._before[0]))
        self._before = groups[-1:]
        return [batch.start] * first + (changed + batch.start).tolist()

    def _crossing(self, starts: Sequence[int]) -> list[int]:
        """Return the group starts with a multiple of the grid between the start before and themselves."""
        edges = []
        for start in starts:
            if start // GRID > self._last // GRID:
                edges.append(start)
            self._last = start
        return edges
