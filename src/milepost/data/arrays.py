"""Held-out data in arrays: in memory or memory-mapped, with random access."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from milepost.core.types import Array, Batch
from milepost.data._examples import parsed
from milepost.data._fingerprint import content_digest, declared
from milepost.data._grouped_order import ordered
from milepost.data._labels import labelling
from milepost.data._order import OrderName, check_range
from milepost.data._ordered_source import IndexedSource
from milepost.data._slices_groups import Extras, refuse_unknown
from milepost.errors import DataError

_BLOCK = 8192  # positions are turned into rows in blocks: a call of the order costs as much for 200 rows as for 2,000
_GATHERED = 1 << 23  # bytes that are gathered at once: between its calls a gathering thread holds the interpreter


class Arrays(IndexedSource):
    """Examples that lie in NumPy arrays or memory maps, one row each.

    `inputs` is an array or a dict of arrays by input name, of any dtype, handed to the model as it is. `labels` are
    integers of any width and stay so. `weights` are 0 or from 1e-60 to 1e60; `mask` is True where a row counts; `ids`
    are distinct integers or text. A row of weight 0 or mask False is removed here, before anything else: `size`, the
    order and the natural numbers in `Batch.rows` are those of the remaining rows, 0 to size - 1.

    `order` is "seeded" (the default: any prefix is a fair sample, the same one for every checkpoint), "natural", or
    "declared-shuffled" (as it stands, and you vouch that it was shuffled). `version="mnist-test@1"` declares what the
    data is, and saves reading it for the fingerprint; without it the content is hashed.

    `slices={"country": countries}` are values a row to evaluate by: integers, booleans or text; no part of the
    fingerprint, so that one added later needs no model. `groups` (one integer or text a row: a patient, a document)
    name the rows that belong together: these stand side by side in the order, which permutes groups instead of rows;
    "natural" and "declared-shuffled" need them to be together already.

    `label_map={3: 0, 5: 1, 7: None}` turns the data's labels into the model's classes; rows mapped to None are left
    out, as are those whose label is `ignore_index` (-100, 255, ...) or None: `described()` counts them. `label_offset`
    is added after that (1 where the model's class 0 is background). `class_names` are those of the model's classes, a
    sequence or a mapping; a label beyond a sequence is refused.

    Raises `DataError` for data that is empty, of unequal lengths, of wrong dtypes, with an id twice, a label that
    `label_map` does not know, or a group that is not together.

    >>> source = Arrays(np.arange(12).reshape(6, 2), [0, 1, 2, 0, 1, 2], weights=[1, 1, 0, 1, 1, 1], order="natural")
    >>> source.size
    5
    >>> [(batch.start, batch.labels.tolist()) for batch in source.batches(3, 4, batch_size=2)]
    [(2, [0, 1])]
    >>> source = Arrays(np.zeros((4, 2)), [5, 3, 5, 3], label_map={3: 0, 5: 1}, groups=["b", "a", "b", "a"])
    >>> [(batch.labels.tolist(), batch.groups.tolist()) for batch in source.batches(0, 4, batch_size=2)]
    [([1, 1], ['b', 'b']), ([0, 0], ['a', 'a'])]
    """

    name = "arrays"

    def __init__(
        self,
        inputs: Any,
        labels: Any,
        weights: Any = None,
        ids: Any = None,
        *,
        mask: Any = None,
        order: OrderName = "seeded",
        seed: int = 0,
        version: str | None = None,
        **more: Unpack[Extras],
    ) -> None:
        refuse_unknown(more, Extras, "Arrays")
        self._labelling = labelling(more)
        given = Batch(inputs, labels, weights, mask, ids, more.get("slices"), more.get("groups"))
        found = parsed(given, self._labelling)
        self._all, self._kept, self._left_out = found.examples, found.kept, found.left_out
        self._slices, groups, rows = self._all.slices, self._all.groups, len(self._all)
        self._size = rows if self._kept is None else len(self._kept)
        if self._size == 0:
            dropped = (
                "" if self._labelling.drops is None and not self._left_out else ", and a label that is not left out"
            )
            raise DataError(
                f"the data is empty: {rows} rows, none of them with mask True and a weight above 0{dropped}"
            )
        _check_distinct(self._all.ids, self._kept)
        groups = groups if groups is None or self._kept is None else groups[self._kept]
        self._order = ordered(order, self._size, seed, groups, self._kept)
        self._version = declared(version, type(self).__name__)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield whole batches that touch positions [start, stop), cut at multiples of `batch_size` and at the size.

        Every array of a batch is contiguous and a copy of the source's. Raises `UsageError` for a range or batch size
        below 0 or 1.
        """
        first, stop = check_range(start, stop, batch_size), min(stop, self._size)
        if start >= stop:
            return
        block = max(1, _BLOCK // batch_size) * batch_size
        row_bytes = max(1, sum(array.nbytes // max(1, len(array)) for array in self._identifying().values()))
        step = max(1, _GATHERED // (batch_size * row_bytes)) * batch_size
        for base in range(first, stop, block):
            rows = self.order.rows(np.arange(base, min(base + block, self._size)))
            wanted = rows[: -(-(min(base + block, stop) - base) // batch_size) * batch_size]
            for begin in range(0, len(wanted), step):
                piece = wanted[begin : begin + step]
                gathered = self._all.take(self._where(piece))
                for low in range(0, len(piece), batch_size):  # views, which share the gathered arrays but no row
                    cut = slice(low, low + batch_size)
                    yield gathered.batch(base + begin + low, piece[cut], cut)

    def gather(self, positions: Array, batch_size: int) -> Iterator[Batch]:
        """Yield the rows at these positions, `batch_size` at a time; `start` counts them."""
        for low in range(0, len(positions), batch_size):
            rows = self.order.rows(positions[low : low + batch_size])
            yield self._all.take(self._where(rows)).batch(low, rows)

    def _where(self, rows: Array) -> Array:
        return rows if self._kept is None else np.take(self._kept, rows)

    def _content(self) -> str:
        return content_digest(self._identifying())

    def _identifying(self) -> dict[str, Array]:
        kept = {} if self._kept is None else {"kept": self._kept}
        return replace(self._all, groups=None).named() | kept  # the order says which rows belong together


def _check_distinct(ids: Array | None, kept: Array | None) -> None:
    if ids is None:
        return
    found, counts = np.unique(ids if kept is None else ids[kept], return_counts=True)
    if len(found) and counts.max() > 1:
        twice = found[counts.argmax()]
        places = np.flatnonzero(ids == twice)[:2].tolist()
        raise DataError(
            f"ids: {twice.item()!r} is there {counts.max()} times, first at rows {places[0]} and {places[1]}; "
            "ids must be distinct, else an example would be counted twice"
        )
