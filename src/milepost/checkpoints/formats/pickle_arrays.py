"""Pickles that hold nothing but arrays in dicts, lists and tuples: NumPy's, JAX's, Paddle's `.pdparams`; read as data.

Arrays are mapped where their bytes lie in the pickle; what protocols 0 to 2 wrote as text is unpacked on request.
A dict's keys and a list's positions, joined by "/", are a tensor's name (`params/layers/0/kernel`); where the innermost
keys are whole names with dots (`fc.weight`), what is around them is the group, as in PyTorch's files.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from milepost._internal.bounded import AGAIN, CUT, OpenFile, opened, per_file
from milepost._internal.budget import glancing
from milepost._internal.dtypes import is_float
from milepost._internal.text import listed
from milepost.checkpoints._codecs.pickle import Ended, PickledBytes, Unpickled, unpickle_in_place
from milepost.checkpoints._files.facts import flat
from milepost.checkpoints._files.layout import dtype_of, missing, refused, unsafe
from milepost.checkpoints._files.roles import role_of, step_of
from milepost.checkpoints.formats._claims import claim
from milepost.checkpoints.formats._numpy.pickled import KNOWN, PickledArray
from milepost.checkpoints.formats._numpy.walk import arrays_in
from milepost.checkpoints.names import is_candidate
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles, Extent, Json, Role, Table, Tensor
from milepost.errors import CheckpointError, Torn, Unsafe, Unsupported

_BEGIN = re.compile(rb"\x80[\x02-\x05]|\((?:[dl]p\d|cnumpy|cjax)|[\]}]q|c(?:numpy|jax|collections)")
_OURS = re.compile(rb"numpy|jax\b")
_OTHERS = re.compile(
    rb"(?:c|\x8c.)(?:sklearn|imblearn|xgboost|lightgbm|catboost|torch)[._\n]|\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
    re.DOTALL,
)
"""What tells a learner's pickle, and PyTorch's before its version 1.6."""
_GLANCE, _WINDOW = 1 << 20, 1 << 16
_TEXT = "text"
_CUT_UP, _PADDLE_NAMES = "UnpackBigParamInfor@@", "StructuredToParameterName@@"


class PickleArrays:
    """Reads pickles of arrays; one that names anything else is refused, and nothing of it is run."""

    name = "pickle_arrays"

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim pickles that name NumPy's or JAX's arrays, floating ones unless the file is named like a checkpoint.

        "writing" where the pickle has no end.
        """
        for entry in entries:
            if not entry.is_dir and _BEGIN.match(entry.head) and _is_ours(entry.path):
                yield claim(self.name, entry.path, _unpickled)

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table.

        Raises `Torn` where the pickle has no end, `Unsafe` where it names what is no array, `Unsupported` for arrays
        that lie outside of it, and `Corrupt` where a description contradicts itself or its bytes.
        """
        with opened(files.path) as file:
            made = _unpickled(file)
            rows = arrays_in(made.value, file.path)
            tensors = tuple(_tensor(file.path, number, *row) for number, row in enumerate(rows))
            step, source = step_of(made.value if isinstance(made.value, dict) else {}, tensors)
            after = file.size - made.end
            notes = (f"{after:,} bytes follow the first pickle; they are not read",) if after > 0 else ()
        if not tensors:
            raise Unsupported(f"{files.path}: a pickle that holds no arrays: no checkpoint")
        if all(item.where.encoding.startswith("unsafe") for item in tensors):
            raise refused(tensors[0])
        return Table(self.name, tensors, step, source, notes=notes)

    def facts(self, files: CheckpointFiles) -> dict[str, Json]:
        """Return the numbers and texts beside the arrays."""
        with opened(files.path) as file:
            return flat(_unpickled(file).value, skip=lambda key: key == _PADDLE_NAMES)

    def fetch(self, tensor: Tensor) -> bytes:
        """Return the bytes, in C order, of an array that is written as text."""
        where = tensor.where
        if where.encoding != _TEXT:
            raise refused(tensor)
        held = _texts(where.file).get(where.offset)
        if held is None or held[0] != tensor.shape:
            raise Torn(f"{where.file}: changed while it was read: it has no array {tensor.name!r}")
        return held[1]


class _FileData:
    """A file as the bytes of a pickle, read in windows: arrays, which nobody asks for here, are passed over."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._begin = 0
        self._held = b""

    def __len__(self) -> int:
        return self._file.size

    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> bytes: ...
    def __getitem__(self, key: int | slice, /) -> int | bytes:
        if isinstance(key, int):
            return self._within(key, key + 1)[key - self._begin]
        start, stop = int(key.start), int(key.stop)
        if stop - start > _WINDOW:
            return self._file.at(start, stop - start, "a text")
        held = self._within(start, stop)
        return held[start - self._begin : stop - self._begin]

    def find(self, sub: bytes, start: int, /) -> int:
        """Return where a byte stands first from `start` on, -1 where it does not."""
        for begin in range(start, self._file.size, _WINDOW):
            found = self._file.at(begin, min(_WINDOW, self._file.size - begin), "a line").find(sub)
            if found >= 0:
                return begin + found
        return -1

    def _within(self, start: int, stop: int) -> bytes:
        """Return the window, with what is asked for in it; IndexError behind the file's end."""
        if start < self._begin or stop > self._begin + len(self._held):
            if start >= self._file.size:
                raise IndexError(start)
            self._begin = start
            self._held = self._file.at(start, min(_WINDOW, self._file.size - start), "the pickle")
        return self._held


