"""TensorFlow's Saver V1 of 2015 to 2017: one sorted table that holds all values, read without TensorFlow.

The key "" lists names, shapes, types and slices; each slice is a message under a key of its own, in blocks that may be
compressed.  Nothing can be mapped: values are unpacked on request, when their block's CRC-32C is compared.
Sliced variables, which TensorFlow's own reader refuses, are put together.  A sharded Saver writes several such tables,
`PREFIX-00000-of-00002` and on, of which the first stands for all.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from milepost._internal.bounded import AGAIN, CUT, HEADER_LIMIT, opened, per_file
from milepost._internal.fileid import identity_of
from milepost.checkpoints._codecs.protobuf import Message
from milepost.checkpoints._codecs.sstable import Sstable, open_table
from milepost.checkpoints._files.layout import dtype_of, missing, refused, total
from milepost.checkpoints._files.links import check_shards
from milepost.checkpoints._files.roles import integer
from milepost.checkpoints._files.shards import size_of
from milepost.checkpoints.formats._tensorflow.kind import kind_of_table
from milepost.checkpoints.formats._tensorflow.names import Traits, is_candidate, roles_of, step_of
from milepost.checkpoints.formats._tensorflow.slices import (
    NAMES,
    Slice,
    Where,
    covered,
    is_integer,
    joined,
    key_of,
    kind_of,
    shape_of,
    slice_of,
)
from milepost.checkpoints.formats._tensorflow.v1_values import is_known, values_of
from milepost.checkpoints.names import saver_shards
from milepost.core.protocols import Entry
from milepost.core.types import Array, CheckpointFiles, Extent, Role, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Torn

_PACKED = "protobuf"


@dataclass(frozen=True, slots=True)
class _Row:
    """What the lists say of a variable, and its slices with their files; one slice is all of it."""

    kind: int
    shape: tuple[int, ...]
    slices: tuple[tuple[Slice, str], ...]


class TfV1:
    """Reads Saver V1 checkpoints, whatever the file is called."""

    name = "tf_v1"

    def main_name(self, name: str) -> str | None:
        """Return the name of the first shard for that of another; None for any other file.

        >>> [TfV1().main_name(name) for name in ("model-00001-of-00002", "model-00000-of-00002", "model.ckpt-7")]
        ['model-00000-of-00002', None, None]
        """
        first = _shards(name)[0]
        return None if first == name else first

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim tables whose first key holds the list; writers rename each one when it is whole.

        "writing" where a shard is absent.
        """
        for entry in entries:
            if kind_of_table(entry) == "v1":
                # The entry was read: a fault of the file system now does not make it absent.
                files = [path for path in _shards(entry.path) if path == entry.path or os.path.exists(path)]
                if files[:1] == [entry.path]:
                    yield _claim(files)

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table, from the lists alone; values are read and checked in `fetch`.

        Raises `Torn` where a shard is absent, `Corrupt` for damage and for values that the file is too small for.
        """
        short = _lacking(files.path)
        if short:
            raise Torn(short)
        check_shards(files.path, _shards(files.path))
        rows = _rows(files.path)
        known = {name: Traits(row.shape, is_integer(row.kind)) for name, row in rows.items()}
        roles = roles_of(known)
        tensors = tuple(
            _tensor(files.path, name, row, number, roles[name]) for number, (name, row) in enumerate(rows.items())
        )
        candidates = [item for item in tensors if is_candidate(item.name, known[item.name])]
        read = {item.name: integer(self.fetch(item), item.dtype) for item in candidates}
        numbers = {name: value for name, value in read.items() if value is not None}
        step, source, doubts = step_of(numbers, roles)
        notes = ("checksums of values are compared when they are loaded", *doubts)
        return Table(self.name, tensors, step, source, notes=notes, checksum=True)

    def fetch(self, tensor: Tensor) -> bytes:
        """Return a tensor's bytes in C order, slices put together, after its blocks' CRC-32C were compared."""
        where = tensor.where
        if where.encoding != _PACKED:
            raise refused(tensor)
        rows = _kept(where.file)
        name, row = next(itertools.islice(rows.items(), where.offset, None), ("", None))
        if row is None or name != tensor.name or row.shape != tensor.shape:
            raise Torn(f"{where.file}: changed while it was read: it has no variable {tensor.name!r}")
        return joined(row.shape, tensor.dtype, list(_pieces(where.file, name, row)))


def _shards(path: str) -> list[str]:
    """Return the files of a checkpoint by the name of any of them; the one alone where it is not sharded."""
    shards = saver_shards(path)
    return shards if path in shards else [path]


def _claim(files: list[str]) -> CheckpointFiles:
    with suppress(CheckpointError):  # `read` raises it again
        short = _lacking(files[0])
        if short:
            failure = (Torn.kind, short)
            return CheckpointFiles(files[0], TfV1.name, tuple(files), identity_of(files[0]), "writing", failure)
    return CheckpointFiles(files[0], TfV1.name, tuple(files), identity_of(files[0]))


def _lacking(path: str) -> str | None:
    files = _shards(path)
    absent = [os.path.basename(file) for file in files if size_of(file) is None]
    if not absent:
        return None
    return f"{path}: {CUT}: {len(absent):,} of {len(files):,} shards are absent, {absent[0]} the first of them{AGAIN}"


def _tensor(path: str, name: str, row: _Row, number: int, role: Role) -> Tensor:
    dtype = NAMES.get(row.kind)
    if dtype is None:
        other: Role = "bookkeeping" if role == "weights" else role
        return Tensor(name, "void", row.shape, missing(f"holds {kind_of(row.kind)}", path), other)
    if not is_known(dtype):
        return Tensor(name, dtype, row.shape, missing(f"{dtype}, which Saver V1 did not know", path), role)
    nbytes = total(row.shape) * dtype_of(dtype).itemsize
    return Tensor(name, dtype, row.shape, Extent(path, number, nbytes, _PACKED), role)


def _rows(path: str) -> dict[str, _Row]:
    """Return what the lists of all shards say, by name; `Corrupt` where they contradict themselves or each other."""
    rows: dict[str, _Row] = {}
    for file in _shards(path):
        with opened(file) as shard:
            listed = _listed(open_table(shard))
        for name, row in listed.items():
            before = rows.get(name, _Row(row.kind, row.shape, ()))
            if (before.kind, before.shape) != (row.kind, row.shape):
                raise Corrupt(f"{_about(file, name)()}: two shards declare different types or shapes for it")
            rows[name] = _Row(row.kind, row.shape, before.slices + row.slices)
    for name, row in rows.items():
        covered(row.shape, [one for one, _ in row.slices], _about(path, name))
    return rows


_kept = per_file(2)(_rows)


def _listed(table: Sstable) -> dict[str, _Row]:
    path = table.file.path
    first = table.first()
    if first is None or first[0] or len(first[1]) > HEADER_LIMIT:
        raise Corrupt(f"{path}: a table without a list of tensors: no Saver V1 checkpoint")

    def listed() -> str:
        return f"{path}: the list of tensors"

    rows: dict[str, _Row] = {}
    for piece in Message(first[1], listed).message(1).messages(1):
        item = Message(piece, listed)
        name = item.text(1)
        where = _about(path, name)
        if name in rows or not name:
            raise Corrupt(f"{where()}: listed twice, or without a name")
        slices = tuple((slice_of(part, where), path) for part in item.messages(4))
        rows[name] = _Row(item.integer(3), shape_of(item.message(2), where), slices)
    return rows


def _about(path: str, name: str) -> Where:
    return lambda: f"{path}: tensor {name[:200]!r}"


def _pieces(path: str, name: str, row: _Row) -> Iterator[tuple[tuple[slice, ...], Array]]:
    where = _about(path, name)
    places = covered(row.shape, [one for one, _ in row.slices], where)
    for place, (one, file) in zip(places, row.slices, strict=True):
        shape = tuple(axis.stop - axis.start for axis in place)
        with opened(file) as shard:
            data = open_table(shard).get(key_of(name.encode(), one))
        if data is None:
            raise Corrupt(f"{where()}: its slice of shape {shape} is listed, but absent")
        saved = Message(data, where).message(2)
        if saved.text(1) != name or slice_of(saved.data(2), where) != one:
            raise Corrupt(f"{where()}: another tensor's values lie in its place")
        yield place, values_of(saved.message(3), NAMES[row.kind], total(shape), where).reshape(shape)
