"""The order in which a source's rows are seen: a pure function of size and seed, in constant memory.

`Seeded` is a versioned permutation of our own, so that every checkpoint, process and later release sees the same fair
prefix. Up to 65,536 rows it is the sorting of one pseudo-random word a row (a table of at most 1 MiB): every
permutation is equally likely. Above that it is a Feistel network over the pairs (row % width, row // width), width
about the square root of the size: each round adds to one half a pseudo-random function of the other, modulo the half's
own range, so it can be undone round by round. The pairs are a few more than the rows; an image beyond the last row is
sent through again until it falls inside (cycle walking), which keeps it a permutation and is rare because so few pairs
are beyond. (With few rows a network reaches only a part of all permutations, unevenly: hence the table.)  The words
are splitmix64's.

Measured on one busy core: about 15 to 20 million rows a second by the network, 500 million by the table.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol, get_args

import numpy as np

from milepost._internal.splitmix import Words, stream
from milepost.core.protocols import RandomAccess
from milepost.core.types import Array, Json
from milepost.errors import DataError, UsageError

OrderName = Literal["seeded", "natural", "declared-shuffled"]

VERSION = 1
"""Version of the permutation: a change of any digit of the golden vector is a new version."""

_TABLE = 1 << 16
_ROUNDS = 8
_BLOCK = 1 << 14  # 128 KiB an array: the five arrays of a round stay in the second-level cache
_MASK = (1 << 64) - 1
_LARGEST = 1 << 62


class Order(RandomAccess, Protocol):
    """What every order can do."""

    def spec(self) -> dict[str, Json]:
        """Plain data that goes into the source's fingerprint."""


def make_order(name: str, size: int, seed: int = 0) -> Order:
    """Return the order of a name: "seeded", "natural" or "declared-shuffled"; anything else is a `UsageError`."""
    if name == "seeded":
        return Seeded(size, seed)
    if name in get_args(OrderName):
        return Natural(size, name)
    raise UsageError(f'order is {name!r}; expected "seeded", "natural" or "declared-shuffled"')


@dataclass(frozen=True, slots=True)
class Natural:
    """Rows as they stand; a prefix is a fair sample only of "declared-shuffled" ones: the user vouches for that."""

    size: int
    kind: str = "natural"

    def rows(self, positions: Array) -> Array:
        return checked_numbers(positions, self.size, "position").astype(np.int64)

    def positions(self, rows: Array) -> Array:
        return checked_numbers(rows, self.size, "row").astype(np.int64)

    def spec(self) -> dict[str, Json]:
        return {"kind": self.kind}


@dataclass(frozen=True, slots=True)
class Seeded:
    """A fixed pseudo-random permutation of `size` rows: random access both ways, bounded memory.

    `size` is at most 2**62, `seed` an integer in [0, 2**64); another size has an unrelated permutation.

    >>> order = Seeded(10, seed=0)
    >>> order.rows(np.arange(10)).tolist()
    [1, 0, 2, 8, 9, 5, 4, 6, 7, 3]
    >>> order.positions(np.array([1, 0])).tolist()
    [0, 1]
    """

    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.size <= _LARGEST:
            raise UsageError(f"an order has between 0 and 2**62 rows; found {self.size}")
        if not 0 <= self.seed <= _MASK:
            raise UsageError(f"the seed of an order is an integer in [0, 2**64); found {self.seed}")

    def rows(self, positions: Array) -> Array:
        wanted = checked_numbers(positions, self.size, "position")
        return _table(self.size, self.seed)[0][wanted] if self.size <= _TABLE else self._through(wanted, back=False)

    def positions(self, rows: Array) -> Array:
        wanted = checked_numbers(rows, self.size, "row")
        return _table(self.size, self.seed)[1][wanted] if self.size <= _TABLE else self._through(wanted, back=True)

    def spec(self) -> dict[str, Json]:
        return {"kind": "seeded", "version": VERSION, "seed": self.seed}

    def _through(self, numbers: Array, *, back: bool) -> Array:
        words = numbers.astype(np.uint64).reshape(-1)
        halves, keys = _halves(self.size), _stream(self.size, self.seed, _ROUNDS)
        for first in range(0, len(words), _BLOCK):
            block = words[first : first + _BLOCK]
            image = _network(block, halves, keys, back=back)
            outside = np.flatnonzero(image >= np.uint64(self.size))
            while len(outside):
                again = _network(image[outside], halves, keys, back=back)
                image[outside] = again
                outside = outside[again >= np.uint64(self.size)]
            block[...] = image
        return words.view(np.int64).reshape(numbers.shape)


