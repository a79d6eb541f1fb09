"""What a store knows of a data set: ids, labels, weights by position of the order.  Every later pass must agree."""

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, unquote

import numpy as np

from milepost._internal.atomic import read_object
from milepost._internal.serialization import json_bytes
from milepost.core.types import Array, Columns, Json, Part
from milepost.errors import UnstableData
from milepost.store._storage import Storage
from milepost.store.class_names import ClassNames
from milepost.store.columns import ColumnsReader
from milepost.store.parts import Parts
from milepost.store.row_checksums import RowChecksums


class Dataset:
    """The folder of one data fingerprint: parts as passes deliver them, one archive once all rows are there."""

    def __init__(self, storage: Storage, digest: str, slice_name: str | None = None) -> None:
        """Name the data by the digest of its fingerprint; with `slice_name`, the one column of that slice."""
        self._storage = storage
        self._slice = slice_name
        self._folder = f"datasets/{digest}" + (f"/slices/{_quoted(slice_name)}" if slice_name else "")
        self._digest = digest
        self._parts = Parts(storage, f"{self._folder}/parts", f"{self._folder}/columns.npz")
        self._spec: dict[str, Json] | None = None
        self.checksums = RowChecksums(storage, f"{self._folder}/checksums")
        self.class_names = ClassNames(storage, f"{self._folder}/class_names")

    def slices(self) -> list[str]:
        """Return the names of the slices that are known, sorted."""
        return sorted(unquote(name.replace("=", "%")) for name in self._storage.list(f"{self._folder}/slices"))

    def slice(self, name: str) -> "Dataset":
        """Return what is known of a slice: one column, `value`, kept apart so that slices can be added later."""
        return Dataset(self._storage, self._digest, name)

    def add(self, start: int, stop: int, columns: Columns) -> bool:
        """Put rows [start, stop) unless they are all there; what is there must agree (`UnstableData`)."""
        self.check(start, stop, columns)
        if any(first <= start and stop <= last for first, last in self.read().coverage):
            return False
        return self._parts.publish(Part(start, stop, columns))

    def seal(self, size: int) -> bool:
        """Join the parts once they cover [0, size), slices and checksums too; True once the data's own are joined."""
        for name in self.slices():
            self.slice(name).seal(size)
        self.checksums.seal(size)
        return self._parts.seal(size)

    def tidy(self) -> int:
        """Remove parts that a seal made superfluous."""
        slices = sum(self.slice(name).tidy() for name in self.slices())
        return self._parts.tidy() + self.checksums.tidy() + slices

    def coverage(self) -> list[tuple[int, int]]:
        """Return the ranges of the order that are known."""
        return self._parts.coverage()

    def read(self) -> ColumnsReader:
        """Return a reader of what is known now; once all is, it stays the same."""
        return self._parts.read()

    def write_spec(self, spec: Mapping[str, Json]) -> bool:
        """Put what describes the data (plain data); False where it is there."""
        return self._storage.put(f"{self._folder}/spec.json", json_bytes(dict(spec)))

    def spec(self) -> dict[str, Json] | None:
        """Return what describes the data, None where nothing does yet; it never changes."""
        if self._spec is None:
            with suppress(FileNotFoundError):
                self._spec = read_object(self._storage.get(f"{self._folder}/spec.json"), "size")
        return self._spec

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
            if self._slice is not None:
                raise UnstableData(
                    f"the slice {self._slice!r} of this data is on record with other values, first at position "
                    f"{position} of the order; give the new one another name"
                )
            (known,), found = reader.slice(name, position, position + 1).tolist(), np.asarray(columns[name]).tolist()
            now = found[position - start] if position - start < len(found) else "missing"
            raise UnstableData(
                f"this pass over the data and an earlier one differ at position {position} of the order: {name} was "
                f"{known!r}, is now {now!r}; if the data was changed, declare it as other data (version=); else "
                "the source must give the same rows in the same order every time (is a random transform or shuffling "
                "on?)"
            )


def _quoted(name: str) -> str:
    """Return a name as a folder's, of safe characters."""
    return quote(name, safe="").replace("%", "=")


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
