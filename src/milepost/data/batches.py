"""Held-out data as a stream of batches, in natural order."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Unpack

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.types import Batch, Json
from milepost.data._examples import Examples, parsed, recut
from milepost.data._fingerprint import content_digest, declared
from milepost.data._grouped_order import ADVICE, Runs
from milepost.data._labels import LabelOptions, labelling
from milepost.data._order import Natural, check_range
from milepost.data._ordered_source import OrderedSource
from milepost.data._slices_groups import described, refuse_unknown
from milepost.errors import DataError, UnstableData, UsageError

_PROBE = 64
_KINDS = {"i": "integers", "u": "integers", "b": "booleans", "U": "text"}


class Batches(OrderedSource):
    """A stream: `function()` is called once a pass and yields `Batch` or `(inputs, labels)`, or with weights third.

    The stream's own batches may be of any size: they are cut again at multiples of the evaluation's batch size. Rows
    of weight 0 or mask False are removed; the others are numbered as they come. Arrays of other frameworks (a
    DataLoader's tensors) are turned into NumPy arrays. A stream has no random access: a range that starts late is
    reached by reading what comes before it, and a prefix is not a fair sample.

    Every call of the function must give the same rows in the same order. The fingerprint is weak: the first 64 rows,
    read twice; unequal is `UnstableData`. `size` is declared, or known once a pass went to the end; a pass that ends
    elsewhere is a `DataError`. Where it is not declared, a run reads the stream once to count its rows, and all of them
    count in the identity of the data. `version="name@version"` declares what the data is instead.

    A `Batch` may carry `slices` and `groups` (one value a row, as `Arrays` takes them); then all do. The rows of a
    group stand together in the stream, else `DataError`. Where a version is declared, `groups=True` declares
    the groups, since nothing is read to find out. `label_map` (a row whose label maps to None is left out),
    `ignore_index`, `label_offset` and `class_names` are as in `Arrays`.

    >>> stream = Batches(lambda: ((np.full((3, 2), i), [i, i, i]) for i in range(2)))
    >>> [batch.labels.tolist() for batch in stream.batches(0, 6, batch_size=4)]
    [[0, 0, 0, 1], [1, 1]]
    >>> stream.size
    6
    """

    name = "batches"

    def __init__(
        self,
        function: Callable[[], Iterable[Any]],
        *,
        size: int | None = None,
        version: str | None = None,
        groups: bool | None = None,
        **more: Unpack[LabelOptions],
    ) -> None:
        if "slices" in more or not (groups is None or isinstance(groups, bool)):
            raise UsageError("slices and groups of a stream come with it: yield Batch(..., slices={...}, groups=[...])")
        refuse_unknown(more, LabelOptions, "Batches")
        if not callable(function):
            raise UsageError(
                f"Batches takes a function that is called once a pass; found a {type(function).__name__}; "
                "write Batches(lambda: it) for an object that can be iterated over again"
            )
        if size is not None and size < 1:
            raise DataError(f"size is {size}; a data set has at least one example")
        self._function = function
        self._declared_size = size
        self._size = size
        self._version = declared(version, type(self).__name__)
        self._labelling = labelling(more)
        # What is not declared is learnt from the first rows; a version is declared so that nothing need be read.
        self._grouped = False if groups is None and self._version else groups
        self._slices = tuple[str, ...]()
        self._left_out = Counter[str]()
        self._fingerprint: dict[str, Json] | None = None

    @property
    def size(self) -> int | None:
        """Number of examples that count; None until declared or a pass went to the end."""
        return self._size

    def described(self) -> dict[str, Json]:
        """Return plain data to show: classes, and slices and groups (True) as far as the stream was read.

        `left_out` counts the rows of a whole pass that are left out for their label.
        """
        found = described(self.class_names, self._slices, self._grouped or None)
        return {**found, "left_out": dict(self._left_out)} if self._left_out else found

    @property
    def order(self) -> Natural:
        """The order of a stream: its own."""
        if self._size is None:
            raise UsageError("the size of this stream is not known before a pass; declare it with Batches(..., size=n)")
        return Natural(self._size)

    def fingerprint(self) -> dict[str, Json]:
        """Return kind, digest, order, and the size if it was declared; computed once an object.

        Reads the start of the stream twice unless a version was declared.  Raises `UnstableData` where the two differ.
        """
        if self._fingerprint is None:
            found: dict[str, Json] = {"version": self._version} if self._version else {"weak": _PROBE}
            found["digest"] = digest(self._version) if self._version else self._probe()
            # Never the size that a pass found out: the fingerprint is the same before and after it.
            if self._declared_size is not None:
                found["size"] = self._declared_size
            order: dict[str, Json] = {"kind": "natural", **({"groups": True} if self._grouped else {})}
            self._fingerprint = {"kind": Batches.name, **found, **self._labelling.spec(), "order": order}
        return dict(self._fingerprint)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yield whole batches that touch positions [start, stop), cut at multiples of `batch_size` and at the end.

        One call of the function; it is read no further than needed.
        """
        position = check_range(start, stop, batch_size)
        if start == stop:
            return
        with closing(self._pieces()) as pieces:
            for rows in recut(_skip(pieces, position), batch_size):
                # A last batch that ends at or before `start` is not touched by the range.
                if position + len(rows) > start:
                    yield rows.batch(position, np.arange(position, position + len(rows), dtype=np.int64))
                position += len(rows)
                # At a known size the stream is asked once more, so that rows beyond it are noticed.
                if position >= stop and position != self._size:
                    return

    def _pieces(self) -> Generator[Examples]:
        """Yield what counts of each item of one pass, checked."""
        items, total = _opened(self._function), 0
        runs, carries, left_out = Runs(ADVICE), None, Counter[str]()
        try:
            for number, item in enumerate(items):
                where = f"batch {number} of the stream"
                piece = self._read(item, where, left_out)
                if len(piece):
                    carries = carries or _carries(piece)
                    if _carries(piece) != carries:
                        raise DataError(f"{where}: carries {_carries(piece)}; the batches before it carried {carries}")
                    if piece.groups is not None:
                        runs.see(piece.groups, range(total, total + len(piece)))
                    total += len(piece)
                    if self._size is not None and total > self._size:
                        raise UnstableData(f"the stream goes on after the {self._size} rows of {self._known_by}")
                    yield piece
            self._ended(total)
            self._left_out = left_out
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _read(self, item: Any, where: str, left_out: Counter[str]) -> Examples:
        """Check one item of the stream, and learn what it carries."""
        found = parsed(item if isinstance(item, Batch) else _batch_of(item, where), self._labelling, f"{where}: ")
        left_out.update(found.left_out)
        piece = found.counted
        if not len(piece):
            return piece
        grouped = piece.groups is not None
        if self._grouped is None:
            self._grouped = grouped
        if grouped != self._grouped:
            raise DataError(f"{where}: {_UNDECLARED if grouped else _UNGROUPED}")
        self._slices = tuple(piece.slices or ())
        return piece

    @property
    def _known_by(self) -> str:
        return "the declared size" if self._size == self._declared_size else "an earlier pass"

    def _ended(self, rows: int) -> None:
        """Learn the size at the end of a pass, or find that it is another than it was."""
        if rows == 0:
            raise UnstableData(_EXHAUSTED) if self._size else DataError(_EMPTY)
        if self._size is not None and rows != self._size:
            raise UnstableData(f"the stream ended after {rows} rows, of {self._size} by {self._known_by}")
        self._size = rows

    def _probe(self) -> str:
        first, second = self._first_rows(), self._first_rows()
        if first is None:
            raise DataError(_EMPTY)
        if second is None:
            raise UnstableData(_EXHAUSTED)
        if first != second:
            raise UnstableData(
                f"the stream does not repeat: its first {_PROBE} rows, read twice, differ; "
                "switch shuffling and random transforms off"
            )
        return first

    def _first_rows(self) -> str | None:
        try:
            with closing(self._pieces()) as pieces:
                found = next(recut(pieces, _PROBE), None)
        except DataError as error:
            # The caller reports an empty pass; what else is wrong with the data is reported as it is.
            if str(error) in {_EMPTY, _EXHAUSTED}:
                return None
            raise
        return None if found is None else content_digest(found.named())


_UNDECLARED = (
    "carries groups, which batches before it did not, or which the declared version leaves open: let every batch carry "
    "them, and declare them with Batches(..., groups=True)"
)
_UNGROUPED = "carries no groups, which were declared with groups=True, or carried by batches before it"
_EMPTY = "the stream is empty: a pass over it gave no row with mask True and a weight above 0"
_EXHAUSTED = (
    "the stream gave rows once and none on the second call: the function must start again each time; "
    "return a fresh iterator, not one that was used up"
)


def _carries(piece: Examples) -> str:
    """Return in words what rows carry beside inputs and labels, which all batches of a stream carry."""
    slices = [f"slice {name!r} of {_KINDS[item.dtype.kind]}" for name, item in sorted((piece.slices or {}).items())]
    groups = [] if piece.groups is None else [f"groups of {_KINDS[piece.groups.dtype.kind]}"]
    return ", ".join([*slices, *groups]) or "no slices and no groups"


def _opened(function: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    made = function()
    if not isinstance(made, Iterable):
        raise DataError(
            f"the function of a stream returned a {type(made).__name__}; expected a generator or other iterable"
        )
    return iter(made)


def _batch_of(item: Any, where: str) -> Batch:
    # A DataLoader's default collate function gives lists.
    if isinstance(item, tuple | list) and len(item) in {2, 3}:
        return Batch(inputs=item[0], labels=item[1], weights=item[2] if len(item) == 3 else None)  # noqa: PLR2004
    found = f"{type(item).__name__} of {len(item)}" if isinstance(item, tuple | list | Mapping) else type(item).__name__
    raise DataError(f"{where}: expected a Batch, (inputs, labels) or (inputs, labels, weights); found a {found}")


def _skip(pieces: Iterable[Examples], rows: int) -> Iterator[Examples]:
    for piece in pieces:
        if rows >= len(piece):
            rows -= len(piece)
        else:
            yield piece.take(slice(rows, len(piece))) if rows else piece
            rows = 0
