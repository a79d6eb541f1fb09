"""What sources share: rows and positions, class names; and fingerprints and slices of rows that are known by number."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from milepost._internal.serialization import digest
from milepost.core.types import Array, Json
from milepost.data._grouped_order import assignment, count
from milepost.data._labels import Labelling
from milepost.data._order import Order, check_range
from milepost.data._slices_groups import Slices, cut, described


class OrderedSource:
    """A source whose rows have an order, and whose classes may have names."""

    _labelling: Labelling
    _order: Order

    @property
    def order(self) -> Order:
        """The order in which rows are read."""
        return self._order

    @property
    def class_names(self) -> dict[int, str] | None:
        """Names by the model's class, where there are any."""
        return self._labelling.names

    def rows(self, positions: Array) -> Array:
        """Return the natural row numbers at these positions (int64)."""
        return self.order.rows(positions)

    def positions(self, rows: Array) -> Array:
        """Return the positions of these natural rows (int64)."""
        return self.order.positions(rows)


class IndexedSource(OrderedSource, ABC):
    """A source whose rows are known by number before any input is read."""

    name: ClassVar[str]
    notes: tuple[str, ...] = ()
    _slices: Slices | None
    _size: int
    _version: str | None
    _fingerprint: dict[str, Json] | None = None
    _left_out: Mapping[str, int] = MappingProxyType({})

    @property
    def size(self) -> int:
        """Number of examples that count."""
        return self._size

    def described(self) -> dict[str, Json]:
        """Return plain data to show: what there is of classes, slices (names), groups (their number) and notes.

        `left_out` counts the rows that are left out for their label.
        """
        found = described(self.class_names, list(self._slices or ()), count(self.order), self.notes)
        return {**found, "left_out": dict(self._left_out)} if self._left_out else found

    def fingerprint(self) -> dict[str, Json]:
        """Return kind, digest, size and order; the digest is of the content unless a version was declared.

        Computed once an object: what changes after that is not noticed here (every pass is checked against the first
        elsewhere).
        """
        if self._fingerprint is None:
            self._fingerprint = {
                "kind": self.name,
                **({"version": self._version} if self._version else {}),
                "digest": digest(self._version) if self._version else self._content(),
                "size": self._size,
                **self._labelling.spec(),
                **assignment(self.order),
                "order": self.order.spec(),
            }
        return dict(self._fingerprint)

    @abstractmethod
    def _content(self) -> str:
        """Return a digest of all that is evaluated."""

    def slices(self, start: int, stop: int) -> Slices:
        """Return values by the slice's name, one a row of positions [start, stop) up to the size; no input is read."""
        check_range(start, stop, 1)
        rows = self.order.rows(np.arange(min(start, self._size), min(stop, self._size)))
        return cut(self._slices, self._where(rows)) or {}

    def _where(self, rows: Array) -> Array:
        """Return where these natural rows lie in the arrays."""
        return rows
