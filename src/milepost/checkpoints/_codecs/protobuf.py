"""A tiny reader of protocol buffers' wire format: the fields of one message, bounded by its own bytes.

No descriptors, no recursion: the caller knows the schema, and nests only as deep.  After the published
encoding: a field is a varint of number and wire type, then a varint, 8 bytes, a length and bytes, or 4 bytes.
"""

from collections.abc import Callable

from milepost._internal.budget import charge
from milepost.errors import Corrupt

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST = 10  # bytes of a varint of 64 bits
_MASK = (1 << 64) - 1
_MORE = 0x80
_MANY, _FIELD = 256, 250  # fields that are charged at once, and bytes of what one becomes
_WIDTHS = {FIXED64: 8, FIXED32: 4}


def varint(data: memoryview, at: int, where: Callable[[], str]) -> tuple[int, int]:
    r"""Return an unsigned varint of at most 64 bits and the place after it; `Corrupt` where it has no end.

    >>> varint(memoryview(b"\xac\x02"), 0, lambda: "here")
    (300, 2)
    """
    value = shift = 0
    for place in range(at, min(at + _LONGEST, len(data))):
        byte = data[place]
        if byte < _MORE:
            return (value | byte << shift) & _MASK, place + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    raise Corrupt(f"{where()}: a number without an end at byte {at:,}")


class Message:
    r"""The fields of one message by number, each as often as it stands there; `where` names the message in errors.

    >>> Message(memoryview(b"\x08\x01\x12\x01x\x08\x02"), lambda: "a message").integer(1)
    2
    """

    __slots__ = ("_fields", "_where")

    def __init__(self, data: memoryview, where: Callable[[], str]) -> None:
        """Split the bytes; `Corrupt` where they do not end with a field, or hold a group."""
        self._where = where
        self._fields: dict[int, list[tuple[int, int | memoryview]]] = {}
        at, end, count = 0, len(data), 0
        while at < end:
            count += 1
            if not count % _MANY:
                charge(made=_FIELD * _MANY, nodes=_MANY)
            key = data[at]
            if key < _MORE:  # nearly always: a field below 16
                at += 1
            else:
                key, at = varint(data, at, where)
            wire = key & 7
            value: int | memoryview
            if wire == VARINT:
                value, at = varint(data, at, where)
            else:
                if wire == BYTES:
                    width, at = varint(data, at, where)
                elif wire in _WIDTHS:
                    width = _WIDTHS[wire]
                else:
                    raise Corrupt(f"{where()}: wire type {wire} at byte {at:,} of the message: damaged")
                if width > end - at:
                    raise Corrupt(f"{where()}: a field of {width:,} bytes, {end - at:,} are left")
                value = data[at : at + width] if wire == BYTES else int.from_bytes(data[at : at + width], "little")
                at += width
            self._fields.setdefault(key >> 3, []).append((wire, value))

    def has(self, number: int) -> bool:
        """Return whether the field stands there at all."""
        return number in self._fields

    def integer(self, number: int, default: int = 0) -> int:
        """Return the last value of a varint field as a signed 64-bit integer."""
        value = self._last(number, VARINT)
        if not isinstance(value, int):
            return default
        return value - (1 << 64) if value >> 63 else value

    def fixed32(self, number: int) -> int:
        """Return the last value of a field of 4 bytes, unsigned; 0 where it is absent."""
        value = self._last(number, FIXED32)
        return value if isinstance(value, int) else 0

    def data(self, number: int) -> memoryview:
        """Return the last value of a field of bytes (or a message); empty where it is absent."""
        value = self._last(number, BYTES)
        return value if isinstance(value, memoryview) else memoryview(b"")

    def text(self, number: int) -> str:
        """Return the last value of a text field; `Corrupt` where it is not UTF-8."""
        try:
            return str(self.data(number), "utf-8")
        except UnicodeDecodeError as error:
            raise Corrupt(f"{self._where()}: a name that is not UTF-8") from error

    def message(self, number: int) -> "Message":
        """Return the last message of a field, an empty one where it is absent."""
        return Message(self.data(number), self._where)

    def messages(self, number: int) -> list[memoryview]:
        """Return the bytes of every message (or text, or packed run of numbers) of a repeated field."""
        found = []
        for wire, value in self._fields.get(number, ()):
            if wire != BYTES or isinstance(value, int):
                raise Corrupt(f"{self._where()}: field {number} has wire type {wire}, expected {BYTES}")
            found.append(value)
        return found

    def _last(self, number: int, wire: int) -> int | memoryview | None:
        found = self._fields.get(number)
        if found is None:
            return None
        if found[-1][0] != wire:
            raise Corrupt(f"{self._where()}: field {number} has wire type {found[-1][0]}, expected {wire}")
        return found[-1][1]
