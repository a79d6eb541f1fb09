"""TensorFlow's tensor bundle, read without TensorFlow: Saver V2, TF 2 checkpoints, a SavedModel's variables.

`PREFIX.index` says what lies where in `PREFIX.data-00000-of-00001`; tensors are mapped where they lie, partitioned
variables put together on request.  A SavedModel's graph is a program and is never opened.
"""

import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from milepost._internal.bounded import AGAIN, HEADER_LIMIT, OpenFile, opened, per_file
from milepost._internal.fileid import identity_of
from milepost.checkpoints._codecs.crc32c import crc32c, masked, of_file
from milepost.checkpoints._codecs.protobuf import varint
from milepost.checkpoints._files.layout import dtype_of, missing, refused, total
from milepost.checkpoints._files.links import check_shards
from milepost.checkpoints._files.roles import integer
from milepost.checkpoints._files.shards import main_file, main_file_in, shards_of
from milepost.checkpoints.formats._tensorflow.bundle_index import (
    BundleEntry,
    BundleIndex,
    index_of,
    lacking,
    places,
    reach_of,
    shard_of,
)
from milepost.checkpoints.formats._tensorflow.kind import begins_as_index, kind_of_table
from milepost.checkpoints.formats._tensorflow.names import Traits, is_candidate, roles_of, step_of
from milepost.checkpoints.formats._tensorflow.object_graph import GRAPH, TrackedName, names_by_key, plain_name
from milepost.checkpoints.formats._tensorflow.slices import NAMES, STRING, is_integer, joined, kind_of
from milepost.checkpoints.names import INDEX
from milepost.core.protocols import Entry
from milepost.core.types import Array, CheckpointFiles, Extent, Role, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Torn, Vanished

_PART = re.compile(r"(.*)\.(?:data-\d{5}-of-\d{5}|meta)")
_SLICES = "slices"
_WORD = 4
_COPIES = "_all_variables/"


class TfBundle:
    """Reads tensor bundles: `PREFIX.index` with its shards, and the variables of a SavedModel's folder."""

    name = "tf_bundle"

    def main_name(self, name: str) -> str | None:
        """Return the name of the index that a shard, or a Saver's graph, belongs to; None for any other file.

        >>> [TfBundle().main_name(f"model.ckpt-40.{ending}") for ending in ("data-00000-of-00002", "index")]
        ['model.ckpt-40.index', None]
        """
        match = _PART.fullmatch(name)
        return match[1] + INDEX if match else None

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim indexes by footer and header, and folders with `saved_model.pb` and variables.

        "writing" where the index is cut off (TF 2 writes it in place), or a shard is absent or shorter than it says.
        """
        for entry in entries:
            if entry.is_dir:
                index = main_file_in(entry.path)
                if index != entry.path:
                    yield _claim(entry.path, index)
            elif entry.path.endswith(INDEX) and _is_index(entry):
                yield _claim(entry.path, entry.path)

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table; the CRC-32C of all but optimizer slots is checked, that of slices in `fetch`.

        Raises `Torn` where the index is cut off, a shard is absent or too short, or the shards are newer than the index
        and do not fit it (a checkpoint of the same name is being written), `Corrupt` for damage.
        """
        with opened(main_file(files)) as file:
            index = index_of(file)
        shards = [index.shard(number) for number in index.needed]
        check_shards(index.path, shards, None if files.path == index.path else files.path)
        short = lacking(index.path, index.shards, index.needed)
        if short:
            raise Torn(short)
        tracked = _graph(index)
        named = {_tracked(key, tracked).name: key for key in index.tensors if key != GRAPH}
        if len(named) != len(index.tensors) - (GRAPH in index.tensors):
            raise Corrupt(f"{index.path}: two variables have one name in the object graph")
        known = {}
        for name, key in named.items():
            row, item = index.tensors[key], _tracked(key, tracked)
            known[name] = Traits(row.shape, is_integer(row.kind), item.optimizer, item.full_name)
        roles = {**roles_of(known), **_copies(known)}
        order = {key: number for number, key in enumerate(index.tensors)}
        tensors = tuple(
            replace(_tensor(index, name, key, order[key], roles[name]), made_as=known[name].full_name)
            for name, key in named.items()
        )
        candidates = {name: index.tensors[key] for name, key in named.items() if is_candidate(name, known[name])}
        _verify(index, {name: index.tensors[named[name]] for name in named if roles[name] != "optimizer"} | candidates)
        step, source, doubts = step_of(_integers(index, candidates), roles)
        renamed = sum(_tracked(key, tracked).name != plain_name(key) for key in named.values())
        notes = (*_notes(tensors, renamed), *doubts)
        return Table(self.name, tensors, step, source, notes=notes, checksum=True)

    def fetch(self, tensor: Tensor) -> bytes:
        """Return the bytes of a partitioned variable, put together from its slices, each checked by its CRC-32C."""
        where = tensor.where
        if where.encoding != _SLICES:
            raise refused(tensor)
        index = _kept(where.file)
        key = next(itertools.islice(index.tensors, where.offset, None), None)
        if key is None or index.tensors[key].shape != tensor.shape:
            raise Torn(f"{where.file}: changed while it was read: it has no partitioned variable {tensor.name!r}")
        return joined(tensor.shape, tensor.dtype, _pieces(index, key, tensor))


