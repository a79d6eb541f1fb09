"""The arrays of a model's variables by name, and the digest of their values.

In a process whose death is more than one failed row no file of others stays mapped: one that is cut short would end it
(SIGBUS).  Its tensors are read each time somebody asks for them, so that one at a time is in memory.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from milepost._internal.dtypes import is_float
from milepost.checkpoints.mapping import read_pieces, read_tensor
from milepost.core.types import Array, Tensor, Variable
from milepost.errors import NonfiniteWeights

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Unread:
    """A variable's value where it lies in a file, and the dtype that it is to have."""

    tensor: Tensor
    variable: Variable
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that it is to have."""
        return self.tensor.shape if self.variable.shape is None else self.variable.shape

    def array(self) -> Array:
        """Read it, into an array that is the caller's own."""
        return fit(read_tensor(self.tensor), self.variable, self.dtype)

    def pieces(self) -> Iterator[Array]:
        """Read it piece by piece, in C order; each is overwritten by the next."""
        for piece in read_pieces(self.tensor):
            yield piece.astype(self.dtype, copy=False)


class Values(Mapping[str, Array]):
    """Arrays by name: some are held, others are read whenever they are asked for.

    >>> values = Values({"a": np.zeros(2)}, {})
    >>> sorted(values), values["a"] is values["a"], values.makes("a")
    (['a'], True, False)
    """

    def __init__(self, held: Mapping[str, Array], unread: Mapping[str, Unread]) -> None:
        self._held = dict(held)
        self._unread = dict(unread)

    def __getitem__(self, name: str) -> Array:
        return self._held[name] if name in self._held else self._unread[name].array()

    def __contains__(self, name: object) -> bool:
        return name in self._held or name in self._unread

    def __iter__(self) -> Iterator[str]:
        yield from self._held
        yield from self._unread

    def __len__(self) -> int:
        return len(self._held) + len(self._unread)

    def makes(self, name: str) -> bool:
        """Return whether an array is another one each time, which whoever asks for it may keep."""
        return name in self._unread

    def with_held(self, more: Mapping[str, Array]) -> "Values":
        """Return these and others, which are held."""
        return Values({**self._held, **more}, self._unread)

    def checked_digest(self, optional: frozenset[str]) -> str:
        """Return the `weights_digest` of all but those that are `optional`; NonfiniteWeights for any that diverged."""
        total = hashlib.sha256()
        for name in sorted(self):
            digests = () if name in optional else (total,)
            found = self._unread.get(name)
            if found is not None:
                _take(name, found.dtype, found.shape, found.pieces(), digests)
            else:
                array = self._held[name]
                _take(name, array.dtype, array.shape, _pieces_of(array), digests)
        return total.hexdigest()


def weights_digest(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of variables: names, dtypes, shapes and little-endian bytes, in order of names.

    Raises NonfiniteWeights where one of floats holds what is no number.

    >>> weights_digest({"w": np.zeros(2, np.float32)})[:12]
    'e0c72b6659e2'
    """
    return Values(arrays, {}).checked_digest(frozenset())


def fit(array: Array, variable: Variable, wanted: np.dtype[Any]) -> Array:
    """Bring an array to its variable's dtype and shape."""
    fitted = array.astype(wanted, copy=False)
    return fitted if variable.shape is None else fitted.reshape(variable.shape)


def check_finite(name: str, array: Array) -> None:
    """Raise NonfiniteWeights where an array of floats holds what is no number."""
    _take(name, array.dtype, array.shape, _pieces_of(array), ())


def _take(
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    pieces: Iterator[Array],
    digests: tuple["hashlib._Hash", ...],
) -> None:
    """Look at each item once: add it to a digest, and see whether it is finite."""
    little, floats = dtype.newbyteorder("<"), is_float(dtype)
    finite = count = 0
    for digest in digests:
        digest.update(f"{name}\0{dtype.name}\0{list(shape)}\0".encode())
    for piece in pieces:
        count += piece.size
        finite += int(np.count_nonzero(np.isfinite(piece))) if floats else piece.size
        for digest in digests:
            digest.update(piece.astype(little, copy=False).view(np.uint8).data)
    if finite < count:
        raise NonfiniteWeights(
            f"{count - finite} of {count} values of {name} are NaN or infinite; the training diverged"
        )


def _pieces_of(array: Array) -> Iterator[Array]:
    flat = np.ascontiguousarray(array).reshape(-1)
    step = max(_PIECE // array.itemsize, 1)
    for begin in range(0, flat.size, step):
        yield flat[begin : begin + step]
