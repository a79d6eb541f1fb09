"""Values inside a TensorProto, as Saver V1 keeps them: runs of numbers, small and signed ones as varints."""

import numpy as np

from milepost.checkpoints._codecs.protobuf import Message
from milepost.checkpoints._files.layout import dtype_of
from milepost.checkpoints.formats._tensorflow.slices import Where
from milepost.core.types import Array
from milepost.errors import Corrupt

_CONTENT = 4
_RAW = {"float32": 5, "float64": 6, "complex64": 9, "complex128": 12}
_VARINTS = {
    "int32": 7, "int16": 7, "int8": 7, "uint8": 7, "uint16": 7, "int64": 10, "bool": 11, "uint32": 16, "uint64": 17,
    "float16": 13, "bfloat16": 13,
}  # fmt: skip
_HALVES = 13
_WIDTH, _SEVEN, _MORE = 10, 0x7F, 0x80


def is_known(dtype: str) -> bool:
    """Return whether values of a type are read."""
    return dtype in _RAW or dtype in _VARINTS


def values_of(tensor: Message, dtype: str, count: int, where: Where) -> Array:
    r"""Return `count` values of a type in one row; `Corrupt` where there are more or fewer.

    >>> values_of(Message(memoryview(b":\x03\x01\x96\x01"), lambda: "t"), "int32", 2, lambda: "t")
    array([  1, 150], dtype=int32)
    """
    kind = dtype_of(dtype)
    if tensor.has(_CONTENT) or dtype in _RAW:
        data = bytes(tensor.data(_CONTENT)) if tensor.has(_CONTENT) else b"".join(tensor.messages(_RAW[dtype]))
        if len(data) != count * kind.itemsize:
            raise Corrupt(f"{where()}: {len(data):,} bytes of values, its shape needs {count * kind.itemsize:,}")
        return np.frombuffer(data, kind.newbyteorder("<") if kind.isbuiltin else kind)
    numbers = _varints(b"".join(tensor.messages(_VARINTS[dtype])), where)
    if len(numbers) != count:
        raise Corrupt(f"{where()}: {len(numbers):,} values, its shape needs {count:,}")
    if _VARINTS[dtype] == _HALVES:
        return _checked(numbers, np.dtype(np.uint16), where).view(kind)
    return _checked(numbers, kind, where)


def _checked(numbers: Array, kind: np.dtype[np.generic], where: Where) -> Array:
    """Return 64 bits each as a narrower type; `Corrupt` where a value does not fit it."""
    signed = numbers.view(np.int64) if kind.kind == "i" else numbers
    narrow = signed.astype(kind)
    if not np.array_equal(narrow.astype(signed.dtype), signed):
        raise Corrupt(f"{where()}: a value does not fit {kind.name}")
    return narrow


def _varints(data: bytes, where: Where) -> Array:
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < _MORE)
    if len(raw) and (not len(ends) or ends[-1] != len(raw) - 1):
        raise Corrupt(f"{where()}: a run of numbers is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    lengths = ends - starts + 1
    longest = int(lengths.max(initial=0))
    if longest > _WIDTH:
        raise Corrupt(f"{where()}: an integer takes {longest:,} bytes, the longest possible takes {_WIDTH}")
    found = np.zeros(len(ends), np.uint64)
    for place in range(longest):
        there = lengths > place
        digits = (raw[starts[there] + place] & _SEVEN).astype(np.uint64)
        found[there] |= digits << np.uint64(7 * place)
    return found
