"""The sorted table under TensorFlow's checkpoints, which is LevelDB's: blocks, an index of them, a footer of 48 bytes.

A block is entries (bytes shared with the key before, bytes not shared, length of the value, key's rest, value), the
places of its restarts, a byte of compression and a masked CRC-32C.  All of it is checked before it is used: handles
against the file, blocks against each other, keys against their order, and what keys unpack to against the budget.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from milepost._internal.bounded import AGAIN, COUNT_LIMIT, CUT, OpenFile, opened, per_file
from milepost._internal.budget import charge
from milepost.checkpoints._codecs import snappy
from milepost.checkpoints._codecs.crc32c import crc32c, masked
from milepost.checkpoints._codecs.protobuf import varint
from milepost.errors import Corrupt, Torn

MAGIC = bytes.fromhex("57fb808b247547db")
"""The last eight bytes of every table, those of LevelDB's database files included."""

KEY_LIMIT = 16384
"""Longest key, in bytes: a name of 4,096 characters, and where in it a slice lies."""

_FOOTER, _TRAILER, _WORD = 48, 5, 4
_PLAIN, _SNAPPY = 0, 1
_ENTRY = 300  # bytes of what an entry becomes, besides its key
_KEPT = 1 << 20


@dataclass(frozen=True, slots=True)
class Handle:
    """Where a block lies, without its trailer."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Sstable:
    """An open table: its file, the blocks in order, and for each a key that none of its own exceeds."""

    file: OpenFile
    blocks: tuple[Handle, ...]
    bounds: tuple[bytes, ...]

    def entries(self) -> Iterator[tuple[bytes, memoryview]]:
        """Yield every key with its value, in order; `Corrupt` for keys out of order, twice, or without end."""
        before = None
        count = 0
        for handle in self.blocks:
            for key, value in _entries(block(self.file, handle), self.file.path):
                count += 1
                if before is not None and key <= before:
                    raise Corrupt(f"{self.file.path}: key {key[:200]!r} stands after {before[:200]!r}: not sorted")
                if count > 2 * COUNT_LIMIT:
                    raise Corrupt(f"{self.file.path}: more than {2 * COUNT_LIMIT:,} names; Milepost stopped reading")
                before = key
                yield key, value

    def first(self) -> tuple[bytes, memoryview] | None:
        """Return the first key with its value; None where the table is empty."""
        if not self.blocks:
            return None
        return next(_entries(block(self.file, self.blocks[0]), self.file.path), None)

    def get(self, key: bytes) -> memoryview | None:
        """Return the value of a key, None where it is not there; small blocks are kept for the next question."""
        place = bisect_left(self.bounds, key)
        if place == len(self.blocks):
            return None
        handle = self.blocks[place]
        if handle.size > _KEPT:
            return dict(_entries(block(self.file, handle), self.file.path)).get(key)
        return _kept(self.file.path, handle).get(key)


def is_whole(file: OpenFile) -> bool:
    """Return whether a file ends as a table does: the footer is written last."""
    return file.size >= _FOOTER and file.at(file.size - len(MAGIC), len(MAGIC), "the footer") == MAGIC


def open_table(file: OpenFile) -> Sstable:
    """Read footer and index; `Torn` where the footer's magic is absent, `Corrupt` where what it says cannot be."""
    if not is_whole(file):
        raise Torn(f"{file.path}: {CUT}: its {file.size:,} bytes do not end with a table's footer, written last{AGAIN}")
    footer = memoryview(file.at(file.size - _FOOTER, _FOOTER, "the footer"))
    _, at = _handle(file, footer, 0)
    index, _ = _handle(file, footer, at)
    blocks: list[Handle] = []
    bounds: list[bytes] = []
    end = 0
    for key, value in _entries(block(file, index), file.path):
        handle, _ = _handle(file, value, 0)
        if handle.offset < end or (bounds and key <= bounds[-1]):
            raise Corrupt(f"{file.path}: the block at byte {handle.offset:,} overlaps another, or is not in order")
        end = handle.offset + handle.size + _TRAILER
        blocks.append(handle)
        bounds.append(key)
    return Sstable(file, tuple(blocks), tuple(bounds))


def block(file: OpenFile, handle: Handle) -> memoryview:
    """Return a block's bytes, checked against its CRC-32C and unpacked."""
    raw = memoryview(file.at(handle.offset, handle.size + _TRAILER, f"the block at byte {handle.offset:,}"))
    where = f"{file.path}: the block at byte {handle.offset:,}"
    stored = int.from_bytes(raw[handle.size + 1 :], "little")
    found = masked(crc32c(raw[: handle.size + 1]))
    if found != stored:
        raise Corrupt(f"{where} is damaged: CRC-32C {found:08x}, the file says {stored:08x}")
    kind = raw[handle.size]
    if kind == _PLAIN:
        return raw[: handle.size]
    if kind == _SNAPPY:
        return snappy.unpack(raw[: handle.size], where)
    raise Corrupt(f"{where} is compressed by method {kind}; expected 0 (not at all) or 1 (snappy)")


def _handle(file: OpenFile, data: memoryview, at: int) -> tuple[Handle, int]:
    def where() -> str:
        return f"{file.path}: a block's place"

    offset, at = varint(data, at, where)
    size, at = varint(data, at, where)
    if offset + size + _TRAILER > file.size - _FOOTER:
        what = f"a block of {size:,} bytes at byte {offset:,}"
        raise Corrupt(f"{file.path}: {what} does not fit into the file's {file.size:,}")
    return Handle(offset, size), at


def _entries(data: memoryview, path: str) -> Iterator[tuple[bytes, memoryview]]:
    def where() -> str:
        return f"{path}: an entry of a block"

    end = len(data) - _WORD
    restarts = int.from_bytes(data[end:], "little") if end >= 0 else 0
    end -= _WORD * restarts
    if end < 0:
        raise Corrupt(f"{path}: a block of {len(data):,} bytes declares {restarts:,} restarts")
    key = b""
    at = 0
    while at < end:
        shared, at = varint(data, at, where)
        rest, at = varint(data, at, where)
        size, at = varint(data, at, where)
        if shared > len(key) or rest + size > end - at or shared + rest > KEY_LIMIT:
            raise Corrupt(
                f"{path}: an entry of a block declares a key of {shared:,} + {rest:,} and a value of {size:,} bytes; "
                f"{len(key):,} can be shared, {max(end - at, 0):,} are left, and keys have at most {KEY_LIMIT:,}"
            )
        charge(made=_ENTRY + shared + rest, nodes=1)
        key = key[:shared] + bytes(data[at : at + rest])
        at += rest
        yield key, data[at : at + size]
        at += size


@per_file(2)
def _kept(path: str, handle: Handle) -> dict[bytes, memoryview]:
    with opened(path) as file:
        return dict(_entries(block(file, handle), path))
