"""Number types by name, and the arithmetic of shapes and strides, checked before anything is mapped."""

import math
from collections.abc import Sequence
from functools import cache

import ml_dtypes
import numpy as np

from milepost._internal.text import listed
from milepost.core.types import Extent, Tensor
from milepost.errors import CheckpointError, Corrupt, Unsafe, Unsupported

UNSUPPORTED = "unsupported: "
"""The prefix of the `encoding` of an extent that cannot be read; the reason follows.  Fatal if a variable needs it."""

UNSAFE = "unsafe: "
"""The prefix where reading it would run code."""

EXPANSION = 20
EXPANSION_FLOOR = 256 << 20
_DIMENSIONS = 64


@cache
def dtype_of(name: str) -> np.dtype[np.generic]:
    """Return the NumPy dtype of a name as tables write it, ml_dtypes included.

    >>> dtype_of(">f4").itemsize, dtype_of("bfloat16").itemsize
    (4, 2)
    """
    try:
        found = np.dtype(name)
    except TypeError:
        kind = getattr(ml_dtypes, name, None)
        if kind is None:
            raise Unsupported(f"number type {name!r} is not known") from None
        found = np.dtype(kind)
    if found.hasobject or found.itemsize == 0:
        raise Unsupported(f"number type {name!r} holds no plain numbers")
    return found


def name_of(dtype: np.dtype[np.generic]) -> str:
    """Return a dtype's name as tables write it: with its byte order only where that is not little-endian.

    >>> name_of(np.dtype("<f4")), name_of(np.dtype(">i2")), name_of(np.dtype("bool"))
    ('float32', '>i2', 'bool')
    """
    big = dtype.str.startswith(">")
    return dtype.str if big else dtype.newbyteorder("=").name


def missing(reason: str, file: str) -> Extent:
    """Return the extent of a tensor that cannot be read, with the reason."""
    return Extent(file, 0, 0, UNSUPPORTED + reason)


def unsafe(reason: str, file: str) -> Extent:
    """Return the extent of something that only the file's own code could make, with the reason."""
    return Extent(file, 0, 0, UNSAFE + reason)


def is_readable(where: Extent) -> bool:
    """Return whether there are bytes to read: raw ones, or compressed ones that `fetch` undoes."""
    return not where.encoding.startswith((UNSUPPORTED, UNSAFE))


def refused(tensor: Tensor) -> CheckpointError:
    """Return the error for a tensor that cannot be read: `Unsafe` or `Unsupported`, with its extent's reason.

    >>> refused(Tensor("w", "void", (), missing("a sparse tensor", "a.pt")))
    Unsupported("a.pt: tensor 'w': a sparse tensor")
    """
    encoding = tensor.where.encoding
    kind = Unsafe if encoding.startswith(UNSAFE) else Unsupported
    reason = encoding.removeprefix(UNSUPPORTED).removeprefix(UNSAFE)
    return kind(f"{tensor.where.file}: tensor {tensor.name!r}: {reason}")


def unread(tensors: Sequence[Tensor]) -> list[str]:
    """Return a note on the tensors that cannot be read; [] where there are none.

    >>> unread([Tensor("w", "void", (), missing("a sparse tensor", "a.pt"))])
    ['cannot be read, and is refused where the model needs it: w (a sparse tensor)']
    """
    odd = [item for item in tensors if not is_readable(item.where)]
    named = [f"{item.name} ({item.where.encoding.removeprefix(UNSUPPORTED).removeprefix(UNSAFE)})" for item in odd]
    return [f"cannot be read, and is refused where the model needs it: {listed(named)}"] if odd else []


def affordable(nbytes: int, file_size: int) -> bool:
    """Return whether data may grow from a file of this size to `nbytes` once unpacked or broadcast."""
    return nbytes <= max(EXPANSION * file_size, EXPANSION_FLOOR)


def checked_shape(shape: object, where: str, what: str = "the shape") -> tuple[int, ...]:
    """Return a shape, or other numbers, as a tuple of integers from 0; `Corrupt` where it is not one."""
    if not isinstance(shape, list | tuple) or len(shape) > _DIMENSIONS:
        raise Corrupt(f"{where}: {what} is not a list of at most {_DIMENSIONS} integers")
    if any(type(size) is not int or not 0 <= size < 1 << 62 for size in shape):
        raise Corrupt(f"{where}: {what} {shown(shape)} holds other items than integers from 0 to 2**62")
    return tuple(shape)


def contiguous(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return the strides, in units of `itemsize`, of a C-ordered array.

    >>> contiguous((2, 3, 4), 1)
    (12, 4, 1)
    """
    strides = [itemsize] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    return tuple(strides)


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether strides (in items) are those of C order; the stride of an axis of length 1 does not matter."""
    return all(
        size == 1 or stride == plain for size, stride, plain in zip(shape, strides, contiguous(shape, 1), strict=True)
    )


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many units from its first a strided view reaches: 0 where it is empty.

    >>> span((2, 3), (1, 2)), span((0, 3), (3, 1)), span((), ())
    (6, 0, 1)
    """
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def overlaps(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether two indices of a view fall on one item, other than by broadcasting (stride 0).

    >>> overlaps((3, 2), (1, 1)), overlaps((3, 2), (1, 3)), overlaps((3, 2), (0, 1))
    (True, False, False)
    """
    reach = 0
    axes = sorted((stride, size) for size, stride in zip(shape, strides, strict=True) if size > 1 and stride > 0)
    for stride, size in axes:
        if stride <= reach:
            return True
        reach += (size - 1) * stride
    return False


def total(shape: Sequence[int]) -> int:
    """Return the number of items."""
    return math.prod(shape)


def shown(value: object) -> str:
    r"""Return a short text of anything that a file may hold, whose own text may be endless (lists within lists).

    >>> shown((2, -1, [5])), shown("a\n"), shown(10**5000)
    ('(2, -1, list)', "'a\\n'", 'int')
    """
    if isinstance(value, list | tuple):
        return f"({', '.join(_plain(item) for item in value[:8])}{', ...' if len(value) > 8 else ''})"  # noqa: PLR2004 - a line's worth
    return _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, str):
        return repr(value[:40])
    small = type(value) is int and -(1 << 63) <= value < 1 << 63
    return str(value) if small or isinstance(value, float | bool | None) else type(value).__name__