def _copies(names: Collection[str]) -> dict[str, Role]:
    """Return the role of what `model.export()` of Keras 3 keeps once more beside `variables/0`, in no order."""
    copies = [name for name in names if name.startswith(_COPIES)]
    return dict.fromkeys(copies, "bookkeeping") if "variables/0" in names else {}


def _is_index(entry: Entry) -> bool:
    """Return whether a file that is named so is a bundle's index, or what a writer or a crash left of one."""
    kind = kind_of_table(entry)
    if kind is not None:
        return kind in ("bundle", "damaged")
    if entry.head.startswith(b"version https://git-lfs"):
        return False
    return begins_as_index(entry.head) or bool(shards_of(entry.path))


def _claim(path: str, index: str) -> CheckpointFiles:
    now = identity_of(index)
    try:
        shards, needed = reach_of(index)
        short = lacking(index, shards, needed)
    except (Torn, Vanished) as error:  # a network file system may say so of a file that comes back
        return CheckpointFiles(path, TfBundle.name, (index,), now, "writing", (error.kind, str(error)))
    except CheckpointError:
        return CheckpointFiles(path, TfBundle.name, (index,), now)  # `read` raises it again
    files = (index, *(shard_of(index, number, shards) for number in needed))
    state = ("writing", (Torn.kind, short)) if short else ()
    return CheckpointFiles(path, TfBundle.name, files, now, *state)


@per_file(2)
def _kept(path: str) -> BundleIndex:
    with opened(path) as file:
        return index_of(file)


def _tracked(key: str, tracked: Mapping[str, TrackedName]) -> TrackedName:
    return tracked.get(key) or TrackedName(plain_name(key), optimizer=False, full_name="")


def _tensor(index: BundleIndex, name: str, key: str, number: int, role: Role) -> Tensor:
    row = index.tensors[key]
    dtype = _dtype(row, big=index.big)
    if dtype is None:
        known = NAMES.get(row.kind)
        reason = f"{known} of big-endian byte order" if known else f"holds {kind_of(row.kind)}"
        other: Role = "bookkeeping" if role == "weights" and row.kind not in NAMES else role
        return Tensor(name, "void", row.shape, missing(reason, index.path), other)
    if row.slices:
        where = Extent(index.path, number, total(row.shape) * dtype_of(dtype).itemsize, _SLICES)
    else:
        where = Extent(index.shard(row.shard), row.offset, row.size)
    return Tensor(name, dtype, row.shape, where, role)


