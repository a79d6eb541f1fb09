"""Fractal heaps, which hold the links of large groups and attributes that are many or large.

HDF5 File Format Specification, version 3.0, section III.G.  The heap has an address space of its own, in blocks whose
sizes double from the third row of a table on; blocks of blocks list where they lie.  All have checksums.
"""

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5 import btree2
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields
from milepost.checkpoints._codecs.hdf5.checksums import lookup3

_HEAP, _BLOCK = "a fractal heap", "a block of a fractal heap"
_MANAGED, _HUGE, _TINY = 0, 1, 2
_CHECKED = 2
_LARGEST = 4 << 20
"""Most bytes of a block; the library's own are of at most 64 KB."""

_SHORT = 17
"""Most bytes of an identifier that says a tiny object's length in half a byte."""


class FractalHeap:
    """One heap: gives the bytes of an object by its identifier."""

    def __init__(self, blocks: Blocks, address: int) -> None:
        self._blocks, self._address = blocks, address
        fields = Fields(blocks, _HEAP, address)
        fields.begin(b"FRHP", 0)
        self._id_size, filters, self._flags, most = fields.unpack("HHBI")
        fields.unpack("l")
        self._huge_tree = fields.address()
        fields.unpack("la8l")
        self._width, self._start, largest, bits = fields.unpack("HllH")
        fields.unpack("H")
        self._root = fields.address()
        (self._rows,) = fields.unpack("H")
        if filters:
            raise blocks.unknown("an HDF5 file with compressed names or attributes")
        fields.checksum()
        for number in (self._width, self._start, largest):
            if number <= 0 or number & (number - 1) or number > _LARGEST:
                raise blocks.fault(f"{_HEAP} has blocks of {number:,}, expected a power of two, at most {_LARGEST:,}")
        if largest < self._start or bits > 64:  # noqa: PLR2004 - bits
            raise blocks.fault(f"{_HEAP} has blocks of {self._start:,} to {largest:,} bytes, offsets of {bits} bits")
        self._first_row = (self._start * self._width).bit_length() - 1
        self._direct_rows = (largest // self._start).bit_length() + 1
        self._offset_size = -(-bits // 8)
        self._length_size = min(-(-(largest.bit_length() - 1) // 8), max(most.bit_length() - 1, 0) // 8 + 1)
        self._held: dict[int, bytes] = {}
        self._lists: dict[int, bytes] = {}
        self._huge: dict[int, tuple[int, int]] | None = None

    def item(self, identifier: bytes) -> bytes:
        """Return the object of an identifier, of which there may be more bytes than are meant."""
        identifier = identifier[: self._id_size]
        fields = Fields(self._blocks, "an identifier in a fractal heap", data=identifier)
        first = fields.uint(1)
        kind = first >> 4 & 3
        if first >> 6 or kind > _TINY:
            raise self._blocks.fault(f"an identifier in {_HEAP} begins with {first:#x}")
        if kind == _TINY:
            extended = self._id_size > _SHORT
            return fields.take(((first & 15) << 8 | fields.uint(1) if extended else first & 15) + 1)
        if kind == _HUGE:
            return self._large(fields)
        offset, length = fields.uint(self._offset_size), fields.uint(self._length_size)
        address, begin, size = self._place(offset)
        if offset - begin + length > size:
            raise self._blocks.fault(f"an object of {length:,} bytes ends after its block in {_HEAP}")
        charge(made=length)
        return self._direct(address, begin, size)[offset - begin : offset - begin + length]

    def _large(self, fields: Fields) -> bytes:
        """Return an object that lies by itself: at the address in its identifier, or in a tree of such objects."""
        widths = self._blocks.address_width, self._blocks.length_width
        if fields.left >= sum(widths):
            address, length = fields.unpack("al")
        else:
            if self._huge is None:
                self._huge = self._listed(*widths)
            key = fields.uint(min(fields.left, widths[1]))
            if key not in self._huge:
                raise self._blocks.fault(f"there is no object {key:,} by itself in {_HEAP}")
            address, length = self._huge[key]
        return self._blocks.at(address, length, f"an object of {_HEAP}")

    def _listed(self, address_width: int, length_width: int) -> dict[int, tuple[int, int]]:
        made: dict[int, tuple[int, int]] = {}
        if self._huge_tree is not None:
            form = self._blocks.form("all")
            for record in btree2.records(self._blocks, self._huge_tree, btree2.HUGE):
                if len(record) != address_width + 2 * length_width:
                    raise self._blocks.fault(f"{_HEAP} lists its large objects in {len(record)} bytes each")
                address, length, key = form.unpack(record)
                made[key] = (address, length)
        return made

    def _place(self, offset: int) -> tuple[int, int, int]:
        """Return of the block that holds an offset its address, where it begins in the heap, and its size."""
        address, rows, base = self._root, self._rows, 0
        if rows == 0 and address is not None:
            return address, 0, self._start
        while address is not None:
            row, column, begin, size = self._cell(offset - base)
            if row >= rows:
                break
            address = self._child(address, rows, row * self._width + column)
            base += begin
            if row < self._direct_rows and address is not None:
                return address, base, size
            rows = size.bit_length() - self._first_row
        raise self._blocks.fault(f"byte {offset:,} of {_HEAP} lies in no block")

    def _cell(self, offset: int) -> tuple[int, int, int, int]:
        """Return the row and column of the block that holds an offset, where it begins and its size."""
        if offset < 1 << self._first_row:
            column = offset // self._start
            return 0, column, column * self._start, self._start
        high = offset.bit_length() - 1
        row = high - self._first_row + 1
        size = self._start << (row - 1)
        column = (offset - (1 << high)) // size
        return row, column, (1 << high) + column * size, size

    def _child(self, address: int, rows: int, number: int) -> int | None:
        """Return the address of a block that a block of blocks lists; None where there is none."""
        width = self._blocks.address_width
        size = rows * self._width * width
        if address not in self._lists:
            fields = Fields(self._blocks, _BLOCK, address)
            fields.begin(b"FHIB", 0)
            self._owned(fields.address())
            fields.take(self._offset_size)
            self._lists[address] = fields.take(size)
            fields.checksum()
        held = self._lists[address]
        if len(held) != size:
            raise self._blocks.fault(f"{_BLOCK} at byte {address:,} has two sizes")
        found = int.from_bytes(held[number * width : number * width + width], "little")
        return None if found == self._blocks.undefined else found

    def _direct(self, address: int, begin: int, size: int) -> bytes:
        if address not in self._held:
            data = self._blocks.at(address, size, _BLOCK)
            fields = Fields(self._blocks, _BLOCK, data=data)
            fields.begin(b"FHDB", 0)
            self._owned(fields.address())
            if (found := fields.uint(self._offset_size)) != begin:
                raise self._blocks.fault(f"{_BLOCK} begins at {found:,}, expected {begin:,}")
            if self._flags & _CHECKED:
                place = fields.place
                if fields.uint(4) != lookup3(data[:place] + bytes(4) + data[place + 4 :]):
                    raise self._blocks.fault(f"{_BLOCK} at byte {address:,} has a checksum of other bytes")
            self._held[address] = data
        if len(self._held[address]) != size:
            raise self._blocks.fault(f"{_BLOCK} at byte {address:,} has two sizes")
        return self._held[address]

    def _owned(self, owner: int | None) -> None:
        if owner != self._address:
            raise self._blocks.fault(f"{_BLOCK} is that of another heap")
