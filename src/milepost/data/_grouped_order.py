"""The order of rows that belong together: a patient's images, a document's words, a query's answers.

Rows of one group stand beside each other, in their natural order, wherever they stand in the source: the groups are
permuted, by the same seeded permutation as single rows are, over the groups in order of first appearance.  Two int64
tables of a number a row hold the order, so it takes 16 bytes a row where that of single rows takes none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from milepost.core.types import Array, Json
from milepost.data._fingerprint import content_digest
from milepost.data._order import Order, Seeded, checked_numbers, make_order
from milepost.errors import DataError

_BLOCK = 1 << 16  # groups that are Python objects at once
ADVICE = (
    'the rows of a group stand together: sort the data by group, or let order="seeded" of a source with random access '
    "bring them together"
)


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Rows by position and positions by row, of a source whose rows belong to groups.

    `kind` is the spec of the order without groups; `count` the number of groups; `assignment` a digest of which rows
    belong together, whatever the groups are called.
    """

    table: Array
    inverse: Array
    kind: dict[str, Json]
    count: int
    assignment: str

    def rows(self, positions: Array) -> Array:
        return np.take(self.table, checked_numbers(positions, len(self.table), "position"))

    def positions(self, rows: Array) -> Array:
        return np.take(self.inverse, checked_numbers(rows, len(self.inverse), "row"))

    def spec(self) -> dict[str, Json]:
        return {**self.kind, "groups": self.count}


def grouped(name: str, groups: Array, seed: int = 0, numbers: Array | None = None) -> Grouped:
    """Return the order of a name for rows of these groups, one integer or text a row.

    "seeded" permutes the groups.  "natural" and "declared-shuffled" leave the rows where they are, and raise a
    `DataError` where a group comes back after it ended; `numbers` are the rows' numbers in that message.

    >>> order = grouped("seeded", np.array(["b", "a", "b", "c", "a"]))
    >>> order.rows(np.arange(5)).tolist(), order.spec()["groups"]
    ([3, 1, 4, 0, 2], 3)
    >>> grouped("natural", np.array([7, 7, 3, 7]))
    Traceback (most recent call last):
    milepost.errors.DataError: groups: 7 comes back at row 3 after it ended at row 1; the rows of a group ...
    """
    if name == "seeded":
        codes, many = _codes(groups)
        ranks = Seeded(many, seed).positions(np.arange(many))
        # Stable, so that the rows of a group stay in their natural order.
        table = np.argsort(ranks[codes], kind="stable").astype(np.int64)
        order: Order = Seeded(many, seed)
    else:
        order = make_order(name, len(groups), seed)
        Runs(ADVICE).see(groups, np.arange(len(groups)) if numbers is None else numbers)
        codes = np.cumsum(np.concatenate([np.zeros(1, bool), groups[1:] != groups[:-1]]), dtype=np.int64)
        many, table = int(codes[-1]) + 1, np.arange(len(groups))
    inverse = np.empty_like(table)
    inverse[table] = np.arange(len(table))
    return Grouped(table, inverse, order.spec(), many, content_digest({"groups": codes}))


def ordered(name: str, size: int, seed: int, groups: Array | None, numbers: Array | None = None) -> Order:
    return make_order(name, size, seed) if groups is None else grouped(name, groups, seed, numbers)


def assignment(order: Order) -> dict[str, Json]:
    """Return what a fingerprint holds of which rows belong together: {} for an order of single rows."""
    return {"groups": order.assignment} if isinstance(order, Grouped) else {}


def count(order: Order) -> int | None:
    return order.count if isinstance(order, Grouped) else None


def _codes(groups: Array) -> tuple[Array, int]:
    """Return the number of each row's group, in order of first appearance, and how many groups there are."""
    numbers: dict[Any, int] = {}
    codes = np.empty(len(groups), np.int64)
    for first in range(0, len(groups), _BLOCK):
        block = groups[first : first + _BLOCK].tolist()
        codes[first : first + _BLOCK] = [numbers.setdefault(group, len(numbers)) for group in block]
    return codes, len(numbers)


class Runs:
    """Refuses a group that comes back after it ended; one object a pass.

    It remembers every group with its last row: some 100 bytes a group.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._current: Any = None
        self._last: dict[Any, int] = {}

    def see(self, groups: Array, numbers: Array | Sequence[int]) -> None:
        """Look at the next rows of the pass, whose numbers are for the message; a `DataError` where one comes back."""
        if not len(groups):
            return
        firsts = np.concatenate([np.zeros(1, np.int64), np.flatnonzero(groups[1:] != groups[:-1]) + 1])
        lasts = np.concatenate([firsts[1:], np.array([len(groups)])]) - 1
        for group, first, last in zip(groups[firsts].tolist(), firsts.tolist(), lasts.tolist(), strict=True):
            if group in self._last and group != self._current:
                raise DataError(
                    f"groups: {group!r} comes back at row {numbers[first]} after it ended at row {self._last[group]}; "
                    f"{self._advice}"
                )
            self._current = group
            self._last[group] = int(numbers[last])
