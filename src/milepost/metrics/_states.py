"""The state of a metric: named exact counts and sums of any shape.

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
from milepost.errors import DataError

_UNIT = 1074  # every finite float64 is an integer multiple of 2**-1074
_CHUNK = 1 << 18
_BLOCK = 1 << 13  # rows that are multiplied at once: their arrays stay in the second-level cache
_HUGE = 2.0**900  # above this the extraction constant could overflow; such values join one by one
_TINY = 2.0**-900  # below this the rounding error of a product could be lost; such products join one by one
_HALVES = 2.0**27 + 1  # cuts a float64 into two halves of at most 26 bits (Veltkamp 1968)

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
        where = None if cells is None else np.asarray(cells, np.int64).ravel()
        fine = np.isfinite(flat)
        counts = [np.zeros(shape, np.int64)] * 3
        if not fine.all():
            every = np.zeros(flat.size, np.int64) if where is None else where
            counts = [
                np.bincount(every[test], minlength=size).astype(np.int64).reshape(shape)
                for test in (np.isnan(flat), flat == np.inf, flat == -np.inf)
            ]
            flat, where = flat[fine], None if where is None else where[fine]
        units = np.zeros(size, object)
        for begin in range(0, flat.size, _CHUNK):
            chunk = slice(begin, begin + _CHUNK)
            _extract(flat[chunk], None if where is None else where[chunk], units)
        return cls(units.reshape(shape), *counts)

    @classmethod
    def products(cls, values: Array, weights: Array, cells: Array | None = None, shape: tuple[int, ...] = ()) -> Self:
        """Sum value times weight exactly; weights are finite and above 0.

        Exact for weights from 1e-60 to 1e60 (those that sources take) and values of 0 or at least 1e-200 in size: each
        product joins as its rounded value and the error of that (Dekker 1971).  Others are exact too or, where a
        product has digits below 2**-1074, a DataError.  A value that is no finite number joins as itself.

        >>> ExactSums.products(np.array([1 / 3, -1 / 3]), np.array([0.1, 0.1])).value()
        0.0
        """
        value, weight = (np.asarray(item, np.float64).ravel() for item in (values, weights))
        rounded, error, odd = np.empty(value.size), np.empty(value.size), []
        for begin in range(0, value.size, _BLOCK):
            block = slice(begin, begin + _BLOCK)
            odd += _multiply(value[block], weight[block], rounded[block], error[block], begin)
        total = cls.of(rounded, cells, shape).merge(cls.of(error, cells, shape))
        units = total.units.reshape(-1)
        for row in odd:
            units[0 if cells is None else np.ravel(cells)[row]] += _product(float(value[row]), float(weight[row]))
        return total

    def merge(self, other: Self) -> Self:
        """Add cell by cell; a smaller array is padded with zeros to the larger shape."""
        fields = ("units", "nan", "plus", "minus")
        return type(self)(*(_add(getattr(self, name), getattr(other, name)) for name in fields))

    def value(self, cell: tuple[int, ...] = ()) -> float:
        """Return one sum, correctly rounded; NaN or an infinity where an addend is one."""
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


def _extract(values: Array, cells: Index | None, units: Array) -> None:
    """Add finite values to `units`, exactly: split off a leading slice whose partial sums are all representable."""
    rest = values
    if np.abs(rest).max(initial=0.0) > _HUGE:
        big = np.abs(rest) > _HUGE
        for row in np.flatnonzero(big).tolist():
            units[0 if cells is None else cells[row]] += _units(float(rest[row]))
        rest, cells = rest[~big], None if cells is None else cells[~big]
    extra = len(rest).bit_length()
    while len(rest):
        largest = float(np.abs(rest).max())
        if largest == 0.0:
            break
        exponent = math.frexp(largest)[1] + extra + 1
        anchor = math.ldexp(1.0, exponent)
        leading = (rest + anchor) - anchor
        if cells is None:
            units[0] += _units(float(leading.sum()))
        else:
            # Sums are multiples of half the anchor's last place, and at most 2**52 of them.
            place = max(exponent - 53, -_UNIT)
            sums = np.ldexp(np.bincount(cells, weights=leading, minlength=len(units)), -place)
            units += sums.astype(np.int64).astype(object) << (place + _UNIT)
        rest = rest - leading


def _units(value: float) -> int:
    top, bottom = value.as_integer_ratio()
    return top << (_UNIT + 1 - bottom.bit_length())  # the bottom is a power of two


def _multiply(value: Array, weight: Array, rounded: Array, error: Array, first: int) -> list[int]:
    """Put products and their rounding errors into arrays; return which rows, of `first` on, have to join one by one."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        np.multiply(value, weight, out=rounded)
        size = np.abs(rounded)
        fits = (size > _TINY) & (size < _HUGE) & (np.abs(value) < _HUGE) & (weight < _HUGE)
        high, low = _halves(value)
        top, bottom = _halves(weight)
        np.copyto(error, ((high * top - rounded) + high * bottom + low * top) + low * bottom)
    if fits.all():
        return []
    error[~fits] = 0.0
    odd = ~fits & np.isfinite(value) & (value != 0.0)
    rounded[odd] = 0.0
    found: list[int] = (np.flatnonzero(odd) + first).tolist()
    return found


