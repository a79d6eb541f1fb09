"""What a store knows of a data set: ids, labels, weights by position of the order.  Every later pass must agree."""

from collections.abc import Iterable, Mapping

import numpy as np

from milepost.core import Array, Columns, Json, Part
from milepost.errors import UnstableData
from milepost.files import json_bytes, read_json
from milepost.store._folder import Storage
from milepost.store.columns import ColumnsReader
from milepost.store.parts import Parts


class Dataset:
    """The folder of one data fingerprint: pieces as passes deliver them, one archive once all rows are there."""

    def __init__(self, storage: Storage, digest: str) -> None:
        """Name the data by the digest of its fingerprint."""
        self._storage = storage
        self._folder = f"datasets/{digest}"
        self._parts = Parts(storage, f"{self._folder}/pieces", f"{self._folder}/columns.npz")

    def put(self, columns: Columns, spec: Mapping[str, Json]) -> bool:
        """Put all rows at once, and what describes the data; False where they are there (then they must agree)."""
        size = len(next(iter(columns.values())))
        self.write_spec(spec)
        if self._parts.sealed():
            self.check(0, size, columns)
            return False
        self.add(0, size, columns)
        return self._parts.seal(size)

    def add(self, start: int, stop: int, columns: Columns) -> bool:
        """Put rows [start, stop) unless they are all there; what is there must agree (`UnstableData`)."""
        self.check(start, stop, columns)
        if any(first <= start and stop <= last for first, last in self.coverage()):
            return False
        return self._parts.publish(Part(start, stop, columns))

    def seal(self, size: int) -> bool:
        """Join the pieces once they cover [0, size); True once it is done."""
        return self._parts.seal(size)

    def tidy(self) -> int:
        """Remove pieces that a seal made superfluous."""
        return self._parts.tidy()

    def coverage(self) -> list[tuple[int, int]]:
        """Return the ranges of the order that are known."""
        return self._parts.coverage()

    def read(self) -> ColumnsReader:
        """Return a reader of what is known now."""
        return self._parts.read()

    def get(self, names: Iterable[str] | None = None) -> dict[str, Array]:
        """Return columns over the rows known from position 0 on without a gap; none where nothing is known."""
        reader = self.read()
        stop = reader.coverage[0][1] if reader.coverage and reader.coverage[0][0] == 0 else 0
        wanted = reader.names if names is None else [name for name in names if name in reader.names]
        return {name: reader.slice(name, 0, stop) for name in wanted}

    def write_spec(self, spec: Mapping[str, Json]) -> bool:
        """Put what describes the data (plain data); False where it is there."""
        return self._storage.put(f"{self._folder}/spec.json", json_bytes(dict(spec)))

    def spec(self) -> dict[str, Json] | None:
        """Return what describes the data, None where nothing does yet."""
        try:
            found: dict[str, Json] = read_json(self._storage.get(f"{self._folder}/spec.json"))
        except FileNotFoundError:
            return None
        return found

    def check(self, start: int, stop: int, columns: Columns) -> None:
        """Compare rows [start, stop) with what is known; `UnstableData` names the first row that differs."""
        reader = self.read()
        worst: tuple[int, str] | None = None
        for name in (name for name in reader.names if name in columns):
            for first, last in reader.coverage:
                low, high = max(first, start), min(last, stop)
                if low < high:
                    given = np.asarray(columns[name])[low - start : high - start]
                    row = _first_difference(reader.slice(name, low, high), given)
                    if row is not None and (worst is None or low + row < worst[0]):
                        worst = (low + row, name)
        if worst is not None:
            position, name = worst
            known, found = reader.slice(name, position, position + 1), np.asarray(columns[name])
            raise UnstableData(
                f"two passes over the data differ at position {position} of the order: {name} was "
                f"{known[0]!r}, is now {found[position - start] if position - start < len(found) else 'missing'!r}; "
                "the source must give the same rows in the same order every time (is a random transform or shuffling "
                "on?), or be declared as other data"
            )


def _first_difference(known: Array, given: Array) -> int | None:
    if known.shape[1:] != given.shape[1:] or (known.dtype.kind in "US") != (given.dtype.kind in "US"):
        return 0
    rows = min(len(known), len(given))
    differs = known[:rows] != given[:rows]
    if known.dtype.kind in "fc" and given.dtype.kind in "fc":
        differs &= ~(np.isnan(known[:rows]) & np.isnan(given[:rows]))
    differs = differs.reshape(rows, -1).any(axis=1)
    if differs.any():
        return int(differs.argmax())
    return rows if len(known) != len(given) else None
