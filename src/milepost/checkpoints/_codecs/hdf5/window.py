"""A window on the bytes of an HDF5 file, which may lie within an archive."""

from dataclasses import dataclass

from milepost._internal.bounded import OpenFile
from milepost.errors import Corrupt

MAGIC = b"\x89HDF\r\n\x1a\n"


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