def _is_ours(path: str) -> bool:
    with opened(path) as file:
        beginning = file.at(0, min(_GLANCE, file.size), "its beginning")
    if not _OURS.search(beginning) or _OTHERS.search(beginning):
        return False
    return is_candidate(os.path.basename(path)) or _holds_floats(path)


@per_file(1024)
def _holds_floats(path: str) -> bool:
    """Return whether a file that is named like no checkpoint is one all the same: data sets are pickles, too."""
    try:
        with opened(path) as file, glancing(path, file.size):
            arrays = [array for _, array in arrays_in(_unpickled(file).value, path)]
    except CheckpointError:
        return False
    return any(not array.odd and array.shape and is_float(dtype_of(array.dtype)) for array in arrays)


def _unpickled(file: OpenFile) -> Unpickled:
    try:
        made = unpickle_in_place(_FileData(file), KNOWN, file.path)
    except Ended as error:
        raise Torn(f"{file.path}: {CUT}: {str(error).removeprefix(f'{file.path}: ')}{AGAIN}") from error
    if made.foreign:
        what = f"a pickle that names {listed(made.foreign)}, besides arrays"
        raise Unsafe(
            f"{file.path}: {what}; Milepost runs nothing of a pickle: save the arrays alone, in dicts and lists"
        )
    if isinstance(made.value, dict) and _CUT_UP in made.value:
        what = "Paddle cut arrays of more than 1 GB into pieces"
        raise Unsupported(f"{file.path}: {what}: save it with paddle.save(..., protocol=4)")
    return made


@per_file(1)
def _texts(path: str) -> dict[int, tuple[tuple[int, ...], bytes]]:
    """Return shape and bytes in C order of the arrays that are written as text, by their place in the pickle."""
    with opened(path) as file:
        rows = arrays_in(_unpickled(file).value, path)
    return {
        number: (array.shape, np.ndarray(array.shape, dtype_of(array.dtype), array.data, 0, array.strides).tobytes())
        for number, (_, array) in enumerate(rows)
        if isinstance(array.data, bytes)
    }


def _tensor(path: str, number: int, names: tuple[str, ...], array: PickledArray) -> Tensor:
    dotted = len(names) > 1 and "." in names[-1]
    group, name = ("/".join(names[:-1]), names[-1]) if dotted else ("", "/".join(names))
    role: Role = role_of(group, name)
    if array.odd:
        if role == "weights":
            role = "bookkeeping"  # settings beside the weights; refused only if the model has a variable of that name
        place = unsafe if array.unsafe else missing
        return Tensor(name, "void", array.shape, place(array.odd, path), role, group)
    if isinstance(array.data, PickledBytes):
        where = Extent(path, array.data.begin, array.data.length, "raw", array.strides)
    else:
        where = Extent(path, number, len(array.data or b""), _TEXT)
    return Tensor(name, array.dtype, array.shape, where, role, group)
