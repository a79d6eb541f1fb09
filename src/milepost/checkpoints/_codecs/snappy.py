"""Snappy's block format undone, in plain Python, bounded before a byte is allocated.

After the published description: a varint of the length, then literals and copies of what was already written.
"""

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.protobuf import varint
from milepost.errors import Corrupt

_LITERAL, _NEAR, _FAR = 0, 1, 2
_SHORT = 60  # literals up to this length have it in the tag
_MANY = 256  # tags between two looks at the clock
_MOST = 22  # no tag of three bytes yields more than 64


def unpack(data: memoryview, where: str) -> memoryview:
    r"""Return the bytes of a compressed block; `Corrupt` where they would be more than can be, or not as declared.

    Every tag adds at least one byte, so that the time is bounded as well.

    >>> bytes(unpack(memoryview(b"\x0a\x04ab\x1e\x02\x00"), "here"))
    b'ababababab'
    """
    size, at = varint(data, 0, lambda: f"{where}: snappy length")
    if size > _MOST * len(data):
        raise Corrupt(f"{where}: {len(data):,} compressed bytes declare {size:,}: more than snappy can hold")
    made = bytearray()
    end, count = len(data), 0
    while at < end:
        count += 1
        if not count % _MANY:
            charge(nodes=1)
        tag = data[at]
        kind, at = tag & 3, at + 1
        if kind == _LITERAL:
            length, at = _length(data, tag >> 2, at, where)
            if length > end - at:
                raise Corrupt(f"{where}: a literal of {length:,} bytes, {end - at:,} are left")
            made += data[at : at + length]
            at += length
        else:
            offset, length, at = _copy(data, tag, at, where)
            if not 0 < offset <= len(made):
                raise Corrupt(f"{where}: copies from {offset:,} bytes back, but only {len(made):,} bytes are decoded")
            begin = len(made) - offset
            run = made[begin : begin + min(offset, length)]
            made += run if offset >= length else (run * (length // offset + 1))[:length]
        if len(made) > size:
            raise Corrupt(f"{where}: {size:,} bytes are declared, more are there")
    if len(made) != size:
        raise Corrupt(f"{where}: {size:,} bytes are declared, {len(made):,} are there")
    return memoryview(made)


def _copy(data: memoryview, tag: int, at: int, where: str) -> tuple[int, int, int]:
    """Return from how far back a copy is, its length, and the place after its tag."""
    kind = tag & 3
    width = 1 if kind == _NEAR else 2 if kind == _FAR else 4
    if width > len(data) - at:
        raise Corrupt(f"{where}: a copy is cut off")
    offset = int.from_bytes(data[at : at + width], "little")
    if kind == _NEAR:
        return (tag >> 5) << 8 | offset, ((tag >> 2) & 7) + 4, at + width
    return offset, (tag >> 2) + 1, at + width


def _length(data: memoryview, tag: int, at: int, where: str) -> tuple[int, int]:
    """Return a literal's length and the place of its bytes: in the tag, or in one to four bytes after it."""
    if tag < _SHORT:
        return tag + 1, at
    width = tag - _SHORT + 1
    if width > len(data) - at:
        raise Corrupt(f"{where}: a literal's length is cut off")
    return int.from_bytes(data[at : at + width], "little") + 1, at + width
