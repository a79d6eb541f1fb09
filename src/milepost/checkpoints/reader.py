"""The reader: finds checkpoints and returns their tables as plain data, in this process or as a process of its own.

As a process (`python -m milepost.checkpoints.reader`) it answers one JSON object a line, of "id", "method" and
"arguments", with "id" and "result", or "id" and "error" (of "kind", "type" and "message"), until its input ends.
"""

import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from milepost._internal.fileid import identity_of
from milepost._internal.serialization import from_plain, to_plain
from milepost.checkpoints._files.bounded import unreadable
from milepost.checkpoints._files.checks import check_table
from milepost.checkpoints._files.layout import is_readable, unread
from milepost.checkpoints._files.roles import scalars_beside, step_among
from milepost.checkpoints._files.shards import main_file
from milepost.checkpoints.discovery import find, looked_for
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.names import step_of_name
from milepost.core.protocols import Format
from milepost.core.types import CheckpointFiles, Extent, Identity, Json, Table, Tensor
from milepost.errors import Corrupt, MilepostError, OutOfMemory, Torn, UsageError, checkpoint_error
from milepost.registry import load

_ALIGNMENT = 64
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Reader:
    """Reads checkpoints as data; what it takes and gives is plain.

    >>> Reader().discover([], None)
    []
    """

    def __init__(self) -> None:
        """Load a format when its first checkpoint is read."""
        self._formats: dict[str, Format] = {}

    def discover(self, paths: Sequence[str], match: str | None = None) -> list[Json]:
        """Return the `CheckpointFiles` under the paths, plain, in natural order; `UsageError` for an absent path."""
        return [to_plain(one) for one in find(paths, match)]

    def table(self, files: Json, spool: str) -> Json:
        """Return the table of a checkpoint, both plain; compressed tensors are unpacked into one new file in `spool`.

        All that remains is to map raw extents.  The folder `spool` is the caller's, and so is removing the file.
        Raises the errors of `errors.CheckpointError`: `Torn` also where the file changed since it was found or while
        it was read, `Vanished` where it is gone.
        """
        checkpoint = from_plain(CheckpointFiles, files)
        if checkpoint.failure is not None:
            raise checkpoint_error(*checkpoint.failure)
        if checkpoint.format is None:
            raise Corrupt(f"{checkpoint.path}: no format claims it")
        _unchanged(checkpoint, "since it was found")
        form = self._format(checkpoint.format)
        try:
            table = materialise(form, read_table(form, checkpoint), spool)
        except MemoryError as error:
            raise OutOfMemory(f"{checkpoint.path}: reading its table needs more memory than there is") from error
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise OutOfMemory(
                    f"{checkpoint.path}: unpacking needs more room than the temporary folder has ({error.strerror}); "
                    "set TMPDIR to a folder with more, or save it uncompressed"
                ) from error
            raise unreadable(checkpoint.path, error) from error
        _unchanged(checkpoint, "while it was read")
        return to_plain(table)

    def inspect(self, path: str) -> Json:
        """Say what one checkpoint holds: format, step and its source, tensors, totals by role; nothing is executed."""
        found = find([path])
        if len(found) != 1:
            names = ", ".join(one.path for one in found[:5])
            raise UsageError(f"{path}: {len(found)} checkpoints, one is expected ({names or looked_for()})")
        if found[0].failure is not None:
            raise checkpoint_error(*found[0].failure)
        table = read_table(self._format(str(found[0].format)), found[0])
        return {"path": found[0].path, "state": found[0].state, **_described(found[0].path, table)}

    def _format(self, name: str) -> Format:
        if name not in self._formats:
            self._formats[name] = load("checkpoints.formats", name)()
        return self._formats[name]

    def looked_for(self) -> str:
        """Return a sentence on what is recognised."""
        return looked_for()


def read_table(form: Format, files: CheckpointFiles) -> Table:
    """Return the table of a checkpoint as its format reads it, checked, with what holds for every format.

    Single numbers beside wrapped weights are bookkeeping; a step that a tensor holds is found; notes are added on what
    cannot be read.  Raises as `Format.read` and `check_table` do.
    """
    table = form.read(files)
    check_table(table, files)
    tensors = scalars_beside(table.tensors)
    step, source = table.step, table.step_source
    if step is None:
        step, source = step_among(tensors, lambda item: bytes_of(form, item))
    notes = (*table.notes, *unread(tensors)) if tensors else (*table.notes, "holds no tensors")
    return replace(table, tensors=tensors, step=step, step_source=source, notes=notes)


