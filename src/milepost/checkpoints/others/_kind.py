"""What a kind of file is, and the walk through one."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from milepost._internal.bounded import OpenFile
from milepost._internal.budget import charge
from milepost._internal.json_text import parsed

_WINDOW = 64 << 10
_JSON_MOST = 4 << 20


class Short(Exception):  # noqa: N818 - no error yet: it says that the file ends too early
    """The file ends before what it declares."""


class Wrong(Exception):  # noqa: N818 - the same, for what cannot be
    """The file contradicts its own layout."""


@dataclass(frozen=True, slots=True)
class Start:
    """What is looked at before a file is opened: its path, its first 4096 bytes, its last 8, its size."""

    path: str
    head: bytes
    tail: bytes
    size: int

    def beside(self, name: str) -> str:
        """Return the path of another file in the same folder."""
        return os.path.join(os.path.dirname(self.path), name)

    def is_called(self, *endings: str) -> bool:
        """Return whether the file's name ends so."""
        return self.path.lower().endswith(endings)


class Cursor:
    """A place in an open file that moves forward; reading past the end raises `Short`."""

    def __init__(self, file: OpenFile, at: int = 0) -> None:
        self.size = file.size
        self.at = at
        self._file = file
        self._begin = 0
        self._data = b""

    def take(self, length: int) -> bytes:
        """Return the next bytes, at most 64 KiB of them."""
        charge()
        if not 0 <= length <= _WINDOW:
            raise Wrong(f"it has a field of {length:,} bytes at byte {self.at:,}")
        if self.at + length > self.size:
            raise Short(f"byte {self.at + length:,} is declared, it has {self.size:,}")
        begin = self.at - self._begin
        if begin < 0 or begin + length > len(self._data):
            self._begin, begin = self.at, 0
            self._data = self._file.at(self.at, min(_WINDOW, self.size - self.at), "its layout")
        self.at += length
        return self._data[begin : begin + length]

    def skip(self, length: int) -> None:
        """Move on."""
        charge()
        if length < 0:
            raise Wrong(f"it has a negative length at byte {self.at:,}")
        if self.at + length > self.size:
            raise Short(f"byte {self.at + length:,} is declared, it has {self.size:,}")
        self.at += length

    def number(self, code: str) -> int:
        """Return the next integer by its `struct` code (`<I`)."""
        (found,) = struct.unpack(code, self.take(struct.calcsize(code)))
        return int(found)

    def varint(self) -> int:
        """Return the next varint of protocol buffers."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
                return value
        raise Wrong(f"it has a number without an end at byte {self.at:,}")

    @property
    def done(self) -> bool:
        """Whether the end of the file is reached."""
        return self.at >= self.size


def json_end(cursor: Cursor) -> None:
    """Read JSON to its end; of a large file, only its end is looked at."""
    whole = cursor.size <= _JSON_MOST
    cursor.at = 0 if whole else cursor.size - _WINDOW
    read = b""
    while not cursor.done:
        read += cursor.take(min(_WINDOW, cursor.size - cursor.at))
    if not read.rstrip().endswith(b"}"):
        raise Short("its JSON has no end")
    try:
        if whole:
            parsed(read)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"its JSON is not proper: {str(error)[:80]}") from error


@dataclass(frozen=True, slots=True)
class OtherKind:
    """A kind of file: what messages call it, what its user can do, how it begins, and a walk to its end."""

    what: str
    advice: str
    begins: Callable[[Start], object]
    walk: Callable[[Cursor], object] | None = None
