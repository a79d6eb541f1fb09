"""NumPy's .npz: a zip of .npy arrays.  Stored arrays are mapped where they lie, deflated ones unpacked on request."""

from collections.abc import Iterator, Sequence

import numpy as np

from milepost._internal import npy
from milepost._internal.bounded import OpenFile, opened, per_file
from milepost._internal.zip import DEFLATED, STORED, ZipEntry, members, peek, unpack, verify
from milepost.checkpoints._files.layout import contiguous, dtype_of, is_readable, missing, name_of, refused, unsafe
from milepost.checkpoints._files.roles import role_of
from milepost.checkpoints.formats._claims import claim_zips
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Extent, Table, Tensor
from milepost.errors import Corrupt, Torn

_OBJECTS = "holds Python objects (a pickle): reading them would run code; save plain arrays instead"


class Npz:
    """Reads .npz archives."""

    name = "npz"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim zips of .npy arrays, and those that are still being written as far as their first entry shows."""
        return claim_zips(self.name, entries, lambda names: bool(names) and all(one.endswith(".npy") for one in names))

    def read(self, files: CheckpointFiles) -> Table:
        """Return the arrays, named without ".npy"; CRC-32 of stored arrays is checked here, of others in `fetch`.

        Arrays of Python objects are pickles and listed as bookkeeping; `Unsafe` where there are no others.
        """
        with opened(files.path) as file:
            tensors = tuple(_tensor(file, item) for item in members(file).values())
        if tensors and not any(is_readable(item.where) for item in tensors):
            raise refused(tensors[0])
        return Table(self.name, tensors, checksum=True)

    def fetch(self, tensor: Tensor) -> bytes:
        """Return a deflated array's bytes in C order, checked against size and CRC-32."""
        where = tensor.where
        if where.encoding != "deflate":
            raise refused(tensor)
        with opened(where.file) as file:
            item = _by_offset(file.path).get(where.offset)
            if item is None:
                raise Torn(f"{file.path}: changed while it was read: no array begins at byte {where.offset:,}")
            data = unpack(file, item)
        array = npy.header(data[: npy.LIMIT], f"{where.file}: array {tensor.name!r}")
        if len(data) - array.begin != where.nbytes or array.shape != tensor.shape:
            raise Corrupt(f"{where.file}: array {tensor.name!r}: its header disagrees with its size")
        if not array.fortran:
            return data[array.begin :]
        values = np.frombuffer(data, dtype_of(tensor.dtype), offset=array.begin)
        return values.reshape(array.shape, order="F").tobytes(order="C")


@per_file(4)
def _by_offset(path: str) -> dict[int, ZipEntry]:
    with opened(path) as file:
        return {item.offset: item for item in members(file).values()}


def _tensor(file: OpenFile, item: ZipEntry) -> Tensor:
    if not item.name.endswith(".npy"):
        raise Corrupt(f"{file.path}: entry {item.name!r} is not a .npy array")
    name = item.name.removesuffix(".npy")
    if item.method == STORED:
        verify(file, item)
    where = f"{file.path}: array {name!r}"
    array = npy.header(peek(file, item, npy.LIMIT), where)
    role = role_of("", name)
    dtype, why = _dtype(array.descr, where)
    if dtype is None:
        if role == "weights" and (why is _OBJECTS or why.startswith("text")):
            role = "bookkeeping"  # settings beside the weights; refused only if the model has a variable of that name
        place = unsafe if why is _OBJECTS else missing
        return Tensor(name, "void", array.shape, place(why, file.path), role)
    nbytes = item.size - array.begin
    if item.method == STORED:
        strides = None
        if array.fortran and len(array.shape) > 1:
            strides = contiguous(array.shape[::-1], dtype.itemsize)[::-1]
        extent = Extent(file.path, item.offset + array.begin, nbytes, "raw", strides)
    elif item.method == DEFLATED:
        extent = Extent(file.path, item.offset, nbytes, "deflate")
    else:
        extent = missing(f"compressed by method {item.method}: only deflate is read", file.path)
    return Tensor(name, name_of(dtype), array.shape, extent, role)


def _has_objects(descr: object) -> bool:
    if isinstance(descr, list | tuple):
        return any(_has_objects(field[1]) for field in descr if isinstance(field, list | tuple) and len(field) > 1)
    return isinstance(descr, str) and descr.lstrip("<>=|").startswith("O")


def _dtype(descr: object, where: str) -> tuple[np.dtype[np.generic] | None, str]:
    """Return the type of plain numbers, or None and what is there instead."""
    if not isinstance(descr, str):
        return None, _OBJECTS if _has_objects(descr) else "a structured type"
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError, SyntaxError) as error:
        raise Corrupt(f"{where}: the .npy header's type {descr[:40]!r} is not known") from error
    if dtype.hasobject:
        return None, _OBJECTS
    if dtype.kind == "V":
        return None, f"raw {dtype.itemsize}-byte items whose number type NumPy did not record (bfloat16 or float8?)"
    if dtype.kind in "USMm":
        return None, f"text or dates of type {descr[:40]}"
    return (dtype, "") if dtype.itemsize else (None, f"items of type {descr[:40]}")
