"""From a row of a table to an array: a read-only view of the file's bytes, checked against the file as it is now."""

import os

import numpy as np

from milepost.checkpoints._files.bounded import unreadable
from milepost.checkpoints._files.layout import contiguous, dtype_of, refused, span, total
from milepost.core.types import Array, Tensor
from milepost.errors import Corrupt, Torn


def map_tensor(tensor: Tensor) -> Array:
    """Return the tensor as a read-only memory-mapped array of its own shape and dtype (byte order kept).

    Raises `Unsupported` or `Unsafe` for a tensor that the reader could not read, `Torn` where the file has become
    shorter, `Vanished` where it is gone, and `Corrupt` for places and strides that do not fit.

    >>> import tempfile
    >>> from milepost.core.types import Extent
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(np.arange(4, dtype="int16").tobytes())
    ...     file.flush()
    ...     map_tensor(Tensor("t", "int16", (2, 2), Extent(file.name, 0, 8))).tolist()
    [[0, 1], [2, 3]]
    """
    where = tensor.where
    name = f"{where.file}: tensor {tensor.name!r}"
    if where.encoding != "raw":
        raise refused(tensor)
    dtype = dtype_of(tensor.dtype)
    strides = where.strides if where.strides is not None else contiguous(tensor.shape, dtype.itemsize)
    _check(tensor, strides, dtype.itemsize, name)
    if 0 in tensor.shape:
        empty = np.empty(tensor.shape, dtype)
        empty.flags.writeable = False
        return empty
    try:
        size = os.stat(where.file).st_size
        if where.offset + where.nbytes > size:
            raise Torn(f"{name}: its bytes end at {where.offset + where.nbytes:,}, the file has {size:,}")
        mapped = np.memmap(where.file, np.uint8, "r", where.offset, (where.nbytes,))
    except OSError as error:
        raise unreadable(where.file, error) from error
    return np.ndarray(tensor.shape, dtype, mapped, 0, strides)


def _check(tensor: Tensor, strides: tuple[int, ...], itemsize: int, name: str) -> None:
    where = tensor.where
    if len(strides) != len(tensor.shape) or any(step < 0 for step in strides) or any(size < 0 for size in tensor.shape):
        raise Corrupt(f"{name}: shape {tensor.shape} and strides {strides} do not fit each other")
    if where.offset < 0 or where.nbytes < 0 or total(tensor.shape) * itemsize >= 1 << 62:
        raise Corrupt(f"{name}: {where.nbytes:,} bytes at {where.offset:,} is no place in a file")
    # span() counts the first byte of the last item; the item's other bytes follow it.
    reach = span(tensor.shape, strides) + itemsize - 1 if total(tensor.shape) else 0
    if reach > where.nbytes:
        raise Corrupt(f"{name}: shape and strides reach {reach:,} bytes, {where.nbytes:,} are declared")
