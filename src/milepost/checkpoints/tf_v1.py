"""TensorFlow's Saver V1 of 2015 to 2017: one sorted table that holds all values, read without TensorFlow.

The key "" lists names, shapes, types and slices; each slice is a message under a key of its own, in blocks that may be
compressed.  Nothing can be mapped: values are unpacked on request, and checked by their block's CRC-32C then.
Sliced variables, which TensorFlow's own reader refuses, are put together.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from milepost.checkpoints._io import COUNT_LIMIT, HEADER_LIMIT, OpenFile, identity_of, opened
from milepost.checkpoints._layout import affordable, dtype_of, missing, refused, total, unread
from milepost.checkpoints._protobuf import Message
from milepost.checkpoints._sstable import Sstable, open_table
from milepost.checkpoints._tf_names import Named, is_candidate, roles_of, step_of
from milepost.checkpoints._tf_slices import NAMES, Slice, Where, covered, joined, key_of, kind_of, shape_of, slice_of
from milepost.checkpoints._tf_table import kind_of_table
from milepost.checkpoints._tf_values import is_known, values_of
from milepost.core import Array, Entry, Extent, Found, Identity, Role, Table, Tensor
from milepost.errors import Corrupt, Torn

_PACKED = "protobuf"
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class _Row:
    """What the list says of a variable; its slices are whole axes where it is not partitioned."""

    kind: int
    shape: tuple[int, ...]
    slices: tuple[Slice, ...]


class TfV1:
    """Reads Saver V1 checkpoints, whatever the file is called.

    >>> TfV1().name
    'tf_v1'
    """

    name = "tf_v1"

    def find(self, entries: Sequence[Entry]) -> Iterator[Found]:
        """Claim tables whose first key holds the list; their writer renames them whole, so that none is seen half."""
        for entry in entries:
            if kind_of_table(entry) == "v1":
                yield Found(entry.path, self.name, (entry.path,), identity_of(entry.path))

    def read(self, found: Found) -> Table:
        """Return the table, from the list alone; values are read and checked in `fetch`."""
        with opened(found.path) as file:
            rows = _rows(open_table(file))
            known = {name: Named(row.shape, _is_integer(row.kind)) for name, row in rows.items()}
            roles = roles_of(known)
            tensors = tuple(_tensor(file, name, row, number, roles[name]) for number, (name, row) in _numbered(rows))
            declared = sum(item.where.nbytes for item in tensors)
            if not affordable(declared, file.size):
                raise Corrupt(f"{file.path}: {file.size:,} bytes declare {declared:,} of values, not read")
        candidates = [item for item in tensors if is_candidate(item.name, known[item.name])]
        numbers = {item.name: int.from_bytes(self.fetch(item), "little", signed=True) for item in candidates}
        step, source, doubts = step_of(numbers, roles)
        return Table(self.name, tensors, step, source, notes=(*unread(tensors), *doubts))

    def fetch(self, tensor: Tensor) -> bytes:
        """Return a tensor's bytes in C order, slices put together, after its blocks' CRC-32C were compared."""
        where = tensor.where
        if where.encoding != _PACKED:
            raise refused(tensor)
        identity = identity_of(where.file)
        name, row = next(itertools.islice(_kept(where.file, identity).items(), where.offset, None), ("", None))
        if row is None or name != tensor.name or row.shape != tensor.shape:
            raise Torn(f"{where.file}: changed while it was read: it has no variable {tensor.name!r}")
        with opened(where.file) as file:
            pieces = list(_pieces(open_table(file), identity, name, row))
        return joined(row.shape, tensor.dtype, pieces)


def _is_integer(kind: int) -> bool:
    return kind in NAMES and dtype_of(NAMES[kind]).kind in "iu"


def _numbered(rows: Mapping[str, _Row]) -> Iterator[tuple[int, tuple[str, _Row]]]:
    return enumerate(rows.items())


def _tensor(file: OpenFile, name: str, row: _Row, number: int, role: Role) -> Tensor:
    dtype = NAMES.get(row.kind)
    if dtype is None:
        other: Role = "bookkeeping" if role == "weights" else role
        return Tensor(name, "void", row.shape, missing(f"holds {kind_of(row.kind)}", file.path), other)
    if not is_known(dtype):
        return Tensor(name, dtype, row.shape, missing(f"{dtype}, which Saver V1 did not know", file.path), role)
    nbytes = total(row.shape) * dtype_of(dtype).itemsize
    return Tensor(name, dtype, row.shape, Extent(file.path, number, nbytes, _PACKED), role)


@lru_cache(maxsize=2)
def _kept(path: str, identity: Identity) -> dict[str, _Row]:  # noqa: ARG001 - part of the cache's key
    with opened(path) as file:
        return _rows(open_table(file))


def _rows(table: Sstable) -> dict[str, _Row]:
    """Return what the list says, by name; `Corrupt` where it contradicts itself."""
    path = table.file.path
    first = table.first()
    if first is None or first[0] or len(first[1]) > HEADER_LIMIT:
        raise Corrupt(f"{path}: a table without a list of tensors: no Saver V1 checkpoint")

    def listed() -> str:
        return f"{path}: the list of tensors"

    pieces = Message(first[1], listed).message(1).messages(1)
    if len(pieces) > COUNT_LIMIT:
        raise Corrupt(f"{path}: {len(pieces):,} tensors, at most {COUNT_LIMIT:,} are read")
    rows: dict[str, _Row] = {}
    for piece in pieces:
        item = Message(piece, listed)
        name = item.text(1)
        where = _about(path, name)
        if name in rows or not name or len(name) > _LONGEST:
            raise Corrupt(f"{where()}: listed twice, without a name, or with one of more than {_LONGEST:,} characters")
        slices = tuple(slice_of(part, where) for part in item.messages(4))
        rows[name] = _Row(item.integer(3), shape_of(item.message(2), where), slices)
        covered(rows[name].shape, slices, where)
    return rows


def _about(path: str, name: str) -> Where:
    return lambda: f"{path}: tensor {name[:200]!r}"


def _pieces(table: Sstable, identity: Identity, name: str, row: _Row) -> Iterator[tuple[tuple[slice, ...], Array]]:
    where = _about(table.file.path, name)
    for place, one in zip(covered(row.shape, row.slices, where), row.slices, strict=True):
        shape = tuple(axis.stop - axis.start for axis in place)
        data = table.get(key_of(name.encode(), one), identity)
        if data is None:
            raise Corrupt(f"{where()}: its slice of shape {shape} is listed, and not there")
        saved = Message(data, where).message(2)
        if saved.text(1) != name or slice_of(saved.data(2), where) != one:
            raise Corrupt(f"{where()}: another tensor's values stand in its place")
        yield place, values_of(saved.message(3), NAMES[row.kind], total(shape), where).reshape(shape)
