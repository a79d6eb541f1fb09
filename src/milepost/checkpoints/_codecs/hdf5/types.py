"""Datatypes: which of HDF5's types NumPy has too, byte for byte, and how texts are stored.

HDF5 File Format Specification, version 3.0, section IV.A.2.d.  A number type is known where each of its bits is where
NumPy has it.  h5py stores a boolean as an enumeration of FALSE and TRUE, a complex number as a compound of r and i.
"""

from dataclasses import dataclass

import numpy as np

from milepost.checkpoints._codecs.hdf5 import headers
from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields

INTEGER, FLOAT, STRING, OPAQUE, COMPOUND, ENUM, VARIABLE = 0, 1, 3, 5, 6, 8, 9

_BIG, _SIGNED, _VAX = 1, 8, 0x40
_IMPLIED = 2
_TEXT = 1
_FLOATS = {
    # bytes: bits, then where exponent and mantissa begin and how long they are, the exponent's bias; the sign is last
    (2, 0, 16, 10, 5, 0, 10, 15): "f2",
    (4, 0, 32, 23, 8, 0, 23, 127): "f4",
    (8, 0, 64, 52, 11, 0, 52, 1023): "f8",
}
_BFLOAT16 = (2, 0, 16, 7, 8, 0, 7, 127)
_BOOLEAN = {b"FALSE": b"\0", b"TRUE": b"\1"}
_FEW = 4096
"""Most members of an enumeration; more than this h5py's own cannot have, as one header holds it."""


@dataclass(frozen=True, slots=True)
class Hdf5Type:
    """A type's class in HDF5 and its bytes; its NumPy type where it has one; whether it is text of any length.

    `padding` is how a text of fixed length ends: 0 with a zero byte, 1 is filled with zeros, 2 with blanks.
    """

    sort: int
    size: int
    dtype: np.dtype[np.generic] | None = None
    bfloat16: bool = False
    text: bool = False
    padding: int = 0

    @property
    def why(self) -> str:
        """The reason why values of a type without a NumPy type cannot be read."""
        if self.sort in (INTEGER, FLOAT, ENUM):
            return "a number type that is not read"
        return f"values of HDF5 class {self.sort}, which are no plain numbers"


def type_of(blocks: Blocks, message: headers.HeaderMessage) -> Hdf5Type:
    """Return the type of a message, a committed one too."""
    body = headers.body_of(blocks, headers.TYPE, message.flags, message.body)
    return _parsed(blocks, Fields(blocks, "a datatype", data=body))


def _parsed(blocks: Blocks, fields: Fields) -> Hdf5Type:
    first, low, middle, _, size = fields.unpack("BBBBI")
    version, sort = first >> 4, first & 15
    if version not in range(1, 6):
        raise blocks.fault(f"a datatype has version {version}")
    if sort == INTEGER:
        return Hdf5Type(sort, size, _integer(fields, low, size))
    if sort == FLOAT:
        return _float(fields, low, middle, size)
    if sort == STRING:
        return Hdf5Type(sort, size, text=True, padding=low & 15)
    if sort == VARIABLE:
        return Hdf5Type(sort, size, text=low & 15 == _TEXT)
    if sort == ENUM:
        return _enumeration(fields, version, low | middle << 8, size)
    if sort == COMPOUND and low | middle << 8 == 2:  # noqa: PLR2004 - members of a complex number
        return Hdf5Type(sort, size, _complex(fields, version, size))
    return Hdf5Type(sort, size)


def _order(low: int) -> str:
    return ">" if low & _BIG else "<"


def _integer(fields: Fields, low: int, size: int) -> np.dtype[np.generic] | None:
    offset, bits = fields.unpack("HH")
    if size not in (1, 2, 4, 8) or offset or bits != 8 * size:
        return None
    return np.dtype(f"{_order(low)}{'i' if low & _SIGNED else 'u'}{size}")


def _float(fields: Fields, low: int, sign: int, size: int) -> Hdf5Type:
    layout = (size, *fields.unpack("HHBBBBI"))
    plain = not low & _VAX and low >> 4 & 3 == _IMPLIED and sign == 8 * size - 1
    if plain and layout in _FLOATS:
        return Hdf5Type(FLOAT, size, np.dtype(_order(low) + _FLOATS[layout]))
    if plain and layout == _BFLOAT16 and not low & _BIG:
        return Hdf5Type(FLOAT, size, np.dtype("<u2"), bfloat16=True)
    return Hdf5Type(FLOAT, size)


def _enumeration(fields: Fields, version: int, count: int, size: int) -> Hdf5Type:
    base = _base(fields, INTEGER)
    if base is None or base.itemsize != size or count > _FEW:
        return Hdf5Type(ENUM, size)
    names = [fields.text(padded=version < 3) for _ in range(count)]  # noqa: PLR2004 - the version without padding
    values = [fields.take(size) for _ in range(count)]
    if set(names) != _BOOLEAN.keys():
        return Hdf5Type(ENUM, size, base)
    boolean = base == np.int8 and dict(zip(names, values, strict=True)) == _BOOLEAN
    return Hdf5Type(ENUM, size, np.dtype(bool)) if boolean else Hdf5Type(ENUM, size)


def _complex(fields: Fields, version: int, size: int) -> np.dtype[np.generic] | None:
    """Return the NumPy type of a compound of two members; None where it is no complex number."""
    parts = [_member(fields, version, size) for _ in range(2)]
    found = parts[0][2]
    if found is None or parts != [(b"r", 0, found), (b"i", found.itemsize, found)] or size != 2 * found.itemsize:
        return None
    return np.dtype(f"{found.str[0]}c{size}") if found.itemsize in (4, 8) else None


def _member(fields: Fields, version: int, size: int) -> tuple[bytes, int, np.dtype[np.generic] | None]:
    name = fields.text(padded=version < 3)  # noqa: PLR2004 - the version without padding
    offset = fields.uint(4 if version < 3 else max(size.bit_length() - 1, 0) // 8 + 1)  # noqa: PLR2004 - the same
    fields.take(28 if version == 1 else 0)
    return name, offset, _base(fields, FLOAT)


def _base(fields: Fields, sort: int) -> np.dtype[np.generic] | None:
    """Return the type that another is made of, where it is a number of a class."""
    first, low, middle, _, size = fields.unpack("BBBBI")
    if first & 15 != sort or not 1 <= first >> 4 <= 5:  # noqa: PLR2004 - versions
        return None
    if sort == INTEGER:
        return _integer(fields, low, size)
    made = _float(fields, low, middle, size)
    return None if made.bfloat16 else made.dtype