def _halves(values: Array) -> tuple[Array, Array]:
    """Cut each value into a high and a low half, whose sum it is and whose products are exact."""
    large = values * _HALVES
    high: Array = large - (large - values)
    return high, values - high


def _product(value: float, weight: float) -> int:
    """Return value times weight in units; a DataError where that is no integer."""
    (top, bottom), (times, parts) = value.as_integer_ratio(), weight.as_integer_ratio()
    shift = _UNIT + 2 - bottom.bit_length() - parts.bit_length()
    whole, rest = divmod(top * times << max(shift, 0), 1 << max(-shift, 0))
    if rest:
        raise DataError(
            f"the value {value!r} with the weight {weight!r} has digits below 2**-1074, which no exact sum holds: "
            "multiply all weights by one number, which changes no weighted mean"
        )
    return whole


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
        """Restore; a ValueError names what is wrong with foreign bytes."""
        line, _, body = data.partition(b"\n")
        head = json.loads(line)
        if head.get("version") != 1:
            raise ValueError(f"expected a tally of version 1, found version {head.get('version')!r}")
        counts: dict[str, Any] = {}
        begin = 0
        try:
            for name, shape in head["counts"]:
                size = math.prod(shape)
                counts[name] = np.frombuffer(body, "<i8", size, begin).astype(np.int64).reshape(shape)
                begin += size * 8
            sums = {name: _sums(*plain) for name, *plain in head["sums"]}
            made = cls(counts, sums, head["grows"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected a tally, found a damaged description of one: {error!r}") from error
        if begin != len(body):
            raise ValueError(f"expected a tally with {begin} bytes of counts, found {len(body)}")
        return made


def _plain_sums(item: ExactSums) -> list[Any]:
    odd = [counts.ravel().tolist() for counts in (item.nan, item.plus, item.minus)]
    return [list(item.units.shape), [format(int(unit), "x") for unit in item.units.ravel()], *odd]


def _sums(shape: list[int], units: list[str], *odd: list[int]) -> ExactSums:
    numbers = np.zeros(len(units), object)
    numbers[:] = [int(unit, 16) for unit in units]
    return ExactSums(numbers.reshape(shape), *(np.array(item, np.int64).reshape(shape) for item in odd))


_READERS: dict[str, Callable[[bytes], Any]] = {"tally": Tally.from_bytes}


def from_bytes(data: bytes) -> Any:
    """Restore a state of any kind from its bytes; a ValueError names what is wrong with foreign bytes."""
    head = json.loads(data.partition(b"\n")[0])
    kind = head.get("state") if isinstance(head, dict) else None
    if not isinstance(kind, str) or kind not in _READERS:
        raise ValueError(f"expected a state ({', '.join(_READERS)}), found {kind!r}")
    return _READERS[kind](data)
