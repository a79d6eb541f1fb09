"""A sample of a source's rows as a source of its own: single rows from all over the order, gathered into batches."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from milepost._internal import heartbeat
from milepost.core.capabilities import capability
from milepost.core.protocols import GathersRows, Source
from milepost.core.types import Array, Batch, Json
from milepost.data._examples import Examples, recut
from milepost.data._order import check_range


class Sample:
    """The rows at some `positions` (int64, ascending) of a source's order; the order of the sample is theirs.

    Of a source that cannot read single rows, a stream, all is read up to the last of them.

    >>> from milepost.data.arrays import Arrays
    >>> source = Arrays(np.arange(10.0), np.arange(10), order="natural")
    >>> [batch.labels.tolist() for batch in Sample(source, np.array([1, 4, 8])).batches(0, 3, 2)]
    [[1, 4], [8]]
    """

    def __init__(self, source: Source, positions: Array) -> None:
        self._source = source
        self._positions = positions

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self._positions)

    def fingerprint(self) -> dict[str, Json]:
        """Return that of the source, in natural order: of a group there may be some rows only, apart from others."""
        return {**self._source.fingerprint(), "order": {"kind": "natural"}}

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches that touch rows [start, stop) of the sample, cut at multiples of `batch_size`."""
        first = check_range(start, stop, batch_size)
        wanted = self._positions[first : -(-stop // batch_size) * batch_size]
        if start >= min(stop, self.size):
            return
        gathering = capability(self._source, GathersRows)
        found = picked(self._source, wanted, batch_size) if gathering is None else gathering.gather(wanted, batch_size)
        yield from (replace(batch, start=first + batch.start) for batch in found)


def picked(source: Source, positions: Array, batch_size: int) -> Iterator[Batch]:
    """Read on, and pick the rows at some positions; `start` of a batch counts these."""
    numbers: list[Array] = []
    done = 0
    for rows in recut(_pieces(source, positions, batch_size, numbers), batch_size):
        yield rows.batch(done, np.concatenate(numbers)[done : done + len(rows)])
        done += len(rows)


def _pieces(source: Source, positions: Array, batch_size: int, numbers: list[Array]) -> Iterator[Examples]:
    """Yield what each batch holds of the wanted rows, and note their natural numbers."""
    for batch in source.batches(int(positions[0]), int(positions[-1]) + 1, batch_size):
        heartbeat.beat()
        low, high = np.searchsorted(positions, [batch.start, batch.start + len(batch.labels)])
        if low < high:
            where = positions[low:high] - batch.start
            numbers.append(positions[low:high] if batch.rows is None else batch.rows[where])
            slices = None if batch.slices is None else dict(batch.slices)
            held = Examples(batch.inputs, batch.labels, batch.weights, batch.ids, slices, batch.groups)
            yield held.take(where)
