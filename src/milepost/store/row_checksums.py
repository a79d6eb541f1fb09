"""One checksum a row of a data set, kept beside its columns: whether passes see the same rows, and which are doubled.

They are kept apart from the columns, so that a data set on record without them gets them from its next pass.
"""

from collections.abc import Mapping

import numpy as np

from milepost.core.types import Array, Part
from milepost.errors import UnstableData
from milepost.store._storage import Storage
from milepost.store.columns import ColumnsReader
from milepost.store.parts import Parts

_COLUMN = "checksum"
_KIND = "2"
"""How they are computed: those of another kind, which lie beside this folder, are not compared with these."""
_MOST = 1 << 24
"""Rows whose checksums are sorted to find doubles: 128 MiB, a second or two."""


class RowChecksums:
    """The checksums of one data set, with what its rows were made with (libraries and their versions, a processor)."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._parts = Parts(storage, f"{folder}/{_KIND}/parts", f"{folder}/{_KIND}/checksums.npz")

    def add(self, start: int, stop: int, checksums: Array, made_with: Mapping[str, str]) -> str | None:
        """Put those of rows [start, stop) unless they are there; return a warning where others are on record.

        Raises `UnstableData` where others are on record that were made with the same: only chance makes them differ.
        """
        reader = self._parts.read()
        warning = self._compared(reader, start, checksums, made_with)
        if not any(first <= start and stop <= last for first, last in reader.coverage):
            self._parts.publish(Part(start, stop, {_COLUMN: checksums}, environment={"made_with": dict(made_with)}))
        return warning

    def repeats(self, size: int, groups: Array | None = None) -> int | None:
        """Return how many rows repeat an earlier one, of `groups` (a value a row) those that repeat another group's.

        None where not all rows are known, or there are more than 2**24.
        """
        reader = self._parts.read()
        if reader.coverage != [(0, size)] or size > _MOST:
            return None
        checksums = reader.slice(_COLUMN, 0, size)
        distinct = len(np.unique(checksums))
        if groups is None:
            return size - distinct
        numbers = np.unique(groups, return_inverse=True)[1]
        order = np.lexsort((numbers, checksums))
        differs = (np.diff(checksums[order]) != 0) | (np.diff(numbers[order]) != 0)
        return 1 + int(np.count_nonzero(differs)) - distinct

    def seal(self, size: int) -> bool:
        """Join the parts once they cover [0, size)."""
        return self._parts.seal(size)

    def tidy(self) -> int:
        """Remove parts that a seal made superfluous."""
        return self._parts.tidy()

    def _compared(
        self, reader: ColumnsReader, start: int, checksums: Array, made_with: Mapping[str, str]
    ) -> str | None:
        places = [_differing(reader, start, checksums, *bounds) for bounds in reader.coverage]
        different = np.concatenate([np.empty(0, np.int64), *places])
        if not len(different):
            return None
        others = {
            f"{name} {known[name]} then, {made_with[name]} now"
            for item in reader.environments()
            for known in [item.get("made_with", {})]
            for name in known.keys() & made_with.keys()
            if known[name] != made_with[name]
        }
        where = f"the inputs differ from those of an earlier pass, first at position {different[0]} of the order"
        if others:
            return f"{where}; they were made with other software or on another processor ({', '.join(sorted(others))})"
        raise UnstableData(
            f"{where} ({len(different):,} of {len(checksums):,} rows, by a checksum of each): the source must give the "
            "same rows every time; switch off what is random (a crop, a flip, noise, dropout in a transform). If the "
            'data itself was changed, declare it as other data: version="name@2"'
        )


def _differing(reader: ColumnsReader, start: int, checksums: Array, first: int, last: int) -> Array:
    """Return the positions in [first, last) at which checksums, which begin at `start`, are not those on record."""
    low, high = max(first, start), min(last, start + len(checksums))
    if low >= high:
        return np.empty(0, np.int64)
    return low + np.flatnonzero(reader.slice(_COLUMN, low, high) != checksums[low - start : high - start])
