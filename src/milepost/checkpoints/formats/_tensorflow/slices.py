"""What both of TensorFlow's layouts share: number types, shapes, and variables that are kept in slices.

A partitioned variable is one name with several slices, each a start and a length on every axis.  Slices must cover the
variable exactly, each index once.  A slice's data stands under a key of its own, in Google's ordered code.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import ml_dtypes  # noqa: F401 - registers bfloat16 and the float8 kinds with NumPy
import numpy as np

from milepost._internal.budget import charge
from milepost.checkpoints._codecs.protobuf import Message
from milepost.checkpoints._files.layout import checked_shape, dtype_of, total
from milepost.core.types import Array
from milepost.errors import Corrupt

NAMES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64", 9: "int64", 10: "bool",
    11: "int8", 12: "uint8", 13: "int32", 14: "bfloat16", 15: "int16", 16: "uint16", 17: "uint16", 18: "complex128",
    19: "float16", 22: "uint32", 23: "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn", 26: "float8_e4m3fnuz",
    27: "float8_e4m3b11fnuz", 28: "float8_e5m2fnuz", 29: "int4", 30: "uint4", 31: "int2", 32: "uint2",
}  # fmt: skip
"""NumPy and ml_dtypes names of TensorFlow's types by number; quantised ones (11 to 13, 15, 16) are their integers."""

STRING = 7
_OTHERS = {STRING: "strings", 20: "a resource handle", 21: "a variant, an object of TensorFlow's own"}
_SLICES = 4096
_SLICE, _FEW = 500, 64  # bytes of a slice; each is compared with all others
_SINGLE = 64  # integers up to here take one byte of ordered code

Where = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Slice:
    """A start and a length on each axis; length -1, with start 0, is the whole axis."""

    starts: tuple[int, ...]
    lengths: tuple[int, ...]

    def within(self, shape: Sequence[int], where: Where) -> tuple[slice, ...]:
        """Return the slice as NumPy indexes an array of this shape; `Corrupt` where it does not lie inside."""
        if len(self.starts) != len(shape):
            raise Corrupt(f"{where()}: a slice of {len(self.starts)} axes of a variable of {len(shape)}")
        found = []
        for start, length, size in zip(self.starts, self.lengths, shape, strict=True):
            stop = size if length < 0 else start + length
            if start > size or stop > size:
                raise Corrupt(f"{where()}: a slice from {start:,} to {stop:,} of an axis of {size:,}")
            found.append(slice(start, stop))
        return tuple(found)


def kind_of(number: int) -> str:
    """Return in words what a type holds that is no plain numbers.

    >>> kind_of(7), kind_of(99)
    ('strings', 'number type 99, which is not known')
    """
    return _OTHERS.get(number, f"number type {number}, which is not known")


def is_integer(number: int) -> bool:
    """Return whether a type holds integers."""
    return number in NAMES and dtype_of(NAMES[number]).kind in "iu"


def shape_of(message: Message, where: Where) -> tuple[int, ...]:
    """Return the shape of a TensorShapeProto; `Corrupt` for unknown ranks and sizes, and for one too large to exist."""
    sizes = [Message(dim, where).integer(1) for dim in message.messages(2)]
    if message.integer(3):
        raise Corrupt(f"{where()}: a shape of unknown rank")
    shape = checked_shape(sizes, where())
    if total(shape) >= 1 << 62:
        raise Corrupt(f"{where()}: shape {shape[:8]} has {total(shape):,} items: no file holds them")
    return shape


def slice_of(data: memoryview, where: Where) -> Slice:
    """Return the slice of a TensorSliceProto."""
    starts, lengths = [], []
    for piece in Message(data, where).messages(1):
        extent = Message(piece, where)
        start, length = extent.integer(1), extent.integer(2) if extent.has(2) else -1
        if start < 0 or length < -1 or (length < 0 and start):
            raise Corrupt(f"{where()}: a slice from {start:,}, {length:,} long")
        starts.append(start)
        lengths.append(length)
    return Slice(tuple(starts), tuple(lengths))


def covered(shape: Sequence[int], slices: Sequence[Slice], where: Where) -> list[tuple[slice, ...]]:
    """Return where each slice lies in the whole; `Corrupt` where two overlap or an item is not covered."""
    if len(slices) > _SLICES:
        raise Corrupt(f"{where()}: {len(slices):,} slices, at most {_SLICES:,} are read")
    places = [item.within(shape, where) for item in slices]
    charge(made=_SLICE * len(slices), nodes=len(slices) * (1 + len(slices) // _FEW))
    volume = sum(total([axis.stop - axis.start for axis in place]) for place in places)
    if volume != total(shape):
        raise Corrupt(f"{where()}: its slices hold {volume:,} of {total(shape):,} items")
    bounds = np.array([[(axis.start, axis.stop) for axis in place] for place in places], np.int64)
    filled = bounds.reshape(len(places), len(shape), 2)
    filled = filled[(filled[:, :, 0] < filled[:, :, 1]).all(axis=1)]
    for number, one in enumerate(filled):
        others = filled[number + 1 :]
        meet = ((others[:, :, 0] < one[:, 1]) & (one[:, 0] < others[:, :, 1])).all(axis=1)
        if meet.any():
            raise Corrupt(f"{where()}: two of its slices overlap")
    return places


def joined(shape: Sequence[int], dtype: str, pieces: Iterable[tuple[tuple[slice, ...], Array]]) -> bytes:
    """Return the bytes, in C order, of a variable put together from its slices."""
    whole = np.empty(shape, dtype_of(dtype))
    for place, values in pieces:
        whole[place] = values
    return whole.tobytes()


def key_of(name: bytes, one: Slice) -> bytes:
    r"""Return the key under which a slice's data stands; a name is UTF-8, in which no byte is 255.

    >>> key_of(b"w", Slice((0, 200), (-1, 4)))
    b'\x00w\x00\x01\x01\x02\x80\x7f\xc0\xc8\x84'
    """
    key = b"\0" + name.replace(b"\0", b"\0\xff") + b"\0\x01" + _count(len(one.starts))
    return key + b"".join(
        _signed(start) + _signed(length) for start, length in zip(one.starts, one.lengths, strict=True)
    )


def _count(value: int) -> bytes:
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def _signed(value: int) -> bytes:
    """Return a signed integer in ordered code: as many leading ones as it has bytes, then its bits."""
    if -_SINGLE <= value < _SINGLE:
        return bytes([0x80 ^ (value & 0xFF)])
    magnitude = value if value >= 0 else ~value
    size = magnitude.bit_length() // 7 + 1
    made = bytearray((value & ((1 << 80) - 1)).to_bytes(10, "big")[10 - size :])
    ones = (0xFFFF << (16 - size)) & 0xFFFF
    made[0] ^= ones >> 8
    made[1] ^= ones & 0xFF
    return bytes(made)
