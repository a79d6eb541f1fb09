"""Which chunks of a dataset are stored, whichever of six ways they are listed in.

HDF5 File Format Specification, version 3.0, sections III.A and VII.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from milepost._internal.bounded import COUNT_LIMIT
from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5 import btree1, btree2, layouts
from milepost.checkpoints._codecs.hdf5.arrays import extensible, fixed
from milepost.checkpoints._codecs.hdf5.blocks import Blocks
from milepost.checkpoints._codecs.hdf5.chunks import Chunk
from milepost.checkpoints._codecs.hdf5.layouts import InChunks
from milepost.checkpoints._codecs.hdf5.spaces import Space

_MASK = 4
"""Bytes of the mask of filters that a chunk left out."""

_CHUNK = 320
"""Bytes that a chunk's place takes in memory."""

_WIDEST = 8
"""Most bytes of a chunk's size."""


@dataclass(frozen=True, slots=True)
class _Index:
    """A dataset's list of chunks: where it is and of which way, and whether the chunks went through filters."""

    blocks: Blocks
    held: InChunks
    address: int
    extent: Space
    filtered: bool

    @property
    def nbytes(self) -> int:
        """Bytes of a chunk without filters."""
        return math.prod(self.held.shape)

    def width(self, length: int) -> int:
        """Return how many bytes a size takes in an entry of so many: 0 where all chunks have one size."""
        width = length - self.blocks.address_width - (_MASK if self.filtered else 0)
        if not (1 <= width <= _WIDEST if self.filtered else width == 0):
            raise self.blocks.fault(f"the list of a dataset's chunks gives each size {width} bytes")
        return width

    def chunk(self, start: tuple[int, ...], entry: bytes, width: int) -> Chunk:
        """Return the chunk of an entry: its address, then, where there are filters, its size and those left out."""
        place = self.blocks.address_width
        address = int.from_bytes(entry[:place], "little")
        if not self.filtered:
            return Chunk(start, address, self.nbytes, 0)
        size, skipped = entry[place : place + width], entry[place + width : place + width + _MASK]
        return Chunk(start, address, int.from_bytes(size, "little"), int.from_bytes(skipped, "little"))


def chunks(blocks: Blocks, held: InChunks, extent: Space, *, filtered: bool) -> list[Chunk]:
    """Return the stored chunks of a dataset whose shape is no null space."""
    if held.address is None:
        return []
    found: list[Chunk] = []
    for item in _ALL[held.index](_Index(blocks, held, held.address, extent, filtered)):
        found.append(item)
        charge(made=_CHUNK, nodes=1)
        if len(found) > COUNT_LIMIT:
            raise blocks.unknown(f"a dataset of more than {COUNT_LIMIT:,} chunks")
    return found


def _by_btree1(index: _Index) -> Iterator[Chunk]:
    key = f"II{len(index.held.shape)}Q"
    for size, skipped, *start, _, address in btree1.leaves(index.blocks, index.address, btree1.CHUNKS, key):
        yield Chunk(tuple(start), address, size, skipped)


def _single(index: _Index) -> Iterator[Chunk]:
    if index.filtered != (index.held.single is not None):
        raise index.blocks.fault("the one chunk of a dataset is filtered in one place and not in another")
    size, skipped = index.held.single or (index.nbytes, 0)
    yield Chunk((0,) * len(index.extent.largest), index.address, size, skipped)


def _implicit(index: _Index) -> Iterator[Chunk]:
    grid, parts, nbytes = _Grid(index, None), index.held.shape[:-1], index.nbytes
    if index.filtered or grid.count * nbytes > index.blocks.size - index.address:
        what = f"{grid.count:,} chunks of {nbytes:,} bytes should follow each other at byte {index.address:,}"
        raise index.blocks.fault(what)
    for start in product(*(range(0, size, part) for size, part in zip(index.extent.shape or (), parts, strict=True))):
        yield Chunk(start, index.address + grid.number(start) * nbytes, nbytes, 0)


def _by_array(index: _Index) -> Iterator[Chunk]:
    growing = index.held.index == layouts.EXTENSIBLE
    endless = [axis for axis, most in enumerate(index.extent.largest) if most is None]
    if len(endless) != growing:
        what = f"{len(endless)} axes of a dataset can grow without end, expected {int(growing)}"
        raise index.blocks.fault(what)
    grid = _Grid(index, endless[0] if growing else None)
    element, runs = (extensible if growing else fixed)(index.blocks, index.address, int(index.filtered))
    width = index.width(element)
    missing = index.blocks.undefined.to_bytes(index.blocks.address_width, "little")
    for first, data in runs:
        for place in range(0, len(data) - element + 1, element):
            if not data.startswith(missing, place):
                yield index.chunk(grid.start(first + place // element), data[place : place + element], width)


def _by_btree2(index: _Index) -> Iterator[Chunk]:
    parts = index.held.shape[:-1]
    form = index.blocks.form(f"{len(parts)}Q")
    kind = btree2.FILTERED_CHUNKS if index.filtered else btree2.PLAIN_CHUNKS
    for record in btree2.records(index.blocks, index.address, kind):
        head = len(record) - form.size
        width = index.width(head)
        start = tuple(place * part for place, part in zip(form.unpack(record[head:]), parts, strict=True))
        yield index.chunk(start, record[:head], width)


_ALL = {
    layouts.BTREE1: _by_btree1,
    layouts.SINGLE: _single,
    layouts.IMPLICIT: _implicit,
    layouts.FIXED: _by_array,
    layouts.EXTENSIBLE: _by_array,
    layouts.BTREE2: _by_btree2,
}


class _Grid:
    """The order in which chunks are numbered: C order of the largest shape, the axis that can grow first."""

    def __init__(self, index: _Index, growing: int | None) -> None:
        self._parts = index.held.shape[:-1]
        axes = range(len(self._parts))
        self._order = [growing, *(axis for axis in axes if axis != growing)] if growing is not None else list(axes)
        self._steps = []
        self.count = 1
        for axis in reversed(self._order):
            self._steps.append(self.count)
            most = index.extent.largest[axis]
            if most is None and axis != growing:
                raise index.blocks.fault("a dataset's chunks are numbered, and one of its axes can grow without end")
            self.count *= -(-most // self._parts[axis]) if most is not None else 1
        self._steps.reverse()

    def number(self, start: tuple[int, ...]) -> int:
        """Return the number of the chunk with a first item's index."""
        pairs = zip(self._order, self._steps, strict=True)
        return sum(start[axis] // self._parts[axis] * step for axis, step in pairs)

    def start(self, number: int) -> tuple[int, ...]:
        """Return the first item's index of a chunk."""
        start = [0] * len(self._parts)
        for axis, step in zip(self._order, self._steps, strict=True):
            place, number = divmod(number, step)
            start[axis] = place * self._parts[axis]
        return tuple(start)
