"""Local heaps, which hold the names of a group's members, and global heaps, which hold texts of any length.

HDF5 File Format Specification, version 3.0, sections III.D and III.E.
"""

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields

_GLOBAL = "a global heap"
_PLACE = 256
"""Bytes that the place of an object takes in memory."""

_ALIGNED = 8
"""Bytes to whose multiples a global heap's header and objects are filled up, and the headers of these."""


class LocalHeap:
    """The names of one group."""

    def __init__(self, blocks: Blocks, address: int) -> None:
        fields = Fields(blocks, "a local heap", address)
        fields.begin(b"HEAP", 0)
        size, _, begin = fields.unpack("3xlla")
        self._blocks = blocks
        self._data = blocks.at(begin, size, "the names of a local heap")

    def name(self, offset: int) -> bytes:
        """Return the name that begins at an offset."""
        end = self._data.find(b"\0", offset)
        if end < 0:
            raise self._blocks.fault(f"a name at byte {offset:,} of a local heap of {len(self._data):,} has no end")
        return self._data[offset:end]


class GlobalHeaps:
    """The global heaps of a file, each read once."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._held: dict[int, tuple[bytes, dict[int, tuple[int, int]]]] = {}

    def item(self, address: int, index: int) -> bytes:
        """Return an object of the heap at an address."""
        if address not in self._held:
            self._held[address] = self._read(address)
        data, places = self._held[address]
        if index not in places:
            raise self._blocks.fault(f"there is no object {index:,} in {_GLOBAL} at byte {address:,}")
        begin, length = places[index]
        return data[begin : begin + length]

    def _read(self, address: int) -> tuple[bytes, dict[int, tuple[int, int]]]:
        """Return a heap's bytes, and where its objects lie in them."""
        fields = Fields(self._blocks, _GLOBAL, address)
        fields.begin(b"GCOL", 1)
        (size,) = fields.unpack("3xl")
        fields.take(-fields.place % _ALIGNED)
        data = fields.take(max(size - fields.place, 0))
        made: dict[int, tuple[int, int]] = {}
        prefix = self._blocks.form("HHxxxxl" + "x" * (-self._blocks.length_width % _ALIGNED))
        place = 0
        while place + prefix.size <= len(data):
            index, _, length = prefix.unpack_from(data, place)
            if index == 0 or index in made:  # what is free, up to the end; no object comes twice
                break
            place += prefix.size
            if length > len(data) - place:
                raise self._blocks.fault(f"object {index:,} of {_GLOBAL} ends after it")
            made[index] = (place, length)
            place += length + -length % _ALIGNED
        charge(made=_PLACE * len(made), nodes=len(made))
        return data, made