def bytes_of(form: Format, tensor: Tensor) -> bytes:
    """Return the bytes of a tensor in C order, wherever they lie."""
    return map_tensor(tensor).tobytes() if tensor.where.encoding == "raw" else form.fetch(tensor)


def materialise(form: Format, table: Table, spool: str) -> Table:
    """Write the compressed tensors into one file in `spool` and point the table at it; the rest stays where it lies.

    An optimizer's are left packed: nobody loads them.
    """
    if all(_mappable(item) for item in table.tensors):
        return table
    descriptor, path = tempfile.mkstemp(prefix="tensors-", suffix=".raw", dir=spool)
    try:
        with os.fdopen(descriptor, "wb") as file:
            tensors = tuple(item if _mappable(item) else _spooled(form, item, file, path) for item in table.tensors)
    except BaseException:
        os.unlink(path)
        raise
    return replace(table, tensors=tensors)


def _mappable(tensor: Tensor) -> bool:
    return tensor.where.encoding == "raw" or tensor.role == "optimizer" or not is_readable(tensor.where)


def _spooled(form: Format, tensor: Tensor, file: BinaryIO, path: str) -> Tensor:
    data = form.fetch(tensor)
    if len(data) != tensor.where.nbytes:
        raise Corrupt(
            f"{tensor.where.file}: tensor {tensor.name!r}: unpacks to {len(data):,} of {tensor.where.nbytes:,} bytes"
        )
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


def _described(path: str, table: Table) -> dict[str, Json]:
    step, source = table.step, table.step_source
    if step is None:
        step = step_of_name(path)
        source = None if step is None else "name"
    totals: dict[str, dict[str, int]] = {}
    tensors = []
    for item in table.tensors:
        total = totals.setdefault(item.role, {"tensors": 0, "bytes": 0})
        total["tensors"] += 1
        total["bytes"] += item.where.nbytes
        tensors.append(
            {
                "group": item.group,
                "name": item.name,
                "role": item.role,
                "dtype": item.dtype,
                "shape": list(item.shape),
                "bytes": item.where.nbytes,
                "encoding": item.where.encoding,
            }
        )
    return {
        "format": table.format,
        "step": step,
        "step_source": source,
        "tensors": tensors,
        "totals": totals,
        "foreign": list(table.foreign),
        "notes": list(table.notes),
    }


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests, one JSON object a line, until the input ends."""
    reader = Reader()
    methods: dict[str, Callable[..., Json]] = {
        "discover": reader.discover,
        "table": reader.table,
        "inspect": reader.inspect,
        "looked_for": reader.looked_for,
    }
    for line in requests:
        if line.strip():
            answers.write(json.dumps(_answer(methods, line)).encode() + b"\n")
            answers.flush()


def _answer(methods: Mapping[str, Callable[..., Json]], line: bytes) -> dict[str, Any]:
    number = None
    try:
        request = json.loads(line)
        number = request["id"]
        return {"id": number, "result": _method(methods, request["method"])(**request["arguments"])}
    except MilepostError as error:
        return {"id": number, "error": _error(error, getattr(error, "kind", None))}
    except MemoryError as error:
        return {"id": number, "error": _error(error, OutOfMemory.kind)}
    except Exception as error:  # noqa: BLE001 - one bad request must not end the process; the caller is told
        return {"id": number, "error": _error(error, None)}


def _method(methods: Mapping[str, Callable[..., Json]], name: str) -> Callable[..., Json]:
    if name not in methods:
        raise UsageError(f"the reader has no method {name!r}; it has: {', '.join(sorted(methods))}")
    return methods[name]


def _error(error: BaseException, kind: str | None) -> dict[str, Json]:
    return {"kind": kind, "type": type(error).__name__, "message": str(error)}


def main() -> None:
    """Serve on standard input and output; whatever a library prints goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
