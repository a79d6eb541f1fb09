"""The few states: named exact counts and sums of any shape, and collected columns.

A state is an immutable summary of rows.  `merge` is associative and commutative to the bit, so that a value does not
depend on parts, order, merge tree, engine or resumption.  Counts are int64; sums of floats are exact: an addend joins
as an integer in units of 2**-1074, and one rounding happens at the end (error-free extraction after Rump, Ogita and
Oishi 2008).
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from milepost._internal.serialization import canonical
from milepost.core.types import Array

_UNIT = 1074  # every finite float64 is an integer multiple of 2**-1074
_CHUNK = 1 << 18
_HUGE = 2.0**900  # above this the extraction constant could overflow; such values join one by one

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ExactSums:
    """An array of exact sums of floats.

    `units` holds Python integers in units of 2**-1074 (dtype object); `nan`, `plus` and `minus` count addends that are
    no finite numbers (int64, same shape).  Shape () is one sum.

    >>> ExactSums.of(np.array([1e16, 1.0, -1e16])).value()
    1.0
    >>> ExactSums.of(np.full(10, 0.1)).value()
    1.0
    """

    units: Array
    nan: Index
    plus: Index
    minus: Index

    @classmethod
    def of(cls, values: Array, cells: Array | None = None, shape: tuple[int, ...] = ()) -> Self:
        """Sum values (any float or integer dtype, flat) into cells of an array of this shape: one by default."""
        flat = np.ascontiguousarray(values, dtype=np.float64).ravel()
        size = math.prod(shape)
        where = np.zeros(flat.size, np.int64) if cells is None else np.asarray(cells, np.int64).ravel()
        fine = np.isfinite(flat)
        if fine.all():
            counts = [np.zeros(shape, np.int64)] * 3
        else:
            counts = [
                np.bincount(where[test], minlength=size).astype(np.int64).reshape(shape)
                for test in (np.isnan(flat), flat == np.inf, flat == -np.inf)
            ]
            flat, where = flat[fine], where[fine]
        units = np.zeros(size, object)
        for begin in range(0, flat.size, _CHUNK):
            _extract(flat[begin : begin + _CHUNK], where[begin : begin + _CHUNK], units)
        return cls(units.reshape(shape), *counts)

    @classmethod
    def products(cls, values: Array, weights: Array, cells: Array | None = None, shape: tuple[int, ...] = ()) -> Self:
        """Sum value times weight exactly, for values that fit float32 (or are integers below 2**24).

        Weights are above 0: each is cut into halves of at most 27 bits, whose products with 24 bits are exact.  A value
        that is no finite number joins as itself.
        """
        wide = np.asarray(values, np.float64)
        weight = np.ascontiguousarray(weights, np.float64)
        high = (weight.view(np.int64) & -(1 << 27)).view(np.float64)
        fine = np.isfinite(wide)
        finite = np.where(fine, wide, 0.0)  # infinity times a lower half of 0 would be NaN
        upper = np.where(fine, finite * high, wide)
        return cls.of(upper, cells, shape).merge(cls.of(finite * (weight - high), cells, shape))

    def merge(self, other: Self) -> Self:
        """Add cell by cell; a smaller array is padded with zeros to the larger shape."""
        return type(self)(
            _add(self.units, other.units),
            _add(self.nan, other.nan),
            _add(self.plus, other.plus),
            _add(self.minus, other.minus),
        )

    def value(self, cell: tuple[int, ...] = ()) -> float:
        """Return one sum, correctly rounded; NaN or an infinity where the addends say so."""
        return self.ratio(1, cell)

    def ratio(self, divisor: "int | ExactSums", cell: tuple[int, ...] = ()) -> float:
        """Return sum divided by a positive count or by another exact sum, rounded once."""
        odd = self._odd(cell)
        if odd is not None:
            return odd
        bottom = divisor << _UNIT if isinstance(divisor, int) else int(divisor.units[cell])
        try:
            return int(self.units[cell]) / bottom
        except OverflowError:
            return math.inf if self.units[cell] > 0 else -math.inf

    def _odd(self, cell: tuple[int, ...]) -> float | None:
        plus, minus = bool(self.plus[cell]), bool(self.minus[cell])
        if self.nan[cell] or (plus and minus):
            return math.nan
        if plus or minus:
            return math.inf if plus else -math.inf
        return None


def _extract(values: Array, cells: Index, units: Array) -> None:
    """Add finite values to `units`, exactly: split off a leading slice whose partial sums are all representable."""
    rest = values
    if np.abs(rest).max(initial=0.0) > _HUGE:
        big = np.abs(rest) > _HUGE
        for value, cell in zip(rest[big].tolist(), cells[big].tolist(), strict=True):
            units[cell] += _units(value)
        rest, cells = rest[~big], cells[~big]
    extra = len(rest).bit_length()
    while len(rest):
        largest = float(np.abs(rest).max())
        if largest == 0.0:
            break
        anchor = math.ldexp(1.0, math.frexp(largest)[1] + extra + 1)
        leading = (rest + anchor) - anchor
        sums = np.bincount(cells, weights=leading, minlength=len(units))
        for cell in np.flatnonzero(sums).tolist():
            units[cell] += _units(float(sums[cell]))
        rest = rest - leading


def _units(value: float) -> int:
    top, bottom = value.as_integer_ratio()
    return top << (_UNIT + 1 - bottom.bit_length())  # the bottom is a power of two


def _add(left: Array, right: Array) -> Array:
    if left.shape == right.shape:
        return np.asarray(left + right, left.dtype)  # a sum of two arrays of shape () would be no array
    shape = tuple(max(pair) for pair in zip(left.shape, right.shape, strict=True))
    total = np.zeros(shape, left.dtype)
    for item in (left, right):
        total[tuple(slice(0, size) for size in item.shape)] += item
    return total


@dataclass(frozen=True, slots=True)
class Tally:
    """Named counts (int64 arrays) and named exact sums, each of its own shape: a mean, a histogram, a confusion matrix.

    With `grows`, arrays that are indexed by class grow with the classes met: merging pads the smaller with zeros.
    Without, states of different shapes are of different metrics.

    >>> a = Tally({"correct": np.int64(3), "n": np.int64(4)})
    >>> a.merge(a).count("correct")
    6
    """

    counts: Mapping[str, Any] = field(default_factory=dict)
    sums: Mapping[str, ExactSums] = field(default_factory=dict)
    grows: bool = False

    def merge(self, other: Self) -> Self:
        """Add counts and sums by name; a ValueError unless names and (unless they grow) shapes are the same."""
        if not isinstance(other, Tally) or self._layout() != other._layout():
            found = other._layout() if isinstance(other, Tally) else type(other).__name__
            raise ValueError(f"states of different metrics cannot be merged: {self._layout()} and {found}")
        return type(self)(
            {name: _add(np.asarray(item), np.asarray(other.counts[name])) for name, item in self.counts.items()},
            {name: item.merge(other.sums[name]) for name, item in self.sums.items()},
            self.grows,
        )

    def _layout(self) -> list[list[Any]]:
        """Name what it holds: counts and sums, each with its shape, or its number of axes where they grow."""
        shapes = {name: np.shape(item) for name, item in self.counts.items()}
        sums = {name: item.units.shape for name, item in self.sums.items()}
        return [
            sorted([name, len(shape) if self.grows else shape] for name, shape in items.items())
            for items in (shapes, sums)
        ]

    def count(self, name: str) -> int:
        """Return a scalar count as a Python integer."""
        return int(self.counts[name])

    def to_bytes(self) -> bytes:
        """Serialise: one line of JSON, then the counts as little-endian int64; sums as hexadecimal integers."""
        counts = {name: np.asarray(item, np.int64) for name, item in sorted(self.counts.items())}
        head = {
            "state": "tally",
            "version": 1,
            "grows": self.grows,
            "counts": [[name, list(item.shape)] for name, item in counts.items()],
            "sums": [[name, *_plain_sums(item)] for name, item in sorted(self.sums.items())],
        }
        return canonical(head).encode() + b"\n" + b"".join(item.astype("<i8").tobytes() for item in counts.values())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore; a ValueError says what is wrong with foreign bytes."""
        line, _, body = data.partition(b"\n")
        head = _head(line, "tally")
        counts: dict[str, Any] = {}
        begin = 0
        for name, shape in head["counts"]:
            size = math.prod(shape)
            counts[name] = np.frombuffer(body, "<i8", size, begin).astype(np.int64).reshape(shape)
            begin += size * 8
        if begin != len(body):
            raise ValueError(f"a tally of {begin} bytes of counts was expected, {len(body)} bytes were found")
        return cls(counts, {name: _sums(*plain) for name, *plain in head["sums"]}, head["grows"])


