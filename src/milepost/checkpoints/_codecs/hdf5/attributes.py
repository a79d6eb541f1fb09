"""Attributes of texts: the lists of names that Keras gives to groups, in a header or, where they are large, in a heap.

HDF5 File Format Specification, version 3.0, sections IV.A.2.m and v.
"""

import math
import re
from collections.abc import Iterator

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.hdf5 import btree2, headers
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields
from milepost.checkpoints._codecs.hdf5.fractal import FractalHeap
from milepost.checkpoints._codecs.hdf5.heaps import GlobalHeaps
from milepost.checkpoints._codecs.hdf5.spaces import space
from milepost.checkpoints._codecs.hdf5.types import STRING, Hdf5Type, type_of

_TEXT_LIMIT = 16 << 20
_PADDED = 1
"""The version of an attribute whose fields are filled up to multiples of 8 bytes."""

_IDENTIFIER = 8
_BLANKS = 2
_TYPE_SHARED, _SPACE_SHARED = 1, 2


def texts(
    blocks: Blocks, heaps: GlobalHeaps, header: headers.Header, wanted: re.Pattern[str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield name and texts of an object's attributes whose name fits, but for those that hold no texts."""
    for body in _bodies(blocks, header):
        fields = Fields(blocks, "an attribute", data=body)
        version, flags, *sizes = fields.unpack("BBHHH")
        if version not in (1, 2, 3):
            raise blocks.fault(f"an attribute has version {version}")
        fields.take(1 if version == 3 else 0)  # noqa: PLR2004 - the version that names a character set
        raw, kind, shape = (fields.take(size + (-size % 8 if version == _PADDED else 0))[:size] for size in sizes)
        name = raw.rstrip(b"\0").decode("utf-8", "replace")
        if not wanted.fullmatch(name):
            continue
        shared = flags if version != _PADDED else 0
        made = type_of(
            blocks, headers.HeaderMessage(headers.TYPE, headers.SHARED if shared & _TYPE_SHARED else 0, kind)
        )
        flag = headers.SHARED if shared & _SPACE_SHARED else 0
        extent = space(blocks, headers.body_of(blocks, headers.SPACE, flag, shape)).shape
        count = 0 if extent is None else math.prod(extent)
        if count == 0:
            yield name, []
        elif made.text:
            yield name, _texts(blocks, heaps, fields, made, count)


def _bodies(blocks: Blocks, header: headers.Header) -> Iterator[bytes]:
    for message in header.each(headers.ATTRIBUTE):
        yield headers.body_of(blocks, headers.ATTRIBUTE, message.flags, message.body)
    for message in header.each(headers.ATTRIBUTE_INFO):
        fields = Fields(blocks, "an attribute info message", data=message.body)
        version, flags = fields.unpack("BB")
        if version:
            raise blocks.fault(f"an attribute info message has version {version}")
        fields.take(2 if flags & 1 else 0)
        heap_place, tree = fields.address(), fields.address()
        if heap_place is None or tree is None:
            continue
        heap = FractalHeap(blocks, heap_place)
        for record in btree2.records(blocks, tree, btree2.ATTRIBUTE_NAMES):
            if record[_IDENTIFIER : _IDENTIFIER + 1] != b"\0":
                raise blocks.unknown("an HDF5 file with a table of shared attributes")
            yield heap.item(record[:_IDENTIFIER])


def _texts(blocks: Blocks, heaps: GlobalHeaps, fields: Fields, kind: Hdf5Type, count: int) -> list[str]:
    fixed = kind.sort == STRING
    size = kind.size if fixed else 8 + blocks.address_width
    if size * count > fields.left:
        what = f"{count:,} strings of {size:,} bytes"
        raise blocks.fault(f"an attribute declares {what}, more than a list of names can need: it holds fewer bytes")
    charge(made=size * count, nodes=count)
    found = _fixed(fields, kind, count) if fixed else _variable(blocks, heaps, fields, count)
    try:
        return [one.decode("utf-8") for one in found]
    except UnicodeDecodeError as error:
        raise blocks.fault(f"an attribute's text is not UTF-8: {error}") from error


def _fixed(fields: Fields, kind: Hdf5Type, count: int) -> Iterator[bytes]:
    for _number in range(count):
        one = fields.take(kind.size)
        if kind.padding == 0:
            one = one.partition(b"\0")[0]
        yield one.rstrip(b" ") if kind.padding == _BLANKS else one.rstrip(b"\0")


def _variable(blocks: Blocks, heaps: GlobalHeaps, fields: Fields, count: int) -> Iterator[bytes]:
    total = 0
    for _number in range(count):
        length, address, index = fields.unpack("IaI")
        one = heaps.item(address, index)[:length].partition(b"\0")[0] if length else b""
        total += len(one)
        charge(made=len(one))
        if total > _TEXT_LIMIT:
            raise blocks.fault(f"an attribute holds more than {_TEXT_LIMIT:,} bytes of text")
        yield one
