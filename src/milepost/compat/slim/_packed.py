"""A state of counts and exact sums as one vector of int64, so that adding vectors merges states.

A graph of TensorFlow holds such a vector in one local variable: one `assign_add` takes a batch in, one read is never
torn.  A sum is an integer in units of 2**-1074, cut into limbs of 24 bits that need no carry: 2**39 batches fit before
one could overflow.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from milepost.core.types import Array
from milepost.metrics._states import ExactSums, Tally

_BITS = 24
_LIMBS = 89  # 2098 bits from 2**-1074 to 2**1024; the last limb takes the sign, and what a sum grows beyond
_ODD = 3  # addends that are NaN, infinity and minus infinity
_WIDTH = _LIMBS + _ODD

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """Where counts and sums lie in the vector: their names and shapes, in this order.

    >>> layout = PackedLayout((("n", ()),), (("sum", ()),))
    >>> one = layout.pack(Tally({"n": np.int64(1)}, {"sum": ExactSums.of(np.array([0.1]))}))
    >>> layout.unpack(one * 10).sums["sum"].value(), layout.unpack(one * 10).count("n")
    (1.0, 10)
    """

    counts: Shapes
    sums: Shapes
    grows: bool = False

    @classmethod
    def of(cls, state: Tally, classes: int = 0) -> Self:
        """Return the layout of states like this one; where they grow with the classes met, of as many as declared."""

        def shape(found: tuple[int, ...]) -> tuple[int, ...]:
            return (classes,) * len(found) if state.grows else found

        return cls(
            tuple((name, shape(np.shape(item))) for name, item in sorted(state.counts.items())),
            tuple((name, shape(item.units.shape)) for name, item in sorted(state.sums.items())),
            state.grows,
        )

    @property
    def size(self) -> int:
        counts = sum(math.prod(shape) for _, shape in self.counts)
        return counts + sum(math.prod(shape) * _WIDTH for _, shape in self.sums)

    def pack(self, state: Tally) -> Array:
        """Return the vector of a state, int64 [size]; arrays that are smaller than laid out are padded with zeros."""
        pieces = [_padded(np.asarray(state.counts[name], np.int64), shape).ravel() for name, shape in self.counts]
        for name, shape in self.sums:
            item = state.sums[name]
            parts = [_padded(part, shape).ravel() for part in (item.units, item.nan, item.plus, item.minus)]
            cells = np.zeros((math.prod(shape), _WIDTH), np.int64)
            for cell in np.flatnonzero(parts[0] != 0).tolist():
                cells[cell, :_LIMBS] = _limbs(int(parts[0][cell]))
            cells[:, _LIMBS:] = np.stack(parts[1:], axis=-1)
            pieces.append(cells.ravel())
        return np.concatenate(pieces)

    def unpack(self, vector: Array) -> Tally:
        """Return the state of a vector, which may be a sum of vectors."""
        begin, counts, sums = 0, {}, {}
        for name, shape in self.counts:
            counts[name] = vector[begin : begin + math.prod(shape)].reshape(shape)
            begin += math.prod(shape)
        for name, shape in self.sums:
            cells = vector[begin : begin + math.prod(shape) * _WIDTH].reshape(-1, _WIDTH)
            begin += cells.size
            units = np.zeros(len(cells), object)
            for cell in np.flatnonzero(cells[:, :_LIMBS].any(axis=1)).tolist():
                units[cell] = sum(limb << _BITS * place for place, limb in enumerate(cells[cell, :_LIMBS].tolist()))
            odd = (cells[:, _LIMBS + part].reshape(shape) for part in range(_ODD))
            sums[name] = ExactSums(units.reshape(shape), *odd)
        return Tally(counts, sums, self.grows)


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape == shape:
        return array
    return np.pad(array, [(0, size - own) for size, own in zip(shape, array.shape, strict=True)])


def _limbs(number: int) -> Array:
    """Cut an integer into limbs, the lowest first; the last one holds all that is left, with the sign."""
    data = (number & ((1 << _BITS * (_LIMBS - 1)) - 1)).to_bytes(_BITS // 8 * _LIMBS, "little")
    bytes_ = np.frombuffer(data, np.uint8).reshape(_LIMBS, _BITS // 8).astype(np.int64)
    limbs: Array = bytes_ @ np.array([1, 1 << 8, 1 << 16], np.int64)
    limbs[-1] = number >> _BITS * (_LIMBS - 1)
    return limbs
