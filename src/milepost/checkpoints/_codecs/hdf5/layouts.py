"""Where a dataset says that its values lie: within its header, in one piece, in chunks, or in other files.

HDF5 File Format Specification, version 3.0, section IV.A.2.i.
"""

from dataclasses import dataclass

from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields
from milepost.checkpoints._codecs.hdf5.spaces import MOST_AXES

_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = range(4)
_OLD, _THIRD, _NEW = (1, 2), 3, (4, 5)

BTREE1, SINGLE, IMPLICIT, FIXED, EXTENSIBLE, BTREE2 = range(6)
"""How chunks are listed: by a B-tree of version 1, or as a message of version 4 numbers it."""

_WHOLE_EDGES, _PACKED_SINGLE = 1, 2
_PARAMETERS = {IMPLICIT: 0, FIXED: 1, EXTENSIBLE: 5, BTREE2: 6}
"""Bytes that repeat what the list of chunks itself begins with."""


@dataclass(frozen=True, slots=True)
class Compact:
    """Values within the header."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Contiguous:
    """Values in one piece at an address, None where none are stored; `size` is None where it is the dataset's."""

    address: int | None
    size: int | None


@dataclass(frozen=True, slots=True)
class InChunks:
    """Values in chunks of a shape, whose last number is an item's bytes, and how and where they are listed.

    `single` is the size of the one chunk that there is and the filters that it left out; None where it has none.
    `whole_edges`: those that reach over the dataset's edge are not filtered.
    """

    shape: tuple[int, ...]
    index: int
    address: int | None
    single: tuple[int, int] | None = None
    whole_edges: bool = False


@dataclass(frozen=True, slots=True)
class Virtual:
    """Values of other datasets."""


Layout = Compact | Contiguous | InChunks | Virtual


def layout(blocks: Blocks, body: bytes) -> Layout:
    """Return the layout of a message."""
    fields = Fields(blocks, "a layout", data=body)
    version = fields.uint(1)
    if version in _OLD:
        return _old(blocks, fields)
    sort = fields.uint(1)
    if version not in (_THIRD, *_NEW) or sort > _VIRTUAL:
        raise blocks.fault(f"a layout has version {version} and class {sort}")
    if sort == _VIRTUAL:
        return Virtual()
    if sort == _COMPACT:
        return Compact(fields.take(fields.uint(2)))
    if sort == _CONTIGUOUS:
        return Contiguous(fields.address(), fields.unpack("l")[0])
    if version in _NEW:
        return _in_chunks(blocks, fields)
    rank = _rank(blocks, fields.uint(1))
    address = fields.address()
    return InChunks(fields.unpack(f"{rank}I"), BTREE1, address)


def _old(blocks: Blocks, fields: Fields) -> Layout:
    rank, sort = fields.unpack("BB5x")
    if sort > _CHUNKED or rank > MOST_AXES + 1:
        raise blocks.fault(f"a layout has class {sort} and {rank} axes")
    address = None if sort == _COMPACT else fields.address()
    shape = fields.unpack(f"{rank}I")
    if sort == _COMPACT:
        return Compact(fields.take(fields.uint(4)))
    return InChunks(shape, BTREE1, address) if sort == _CHUNKED else Contiguous(address, None)


def _rank(blocks: Blocks, rank: int) -> int:
    if not 1 < rank <= MOST_AXES + 1:
        raise blocks.fault(f"chunks have {rank} axes, one of them an item's bytes")
    return rank


def _in_chunks(blocks: Blocks, fields: Fields) -> InChunks:
    flags, rank, width = fields.unpack("BBB")
    if not 1 <= width <= 8:  # noqa: PLR2004 - bytes
        raise blocks.fault(f"chunks have sizes of {width} bytes")
    shape = tuple(fields.uint(width) for _ in range(_rank(blocks, rank)))
    index = fields.uint(1)
    single: tuple[int, int] | None = None
    if index == SINGLE:
        single = fields.unpack("lI") if flags & _PACKED_SINGLE else None
    elif index in _PARAMETERS:
        fields.take(_PARAMETERS[index])
    else:
        raise blocks.fault(f"chunks are listed in way {index}")
    return InChunks(shape, index, fields.address(), single, bool(flags & _WHOLE_EDGES))
