"""The links of a group: in a symbol table, in messages of its header, or in a heap where they are many.

HDF5 File Format Specification, version 3.0, sections III.B, III.C and IV.A.2.c, g and r.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5 import btree1, btree2, headers
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields
from milepost.checkpoints._codecs.hdf5.fractal import FractalHeap
from milepost.checkpoints._codecs.hdf5.heaps import LocalHeap

HARD, SOFT, EXTERNAL = "a hard", "a soft", "an external"
_KINDS = {0: HARD, 1: SOFT, 64: EXTERNAL}
_CACHED_SOFT = 2
_LINK = 256
"""Bytes that a link takes in memory beside its name."""

_HASH = 4
"""Bytes of the hash of a link's name, before its identifier in the heap."""


@dataclass(frozen=True, slots=True)
class Link:
    """A member of a group: its name, what kind of link it is, and where a hard one leads."""

    name: bytes
    kind: str
    address: int | None


def is_group(header: headers.Header) -> bool:
    """Return whether an object is a group."""
    return header.holds(headers.SYMBOLS) or header.holds(headers.LINK_INFO)


def links(blocks: Blocks, header: headers.Header) -> list[Link]:
    """Return a group's links by name; raise `Corrupt` where one name stands for two."""
    found: dict[bytes, Link] = {}
    for link in _all(blocks, header):
        if link.name in found:
            raise blocks.fault(f"a group has two members of the name {link.name[:80]!r}")
        charge(made=_LINK + len(link.name), nodes=1)
        found[link.name] = link
    return [found[name] for name in sorted(found)]


def _all(blocks: Blocks, header: headers.Header) -> Iterator[Link]:
    for message in header.messages:
        if message.kind not in (headers.SYMBOLS, headers.LINK, headers.LINK_INFO):
            continue
        body = headers.body_of(blocks, message.kind, message.flags, message.body)
        if message.kind == headers.SYMBOLS:
            yield from _symbols(blocks, Fields(blocks, "a symbol table message", data=body))
        elif message.kind == headers.LINK:
            yield _link(blocks, body)
        else:
            yield from _dense(blocks, Fields(blocks, "a link info message", data=body))


def _symbols(blocks: Blocks, fields: Fields) -> Iterator[Link]:
    tree, names = fields.unpack("aa")
    heap = LocalHeap(blocks, names)
    entry = blocks.form("laI20x")  # the offset of a name is as wide as a length
    for _, address in btree1.leaves(blocks, tree, btree1.GROUP, "l"):
        node = Fields(blocks, "a symbol table node", address)
        node.begin(b"SNOD", 1)
        (count,) = node.unpack("xH")
        for offset, place, cached in entry.iter_unpack(node.take(count * entry.size)):
            yield Link(heap.name(offset), SOFT if cached == _CACHED_SOFT else HARD, place)


def _dense(blocks: Blocks, fields: Fields) -> Iterator[Link]:
    version, flags = fields.unpack("BB")
    if version:
        raise blocks.fault(f"a link info message has version {version}")
    fields.take(8 if flags & 1 else 0)
    heap_place, tree = fields.address(), fields.address()
    if heap_place is None or tree is None:
        return
    heap = FractalHeap(blocks, heap_place)
    for record in btree2.records(blocks, tree, btree2.LINK_NAMES):
        yield _link(blocks, heap.item(record[_HASH:]))


def _link(blocks: Blocks, body: bytes) -> Link:
    fields = Fields(blocks, "a link message", data=body)
    version, flags = fields.unpack("BB")
    if version != 1:
        raise blocks.fault(f"a link message has version {version}")
    kind = fields.uint(1) if flags & 8 else 0
    fields.take((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = fields.take(fields.uint(1 << (flags & 3)))
    return Link(name, _KINDS.get(kind, "an unknown"), fields.address() if kind == 0 else None)
