"""The reader: finds checkpoints and returns their tables, in this process or as a process of its own.

As a process (`python -m milepost.checkpoints.reader`) it answers one JSON object a line, of "id", "method" and
"arguments", with "id" and "result", or "id" and "error" (see `plain_error`), until its input ends.
"""

import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import BinaryIO

import numpy as np

from milepost._internal.bounded import expecting, unreadable
from milepost._internal.budget import spending, unpack_seconds
from milepost._internal.fileid import identity_of
from milepost._internal.memory import bounded_by_driver
from milepost._internal.plain_errors import plain_error
from milepost._internal.serialization import from_plain, to_plain
from milepost.checkpoints._files.beside import step_beside
from milepost.checkpoints._files.checks import check_table
from milepost.checkpoints._files.facts import flat
from milepost.checkpoints._files.layout import dtype_of, is_readable, unread
from milepost.checkpoints._files.roles import scalars_beside, step_among
from milepost.checkpoints._files.shards import bytes_in, identities, main_file
from milepost.checkpoints._files.side_files import facts_beside
from milepost.checkpoints.discovery import find, looked_for
from milepost.checkpoints.formats.peft import adapter_among
from milepost.checkpoints.mapping import read_tensor
from milepost.checkpoints.names import checkpoint_name
from milepost.core.capabilities import capability
from milepost.core.protocols import Format, HoldsFacts
from milepost.core.types import CheckpointFiles, Extent, Identity, Inspection, Json, Table, Tensor
from milepost.errors import (
    CheckpointError,
    Corrupt,
    OutOfMemory,
    Torn,
    Unsafe,
    Unsupported,
    UsageError,
    checkpoint_error,
)
from milepost.registry import load

_ALIGNMENT = 64
_MOST_NUMBERS = 100
_PLAIN_NAME = re.compile(r"\w+")
_AVERAGES = "its name says that averages are in the weights' place, as EMA callbacks for Lightning save NAME-EMA.ckpt"
_UNCHECKED = "no checksum: the file has none of its values, so that damage to them cannot be noticed"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Reader:
    """Reads checkpoints as data: nothing of them is executed."""

    def discover(self, paths: Sequence[str], match: str | None = None) -> list[CheckpointFiles]:
        """Return the checkpoints under the paths in natural order; raise `UsageError` for an absent path."""
        return find(paths, match)

    def table(self, files: CheckpointFiles, spool: str) -> Table:
        """Return the table of a checkpoint; compressed tensors are unpacked into one file.

        All that remains is to map raw extents.  `spool` is an empty file of the caller's, or a folder for a new one,
        which is the caller's to remove.
        Raises the errors of `errors.CheckpointError`: `Torn` also where the file changed since it was found or while
        it was read, `Vanished` where it is gone.
        """
        if files.failure is not None:
            raise checkpoint_error(*files.failure)
        if files.format is None:
            raise Corrupt(f"{files.path}: no format claims it")
        _unchanged(files, "since it was found")
        form = _format(files.format)
        with _reading(files):
            table = materialise(form, read_table(form, files), spool)
        _unchanged(files, "while it was read")
        return table

    def inspect(self, path: str) -> Inspection:
        """Return the files and the table of the one checkpoint at a path, of a file without weights too."""
        found = find([path])
        if len(found) != 1:
            names = ", ".join(one.path for one in found[:5])
            raise UsageError(f"{path}: {len(found)} checkpoints, expected one ({names or looked_for()})")
        (files,) = found
        if files.failure is not None and (files.format is None or files.failure[0] != Unsupported.kind):
            raise checkpoint_error(*files.failure)
        form = _format(str(files.format))
        with _reading(files):
            try:
                table = read_table(form, files)
            except Unsafe:
                if files.failure is None:
                    raise
                table = Table(form.name, ())  # it holds no weights: what it holds else is shown
            return Inspection(files, table, facts_of(form, files, table), facts_beside(files.path))


@contextmanager
def _reading(files: CheckpointFiles) -> Iterator[None]:
    """Read the very files that were found, on their budget; what the system refuses becomes an error of the tree.

    A lack of memory is `Corrupt` where the driver set a bound by the checkpoint's size.
    """
    try:
        with spending(files.path, bytes_in(files)), expecting(identities(files)):
            yield
    except MemoryError as error:
        if bounded_by_driver():
            size = bytes_in(files)
            what = f"needs more memory to read than a checkpoint of {size:,} bytes may take"
            raise Corrupt(f"{files.path}: {what}: damaged, or made to exhaust the reader") from error
        raise OutOfMemory(f"{files.path}: reading its table needs more memory than there is") from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutOfMemory(
                f"{files.path}: unpacking needs more room than the temporary folder has ({error.strerror}); "
                "set TMPDIR to a folder with more, or save it uncompressed"
            ) from error
        raise unreadable(files.path, error) from error


def facts_of(form: Format, files: CheckpointFiles, table: Table) -> dict[str, Json]:
    """Return the single values of a checkpoint, those at top level first: its format's, and bookkeeping tensors'."""
    holder = capability(form, HoldsFacts)
    found: dict[str, Json] = {}
    with suppress(CheckpointError, MemoryError):  # the table is there all the same
        found |= holder.facts(files) if holder is not None else {}
        for item in [item for item in table.tensors if _is_number(item)][:_MOST_NUMBERS]:
            name = ".".join((*item.group.split("/"), item.name)) if item.group else item.name
            number = np.frombuffer(bytes_of(form, item), dtype_of(item.dtype))[0]
            found |= flat({name: int(number) if number.dtype.kind in "iub" else float(number)})
    return dict(sorted(found.items(), key=lambda pair: "." in pair[0]))


