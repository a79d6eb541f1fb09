"""NumPy's .npz: a zip of .npy arrays.  Stored arrays are mapped where they lie, deflated ones unpacked on request."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from milepost.checkpoints._codecs import npy
from milepost.checkpoints._codecs.zip import (
    DEFLATED,
    MAGIC,
    STORED,
    ZipEntry,
    first_name,
    members,
    names,
    peek,
    unpack,
    verify,
)
from milepost.checkpoints._files.bounded import OpenFile, identity_of, opened
from milepost.checkpoints._files.layout import (
    affordable,
    contiguous,
    is_readable,
    missing,
    name_of,
    refused,
    total,
    unread,
    unsafe,
)
from milepost.checkpoints._files.roles import STEP_LIMIT, STEP_NAMES, role_of, scalars_beside
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Extent, Identity, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Torn


class Npz:
    """Reads .npz archives.

    >>> Npz().name
    'npz'
    """

    name = "npz"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim zips of .npy arrays, and those that are still being written as far as their first entry shows."""
        for entry in entries:
            first = first_name(entry.head) if not entry.is_dir else None
            if first is not None and entry.head.startswith(MAGIC):
                state = _state(entry.path, first)
                if state:
                    yield CheckpointFiles(entry.path, self.name, (entry.path,), identity_of(entry.path), state)

    def read(self, files: CheckpointFiles) -> Table:
        """Return the arrays, named without ".npy"; CRC-32 of stored arrays is checked here, of others in `fetch`.

        Arrays of Python objects are pickles and listed as bookkeeping; `Unsafe` where there are no others.
        """
        with opened(files.path) as file:
            entries = members(file)
            tensors = [_tensor(file, item) for item in entries.values()]
            declared = sum(item.where.nbytes for item in tensors if item.where.encoding != "raw")
            if tensors and not any(is_readable(item.where) for item in tensors):
                raise refused(tensors[0])
            if not affordable(declared, file.size):
                raise Corrupt(f"{file.path}: {file.size:,} bytes would unpack to {declared:,}: a zip bomb, not read")
            step, source = _step(file, tensors, entries)
        return Table(self.name, scalars_beside(tensors), step, source, notes=tuple(unread(tensors)))

    def fetch(self, tensor: Tensor) -> bytes:
        """Return a deflated array's bytes in C order, checked against size and CRC-32."""
        where = tensor.where
        if where.encoding != "deflate":
            raise refused(tensor)
        with opened(where.file) as file:
            item = _by_offset(file.path, identity_of(file.path)).get(where.offset)
            if item is None:
                raise Torn(f"{file.path}: changed while it was read: no array begins at byte {where.offset:,}")
            data = unpack(file, item)
        array = npy.header(data[: npy.LIMIT], f"{where.file}: array {tensor.name!r}")
        if len(data) - array.begin != where.nbytes or array.dtype is None:
            raise Corrupt(f"{where.file}: array {tensor.name!r}: its header disagrees with its size")
        if not array.fortran:
            return data[array.begin :]
        values = np.frombuffer(data, array.dtype, offset=array.begin).reshape(array.shape, order="F")
        return values.tobytes(order="C")


def _state(path: str, first: str) -> Literal["complete", "writing"] | None:
    """Say whether a zip is an .npz: "complete", "writing", or None where it is something else."""
    try:
        with opened(path) as file:
            listed = names(file)
    except Torn:
        return "writing" if first.endswith(".npy") else None
    except CheckpointError:
        return "complete" if first.endswith(".npy") else None
    return "complete" if listed and all(item.endswith(".npy") for item in listed) else None


@lru_cache(maxsize=4)
def _by_offset(path: str, identity: Identity) -> dict[int, ZipEntry]:  # noqa: ARG001 - part of the cache's key
    with opened(path) as file:
        return {item.offset: item for item in members(file).values()}


def _tensor(file: OpenFile, item: ZipEntry) -> Tensor:
    if not item.name.endswith(".npy"):
        raise Corrupt(f"{file.path}: entry {item.name!r} is not a .npy array")
    name = item.name.removesuffix(".npy")
    where = f"{file.path}: array {name!r}"
    if item.method == STORED:
        verify(file, item)
    array = npy.header(peek(file, item, npy.LIMIT), where)
    role = role_of("", name)
    if array.holds != "numbers" and role == "weights":
        role = "bookkeeping"  # settings beside the weights; refused only if the model has a variable of that very name
    if array.holds == "objects":
        return Tensor(name, "void", array.shape, unsafe(array.descr, file.path), role)
    if array.dtype is None:
        return Tensor(name, "void", array.shape, missing(array.descr, file.path), role)
    nbytes = total(array.shape) * array.dtype.itemsize
    if array.begin + nbytes != item.size:
        raise Corrupt(f"{where}: shape and type need {nbytes:,} bytes, the entry holds {item.size - array.begin:,}")
    if item.method == STORED:
        strides = None
        if array.fortran and len(array.shape) > 1:
            strides = contiguous(array.shape[::-1], array.dtype.itemsize)[::-1]
        extent = Extent(file.path, item.offset + array.begin, nbytes, "raw", strides)
    elif item.method == DEFLATED:
        extent = Extent(file.path, item.offset, nbytes, "deflate")
    else:
        extent = missing(f"compressed by method {item.method}: only deflate is read", file.path)
    return Tensor(name, name_of(array.dtype), array.shape, extent, role)


def _step(file: OpenFile, tensors: Iterable[Tensor], entries: dict[str, ZipEntry]) -> tuple[int | None, str | None]:
    by_name = {item.name: item for item in tensors}
    for name in STEP_NAMES:
        item = by_name.get(name)
        if item is None or total(item.shape) != 1 or not is_readable(item.where):
            continue
        dtype = np.dtype(item.dtype)
        if dtype.kind in "iu":
            data = unpack(file, entries[name + ".npy"])
            value = int(np.frombuffer(data[-dtype.itemsize :], dtype)[0])
            if 0 <= value < STEP_LIMIT:
                return value, f"content: {name}"
    return None, None