def checked_numbers(numbers: Array, size: int, noun: str) -> Array:
    """Return positions or rows as an integer array; a `DataError` for other numbers and for one outside [0, size)."""
    found = np.asarray(numbers)
    if found.dtype.kind not in "iu":
        raise DataError(f"{noun}s of an order are integers; found dtype {found.dtype}")
    if found.size and (found.min() < 0 or found.max() >= size):
        wrong = int(found.min()) if found.min() < 0 else int(found.max())
        raise DataError(f"{noun} {wrong} is outside this order of {size} rows")
    return found


def check_range(start: int, stop: int, batch_size: int) -> int:
    """Return the start of the batch that holds `start`; a `UsageError` for numbers that make no range."""
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; expected 1 or more")
    if start < 0 or stop < start:
        raise UsageError(f"the range [{start}, {stop}) of positions begins below 0 or ends before it begins")
    return start // batch_size * batch_size


def _halves(size: int) -> tuple[int, int]:
    """Return the ranges of the two halves: the least rectangle with the narrower side about the square root."""
    width = math.isqrt(max(size - 1, 0)) + 1
    return width, -(-max(size, 1) // width)


def _splitmix(state: int) -> int:
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


def _stream(size: int, seed: int, count: int) -> Words:
    """Return the first words of the splitmix64 stream that starts where seed and size, each mixed, lead."""
    return stream(_splitmix(_splitmix(seed) + size & _MASK), count)


@lru_cache(maxsize=4)
def _table(size: int, seed: int) -> tuple[Array, Array]:
    """Return rows by position and positions by row; the words of a stream differ, so there are no ties to break."""
    rows = np.argsort(_stream(size, seed, size), kind="stable").astype(np.int64)
    positions = np.empty_like(rows)
    positions[rows] = np.arange(size)
    return rows, positions


def _mixed(half: Words, key: np.uint64, bound: int) -> Words:
    """Map each word of a half, under a key, to [0, bound): the high 32 bits of the mix, scaled down."""
    word = half + key
    shifted = word >> np.uint64(30)
    word ^= shifted
    word *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(word, np.uint64(27), out=shifted)
    word ^= shifted
    word *= np.uint64(0x94D049BB133111EB)
    word >>= np.uint64(32)  # the finaliser's last xor touches only lower bits
    word *= np.uint64(bound)
    word >>= np.uint64(32)
    return word


def _network(block: Words, halves: tuple[int, int], keys: Words, *, back: bool) -> Words:
    """Send words through the rounds, or back: each moves one half by a function of the other, modulo its range."""
    width = np.uint64(halves[0])
    high = block // width
    pair = [block - high * width, high]
    for turn in reversed(range(len(keys))) if back else range(len(keys)):
        bound, side = np.uint64(halves[turn % 2]), pair[turn % 2]
        moved = _mixed(pair[1 - turn % 2], keys[turn], halves[turn % 2])
        # A word that wraps around is huge, so that the minimum is the remainder: forwards, the difference wraps where
        # the sum is below the bound; backwards, the side itself has wrapped where it went below 0.
        if back:
            side -= moved
            np.minimum(side, side + bound, out=side)
        else:
            side += moved
            np.minimum(side, side - bound, out=side)
    return np.asarray(pair[1] * width + pair[0])
