"""Columns that arrive range by range, and are sealed into one archive once every row is there.

The same mechanism keeps the outcomes of a checkpoint (parts, then `columns.<column set>.npz`) and what is known of a
data set (parts, then `columns.npz`).  Rows that two processes both delivered are taken once, by a rule that depends
on the bounds alone, so any order of arrival gives the same bytes.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from milepost._internal.atomic import readable
from milepost.core.types import Json, Part
from milepost.errors import StoreError
from milepost.store import _archive, _ranges
from milepost.store._leading import Leading
from milepost.store._ranges import Taken
from milepost.store._storage import Storage
from milepost.store.columns import STATE, ColumnsReader, Span, environments, layouts

_FILE = re.compile(r"(0|[1-9]\d*)-([1-9]\d*)\.npz")
_REMEMBERED = 64
_OPENED: dict[tuple[str, int, int, int], _archive.Archive] = {}


class Parts:
    """The parts of one column set: `folder` holds them until `sealed` does."""

    def __init__(self, storage: Storage, folder: str, sealed: str, spec: Mapping[str, Json] | None = None) -> None:
        """Name the folder of parts and the archive that will replace it; `spec` says in each what was evaluated."""
        self._storage = storage
        self._spec = spec
        self._folder = folder
        self._sealed = sealed
        self._whole: ColumnsReader | None = None

    def coverage(self) -> list[tuple[int, int]]:
        """Return the ranges of the order that are covered, merged and sorted."""
        try:
            leading = Leading(str(self._storage.get(self._sealed)))
            return [_bounds(leading.header(), leading.damaged)]
        except FileNotFoundError:
            return _ranges.merged((one.start, one.stop) for one in self._chosen())

    def publish(self, part: Part, size: int | None = None) -> bool:
        """Put a part; False where one of the same bounds is there.  Every column must have a row for every position.

        One that holds all `size` rows, and no states, is what its seal would be, and is put there at once.
        """
        rows = part.stop - part.start
        if part.start < 0 or rows < 1:
            raise StoreError(f"a part of rows {part.start} to {part.stop}: expected at least one row")
        arrays = {name: np.asarray(column) for name, column in part.columns.items()}
        for name, array in arrays.items():
            if array.ndim < 1 or len(array) != rows:
                raise StoreError(f"column {name!r} of rows {part.start} to {part.stop}: found shape {array.shape}")
        for name, data in part.states.items():
            arrays[f"{STATE}{name}"] = np.frombuffer(data, np.uint8)
        environment = {**part.environment, "rows": rows}
        header = _header(part.start, part.stop, [environment], self._spec)
        whole = (part.start, part.stop) == (0, size) and not part.states
        name = self._sealed if whole else f"{self._folder}/{part.start}-{part.stop}.npz"
        return self._storage.put(name, lambda stream: _archive.write(stream, arrays, header))

    def sealed(self) -> bool:
        """Return whether the parts were joined into one archive."""
        return self._archive(self._sealed) is not None

    def seal(self, size: int) -> bool:
        """Join the parts into one archive if they cover [0, size) exactly, and remove them; True once it is sealed.

        Memory does not grow with rows.  A kill in between is mended by the next call.
        """
        archive = self._archive(self._sealed)
        if archive is None:
            try:
                if not self._join(size):
                    return False
            except (FileNotFoundError, StoreError):
                # Another process may have sealed and removed the parts under our hands.
                if self._archive(self._sealed) is None:
                    raise
        elif _bounds(archive.header, archive.damaged) != (0, size):
            raise StoreError(
                f"{archive.path}: holds rows {_bounds(archive.header, archive.damaged)}, expected 0 to {size}"
            )
        self.tidy()
        return True

    def tidy(self) -> int:
        """Remove parts that a seal made superfluous; return how many."""
        names = self._storage.list(self._folder)
        if not names or self._archive(self._sealed) is None:
            return 0
        # Its writer may have failed, or been killed, between naming it and forcing the name to disk: a name that is
        # taken is forced by whoever puts it.  Only then may the parts go.
        self._storage.put(self._sealed, self._never)
        for name in names:
            self._storage.delete(f"{self._folder}/{name}")
        return len(names)

    def read(self) -> ColumnsReader:
        """Return a reader of what is covered now; once all is, it stays the same."""
        if self._whole is not None:
            return self._whole
        sealed, reader = self.sealed(), ColumnsReader(self._spans)
        self._whole = reader if sealed else None
        return reader

    def _never(self, _: BinaryIO) -> None:
        raise StoreError(f"{self._sealed}: was removed while its parts were tidied; run it again")

    def _ranges(self) -> list[tuple[int, int]]:
        matches = (_FILE.fullmatch(name) for name in self._storage.list(self._folder))
        return [(int(match[1]), int(match[2])) for match in matches if match and int(match[1]) < int(match[2])]

    def _chosen(self) -> list[Taken]:
        ranges = self._ranges()
        if _ranges.overlapping(ranges) and self._with_states(ranges):
            return _ranges.whole(ranges)
        return _ranges.cut(ranges)

    def _with_states(self, ranges: Iterable[tuple[int, int]]) -> bool:
        archives = (self._archive(f"{self._folder}/{start}-{stop}.npz") for start, stop in ranges)
        return any(name.startswith(STATE) for archive in archives if archive for name in archive.members)

    def _archive(self, name: str) -> _archive.Archive | None:
        try:
            return _opened(self._storage.get(name))
        except FileNotFoundError:
            return None

    def _spans(self) -> list[Span]:
        archive = self._archive(self._sealed)
        if archive is not None:
            return [Span(archive, *_bounds(archive.header, archive.damaged), 0)]
        spans = []
        for one in self._chosen():
            found = _opened(self._storage.get(f"{self._folder}/{one.first}-{one.last}.npz"))
            spans.append(Span(found, one.start, one.stop, one.start - one.first))
        return spans

    def _join(self, size: int) -> bool:
        spans = self._spans()
        if _ranges.merged((span.start, span.stop) for span in spans) != [(0, size)]:
            return False
        for span in spans:
            span.archive.verify()
        known = [spec for span in spans if (spec := span.archive.header.get("evaluation")) is not None]
        header = _header(0, size, environments(spans), known[0] if known else self._spec)
        self._storage.put(self._sealed, lambda stream: _write(stream, spans, size, header))
        return True


def _opened(path: Path) -> _archive.Archive:
    """Open an archive, or return it as it was opened before: what is put never changes."""
    with readable(path):
        status = path.stat()
    known = str(path), status.st_ino, status.st_mtime_ns, status.st_size
    archive = _OPENED.get(known)
    if archive is None:
        archive = _archive.Archive(path)
        if len(_OPENED) >= _REMEMBERED:
            _OPENED.clear()
        _OPENED[known] = archive
    return archive


def _header(
    start: int, stop: int, environments: list[dict[str, Json]], spec: Mapping[str, Json] | None
) -> dict[str, Json]:
    described = {} if spec is None else {"evaluation": dict(spec)}
    return {"format": 2, **described, "start": start, "stop": stop, "environments": environments}


def _bounds(header: Mapping[str, Json], damaged: Callable[[str], StoreError]) -> tuple[int, int]:
    try:
        return int(header["start"]), int(header["stop"])
    except (KeyError, TypeError, ValueError):
        raise damaged("no bounds in its header") from None


def _write(stream: BinaryIO, spans: list[Span], size: int, header: Mapping[str, Json]) -> None:
    with _archive.Writer(stream) as writer:
        writer.header(header)
        for layout in layouts(spans):
            chunks = (chunk for span in spans for chunk in span.archive.chunks(layout.name, span.first, span.last))
            writer.array(layout.name, layout.dtype, (size, *layout.row), chunks)
        for span in spans:
            for name, member in span.archive.members.items():
                if name.startswith(STATE):
                    target = f"{name}/{span.start}-{span.stop}" if name.count("/") == 1 else name
                    writer.array(target, member.dtype, member.shape, span.archive.chunks(name, 0, member.shape[0]))
