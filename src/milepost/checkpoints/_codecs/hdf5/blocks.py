"""Blocks of an HDF5 file and the fields in them: each block lies within the file and is charged before it is read."""

from struct import Struct
from typing import Any

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5.checksums import lookup3
from milepost.checkpoints._codecs.hdf5.window import Window
from milepost.errors import Corrupt, Unsupported

_AHEAD = 384
"""Bytes that are read at once where a structure does not say how long it is: most headers and nodes fit in."""

_MOST = 4 << 20
"""Most bytes of a structure with a checksum; the library writes some 64 KB."""


class Blocks:
    """The blocks of one file, whose superblock says how wide addresses and lengths are: 4 or 8 bytes each."""

    def __init__(self, window: Window, address_width: int, length_width: int) -> None:
        self.path = window.file.path
        self.size = window.size
        self.address_width, self.length_width = address_width, length_width
        self.undefined = (1 << 8 * address_width) - 1
        self._window = window
        self._forms: dict[str, Struct] = {}

    def at(self, address: int, length: int, what: str) -> bytes:
        """Return the bytes of a block; raise `Corrupt` where the file ends before, or the budget does."""
        if 0 <= length <= self.size - address:
            charge(made=length, nodes=1)
        return self._window.at(address, length, what)

    def form(self, text: str) -> Struct:
        """Return the little-endian `struct` form of a text with `a` for an address and `l` for a length."""
        made = self._forms.get(text)
        if made is None:
            address, length = ("I" if width == 4 else "Q" for width in (self.address_width, self.length_width))  # noqa: PLR2004 - bytes
            made = self._forms[text] = Struct("<" + text.replace("a", address).replace("l", length))
        return made

    def fault(self, why: str) -> Corrupt:
        """Return the error for a damaged structure."""
        return Corrupt(f"{self.path}: damaged: {why}")

    def unknown(self, what: str) -> Unsupported:
        """Return the error for a structure of HDF5 that is not read."""
        return Unsupported(f"{self.path}: {what}; save it with h5py's or Keras' own settings")


class Fields:
    """Reads the fields of one structure in turn: from an address, as far as it asks, or from the bytes of a message."""

    __slots__ = ("_address", "_blocks", "data", "place", "what")

    def __init__(self, blocks: Blocks, what: str, address: int | None = None, data: bytes = b"") -> None:
        self._blocks, self._address = blocks, address
        self.what, self.data, self.place = what, data, 0

    def unpack(self, text: str) -> tuple[Any, ...]:
        """Return the fields of a form (see `Blocks.form`)."""
        form, place = self._blocks.form(text), self.place
        self.place = end = place + form.size
        if end > len(self.data):
            self._reach(end)
        return form.unpack_from(self.data, place)

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        place = self.place
        self.place = end = place + length
        if end > len(self.data):
            self._reach(end)
        return self.data[place:end]

    def uint(self, width: int) -> int:
        """Return an unsigned integer of so many bytes."""
        return int.from_bytes(self.take(width), "little")

    def address(self) -> int | None:
        """Return an address; None where it is undefined."""
        found = self.uint(self._blocks.address_width)
        return None if found == self._blocks.undefined else found

    def text(self, *, padded: bool) -> bytes:
        """Return bytes up to a zero byte, and pass that; `padded`: also what fills up to a multiple of 8 bytes."""
        end = self.data.find(b"\0", self.place)
        if end < 0:
            raise self._blocks.fault(f"{self.what} holds a name without an end")
        length = end + 1 - self.place
        return self.take(length + (-length % 8 if padded else 0))[: length - 1]

    @property
    def begins(self) -> int:
        """The address of a structure in the file."""
        return self._address or 0

    @property
    def left(self) -> int:
        """How many bytes of a message are left."""
        return len(self.data) - self.place

    def begin(self, signature: bytes, version: int) -> None:
        """Pass the signature and version that a structure begins with; `Corrupt` where they are others."""
        found = self.take(len(signature) + 1)
        if found[:-1] != signature or found[-1] != version:
            expected = f"{signature.decode()} of version {version}"
            raise self._blocks.fault(f"{self.what} begins with {found!r}, expected {expected}")

    def checksum(self) -> None:
        """Pass the checksum of all that was read; `Corrupt` where it is that of other bytes."""
        if self.place > _MOST:
            raise self._blocks.fault(f"{self.what} takes {self.place:,} bytes, at most {_MOST:,} are read")
        computed = lookup3(self.data[: self.place])
        if (stored := self.uint(4)) != computed:
            sums = f"checksum stored {stored:08x}, computed {computed:08x}"
            raise self._blocks.fault(f"{self.what} at byte {self.begins:,}: {sums}")

    def _reach(self, end: int) -> None:
        """Read on, up to what is asked for and a little ahead."""
        held = len(self.data)
        if self._address is None:
            raise self._blocks.fault(f"{self.what} has {held:,} bytes, expected {end:,} or more")
        begin = self._address + held
        more = max(end - held, min(max(_AHEAD, held), self._blocks.size - begin))
        self.data += self._blocks.at(begin, more, self.what)
