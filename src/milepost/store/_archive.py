"""NumPy archives of our own: written as a stream, the same bytes for the same content, mapped without a copy.

Members are stored (not deflated), carry a fixed timestamp and begin at multiples of 64 bytes, so that a column can be
read or mapped where it lies.  `numpy.load` reads them too.  No pickle: object arrays are refused both ways.
"""

import io
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np

from milepost._internal import npy
from milepost._internal import zip as zip_codec
from milepost._internal.atomic import readable
from milepost._internal.bounded import HEADER_LIMIT, HeldFile, OpenFile
from milepost._internal.serialization import json_bytes
from milepost.core.types import Array
from milepost.errors import CheckpointError, StoreError

HEADER = "header.json"
CHUNK = 1 << 20
"""Bytes that are held at a time while columns are copied."""

_HELD = 1 << 16
"""Bytes of an archive that is read at once, whatever is asked of it."""

_LONGEST = 1 << 48
"""An axis of more is damage: of items without bytes any length would fit the file."""

_ALIGN = 64
_LOCAL = 30
_CRC_AT = 14
_START = 1024  # our own headers are shorter
_UNSAID = 0xFFFFFFFF
_ZIP32 = 1 << 31
_MANY = 0xFFFF
_MADE_BY = 0x0314  # Unix, version 2.0
_DAMAGE = (ValueError, TypeError, LookupError, SyntaxError, RecursionError, MemoryError)
_NAME = re.compile(r"[A-Za-z0-9_+@=,.~-]+(/[A-Za-z0-9_+@=,.~-]+)*")


class Writer:
    """Writes an archive to an open file, member after member, column chunk after column chunk; a context manager.

    The archive is a ZIP file of stored members, written here since `zipfile` costs a millisecond a member.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = 0
        self._directory: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the directory; the file is whole from here on.  After an error it never will be, so nothing is."""
        if kind is None:
            self._close()

    def header(self, value: Any) -> None:
        """Write the plain-data header."""
        data = json_bytes(value)
        self._member(HEADER, len(data), [data])

    def text(self, name: str, text: str) -> None:
        """Write a text, which `_leading` reads where no array comes before it."""
        data = text.encode("ascii")
        self._member(name, len(data), [data])

    def array(self, name: str, dtype: "np.dtype[Any]", shape: tuple[int, ...], chunks: Iterable[Array]) -> None:
        """Write one array, given its rows in chunks that are converted to `dtype`."""
        if dtype.hasobject or dtype.kind == "V":
            raise StoreError(f"column {name!r}: expected NumPy numbers or text of fixed width, found {dtype}")
        start = _npy_start(dtype, shape)
        size = dtype.itemsize * math.prod(shape)
        written = (np.ascontiguousarray(chunk, dtype=dtype).tobytes() for chunk in chunks)
        self._member(f"{name}.npy", len(start) + size, chain([start], written))

    def _member(self, name: str, size: int, parts: Iterable[bytes]) -> None:
        if not _NAME.fullmatch(name):
            raise StoreError(f"{name!r} cannot be the name of a column: letters, digits and _+@=,.~- only")
        named, offset, write = name.encode("ascii"), self._at, self._stream.write
        # Where sizes or offsets do not fit 32 bits, an extra field holds them; another pads the data to a multiple.
        large = size >= _ZIP32 or offset >= _ZIP32
        wide = struct.pack("<HHQQ", 1, 16, size, size) if large else b""
        count = -(offset + _LOCAL + len(named) + len(wide) + 4) % _ALIGN
        extra = wide + struct.pack("<HH", 0xD935, count) + bytes(count)
        version, shown = (45, _UNSAID) if large else (20, size)
        fixed = (version, 0, 0, 0, 33)  # the first of January 1980
        if size <= CHUNK:  # one write, with its checksum at once
            data = b"".join(parts)
            written, crc = len(data), zlib.crc32(data)
            write(_local(fixed, crc, shown, named, extra) + data)
        else:
            write(_local(fixed, 0, shown, named, extra))
            written, crc = 0, 0
            for chunk in parts:
                write(chunk)
                crc = zlib.crc32(chunk, crc)
                written += len(chunk)
        if written != size:
            raise StoreError(f"column {name!r}: {size} bytes were declared, {written} were given")
        self._at += _LOCAL + len(named) + len(extra) + size
        if size > CHUNK:
            self._stream.seek(offset + _CRC_AT)
            write(struct.pack("<I", crc))
            self._stream.seek(self._at)
        central = struct.pack("<HHQQQ", 1, 24, size, size, offset) if large else b""
        place = _UNSAID if large else offset
        lengths = (len(named), len(central), 0, 0, 0)
        entry = struct.pack(
            "<4s6HIII5HII", b"PK\1\2", _MADE_BY, *fixed, crc, shown, shown, *lengths, 0o600 << 16, place
        )
        self._directory.append(entry + named + central)

    def _close(self) -> None:
        directory, count, at = b"".join(self._directory), len(self._directory), self._at
        end = b""
        if at >= _ZIP32 or count >= _MANY:
            end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, _MADE_BY, 45, 0, 0, count, count, len(directory), at)
            end += struct.pack("<4sIQI", b"PK\6\7", 0, at + len(directory), 1)
        shown, place = min(count, 0xFFFF), min(at, _UNSAID)
        last = struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, shown, shown, min(len(directory), _UNSAID), place, 0)
        self._stream.write(directory + end + last)


def _local(fixed: tuple[int, ...], crc: int, shown: int, named: bytes, extra: bytes) -> bytes:
    """Return what stands before a member's data."""
    return struct.pack("<4s5HIIIHH", b"PK\3\4", *fixed, crc, shown, shown, len(named), len(extra)) + named + extra


