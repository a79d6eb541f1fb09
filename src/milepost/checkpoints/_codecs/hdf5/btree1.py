"""B-trees of version 1: the symbol table nodes of a group, the chunks of a dataset.

HDF5 File Format Specification, version 3.0, section III.A.1.
"""

from collections.abc import Iterator
from typing import Any

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields

GROUP, CHUNKS = 0, 1
_NODE = "a node of a B-tree"


def leaves(blocks: Blocks, address: int, kind: int, key: str) -> Iterator[tuple[Any, ...]]:
    """Yield the entries of a tree's leaves in order, each its key's fields and then its child's address.

    `key` is the form of a key.  Raises `Corrupt` for a node of another kind, or to which two ways lead.
    """
    entry = blocks.form(key + "a")
    waiting: list[tuple[int, int | None]] = [(address, None)]
    seen: set[int] = set()
    while waiting:
        place, expected = waiting.pop()
        if place in seen:
            raise blocks.fault(f"two ways lead to {_NODE} at byte {place:,}")
        seen.add(place)
        fields = Fields(blocks, _NODE, place)
        signature, found, level, count = fields.unpack("4sBBHaa")[:4]
        if signature != b"TREE" or found != kind or level != (level if expected is None else expected):
            what = f"{signature!r} of kind {found} and level {level}"
            raise blocks.fault(f"{_NODE} at byte {place:,} is {what}, expected TREE of kind {kind}, level {expected}")
        charge(nodes=count)
        entries = entry.iter_unpack(fields.take(count * entry.size))
        if level == 0:
            yield from entries
        else:
            waiting.extend(reversed([(one[-1], level - 1) for one in entries]))
