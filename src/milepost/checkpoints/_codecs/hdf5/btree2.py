"""B-trees of version 2, of any kind of record: what dense groups, attributes and some chunks are listed in.

HDF5 File Format Specification, version 3.0, section III.A.2; every node has a checksum.
"""

from collections.abc import Iterator

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields

HUGE, LINK_NAMES, ATTRIBUTE_NAMES, PLAIN_CHUNKS, FILTERED_CHUNKS = 1, 5, 8, 10, 11

_OVERHEAD = 10
_DEEPEST = 32
_NODE = "a node of a B-tree of version 2"


def records(blocks: Blocks, address: int, kind: int) -> Iterator[bytes]:
    """Yield a tree's records; `Corrupt` where it is not of this kind or a node is damaged."""
    fields = Fields(blocks, "a B-tree of version 2", address)
    fields.begin(b"BTHD", 0)
    found, node_size, size, depth = fields.unpack("BIHH2x")
    root, count = fields.address(), fields.uint(2)
    fields.unpack("l")
    fields.checksum()
    if found != kind or not size or depth > _DEEPEST or node_size <= _OVERHEAD:
        shape = f"of kind {found}, {depth} deep, with records of {size} bytes in nodes of {node_size:,}"
        raise blocks.fault(f"a B-tree of version 2 is {shape}, expected kind {kind}")
    widths = _widths(blocks, node_size, size, depth)
    waiting: list[tuple[int | None, int, int]] = [(root, count, depth)] if root is not None and count else []
    seen: set[int] = set()
    while waiting:
        place, count, level = waiting.pop()
        if place is None or place in seen:
            raise blocks.fault(f"two ways lead to {_NODE}, or none")
        seen.add(place)
        node = Fields(blocks, _NODE, place)
        node.begin(b"BTIN" if level else b"BTLF", 0)
        if node.uint(1) != kind or count * size > node_size:
            raise blocks.fault(f"{_NODE} at byte {place:,} has {count:,} records of another kind or size")
        held = node.take(count * size)
        if level:
            width, totals = widths[level - 1]
            children = [(node.address(), node.uint(width), node.uint(totals)) for _ in range(count + 1)]
            waiting.extend((child, number, level - 1) for child, number, _ in reversed(children))
        node.checksum()
        charge(nodes=count)
        yield from (held[begin : begin + size] for begin in range(0, count * size, size))


def _widths(blocks: Blocks, node_size: int, size: int, depth: int) -> list[tuple[int, int]]:
    """Return for each level of children how many bytes their number of records takes, and that below them in all."""
    most = (node_size - _OVERHEAD) // size
    width = _bytes_for(most)
    widths, total, in_all = [(width, 0)], 0, most
    for _ in range(depth):
        pointer = blocks.address_width + width + total
        most = max(node_size - _OVERHEAD - pointer, 0) // (size + pointer)
        in_all = (most + 1) * in_all + most
        total = _bytes_for(in_all)
        widths.append((width, total))
    return widths


def _bytes_for(number: int) -> int:
    return max(number.bit_length() - 1, 0) // 8 + 1
