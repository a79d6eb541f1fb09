"""The checks that every table passes, whatever format it comes from: a format parses, and the reader applies these."""

import os
from json.encoder import encode_basestring_ascii as _escaped

from milepost._internal.bounded import AGAIN, COUNT_LIMIT, unreadable
from milepost._internal.budget import answer_bytes, charge
from milepost.checkpoints._files.layout import affordable, checked_shape, contiguous, dtype_of, is_readable, span, total
from milepost.core.types import CheckpointFiles, Table, Tensor
from milepost.errors import CheckpointError, Corrupt, Torn

NAME_LIMIT = 4096
"""Most characters of a tensor's name."""

_ROW = 500
"""Bytes of a tensor in a table."""
_ROW_TEXT, _NUMBER, _FEW = 220, 21, 8
"""Bytes of a tensor's JSON without its names; of the longest number in it; so many take all that."""


def check_table(table: Table, files: CheckpointFiles) -> None:
    """Check each tensor by itself, its place against the checkpoint's files as they are now, and all of them together.

    Raises `Corrupt` for a table that cannot be true or would exhaust memory, `Torn` where a file is too short, and
    `Vanished` where it is gone.
    """
    if len(table.tensors) > COUNT_LIMIT:
        raise Corrupt(f"{files.path}: {len(table.tensors):,} tensors, at most {COUNT_LIMIT:,} are read")
    sizes, problems = dict[str, int](), dict[str, OSError]()
    for path in files.paths:
        try:
            sizes[path] = os.path.getsize(path)
        except OSError as error:
            problems[path] = error  # it matters only where a tensor lies in the file
    charge(made=_ROW * len(table.tensors), nodes=len(table.tensors))
    own, held, unpacked = frozenset(files.paths), sum(sizes.values()), 0
    _check_text(table, files.path, held)
    for tensor in table.tensors:
        where = tensor.where
        check_name(tensor, where.file)
        if where.file not in own:
            raise _foreign(tensor, files)
        checked_shape(tensor.shape, about(tensor))
        if not is_readable(where):
            continue
        check_place(tensor)
        if where.file in problems:
            raise unreadable(where.file, problems[where.file])
        if where.encoding == "raw" and where.offset + where.nbytes > sizes[where.file]:
            end, size = where.offset + where.nbytes, sizes[where.file]
            raise Torn(f"{about(tensor)} ends at byte {end:,}, the file has {size:,}{AGAIN}")
        nbytes = total(tensor.shape) * dtype_of(tensor.dtype).itemsize
        unpacked += nbytes if where.encoding != "raw" else 0
        if not affordable(max(nbytes if where.strides is not None else 0, unpacked), held):
            unpacked = max(nbytes, unpacked)
            raise Corrupt(f"{about(tensor)}: {held:,} bytes would unpack to {unpacked:,}: a bomb, not read")


def _foreign(tensor: Tensor, files: CheckpointFiles) -> CheckpointError:
    """Return the error for a tensor in a file that was not among a checkpoint's when that was found."""
    if files.state == "writing":  # a shard that came since
        return Torn(f"{about(tensor)} lies in a file that was not there when the checkpoint was found{AGAIN}")
    return Corrupt(f"{about(tensor)} lies in a file that is none of the checkpoint's; it was not opened")


def _check_text(table: Table, path: str, size: int) -> None:
    """Raise `Corrupt` where a table is too long as text for files of `size` bytes: it is sent as JSON."""
    # Every tensor names its file: one of the checkpoint's, or that to which it is unpacked.
    text = len(table.tensors) * (_ROW_TEXT + len(_escaped(path)))
    for item in table.tensors:
        numbers = item.shape if item.where.strides is None else (*item.shape, *item.where.strides)
        text += _NUMBER * len(numbers) if len(numbers) <= _FEW else len(repr(numbers))
        text += len(_escaped(item.name + item.group + item.made_as)) + len(item.where.encoding)
    limit = answer_bytes(size)
    if text > limit:
        what = (
            f"its names and shapes take {text:,} bytes of text, at most {limit:,} are read of a file of {size:,} bytes"
        )
        raise Corrupt(f"{path}: {what}: damaged, or made to exhaust the reader")


def check_name(tensor: Tensor, file: str) -> None:
    """Raise `Corrupt` where a tensor's name cannot be printed or stored."""
    text = tensor.name + tensor.group + tensor.made_as
    if text.isascii() and len(text) <= NAME_LIMIT:  # nearly always
        return
    for name in (tensor.name, tensor.group, tensor.made_as):
        try:
            name.encode()  # half of a surrogate pair has no bytes
        except UnicodeEncodeError:
            fine = False
        else:
            fine = len(name) <= NAME_LIMIT
        if not fine:
            what = f"is no Unicode text of at most {NAME_LIMIT:,} characters"
            raise Corrupt(f"{file}: a tensor's name, {name[:100]!r}..., {what}")


def check_place(tensor: Tensor) -> tuple[int, ...]:
    """Return a tensor's strides in bytes; `Corrupt` where shape, type, strides and bytes do not fit each other."""
    where, shape = tensor.where, tensor.shape
    itemsize = dtype_of(tensor.dtype).itemsize
    if where.offset < 0 or where.nbytes < 0 or where.offset + where.nbytes >= 1 << 62:
        raise Corrupt(f"{about(tensor)}: {where.nbytes:,} bytes at {where.offset:,} is no place in a file")
    if any(size < 0 for size in shape):
        raise Corrupt(f"{about(tensor)}: shape {shape} has a negative size")
    needed = total(shape) * itemsize
    if where.strides is None:
        if needed != where.nbytes:
            what = f"shape {list(shape)} of {tensor.dtype} needs {needed:,} bytes, {where.nbytes:,} are there"
            raise Corrupt(f"{about(tensor)}: {what}")
        return contiguous(shape, itemsize)
    if len(where.strides) != len(shape) or any(step < 0 for step in where.strides) or needed >= 1 << 62:
        raise Corrupt(f"{about(tensor)}: shape {shape} and strides {where.strides} do not fit each other")
    # span() counts the first byte of the last item; the item's other bytes follow it.
    reach = span(shape, where.strides) + itemsize - 1 if needed else 0
    if reach != where.nbytes:
        raise Corrupt(f"{about(tensor)}: shape and strides reach {reach:,} bytes, {where.nbytes:,} are there")
    return where.strides


def about(tensor: Tensor) -> str:
    """Return how messages name a tensor."""
    return f"{tensor.where.file}: tensor {tensor.name[:200]!r}"