@lru_cache(maxsize=1024)  # thousands of archives of one evaluation have the same few headers
def _npy_start(dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> bytes:
    start = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(start, described)
    return start.getvalue()


class Member(NamedTuple):
    """Where an array lies in an archive; `crc` and `at`/`stored` cover its NumPy header too."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    offset: int
    at: int
    stored: int
    crc: int

    @property
    def row(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


class Archive:
    """An archive's header and members; opening reads the directory only, and keeps no file open."""

    def __init__(self, path: str | Path) -> None:
        """Read the directory; a `StoreError` says what is damaged, `FileNotFoundError` that there is no such file."""
        self.path = Path(path)
        with self._file() as file:
            entries = zip_codec.members(file)
            self.header = _header(file, entries.get(HEADER))
            self.members = {
                name.removesuffix(".npy"): _member(file, entry)
                for name, entry in entries.items()
                if name.endswith(".npy")
            }

    @contextmanager
    def _file(self) -> Iterator[OpenFile]:
        try:
            with readable(self.path), self.path.open("rb", buffering=0) as stream:
                yield _held(OpenFile(str(self.path), stream.fileno(), os.fstat(stream.fileno()).st_size))
        except (CheckpointError, *_DAMAGE) as error:
            raise self.damaged(str(error).removeprefix(f"{self.path}: ")) from None

    def damaged(self, what: str) -> StoreError:
        """Return the error that tells where, what, and what to do."""
        return StoreError(f"{self.path}: expected a whole archive, found damage ({what}); delete it to have it redone")

    def map(self, name: str) -> Array:
        """Return an array mapped from the file, read-only; nothing is read until it is touched."""
        member = self.members[name]
        if not member.dtype.itemsize * math.prod(member.shape):
            return np.zeros(member.shape, member.dtype)
        return np.memmap(self.path, member.dtype, "r", member.offset, member.shape)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return rows [start, stop) of an array as a copy: memory for these rows only."""
        member = self.members[name]
        rows = member.shape[0] if member.shape else 1
        stop = rows if stop is None else stop
        if not 0 <= start <= stop <= rows:
            raise IndexError(f"{self.path}: {name}: rows {start} to {stop} of {rows}")
        shape = (stop - start, *member.shape[1:]) if member.shape else ()
        with self._file() as file:
            data = file.at(member.offset + start * member.row, (stop - start) * member.row, name)
        return np.frombuffer(bytearray(data), member.dtype).reshape(shape)

    def read_all(self) -> dict[str, Array]:
        """Return every array as a copy, from one opening of the file."""
        with self._file() as file:
            return {
                name: np.frombuffer(
                    bytearray(file.at(member.offset, member.at + member.stored - member.offset, name)), member.dtype
                ).reshape(member.shape)
                for name, member in self.members.items()
            }

    def chunks(self, name: str, start: int, stop: int) -> Iterator[Array]:
        """Yield rows [start, stop) in copies of about a megabyte."""
        step = max(1, CHUNK // max(1, self.members[name].row))
        for first in range(start, stop, step):
            yield self.read(name, first, min(stop, first + step))

    def verify(self) -> None:
        """Check every array against its CRC-32; a `StoreError` names the first that differs."""
        with self._file() as file:
            for name, member in self.members.items():
                if file.crc32(member.at, member.stored, name) != member.crc:
                    raise ValueError(f"checksum of {name!r}")


def _held(file: OpenFile) -> OpenFile:
    """Return a file with its bytes in memory, where they are few."""
    if file.size > _HELD:
        return file
    return HeldFile(file.path, file.descriptor, file.size, file.at(0, file.size, "the archive"))


def _header(file: OpenFile, found: zip_codec.ZipEntry | None) -> dict[str, Any]:
    if found is None:
        return {}
    if found.size > HEADER_LIMIT:
        raise ValueError("header too large")
    header = json.loads(zip_codec.unpack(file, found))
    if not isinstance(header, dict):
        raise ValueError("header is not a JSON object")  # noqa: TRY004 - damage, as the rest
    return header


_dtype = lru_cache(maxsize=64)(np.lib.format.descr_to_dtype)


def _member(file: OpenFile, entry: zip_codec.ZipEntry) -> Member:
    array = npy.header(file.at(entry.offset, min(entry.packed, _START), entry.name), entry.name)
    dtype = _dtype(array.descr)
    whole = array.begin + dtype.itemsize * math.prod(array.shape) == entry.packed
    odd = dtype.hasobject or not dtype.itemsize or max(array.shape, default=0) > _LONGEST
    if odd or array.fortran or entry.method != zip_codec.STORED or not whole:
        raise ValueError(f"shape of {entry.name!r}")
    return Member(dtype, array.shape, entry.offset + array.begin, entry.offset, entry.packed, entry.crc)


def write(
    stream: BinaryIO, arrays: Mapping[str, Array], header: Any = None, texts: Mapping[str, str] | None = None
) -> None:
    """Write a plain-data header, texts, and arrays as one archive, arrays in the order of their names.

    >>> first, second = io.BytesIO(), io.BytesIO()
    >>> write(first, {"b": np.arange(3), "a": np.zeros(2)}, {"n": 3})
    >>> write(second, {"a": np.zeros(2), "b": np.arange(3)}, {"n": 3})
    >>> first.getvalue() == second.getvalue()
    True
    """
    with Writer(stream) as writer:
        if header is not None:
            writer.header(header)
        for name, text in (texts or {}).items():
            writer.text(name, text)
        for name in sorted(arrays):
            array = np.asarray(arrays[name])
            writer.array(name, array.dtype, array.shape, [array])


def read(path: str | Path) -> dict[str, Array]:
    """Read every array of an archive, checked against its CRC-32."""
    archive = Archive(path)
    archive.verify()
    return dict(sorted(archive.read_all().items()))