def _plain_sums(item: ExactSums) -> list[Any]:
    odd = [part.ravel().tolist() for part in (item.nan, item.plus, item.minus)]
    return [list(item.units.shape), [format(int(unit), "x") for unit in item.units.ravel()], *odd]


def _sums(shape: list[int], units: list[str], *odd: list[int]) -> ExactSums:
    numbers = np.zeros(len(units), object)
    numbers[:] = [int(unit, 16) for unit in units]
    return ExactSums(numbers.reshape(shape), *(np.array(part, np.int64).reshape(shape) for part in odd))


@dataclass(frozen=True, slots=True)
class Collected:
    """Whole columns with the rows' positions, for what no summary can give exactly; ordered by position."""

    positions: Index
    columns: Mapping[str, Array]

    def merge(self, other: Self) -> Self:
        """Join both and order by position; a position on both sides is a ValueError (a row would count twice)."""
        if not isinstance(other, Collected) or self._layout() != other._layout():
            found = other._layout() if isinstance(other, Collected) else type(other).__name__
            raise ValueError(f"states of different metrics cannot be merged: {self._layout()} and {found}")
        positions = np.concatenate([self.positions, other.positions])
        order = np.argsort(positions, kind="stable")
        positions = positions[order]
        twice = np.flatnonzero(positions[1:] == positions[:-1])
        if twice.size:
            raise ValueError(f"row {int(positions[twice[0]])} of the order is in both states")
        return type(self)(
            positions,
            {name: np.concatenate([item, other.columns[name]])[order] for name, item in self.columns.items()},
        )

    def _layout(self) -> list[Any]:
        return sorted((name, item.dtype.str, item.shape[1:]) for name, item in self.columns.items())

    def to_bytes(self) -> bytes:
        """Serialise: one line of JSON with dtypes and shapes, then the arrays' bytes, little-endian."""
        arrays = {"": self.positions, **{name: self.columns[name] for name in sorted(self.columns)}}
        little = {name: item.astype(item.dtype.newbyteorder("<")) for name, item in arrays.items()}
        head = {
            "state": "collected",
            "version": 1,
            "arrays": [[name, item.dtype.str, list(item.shape)] for name, item in little.items()],
        }
        return canonical(head).encode() + b"\n" + b"".join(item.tobytes() for item in little.values())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore; a ValueError says what is wrong with foreign bytes."""
        line, _, body = data.partition(b"\n")
        arrays = {}
        begin = 0
        for name, dtype, shape in _head(line, "collected")["arrays"]:
            kind = np.dtype(dtype)
            arrays[name] = np.frombuffer(body, kind, math.prod(shape), begin).reshape(shape)
            begin += arrays[name].nbytes
        if begin != len(body):
            raise ValueError(f"collected columns of {begin} bytes were expected, {len(body)} bytes were found")
        return cls(arrays.pop("").astype(np.int64), arrays)


def _head(line: bytes, kind: str) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(line)
    if head.get("state") != kind or head.get("version") != 1:
        raise ValueError(f"a {kind} of version 1 was expected, {head.get('state')} {head.get('version')} was found")
    return head


_READERS: dict[str, Callable[[bytes], Tally | Collected]] = {
    "tally": Tally.from_bytes,
    "collected": Collected.from_bytes,
}


def from_bytes(data: bytes) -> Tally | Collected:
    """Restore a state of any kind from its bytes; a ValueError says what is wrong with foreign bytes.

    >>> from_bytes(Tally({"n": np.int64(2)}).to_bytes()).count("n")
    2
    """
    head = json.loads(data.partition(b"\n")[0])
    kind = head.get("state") if isinstance(head, dict) else None
    if not isinstance(kind, str) or kind not in _READERS:
        raise ValueError(f"a state was expected ({', '.join(_READERS)}), {kind!r} was found")
    try:
        return _READERS[kind](data)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a {kind} of version 1 was expected, its description is damaged: {error!r}") from error
