"""NumPy archives of our own: written as a stream, the same bytes for the same content, mapped without a copy.

Members are stored (not deflated), carry a fixed timestamp and begin at multiples of 64 bytes, so that a column can be
read or mapped where it lies.  `numpy.load` reads them too.  No pickle: object arrays are refused both ways.
"""

import ast
import io
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from milepost._internal.atomic import readable
from milepost._internal.serialization import json_bytes
from milepost.core.types import Array
from milepost.errors import StoreError

HEADER = "header.json"
CHUNK = 1 << 20
"""Bytes that are held at a time while columns are copied."""

_ALIGN = 64
_LOCAL = 30
_CRC_AT = 14
_CENTRAL = 46
_LAST = 22
_LOCATOR = 20
_WIDE = 56
_UNSAID = 0xFFFFFFFF
_ZIP32 = 1 << 31
_MANY = 0xFFFF
_MADE_BY = 0x0314  # Unix, version 2.0
_HEADER_LIMIT = 64 << 20
_MAGIC = b"\x93NUMPY\x01\x00"
_DAMAGE = (ValueError, TypeError, LookupError, SyntaxError, EOFError, NotImplementedError, RecursionError, MemoryError)
_NAME = re.compile(r"[A-Za-z0-9_+@=,.~-]+(/[A-Za-z0-9_+@=,.~-]+)*")


class Writer:
    """Writes an archive to an open file, member after member, column chunk after column chunk; a context manager.

    The archive is a ZIP file of stored members, written here since `zipfile` costs a millisecond a member.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Write to a file that can seek."""
        self._stream = stream
        self._at = 0
        self._directory: list[bytes] = []

    def __enter__(self) -> Self:
        """Return the writer."""
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
        write(struct.pack("<4s5HIIIHH", b"PK\3\4", *fixed, 0, shown, shown, len(named), len(extra)) + named + extra)
        left, crc = size, 0
        for data in parts:
            write(data)
            crc = zlib.crc32(data, crc)
            left -= len(data)
        if left:
            raise StoreError(f"column {name!r}: {size} bytes were declared, {size - left} were given")
        self._at = self._stream.tell()
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


