"""Object headers: the messages that say what an object is, in its first block and those that continue it.

HDF5 File Format Specification, version 3.0, section IV.A.1; blocks of version 2 carry checksums, which are compared.
"""

from collections.abc import Iterator
from typing import NamedTuple

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields

SPACE, LINK_INFO, TYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, CONTINUED, SYMBOLS, ATTRIBUTE_INFO = (
    0x01, 0x02, 0x03, 0x06, 0x07, 0x08, 0x0B, 0x0C, 0x10, 0x11, 0x15,
)  # fmt: skip
_READ = frozenset(
    {SPACE, LINK_INFO, TYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE, CONTINUED, SYMBOLS, ATTRIBUTE_INFO}
)

SHARED = 2
"""The flag of a message whose body says where the message itself lies."""

_TIMES, _PHASES, _ORDERED = 0x20, 0x10, 0x04
_IN_TABLE = 1
_HEADER = "an object header"
_MESSAGE = 128
"""Bytes that a message takes in memory beside its own."""

_MOST = 0xFFFF
"""Most messages of a block; an older header counts all of its own in two bytes."""


class HeaderMessage(NamedTuple):
    """A message of a header: its kind, its flags and its bytes."""

    kind: int
    flags: int
    body: bytes


class Header:
    """What an object's header holds, of the kinds that are read; `checked`: its blocks have checksums."""

    __slots__ = ("address", "checked", "messages")

    def __init__(self, address: int, messages: list[HeaderMessage], *, checked: bool) -> None:
        self.address, self.messages, self.checked = address, messages, checked

    def each(self, kind: int) -> Iterator[HeaderMessage]:
        """Yield the messages of a kind, in their order."""
        return (message for message in self.messages if message.kind == kind)

    def first(self, kind: int) -> HeaderMessage | None:
        """Return the first message of a kind; None where there is none."""
        for message in self.messages:
            if message.kind == kind:
                return message
        return None

    def holds(self, kind: int) -> bool:
        """Return whether there is a message of a kind."""
        return self.first(kind) is not None


def header(blocks: Blocks, address: int) -> Header:
    """Return the header at an address; raise `Corrupt` where there is none, or it is damaged."""
    fields = Fields(blocks, _HEADER, address)
    if fields.take(4) != b"OHDR":
        fields.place = 0
        return Header(address, _old(blocks, fields, address), checked=False)
    fields.place = 0
    fields.begin(b"OHDR", 2)
    flags = fields.uint(1)
    fields.take((16 if flags & _TIMES else 0) + (4 if flags & _PHASES else 0))
    found: list[HeaderMessage] = []
    more = _new(blocks, fields, fields.uint(1 << (flags & 3)), flags, found)
    for begin, length in _once(blocks, more, address):
        inner = Fields(blocks, _HEADER, begin)
        if length < 8 + 4:
            raise blocks.fault(f"{_HEADER} goes on with {length} bytes")
        if inner.take(4) != b"OCHK":
            raise blocks.fault(f"{_HEADER} does not go on at byte {begin:,}")
        more += _new(blocks, inner, length - 8, flags, found)
    return Header(address, found, checked=True)


def _once(blocks: Blocks, more: list[tuple[int, int]], first: int) -> Iterator[tuple[int, int]]:
    """Yield the blocks that continue a header, which grow while they are read; `Corrupt` for one that comes again."""
    seen = {first}
    for begin, length in more:
        if begin in seen:
            raise blocks.fault(f"{_HEADER} goes on in a circle at byte {begin:,}")
        seen.add(begin)
        yield begin, length


def _old(blocks: Blocks, fields: Fields, address: int) -> list[HeaderMessage]:
    version, count, length = fields.unpack("BxH4xI4x")
    if version != 1:
        raise blocks.fault(f"there is no object header at byte {address:,}")
    found: list[HeaderMessage] = []
    more = [(address + 16, length)]
    total = 0
    for begin, size in _once(blocks, more, address):
        data = fields.take(size) if begin == address + 16 else blocks.at(begin, size, _HEADER)
        total += _messages(blocks, data, "HHB3x", found, more)
    if total != count:
        raise blocks.fault(f"{_HEADER} at byte {address:,} declares {count:,} messages, {total:,} are there")
    return found


def _new(blocks: Blocks, fields: Fields, length: int, flags: int, found: list[HeaderMessage]) -> list[tuple[int, int]]:
    data = fields.take(length)
    fields.checksum()
    more: list[tuple[int, int]] = []
    _messages(blocks, data, "BHB2x" if flags & _ORDERED else "BHB", found, more)
    return more


def _messages(blocks: Blocks, data: bytes, form: str, found: list[HeaderMessage], more: list[tuple[int, int]]) -> int:
    """Add the messages of a block, and the places where the header goes on; return how many there are."""
    prefix = blocks.form(form)
    place, end, count = 0, len(data), 0
    while place + prefix.size <= end:
        kind, size, flags = prefix.unpack_from(data, place)
        place += prefix.size
        if place + size > end:
            raise blocks.fault(f"a message in {_HEADER} takes {size:,} bytes, {end - place:,} are there")
        count += 1
        if count > _MOST:
            raise blocks.fault(f"{_HEADER} holds more than {_MOST:,} messages")
        if kind in _READ:
            found.append(HeaderMessage(kind, flags, data[place : place + size]))
            if kind == CONTINUED:
                more.append(Fields(blocks, "where a header goes on", data=found.pop().body).unpack("al"))
        place += size
    charge(made=_MESSAGE * count, nodes=count)
    return count


def body_of(blocks: Blocks, kind: int, flags: int, body: bytes) -> bytes:
    """Return a message's bytes, those of another header where it is shared, as a committed type is."""
    if not flags & SHARED:
        return body
    fields = Fields(blocks, "a shared message", data=body)
    version, sort = fields.unpack("BB")
    if version == 1:
        fields.take(6)
    elif version not in (2, 3):
        raise blocks.fault(f"a shared message has version {version}")
    if version == 3 and sort == _IN_TABLE:  # noqa: PLR2004 - the version that has tables
        raise blocks.unknown("an HDF5 file with a table of shared messages")
    address = fields.address()
    found = header(blocks, address).first(kind) if address is not None else None
    if found is None or found.flags & SHARED:
        raise blocks.fault("a shared message is not where it should be")
    return found.body
