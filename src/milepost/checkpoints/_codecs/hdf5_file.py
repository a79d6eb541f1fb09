"""An HDF5 file before a library reads it: whether it is whole, and a window on its bytes for what parses it.

Superblocks: HDF5 File Format Specification, version 3.0, section II.A.  While a file is open for writing, the library
keeps bit 0 of its consistency flags set, and updates the end in the superblock last.
"""

import io
from dataclasses import dataclass
from typing import Any

from milepost._internal.bounded import AGAIN, CUT, OpenFile
from milepost.errors import Corrupt, Torn, Unsupported

MAGIC = b"\x89HDF\r\n\x1a\n"

_OPEN_FOR_WRITING = 1
_OLD, _NEW = (0, 1), (2, 3)
_LEAST = 48
"""Bytes of the shortest superblock."""


@dataclass(frozen=True, slots=True)
class Window:
    """Bytes of a file: all, or those of an archive's entry, as stored or as `unpacked`."""

    file: OpenFile
    begin: int
    size: int
    unpacked: bytes | None = None

    def at(self, offset: int, length: int, what: str) -> bytes:
        """Return exactly `length` bytes from `offset`; `Corrupt` where the window ends before them."""
        if offset < 0 or length < 0 or offset + length > self.size:
            place = f"bytes {offset:,} to {offset + length:,}"
            raise Corrupt(f"{self.file.path}: damaged: {what} should take {place}; {self.size:,} are there")
        if self.unpacked is not None:
            return self.unpacked[offset : offset + length]
        return self.file.at(self.begin + offset, length, what)


def whole(file: OpenFile) -> Window:
    """Return the window on all of a file."""
    return Window(file, 0, file.size)


def check_whole(file: OpenFile) -> None:
    """Check the superblock of a file that is HDF5 as a whole."""
    check_superblock(whole(file))


def check_superblock(window: Window) -> None:
    """Raise `Torn` where the file is open for writing or has not the length that it declares, `Corrupt` where odd."""
    path = window.file.path
    if window.size < _LEAST:
        raise Torn(f"{path}: {CUT}: {window.size} bytes, with which an HDF5 file begins{AGAIN}")
    head = window.at(0, min(window.size, 112), "the superblock")
    version = head[8]
    if not head.startswith(MAGIC) or version not in (*_OLD, *_NEW):
        raise Corrupt(f"{path}: damaged: its HDF5 superblock has version {version}, known are 0 to 3")
    if version in _OLD:
        width, lengths, flags = head[13], head[14], head[20]
        place = 24 + 4 * version  # of the base address, then that of free space, then the end
    else:
        width, lengths, flags = head[9], head[10], head[11]
        place = 12  # of the base address, then that of an extension, then the end
    if width not in (4, 8) or lengths not in (4, 8):
        raise Corrupt(f"{path}: damaged: its HDF5 superblock has addresses of {width} bytes, expected 4 or 8")
    base = int.from_bytes(head[place : place + width], "little")
    end = int.from_bytes(head[place + 2 * width : place + 3 * width], "little")
    if flags & _OPEN_FOR_WRITING:
        raise Torn(f"{path}: {CUT}: its HDF5 superblock says that it is open for writing{AGAIN}")
    if base:
        raise Unsupported(f"{path}: an HDF5 file with a user block of {base:,} bytes; save it without")
    if end != window.size:
        what = f"{end - window.size:,} missing" if end > window.size else f"{window.size - end:,} too many"
        has = f"it has {window.size:,} of {end:,} bytes"
        raise Torn(f"{path}: {CUT}: {has} that its HDF5 superblock declares, {what}{AGAIN}")


class Stream(io.RawIOBase):
    """A window as a file object for h5py, which asks for whole blocks and accepts nothing less."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset from the beginning, from here, or from the end."""
        self._position = offset + (0, self._position, self._window.size)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; `Corrupt` where it would not be filled."""
        buffer[:] = self._window.at(self._position, len(buffer), "a block of the HDF5 file")
        self._position += len(buffer)
        return len(buffer)
