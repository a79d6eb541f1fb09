"""From a row of a table to an array: a read-only view of the file's bytes, or a copy of them.

Both check the place against the file as it is now.  A view costs no memory, but a file that is cut short while it is
looked at ends the process (SIGBUS); a copy is torn then.
"""

import os
from collections.abc import Iterator
from io import FileIO
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from milepost._internal.bounded import OpenFile, opened
from milepost.checkpoints._files.checks import about, check_place
from milepost.checkpoints._files.layout import contiguous, dtype_of, refused
from milepost.checkpoints._files.shards import size_of
from milepost.core.types import Array, Tensor
from milepost.errors import Torn

_PIECE = 1 << 20
_MAPS = WeakValueDictionary[tuple[int, int, int], "np.memmap[Any, Any]"]()
"""Maps of whole files, by device, inode and size, for as long as a tensor is looked at through them."""


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
    where, (dtype, strides) = tensor.where, _layout_of(tensor)
    if 0 in tensor.shape:
        empty = np.empty(tensor.shape, dtype)
        empty.flags.writeable = False
        return empty
    try:
        with opened(where.file) as file:
            _check_inside(tensor, file.size)
            mapped = _mapped(file)[where.offset : where.offset + where.nbytes]
            if len(mapped) < where.nbytes:  # cut short since it was opened
                raise _cut_short(tensor, size_of(where.file) or 0)
    except ValueError as error:  # cut short since it was opened
        raise _cut_short(tensor, size_of(where.file) or 0) from error
    return np.ndarray(tensor.shape, dtype, mapped, 0, strides)


def _mapped(file: OpenFile) -> Array:
    """Return the map of a whole file, the same for all of its tensors: each map holds an open file.

    A file that is mapped keeps its inode, so that no other file can be taken for it.
    """
    status = os.fstat(file.descriptor)
    key = status.st_dev, status.st_ino, status.st_size
    held = _MAPS.get(key)
    if held is None:
        with FileIO(file.descriptor, closefd=False) as stream:
            held = _MAPS[key] = np.memmap(stream, np.uint8, "r")
    return held


def read_tensor(tensor: Tensor) -> Array:
    """Return a copy of the tensor, which is the caller's own; raises as `map_tensor` does."""
    where, (dtype, strides) = tensor.where, _layout_of(tensor)
    if 0 in tensor.shape:
        return np.empty(tensor.shape, dtype)
    with opened(where.file) as file:
        _check_inside(tensor, file.size)
        held = np.empty(where.nbytes, np.uint8)
        _fill(held, file, tensor, 0)
    return np.ndarray(tensor.shape, dtype, held, 0, strides)


def read_pieces(tensor: Tensor) -> Iterator[Array]:
    """Yield the tensor's items in C order, as arrays of one axis, each overwritten by the next; raises as above.

    Only a tensor that lies in the file in another order is in memory as a whole.
    """
    where, (dtype, strides) = tensor.where, _layout_of(tensor)
    if 0 in tensor.shape:
        return
    if strides != contiguous(tensor.shape, dtype.itemsize):
        yield read_tensor(tensor).reshape(-1)
        return
    size = max(_PIECE - _PIECE % dtype.itemsize, dtype.itemsize)
    with opened(where.file) as file:
        _check_inside(tensor, file.size)
        held = np.empty(min(size, where.nbytes), np.uint8)
        for done in range(0, where.nbytes, size):
            piece = held[: where.nbytes - done]
            _fill(piece, file, tensor, done)
            yield piece.view(dtype)


def _fill(held: Array, file: OpenFile, tensor: Tensor, begin: int) -> None:
    """Read a tensor's bytes from its byte `begin` on, in pieces that a processor's cache holds."""
    done = 0
    while done < len(held):
        count = os.preadv(file.descriptor, [held[done : done + _PIECE].data], tensor.where.offset + begin + done)
        if not count:
            raise _cut_short(tensor, os.fstat(file.descriptor).st_size)
        done += count


def dtype_in_file(tensor: Tensor) -> np.dtype[np.generic]:
    """Return the dtype of the tensor's array, byte order included; raises as above where that needs no file."""
    return _layout_of(tensor)[0]


def _layout_of(tensor: Tensor) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    if tensor.where.encoding != "raw":
        raise refused(tensor)
    return dtype_of(tensor.dtype), check_place(tensor)


def _check_inside(tensor: Tensor, size: int) -> None:
    if tensor.where.offset + tensor.where.nbytes > size:
        raise _cut_short(tensor, size)


def _cut_short(tensor: Tensor, size: int) -> Torn:
    end = tensor.where.offset + tensor.where.nbytes
    return Torn(f"{about(tensor)} ends at byte {end:,}, the file has {size:,}")
