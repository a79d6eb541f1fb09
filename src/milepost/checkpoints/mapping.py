"""From a row of a table to an array: a read-only view of the file's bytes, checked against the file as it is now."""

import os

import numpy as np

from milepost._internal.bounded import unreadable
from milepost.checkpoints._files.checks import about, check_place
from milepost.checkpoints._files.layout import dtype_of, refused
from milepost.core.types import Array, Tensor
from milepost.errors import Torn


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
    if where.encoding != "raw":
        raise refused(tensor)
    dtype, strides = dtype_of(tensor.dtype), check_place(tensor)
    if 0 in tensor.shape:
        empty = np.empty(tensor.shape, dtype)
        empty.flags.writeable = False
        return empty
    try:
        size = os.stat(where.file).st_size
        if where.offset + where.nbytes > size:
            raise Torn(f"{about(tensor)} ends at byte {where.offset + where.nbytes:,}, the file has {size:,}")
        mapped = np.memmap(where.file, np.uint8, "r", where.offset, (where.nbytes,))
    except OSError as error:
        raise unreadable(where.file, error) from error
    return np.ndarray(tensor.shape, dtype, mapped, 0, strides)