@lru_cache(maxsize=1024)  # thousands of archives of one evaluation have the same few headers
def _npy_start(dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> bytes:
    start = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(start, described)
    return start.getvalue()


@dataclass(frozen=True, slots=True)
class Member:
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
        try:
            with readable(self.path), self.path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                entries = list(_entries(stream, size))
                self.header: dict[str, Any] = _read_header(stream, entries)
                self.members: dict[str, Member] = {
                    entry.name.removesuffix(".npy"): _locate(stream, entry, size)
                    for entry in entries
                    if entry.name.endswith(".npy")
                }
        except (*_DAMAGE, struct.error) as error:
            raise self.damaged(str(error)) from None

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
        with readable(self.path), self.path.open("rb") as stream:
            data = _exactly(stream, member.offset + start * member.row, (stop - start) * member.row)
        return np.frombuffer(bytearray(data), member.dtype).reshape(shape)

    def chunks(self, name: str, start: int, stop: int) -> Iterator[Array]:
        """Yield rows [start, stop) in copies of about a megabyte."""
        step = max(1, CHUNK // max(1, self.members[name].row))
        for first in range(start, stop, step):
            yield self.read(name, first, min(stop, first + step))

    def verify(self) -> None:
        """Check every array against its CRC-32; a `StoreError` names the first that differs."""
        with readable(self.path), self.path.open("rb") as stream:
            for name, member in self.members.items():
                stream.seek(member.at)
                crc, left = 0, member.stored
                while left and (data := stream.read(min(CHUNK, left))):
                    crc = zlib.crc32(data, crc)
                    left -= len(data)
                if left or crc != member.crc:
                    raise self.damaged(f"checksum of {name!r}")


@dataclass(frozen=True, slots=True)
class _DirectoryEntry:
    name: str
    offset: int
    size: int
    crc: int


def _entries(stream: BinaryIO, size: int) -> Iterator[_DirectoryEntry]:
    """Yield what the directory at the end of an archive of ours lists."""
    last = struct.unpack("<4s4HIIH", _exactly(stream, size - _LAST, _LAST))
    if last[0] != b"PK\5\6" or last[7]:
        raise ValueError("no directory at the end")
    count, length, at = last[4:7]
    end = size - _LAST
    if end >= _LOCATOR + _WIDE and _exactly(stream, end - _LOCATOR, 4) == b"PK\6\7":
        end -= _LOCATOR + _WIDE
        magic, *_, count, length, at = struct.unpack("<4sQHHIIQQQQ", _exactly(stream, end, _WIDE))
        if magic != b"PK\6\6":
            raise ValueError("no directory at the end")
    if at + length != end:
        raise ValueError(f"a directory of {length} bytes at {at}")
    data = _exactly(stream, at, length)
    place = 0
    for _ in range(count):
        found = struct.unpack_from("<4s6HIII5HII", data, place)
        crc, stored, full, named, extra, comment = found[7:13]
        offset = found[16]
        name = data[place + _CENTRAL : place + _CENTRAL + named]
        if offset == _UNSAID:
            full, stored, offset = struct.unpack_from("<QQQ", data, place + _CENTRAL + named + 4)
        if found[0] != b"PK\1\2" or found[4] or stored != full:
            raise ValueError(f"member {name!r}")
        yield _DirectoryEntry(name.decode("ascii"), offset, stored, crc)
        place += _CENTRAL + named + extra + comment


def _start(stream: BinaryIO, entry: _DirectoryEntry, size: int) -> int:
    """Return where a member's data begin."""
    local = _exactly(stream, entry.offset, _LOCAL)
    names, extra = struct.unpack_from("<HH", local, 26)
    at: int = entry.offset + _LOCAL + names + extra
    if local[:4] != b"PK\3\4" or at + entry.size > size:
        raise ValueError(f"member {entry.name!r}")
    return at


def _read_header(stream: BinaryIO, entries: list[_DirectoryEntry]) -> dict[str, Any]:
    found = next((entry for entry in entries if entry.name == HEADER), None)
    if found is None:
        return {}
    if found.size > _HEADER_LIMIT:
        raise ValueError("header too large")
    data = _exactly(stream, _start(stream, found, 1 << 62), found.size)
    if zlib.crc32(data) != found.crc:
        raise ValueError("checksum of the header")
    header = json.loads(data)
    if not isinstance(header, dict):
        raise ValueError("header is not a JSON object")  # noqa: TRY004 - damage, as the rest
    return header


def _locate(stream: BinaryIO, entry: _DirectoryEntry, size: int) -> Member:
    at = _start(stream, entry, size)
    dtype, shape, offset = _npy_header(stream, at)
    if dtype.hasobject or offset - at + dtype.itemsize * math.prod(shape) != entry.size:
        raise ValueError(f"shape of {entry.name!r}")
    return Member(dtype, shape, offset, at, entry.size, entry.crc)


def _npy_header(stream: BinaryIO, at: int) -> tuple["np.dtype[Any]", tuple[int, ...], int]:
    # NumPy's own reader tries to mend what it cannot read, with warnings; here it is simply damage.
    start = _exactly(stream, at, len(_MAGIC) + 2)
    if not start.startswith(_MAGIC):
        raise ValueError("not an array")
    length = struct.unpack_from("<H", start, len(_MAGIC))[0]
    return *_described(_exactly(stream, at + len(start), length)), at + len(start) + length


@lru_cache(maxsize=1024)  # thousands of archives of one evaluation have the same few headers
def _described(header: bytes) -> tuple["np.dtype[Any]", tuple[int, ...]]:
    described = ast.literal_eval(header.decode("latin-1"))
    shape = described["shape"]
    if not all(type(size) is int and size >= 0 for size in shape) or described["fortran_order"] is not False:
        raise ValueError("shape or order of an array")
    return np.lib.format.descr_to_dtype(described["descr"]), tuple(shape)


def _exactly(stream: BinaryIO, offset: int, count: int) -> bytes:
    if offset < 0:
        raise EOFError(f"{count} bytes missing at the end")
    stream.seek(offset)
    data = stream.read(count)
    if len(data) != count:
        raise EOFError(f"{count - len(data)} bytes missing at {offset}")
    return data


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
    return {name: archive.read(name) for name in sorted(archive.members)}
