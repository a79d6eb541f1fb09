"""Arrays that list chunks by number: fixed ones, and those that can grow along one axis.

HDF5 File Format Specification, version 3.0, sections VII.C and VII.D; all their blocks have checksums.  A block of more
elements than a page holds is stored in pages, of which a bit each says whether it was ever written.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields

Run = tuple[int, bytes]
"""The number of a first element, and the bytes of those from there on."""

_MOST_BITS = 62


@dataclass(frozen=True, slots=True)
class _Kind:
    """What all blocks of one array share: its address, what kind of elements, their bytes, how many a page holds."""

    address: int
    client: int
    element: int
    page: int


def fixed(blocks: Blocks, address: int, client: int) -> tuple[int, Iterator[Run]]:
    """Return how many bytes an element of a fixed array takes, and its elements; `client` is 1 for filtered chunks."""
    fields = Fields(blocks, "a fixed array", address)
    fields.begin(b"FAHD", 0)
    found, element, bits = fields.unpack("BBB")
    (count,) = fields.unpack("l")
    place = fields.address()
    fields.checksum()
    _check(blocks, found, client, bits)
    return element, _fixed_runs(blocks, _Kind(address, client, element, 1 << bits), place, count)


def _fixed_runs(blocks: Blocks, kind: _Kind, place: int | None, count: int) -> Iterator[Run]:
    if place is None:
        return
    fields = Fields(blocks, "a block of a fixed array", place)
    _begin(blocks, fields, kind, b"FADB")
    if count <= kind.page:
        yield 0, fields.take(count * kind.element)
        fields.checksum()
        return
    pages = -(-count // kind.page)
    written = fields.take(-(-pages // 8))
    fields.checksum()
    yield from _pages(blocks, fields, kind, 0, count, _bits(written, 0, pages))


def _pages(
    blocks: Blocks, fields: Fields, kind: _Kind, first: int, count: int, written: Iterator[bool]
) -> Iterator[Run]:
    """Yield the elements of the pages that were written; they follow a block's own fields, each with a checksum."""
    begin = fields.begins + fields.place
    charge(nodes=-(-count // kind.page))
    for number, is_written in zip(range(0, count, kind.page), written, strict=False):
        held = min(kind.page, count - number)
        if is_written:
            page = Fields(blocks, f"a page of {fields.what}", begin)
            yield first + number, page.take(held * kind.element)
            page.checksum()
        begin += held * kind.element + 4


def extensible(blocks: Blocks, address: int, client: int) -> tuple[int, Iterator[Run]]:
    """Return how many bytes an element of an array that can grow takes, and those that are stored; as `fixed`."""
    fields = Fields(blocks, "an extensible array", address)
    fields.begin(b"EAHD", 0)
    found, element, bits, direct, least, pointers, page_bits = fields.unpack("7B")
    fields.unpack("6l")
    place = fields.address()
    fields.checksum()
    _check(blocks, found, client, page_bits)
    if any(not number or number & (number - 1) for number in (least, pointers)) or bits > _MOST_BITS:
        numbers = f"blocks of {least} elements, {pointers} pointers and {bits} bits"
        raise blocks.fault(f"an extensible array has {numbers}, expected powers of two")
    shape = _Shape(bits, direct, least, pointers)
    return element, _extensible_runs(blocks, _Kind(address, client, element, 1 << page_bits), shape, place)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How an extensible array grows: super block `n` has 2**(n // 2) blocks of 2**((n + 1) // 2) * `least` elements.

    `direct` elements lie in the index block, as do the addresses of the blocks of the first few super blocks.
    """

    bits: int
    direct: int
    least: int
    pointers: int

    @property
    def offset_width(self) -> int:
        """Bytes of the number of a block's first element."""
        return -(-self.bits // 8)

    @property
    def supers(self) -> int:
        """How many super blocks there can be."""
        return max(1 + self.bits - (self.least.bit_length() - 1), 0)

    @property
    def listed(self) -> int:
        """How many super blocks have their blocks listed in the index block."""
        return min(2 * (self.pointers.bit_length() - 1), self.supers)

    def blocks(self, number: int) -> tuple[int, int]:
        """Return how many blocks a super block has, and how many elements each."""
        return 1 << number // 2, self.least << (number + 1) // 2

    def first(self, number: int) -> int:
        """Return the number of a super block's first element."""
        return self.direct + sum(count * held for count, held in map(self.blocks, range(number)))


def _extensible_runs(blocks: Blocks, kind: _Kind, shape: _Shape, place: int | None) -> Iterator[Run]:
    if place is None:
        return
    fields = Fields(blocks, "the index of an extensible array", place)
    _begin(blocks, fields, kind, b"EAIB")
    direct = fields.take(shape.direct * kind.element)
    sizes = [shape.blocks(number) for number in range(shape.listed)]
    addresses = [fields.address() for _ in range(sum(count for count, _ in sizes))]
    supers = [fields.address() for _ in range(shape.supers - shape.listed)]
    fields.checksum()
    yield 0, direct
    first, waiting = shape.direct, iter(addresses)
    for count, held in sizes:
        for _ in range(count):
            yield from _block(blocks, kind, shape, next(waiting), first, held, None)
            first += held
    for number, address in enumerate(supers, shape.listed):
        if address is not None:
            yield from _super(blocks, kind, shape, number, address)


def _super(blocks: Blocks, kind: _Kind, shape: _Shape, number: int, address: int) -> Iterator[Run]:
    count, held = shape.blocks(number)
    first = shape.first(number)
    fields = Fields(blocks, "a super block of an extensible array", address)
    _begin(blocks, fields, kind, b"EASB")
    fields.take(shape.offset_width)
    pages = held // kind.page if held > kind.page else 0
    written = fields.take(count * -(-pages // 8))
    form = blocks.form("a")
    addresses = form.iter_unpack(fields.take(count * form.size))
    fields.checksum()
    charge(nodes=count)
    for place, (one,) in enumerate(addresses):
        bits = _bits(written, place * pages, pages) if pages else None
        yield from _block(
            blocks, kind, shape, None if one == blocks.undefined else one, first + place * held, held, bits
        )


def _block(
    blocks: Blocks,
    kind: _Kind,
    shape: _Shape,
    address: int | None,
    first: int,
    held: int,
    written: Iterator[bool] | None,
) -> Iterator[Run]:
    if address is None:
        return
    fields = Fields(blocks, "a block of an extensible array", address)
    _begin(blocks, fields, kind, b"EADB")
    fields.take(shape.offset_width)  # an offset that the library counts in two ways, and does not read
    if written is None:
        yield first, fields.take(held * kind.element)
        fields.checksum()
    else:
        fields.checksum()
        yield from _pages(blocks, fields, kind, first, held, written)


def _check(blocks: Blocks, found: int, client: int, bits: int) -> None:
    if found != client or bits > _MOST_BITS:
        raise blocks.fault(f"an array of chunks is of kind {found}, expected {client}, with pages of {bits} bits")


def _begin(blocks: Blocks, fields: Fields, kind: _Kind, signature: bytes) -> None:
    fields.begin(signature, 0)
    if (fields.uint(1), fields.address()) != (kind.client, kind.address):
        raise blocks.fault(f"{fields.what} belongs to another array")


def _bits(written: bytes, first: int, count: int) -> Iterator[bool]:
    """Yield bits, the highest of each byte first."""
    return (bool(written[place >> 3] & 0x80 >> (place & 7)) for place in range(first, first + count))
