"""The first members of an archive of ours, which are text: read without NumPy and without the archive's directory."""

import json
import os
import struct
import zlib

from milepost._internal.atomic import JSON_LIMIT, readable
from milepost.core.types import Json
from milepost.errors import StoreError

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_MAGIC = b"PK\3\4"
_AT_ONCE = 1 << 15


class Leading:
    """Reads text members from an archive's beginning, in their order; no file stays open."""

    def __init__(self, path: str) -> None:
        """Read the beginning; a `FileNotFoundError` where there is no such file."""
        self._path = path
        with readable(path):
            handle = os.open(path, os.O_RDONLY)
            try:
                self._data = _read(handle, _AT_ONCE, 0)
            finally:
                os.close(handle)
        if not self._data:
            raise FileNotFoundError(path)

    def header(self) -> dict[str, Json]:
        """Return the plain-data header, the first member."""
        try:
            found = json.loads(self.text("header.json"))
        except ValueError as error:
            raise self.damaged(str(error)) from None
        if not isinstance(found, dict):
            raise self.damaged("its header is not a JSON object")
        return found

    def text(self, name: str) -> str:
        """Return a text member, checked against its CRC-32; "" where the text members end before it."""
        at = 0
        while True:
            member, start, size, crc = self._member(at)
            if member == name:
                data = self._bytes(start, size)
                if zlib.crc32(data) != crc:
                    raise self.damaged(f"checksum of {name!r}")
                return data.decode("ascii")
            if not member.endswith((".json", ".jsonl")):
                return ""
            at = start + size

    def damaged(self, what: str) -> StoreError:
        """Return the error that says where, what, and what to do."""
        return StoreError(
            f"{self._path}: expected what Milepost writes, found damage ({what}); delete it to have it made again"
        )

    def _member(self, at: int) -> tuple[str, int, int, int]:
        head = self._bytes(at, _LOCAL.size, short=True)
        if len(head) < _LOCAL.size or not head.startswith(_MAGIC):
            if at and head.startswith(b"PK"):
                return "", at, 0, 0  # the directory: no members are left
            raise self.damaged("no member of an archive")
        _, _, flags, method, _, _, crc, size, _, named, extra = _LOCAL.unpack(head)
        if method or flags & 8 or size > JSON_LIMIT:
            raise self.damaged("a member that is not plain text")
        start = at + _LOCAL.size
        return self._bytes(start, named).decode("latin-1"), start + named + extra, size, crc

    def _bytes(self, start: int, size: int, *, short: bool = False) -> bytes:
        if start + size > len(self._data):
            with readable(self._path):
                handle = os.open(self._path, os.O_RDONLY)
                try:
                    found = _read(handle, size, start)
                finally:
                    os.close(handle)
            if len(found) < size and not short:
                raise self.damaged(f"{size - len(found)} bytes missing")
            return found
        return self._data[start : start + size]


def read_plain(path: str) -> dict[str, Json]:
    """Read a small JSON object in few calls to the system, for thousands of them.

    `ValueError` where it is none, a `StoreError` where it cannot be read, `FileNotFoundError` where it is not there.
    """
    with readable(path):
        handle = os.open(path, os.O_RDONLY)
        try:
            data = _read(handle, _AT_ONCE, 0)
            if len(data) == _AT_ONCE:
                size = os.fstat(handle).st_size
                if size > JSON_LIMIT:
                    raise ValueError(f"more than {JSON_LIMIT} bytes")
                data += _read(handle, size - _AT_ONCE, _AT_ONCE)
        finally:
            os.close(handle)
    if not data:
        raise FileNotFoundError(path)
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - damage, as the rest
    return found


def _read(handle: int, size: int, start: int) -> bytes:
    """Read as many bytes, fewer only where the file ends: a system may give less at once than there is."""
    data = os.pread(handle, size, start)
    while len(data) < size and (more := os.pread(handle, size - len(data), start + len(data))):
        data += more
    return data
