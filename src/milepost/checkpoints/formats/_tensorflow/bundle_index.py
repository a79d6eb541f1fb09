"""A tensor bundle's `.index`: a header, and for each tensor its type, shape, shard, place, size and CRC-32C.

The bytes lie in the shards `PREFIX.data-00000-of-00002`.  Every entry is checked against all others, and against the
shards as they are now, before it is used.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from milepost._internal.bounded import AGAIN, CUT, HEADER_LIMIT, OpenFile, opened, per_file
from milepost._internal.budget import glancing
from milepost._internal.text import listed
from milepost.checkpoints._codecs.protobuf import Message
from milepost.checkpoints._codecs.sstable import is_whole, open_table
from milepost.checkpoints._files.layout import dtype_of, total
from milepost.checkpoints._files.shards import size_of
from milepost.checkpoints.formats._tensorflow.kind import begins_as_index
from milepost.checkpoints.formats._tensorflow.slices import NAMES, Slice, covered, key_of, shape_of, slice_of
from milepost.checkpoints.names import INDEX
from milepost.errors import Corrupt, Unsupported

_SHARDS = 100_000  # their numbers have five digits
_VERSION = 1
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """An entry: a tensor, or a slice of one; only a variable that is kept in slices has `slices`."""

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class BundleIndex:
    """What an index holds: tensors by name, slices by key, and how far each shard must reach."""

    path: str
    shards: int
    big: bool
    tensors: dict[str, BundleEntry]
    pieces: dict[bytes, BundleEntry]
    needed: dict[int, int]

    def shard(self, number: int) -> str:
        """Return the path of a shard."""
        return shard_of(self.path, number, self.shards)


def shard_of(index: str, number: int, count: int) -> str:
    """Return the path of a shard of the bundle that an index belongs to.

    >>> shard_of("runs/model.ckpt-40.index", 1, 2)
    'runs/model.ckpt-40.data-00001-of-00002'
    """
    return f"{index.removesuffix(INDEX)}.data-{number:05d}-of-{count:05d}"


@per_file(1024)
def reach_of(path: str) -> tuple[int, dict[int, int]]:
    """Return the number of shards, and how far each must reach; kept, since a watch asks every second."""
    with opened(path) as file, glancing(path, file.size):
        index = index_of(file)
    return index.shards, index.needed


def lacking(path: str, shards: int, needed: dict[int, int]) -> str | None:
    """Return which shards are absent or too short, as a message; None where all are whole.

    Raises the error of the tree for one that cannot be looked at.
    """
    short = []
    for number, size in needed.items():
        shard = shard_of(path, number, shards)
        have = size_of(shard)
        if have is None:
            short.append(f"{os.path.basename(shard)} is absent, {size:,} bytes of it are needed")
        elif have < size:
            short.append(f"{os.path.basename(shard)} has {have:,} of {size:,} bytes, {size - have:,} are missing")
    if not short:
        return None
    return f"{path}: {CUT}: {listed(short, 3, '; ')}{AGAIN}"


def index_of(file: OpenFile) -> BundleIndex:
    """Read an index; `Torn` where its end is absent, `Corrupt` where it contradicts itself."""
    if file.size > HEADER_LIMIT:
        raise Corrupt(f"{file.path}: an index of {file.size:,} bytes, at most {HEADER_LIMIT:,} are read")
    beginning = file.at(0, min(file.size, _HEAD), "its beginning")
    if file.size and not is_whole(file) and not begins_as_index(beginning):
        zeros = "all zero, as after a crash of the machine that wrote it"
        how = "it begins with other bytes" if any(beginning) else zeros
        raise Corrupt(f"{file.path}: neither a TensorFlow checkpoint index nor the beginning of one: {how}")
    entries = open_table(file).entries()
    first = next(entries, None)
    if first is None or first[0]:
        raise Corrupt(f"{file.path}: a table without the header of a TensorFlow checkpoint index")
    shards, big = _header(first[1], file.path)
    tensors: dict[str, BundleEntry] = {}
    pieces: dict[bytes, BundleEntry] = {}
    for key, value in entries:
        row = _row(value, shards, _about(file.path, key))
        if key.startswith(b"\0"):
            pieces[key] = row
            continue
        try:
            tensors[key.decode()] = row
        except UnicodeDecodeError as error:
            raise Corrupt(f"{file.path}: a name that is not UTF-8: {key[:200]!r}") from error
    for name, row in tensors.items():
        _check(file.path, name, row, pieces)
    needed = _reach(file.path, [*tensors.values(), *pieces.values()])
    return BundleIndex(file.path, shards, big, tensors, pieces, needed)


def places(index: BundleIndex, name: str) -> list[tuple[tuple[slice, ...], BundleEntry]]:
    """Return where each slice of a variable lies in it, and its entry."""
    row = index.tensors[name]
    found = covered(row.shape, row.slices, _about(index.path, name.encode()))
    return [(place, index.pieces[key_of(name.encode(), one)]) for place, one in zip(found, row.slices, strict=True)]


def _about(path: str, key: bytes) -> Callable[[], str]:
    return lambda: f"{path}: tensor {key[:200].decode('utf-8', 'backslashreplace')!r}"


def _header(data: memoryview, path: str) -> tuple[int, bool]:
    header = Message(data, lambda: f"{path}: the header")
    shards, endianness = header.integer(1), header.integer(2)
    if not 0 < shards <= _SHARDS or endianness not in (0, 1):
        raise Corrupt(f"{path}: the header declares {shards:,} shards and byte order {endianness}: damaged")
    needs = header.message(3).integer(2)
    if needs > _VERSION:
        raise Unsupported(f"{path}: a bundle for readers of version {needs}; version {_VERSION} is known")
    return shards, endianness == 1


def _row(data: memoryview, shards: int, where: Callable[[], str]) -> BundleEntry:
    entry = Message(data, where)
    row = BundleEntry(
        entry.integer(1),
        shape_of(entry.message(2), where),
        entry.integer(3),
        entry.integer(4),
        entry.integer(5),
        entry.fixed32(6),
        tuple(slice_of(piece, where) for piece in entry.messages(7)),
    )
    if not 0 <= row.shard < shards:
        raise Corrupt(f"{where()}: lies in shard {row.shard:,} of {shards:,}")
    if row.offset < 0 or row.size < 0 or row.offset + row.size >= 1 << 62:
        raise Corrupt(f"{where()}: {row.size:,} bytes at {row.offset:,} is no place in a file")
    if row.kind in NAMES and not row.slices:
        nbytes = total(row.shape) * dtype_of(NAMES[row.kind]).itemsize
        if nbytes != row.size:
            raise Corrupt(
                f"{where()}: its shape {row.shape} and type need {nbytes:,} bytes, but it declares {row.size:,}"
            )
    return row


def _check(path: str, name: str, row: BundleEntry, pieces: dict[bytes, BundleEntry]) -> None:
    if not row.slices:
        return
    where = _about(path, name.encode())
    if row.size:
        raise Corrupt(f"{where()}: is stored in slices, but also declares {row.size:,} bytes outside them")
    found = covered(row.shape, row.slices, where)
    for one, place in zip(row.slices, found, strict=True):
        piece = pieces.get(key_of(name.encode(), one))
        shape = tuple(axis.stop - axis.start for axis in place)
        if piece is None or piece.kind != row.kind or piece.shape != shape or piece.slices:
            raise Corrupt(f"{where()}: its slice of shape {shape} is absent, or of another type or shape")


def _reach(path: str, rows: Sequence[BundleEntry]) -> dict[int, int]:
    """Return how far each shard must reach; `Corrupt` where two entries share bytes."""
    needed: dict[int, int] = {}
    for row in sorted((row for row in rows if not row.slices), key=lambda row: (row.shard, row.offset, row.size)):
        if row.size and row.offset < needed.get(row.shard, 0):
            raise Corrupt(f"{path}: two tensors share the bytes from {row.offset:,} of shard {row.shard}")
        needed[row.shard] = max(needed.get(row.shard, 0), row.offset + row.size)
    return needed
