"""Which chunks of a dataset are stored, whichever of six ways they are listed in.

HDF5 File Format Specification, version 3.0, sections III.A and VII.
"""

import math
from collections.abc import Iterator
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


def chunks(blocks: Blocks, held: InChunks, extent: Space, filtered: bool) -> list[Chunk]:
    """Return the stored chunks of a dataset whose shape is no null space."""
    if held.address is None:
        return []
    found: list[Chunk] = []
    for item in _ALL[held.index](blocks, held, extent, filtered):
        found.append(item)
        if len(found) > COUNT_LIMIT:
            raise blocks.unknown(f"a dataset of more than {COUNT_LIMIT:,} chunks")
    return found


def _by_btree1(blocks: Blocks, held: InChunks, extent: Space, filtered: bool) -> Iterator[Chunk]:
    del extent, filtered
    key = f"II{len(held.shape)}Q"
    for size, skipped, *start, _, address in btree1.leaves(blocks, held.address or 0, btree1.CHUNKS, key):
        yield Chunk(tuple(start), address, size, skipped)


def _single(blocks: Blocks, held: InChunks, extent: Space, filtered: bool) -> Iterator[Chunk]:
    size, skipped = held.single or (-1, 0)
    if filtered != (size >= 0):
        raise blocks.fault("the one chunk of a dataset is filtered in one place and not in another")
    yield Chunk((0,) * len(extent.largest), held.address or 0, size if filtered else math.prod(held.shape), skipped)


def _implicit(blocks: Blocks, held: InChunks, extent: Space, filtered: bool) -> Iterator[Chunk]:
    grid, nbytes, begin = _Grid(blocks, held, extent, None), math.prod(held.shape), held.address or 0
    if filtered or grid.count * nbytes > blocks.size - begin:
        raise blocks.fault(f"{grid.count:,} chunks of {nbytes:,} bytes should follow each other at byte {begin:,}")
    for start in product(*(range(0, size, part) for size, part in zip(extent.shape or (), held.shape, strict=False))):
        yield Chunk(start, begin + grid.number(start) * nbytes, nbytes, 0)


def _by_array(blocks: Blocks, held: InChunks, extent: Space, filtered: bool) -> Iterator[Chunk]:
    growing = held.index == layouts.EXTENSIBLE
    endless = [axis for axis, most in enumerate(extent.largest) if most is None]
    if len(endless) != growing:
        raise blocks.fault(f"{len(endless)} axes of a dataset can grow without end, expected {int(growing)}")
    grid = _Grid(blocks, held, extent, endless[0] if growing else None)
    element, runs = (extensible if growing else fixed)(blocks, held.address or 0, filtered)
    width = _size_width(blocks, element - blocks.address_width - (_MASK if filtered else 0), filtered)
    for first, data in runs:
        charge(nodes=len(data) // element)
        for number in range(len(data) // element):
            address, size, skipped = _entry(blocks, data[number * element : (number + 1) * element], width)
            if address != blocks.undefined:
                yield Chunk(grid.start(first + number), address, size if filtered else math.prod(held.shape), skipped)


def _by_btree2(blocks: Blocks, held: InChunks, extent: Space, filtered: bool) -> Iterator[Chunk]:
    del extent
    rank = len(held.shape) - 1
    form = blocks.form(f"{rank}Q")
    kind = btree2.FILTERED_CHUNKS if filtered else btree2.PLAIN_CHUNKS
    for record in btree2.records(blocks, held.address or 0, kind):
        head = len(record) - form.size
        width = _size_width(blocks, head - blocks.address_width - (_MASK if filtered else 0), filtered)
        address, size, skipped = _entry(blocks, record[:head], width)
        start = tuple(place * part for place, part in zip(form.unpack(record[head:]), held.shape, strict=False))
        yield Chunk(start, address, size if filtered else math.prod(held.shape), skipped)


_ALL = {
    layouts.BTREE1: _by_btree1,
    layouts.SINGLE: _single,
    layouts.IMPLICIT: _implicit,
    layouts.FIXED: _by_array,
    layouts.EXTENSIBLE: _by_array,
    layouts.BTREE2: _by_btree2,
}


def _size_width(blocks: Blocks, width: int, filtered: bool) -> int:
    """Return how many bytes an entry's size takes: 0 where each chunk has the same."""
    if not (1 <= width <= 8 if filtered else width == 0):  # noqa: PLR2004 - bytes
        raise blocks.fault(f"the list of a dataset's chunks gives each size {width} bytes")
    return width


def _entry(blocks: Blocks, data: bytes, width: int) -> tuple[int, int, int]:
    """Return an entry's address, its size and which filters it left out."""
    place = blocks.address_width
    size, mask = data[place : place + width], data[place + width : place + width + _MASK]
    return int.from_bytes(data[:place], "little"), int.from_bytes(size, "little"), int.from_bytes(mask, "little")


class _Grid:
    """The order in which chunks are numbered: C order of the largest shape, the axis that can grow first."""

    def __init__(self, blocks: Blocks, held: InChunks, extent: Space, growing: int | None) -> None:
        self._parts = held.shape[:-1]
        axes = range(len(self._parts))
        self._order = [growing, *(axis for axis in axes if axis != growing)] if growing is not None else list(axes)
        self._steps = []
        self.count = 1
        for axis in reversed(self._order):
            self._steps.append(self.count)
            most = extent.largest[axis]
            if most is None and axis != growing:
                raise blocks.fault("a dataset's chunks are numbered, and one of its axes can grow without end")
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