def _is_number(tensor: Tensor) -> bool:
    """Return whether a tensor is one real number that is no weight in a module."""
    aside = tensor.role == "bookkeeping" or (not tensor.group and tensor.role == "weights")
    plain = _PLAIN_NAME.fullmatch(tensor.name) and tensor.dtype[0] != "c"
    return aside and tensor.shape == () and bool(plain) and is_readable(tensor.where)


@cache
def _format(name: str) -> Format:
    made: Format = load("checkpoints.formats", name)()
    return made


def read_table(form: Format, files: CheckpointFiles) -> Table:
    """Return the table of a checkpoint as its format reads it, checked, with what holds for every format.

    Single numbers beside wrapped weights are bookkeeping; a step that a tensor or a trainer's file beside holds is
    found, and weights that are an adapter's by their names; notes are added on what cannot be read, and on values
    without a checksum.  Raises as
    `Format.read` and `check_table` do.
    """
    table = form.read(files)
    check_table(table, files)
    tensors = scalars_beside(table.tensors)
    step, source = table.step, table.step_source
    if step is None:
        step, source = step_among(tensors, lambda item: bytes_of(form, item))
    if step is None:
        step, source = step_beside(files.path)
    adapter = table.adapter or adapter_among(tensors)
    more = [*unread(tensors), *([] if table.checksum else [_UNCHECKED])] if tensors else ["holds no tensors"]
    more += [_AVERAGES] if checkpoint_name(files.path).endswith("-EMA") else []
    return replace(table, tensors=tensors, step=step, step_source=source, notes=(*table.notes, *more), adapter=adapter)


def bytes_of(form: Format, tensor: Tensor) -> bytes | memoryview:
    """Return the bytes of a tensor in C order, wherever they lie."""
    return read_tensor(tensor).tobytes() if tensor.where.encoding == "raw" else form.fetch(tensor)


def materialise(form: Format, table: Table, spool: str) -> Table:
    """Write the compressed tensors into one file and point the table at it; the others stay where they lie.

    The file is `spool`, or a new one where that is a folder.  An optimizer's tensors stay packed: they are not loaded.
    """
    if all(_mappable(item) for item in table.tensors):
        return table
    if not os.path.isdir(spool):
        return _unpacked(form, table, os.open(spool, os.O_WRONLY | os.O_CLOEXEC), spool)
    descriptor, path = tempfile.mkstemp(prefix="tensors-", suffix=".raw", dir=spool)
    try:
        return _unpacked(form, table, descriptor, path)
    except BaseException:
        os.unlink(path)
        raise


def _unpacked(form: Format, table: Table, descriptor: int, path: str) -> Table:
    with os.fdopen(descriptor, "wb") as file:
        tensors = tuple(item if _mappable(item) else _spooled(form, item, file, path) for item in table.tensors)
    return replace(table, tensors=tensors)


def _mappable(tensor: Tensor) -> bool:
    return tensor.where.encoding == "raw" or tensor.role == "optimizer" or not is_readable(tensor.where)


def _spooled(form: Format, tensor: Tensor, file: BinaryIO, path: str) -> Tensor:
    unpack_seconds(tensor.where.nbytes)
    data = form.fetch(tensor)
    if len(data) != tensor.where.nbytes:
        unpacked = f"unpacks to {len(data):,} of {tensor.where.nbytes:,} bytes"
        raise Corrupt(f"{tensor.where.file}: tensor {tensor.name!r}: {unpacked}")
    file.write(bytes(-file.tell() % _ALIGNMENT))
    where = Extent(path, file.tell(), len(data))
    file.write(data)
    return replace(tensor, where=where)


def _unchanged(files: CheckpointFiles, when: str) -> None:
    try:
        now: Identity = identity_of(main_file(files))
    except OSError as error:
        raise unreadable(files.path, error) from error
    if now.content != files.identity.content:
        raise Torn(
            f"{files.path}: changed {when}: it had {files.identity.size:,} bytes, now {now.size:,}; it will "
            "be re-evaluated once it stops changing"
        )


def serve(requests: BinaryIO, answers: BinaryIO, reader: Reader) -> None:
    """Answer requests, one JSON object a line, until the input ends."""
    for line in requests:
        if line.strip():
            answers.write(json.dumps(_answer(reader, line)).encode() + b"\n")
            answers.flush()


def _answer(reader: Reader, line: bytes) -> dict[str, Json]:
    number = None
    try:
        request = json.loads(line)
        number = request["id"]
        return {"id": number, "result": _result(reader, request["method"], request["arguments"])}
    except Exception as error:  # noqa: BLE001 - one bad request must not end the process; the caller gets the error
        return {"id": number, "error": plain_error(error)}


def _result(reader: Reader, method: str, arguments: dict[str, Json]) -> Json:
    if method == "table":
        return to_plain(reader.table(from_plain(CheckpointFiles, arguments["files"]), arguments["spool"]))
    if method == "discover":
        return to_plain(reader.discover(**arguments))
    if method == "inspect":
        return to_plain(reader.inspect(**arguments))
    raise UsageError(f"unknown method {method!r} of the reader; available: discover, inspect, table")


def main() -> None:
    """Serve on standard input and output; whatever a library prints goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers, Reader())


if __name__ == "__main__":
    main()