def _dtype(row: BundleEntry, *, big: bool) -> str | None:
    """Return the type's name with its byte order; None where it is no plain number, or has no such name."""
    name = NAMES.get(row.kind)
    if name is None or not big or dtype_of(name).itemsize == 1:
        return name
    dtype = dtype_of(name)
    return dtype.newbyteorder(">").str if dtype.isbuiltin == 1 else None


def _notes(tensors: Sequence[Tensor], renamed: int) -> Iterator[str]:
    if any(item.role == "optimizer" for item in tensors):
        yield "checksums of optimizer tensors were not compared: they are not loaded"
    if renamed:
        where = "the keys of an optimizer, or of a list of all variables, where Keras tracks them too"
        yield f"{renamed:,} weights stand under {where}; they are named by their way through the model"


def _verify(index: BundleIndex, rows: Mapping[str, BundleEntry]) -> None:
    by_shard: dict[int, list[tuple[str, BundleEntry]]] = {}
    for name, row in rows.items():
        if row.kind in NAMES and not row.slices:
            by_shard.setdefault(row.shard, []).append((name, row))
    for number, held in by_shard.items():
        with opened(index.shard(number)) as shard:
            for name, row in held:
                _compare(index, shard, name, row, of_file(shard, row.offset, row.size, f"tensor {name!r}"))


def _compare(index: BundleIndex, shard: OpenFile, name: str, row: BundleEntry, found: int) -> None:
    if found == row.crc:
        return
    file = os.path.basename(shard.path)
    what = f"tensor {name!r} in {file}: CRC-32C {found:08x}, the index says {row.crc:08x}"
    if os.fstat(shard.descriptor).st_mtime_ns > os.stat(index.path).st_mtime_ns:
        newer = f"{file} is newer than the index: it may be damaged, or another checkpoint is being written over it"
        raise Torn(f"{index.path}: {what}, and {newer}{AGAIN}")
    raise Corrupt(f"{index.path}: {what}: damaged")


def _integers(index: BundleIndex, rows: Mapping[str, BundleEntry]) -> dict[str, int]:
    """Return the values of numbers that were checked already."""
    found = {}
    for name, row in rows.items():
        dtype = _dtype(row, big=index.big)
        if dtype is not None and not row.slices:
            with opened(index.shard(row.shard)) as shard:
                value = integer(shard.at(row.offset, row.size, f"tensor {name!r}"), dtype)
            if value is not None:
                found[name] = value
    return found


def _pieces(index: BundleIndex, key: str, tensor: Tensor) -> Iterator[tuple[tuple[slice, ...], Array]]:
    for place, row in places(index, key):
        with opened(index.shard(row.shard)) as shard:
            data = shard.at(row.offset, row.size, f"tensor {tensor.name!r}")
            _compare(index, shard, tensor.name, row, masked(crc32c(data)))
        yield place, np.frombuffer(data, dtype_of(tensor.dtype)).reshape(row.shape)


def _graph(index: BundleIndex) -> Mapping[str, TrackedName]:
    row = index.tensors.get(GRAPH)
    if row is None:
        return {}

    def where() -> str:
        return f"{index.path}: the object graph"

    if row.kind != STRING or row.shape or row.size > HEADER_LIMIT:
        raise Corrupt(f"{where()} is not one string of at most {HEADER_LIMIT:,} bytes")
    with opened(index.shard(row.shard)) as shard:
        data = memoryview(shard.at(row.offset, row.size, "the object graph"))
        size, at = varint(data, 0, where)
        if at + _WORD + size != row.size:
            raise Corrupt(f"{where()} declares {size:,} bytes, {row.size - at - _WORD:,} are there")
        # One string: its length, that one's checksum, the text.  The entry's own begins with the length as 4 bytes.
        crc = crc32c(size.to_bytes(_WORD, "little"))
        if masked(crc) != int.from_bytes(data[at : at + _WORD], "little"):
            raise Corrupt(f"{where()}: the CRC-32C of its length is wrong: damaged")
        _compare(index, shard, GRAPH, row, masked(crc32c(data[at:], crc)))
    return names_by_key(data[at + _WORD :], where)
