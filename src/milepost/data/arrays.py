"""Held-out data in arrays: in memory or memory-mapped, with random access."""

from collections.abc import Iterator
from typing import Any, Unpack

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.types import Array, Batch, Json
from milepost.data._columns import (
    as_ids,
    as_inputs,
    as_labels,
    as_mask,
    as_weights,
    counted_rows,
    kept_rows,
    length,
    same_length,
    take,
    take_rows,
)
from milepost.data._fingerprint import content_digest
from milepost.data._grouped_order import assignment, count, grouped
from milepost.data._labels import labelling
from milepost.data._order import Order, OrderName, make_order
from milepost.data._slices_groups import Extras, Slices, as_groups, as_slices, cut, described, lengths, refuse_unknown
from milepost.errors import DataError, UsageError

_BLOCK = 8192  # positions are turned into rows in blocks: a call of the order costs as much for 200 rows as for 2,000
_GATHERED = 1 << 23  # bytes that are gathered at once: between its calls a gathering thread holds the interpreter


class Arrays:
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
    says which rows belong together: they stand beside each other in the order, which permutes groups instead of rows;
    "natural" and "declared-shuffled" need them to be together already.

    `label_map={3: 0, 5: 1, 7: None}` turns the data's labels into the model's classes; rows mapped to None are left
    out. `label_offset` is added after that (1 where the model's class 0 is background). `class_names` are those of the
    model's classes, a sequence or a mapping; a label beyond a sequence is refused.

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
        """Check everything that can be checked without reading the inputs."""
        refuse_unknown(more, Extras, "Arrays")
        self._inputs = as_inputs(inputs)
        found = as_labels(labels)
        self._weights = None if weights is None else as_weights(weights)
        self._ids = None if ids is None else as_ids(ids)
        kept = None if mask is None else as_mask(mask)
        self._slices = as_slices(more.get("slices"))
        self._groups = None if more.get("groups") is None else as_groups(more["groups"])
        rows = length(self._inputs)
        same_length(rows, {"labels": found, "weights": self._weights, "ids": self._ids, "mask": kept})
        same_length(rows, lengths(self._slices, self._groups))
        self._labelling = labelling(more)
        self._labels, kept = self._labelling.applied(found, counted_rows(self._weights, kept))
        self._kept = kept_rows(kept)
        self._size = rows if self._kept is None else len(self._kept)
        if self._size == 0:
            raise DataError(f"the data is empty: {rows} rows, none of them {self._counting}")
        _check_distinct(self._ids, self._kept)
        self.order = self._ordered(order, seed)
        self._version = declared(version)
        self._fingerprint: dict[str, Json] | None = None

    @property
    def size(self) -> int:
        """Number of examples that count."""
        return self._size

    @property
    def class_names(self) -> dict[int, str] | None:
        """Names by the model's class, where there are any."""
        return self._labelling.names

    def slices(self, start: int, stop: int) -> Slices:
        """Return values by the slice's name, one a row of positions [start, stop) up to the size; no input is read."""
        check_range(start, stop, 1)
        rows = self.order.rows(np.arange(min(start, self._size), min(stop, self._size)))
        return cut(self._slices, self._where(rows)) or {}

    def described(self) -> dict[str, Json]:
        """Return plain data to show: what there is of classes, slices (names), groups (their number) and notes."""
        return described(self.class_names, list(self._slices or ()), count(self.order))

    def rows(self, positions: Array) -> Array:
        """Natural row numbers at these positions (int64)."""
        return self.order.rows(positions)

    def positions(self, rows: Array) -> Array:
        """Positions of these natural rows (int64)."""
        return self.order.positions(rows)

    def fingerprint(self) -> dict[str, Json]:
        """Return kind, digest, size and order; the digest is of the content unless a version was declared.

        Computed once an object: arrays that are written to after that are not noticed here (every pass is checked
        against the first elsewhere).
        """
        if self._fingerprint is None:
            found = {"version": self._version} if self._version else {}
            content = digest(self._version) if self._version else content_digest(self._named())
            self._fingerprint = {
                "kind": self.name,
                **found,
                "digest": content,
                "size": self._size,
                **self._labelling.spec(),
                **assignment(self.order),
                "order": self.order.spec(),
            }
        return dict(self._fingerprint)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield whole batches that touch positions [start, stop), cut at multiples of `batch_size` and at the size.

        Every array of a batch is contiguous and a copy of the source's. Raises `UsageError` for a range or batch size
        below 0 or 1.
        """
        first, stop = check_range(start, stop, batch_size), min(stop, self._size)
        if start >= stop:
            return
        block = max(1, _BLOCK // batch_size) * batch_size
        for base in range(first, stop, block):
            rows = self.order.rows(np.arange(base, min(base + block, self._size)))
            wanted = rows[: -(-(min(base + block, stop) - base) // batch_size) * batch_size]
            step = max(1, _GATHERED // (batch_size * self._row_bytes)) * batch_size
            for begin in range(0, len(wanted), step):
                yield from _cut(self._gather(base + begin, wanted[begin : begin + step]), batch_size)

    @property
    def _row_bytes(self) -> int:
        return max(1, sum(array.nbytes // max(1, len(array)) for array in self._named().values()))

    @property
    def _counting(self) -> str:
        dropped = "" if self._labelling.drops is None else ", and a label that label_map keeps"
        return f"with mask True and a weight above 0{dropped}"

    def _ordered(self, name: OrderName, seed: int) -> Order:
        if self._groups is None:
            return make_order(name, self._size, seed)
        groups = self._groups if self._kept is None else self._groups[self._kept]
        return grouped(name, groups, seed, self._kept)

    def _where(self, rows: Array) -> Array:
        found: Array = rows if self._kept is None else self._kept[rows]
        return found

    def _gather(self, start: int, rows: Array) -> Batch:
        where = self._where(rows)
        return Batch(
            inputs=take(self._inputs, where),
            labels=take_rows(self._labels, where),
            weights=None if self._weights is None else take_rows(self._weights, where),
            ids=None if self._ids is None else take_rows(self._ids, where),
            slices=cut(self._slices, where),
            groups=None if self._groups is None else take_rows(self._groups, where),
            start=start,
            rows=rows,
        )

    def _named(self) -> dict[str, Array]:
        inputs = self._inputs if isinstance(self._inputs, dict) else {"": self._inputs}
        named = {f"inputs/{name}": array for name, array in inputs.items()}
        others = {"labels": self._labels, "weights": self._weights, "ids": self._ids, "kept": self._kept}
        return named | {name: array for name, array in others.items() if array is not None}


def _cut(rows: Batch, batch_size: int) -> Iterator[Batch]:
    """Cut gathered rows into batches: slices, which share the gathered arrays but no row."""
    for begin in range(0, len(rows.labels), batch_size):
        piece = slice(begin, begin + batch_size)
        inputs = rows.inputs
        yield Batch(
            inputs={name: item[piece] for name, item in inputs.items()} if isinstance(inputs, dict) else inputs[piece],
            labels=rows.labels[piece],
            weights=None if rows.weights is None else rows.weights[piece],
            ids=None if rows.ids is None else rows.ids[piece],
            slices=cut(dict(rows.slices), piece) if rows.slices else None,
            groups=None if rows.groups is None else rows.groups[piece],
            start=rows.start + begin,
            rows=None if rows.rows is None else rows.rows[piece],
        )


def declared(version: str | None) -> str | None:
    """Check a declared version of the data: `name@version`, both parts there; None stays None."""
    if version is not None:
        name, _, number = version.partition("@")
        if not name or not number:
            raise UsageError(f'version is {version!r}; expected "name@version", such as "mnist-test@1"')
    return version


def check_range(start: int, stop: int, batch_size: int) -> int:
    """Return the start of the batch that holds `start`; a `UsageError` for numbers that make no range."""
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; expected 1 or more")
    if start < 0 or stop < start:
        raise UsageError(f"the range [{start}, {stop}) of positions begins below 0 or ends before it begins")
    return start // batch_size * batch_size


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
