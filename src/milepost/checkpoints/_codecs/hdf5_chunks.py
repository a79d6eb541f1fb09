"""HDF5 datasets in chunks: each chunk is unpacked within the bounds that its dataset declares.

Filters: HDF5 File Format Specification, IV.A.2.l; those that h5py writes by itself are read: deflate, shuffle and
Fletcher-32.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from milepost.core.types import Array
from milepost.errors import Corrupt

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
KNOWN = frozenset({DEFLATE, SHUFFLE, FLETCHER32})

Read = Callable[[int, int, str], bytes]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored chunk: its first item's index, its bytes' place, and which filters were left out (a bit each)."""

    start: tuple[int, ...]
    offset: int
    size: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """A dataset in chunks of one shape: all of them are there, on their grid, and `filters` are known ones."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    chunk: tuple[int, ...]
    filters: tuple[int, ...]
    chunks: tuple[Chunk, ...]


def misplaced(held: Chunked) -> str | None:
    """Return why the chunks do not make up the dataset, each item exactly once; None where they do."""
    if len(held.chunk) != len(held.shape) or not held.shape or min(held.chunk) < 1:
        return f"chunks of shape {held.chunk} cannot make up shape {held.shape}"
    expected = math.prod(-(-size // part) for size, part in zip(held.shape, held.chunk, strict=True))
    if len(held.chunks) != expected:
        return f"{len(held.chunks):,} of {expected:,} chunks are stored"
    starts = {item.start for item in held.chunks}
    on_grid = all(
        len(start) == len(held.shape)
        and all(
            place % part == 0 and place < size for place, part, size in zip(start, held.chunk, held.shape, strict=True)
        )
        for start in starts
    )
    return None if on_grid and len(starts) == expected else "its chunks overlap, or lie outside of it"


def assemble(held: Chunked, read: Read, what: str) -> bytes:
    """Return a dataset's bytes in C order; `Corrupt` for a chunk that does not unpack to its size or sum."""
    made = np.zeros(held.shape, held.dtype)
    for item in held.chunks:
        label = f"{what}: the chunk at {item.start}"
        block = _undone(held, item, read(item.offset, item.size, label), label)
        place = tuple(slice(first, first + part) for first, part in zip(item.start, held.chunk, strict=True))
        target = made[place]
        target[...] = block[tuple(slice(0, size) for size in target.shape)]
    return made.tobytes()


def _undone(held: Chunked, item: Chunk, data: bytes, label: str) -> Array:
    nbytes = math.prod(held.chunk) * held.dtype.itemsize
    for number in range(len(held.filters) - 1, -1, -1):
        if item.skipped >> number & 1:
            continue
        if held.filters[number] == DEFLATE:
            data = _inflated(data, nbytes + 4, label)  # a checksum may have been packed with it
        elif held.filters[number] == FLETCHER32:
            data = _verified(data, label)
        else:
            data = _unshuffled(data, held.dtype.itemsize)
    if len(data) != nbytes:
        raise Corrupt(f"{label} unpacks to {len(data):,} bytes, expected {nbytes:,}")
    return np.frombuffer(data, held.dtype).reshape(held.chunk)


def _inflated(data: bytes, limit: int, label: str) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, limit)
    except zlib.error as error:
        raise Corrupt(f"{label} is damaged: it cannot be unpacked: {error}") from error


def _unshuffled(data: bytes, itemsize: int) -> bytes:
    count = len(data) // itemsize
    grouped = np.frombuffer(data, np.uint8, count * itemsize).reshape(itemsize, count)
    return grouped.T.tobytes() + data[count * itemsize :]


def _verified(data: bytes, label: str) -> bytes:
    body, stored = data[:-4], int.from_bytes(data[-4:], "little")
    found = fletcher32(body)
    if any(found >> shift & 0xFFFF != stored >> shift & 0xFFFF for shift in (0, 16)):
        raise Corrupt(f"{label} is damaged: Fletcher-32 stored {stored:08x}, computed {found:08x}")
    return body


def fletcher32(data: bytes) -> int:
    """Return HDF5's Fletcher-32 of big-endian words of two bytes, the last one filled up with zero.

    >>> hex(fletcher32(b"abcde"))
    '0x4ff029c7'
    """
    words = np.frombuffer(data + bytes(len(data) % 2), ">u2").astype(np.int64)
    if not words.any():
        return 0
    weights = np.arange(len(words), 0, -1) % 0xFFFF
    # Ones' complement sums fold 65,536 to 1, so that a sum of words that are not all zero is never 0 but 65,535.
    low = int(words.sum()) % 0xFFFF or 0xFFFF
    high = int((words * weights % 0xFFFF).sum()) % 0xFFFF or 0xFFFF
    return high << 16 | low
