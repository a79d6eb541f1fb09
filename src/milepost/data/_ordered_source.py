"""What sources share: the way between rows and positions, the classes' names, and slices of rows known by number."""

import numpy as np

from milepost.core.types import Array
from milepost.data._labels import Labelling
from milepost.data._order import Order, check_range
from milepost.data._slices_groups import Slices, cut


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


class IndexedSource(OrderedSource):
    """A source whose rows are known by number before any input is read."""

    _slices: Slices | None
    _size: int

    @property
    def size(self) -> int:
        """Number of examples that count."""
        return self._size

    def slices(self, start: int, stop: int) -> Slices:
        """Return values by the slice's name, one a row of positions [start, stop) up to the size; no input is read."""
        check_range(start, stop, 1)
        rows = self.order.rows(np.arange(min(start, self._size), min(stop, self._size)))
        return cut(self._slices, self._where(rows)) or {}

    def _where(self, rows: Array) -> Array:
        """Return where these natural rows lie in the arrays."""
        return rows
