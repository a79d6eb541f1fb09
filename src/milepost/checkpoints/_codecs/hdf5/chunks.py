"""Datasets in chunks: whether they make up the dataset, and their values in C order."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from milepost.checkpoints._codecs.hdf5.filters import FLETCHER32, undone

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

    @property
    def checked(self) -> bool:
        """Whether each chunk has a checksum."""
        bits = sum(1 << number for number, code in enumerate(self.filters) if code == FLETCHER32)
        return bool(bits) and not any(item.skipped & bits == bits for item in self.chunks)


def misplaced(held: Chunked) -> str | None:
    """Return why the chunks do not make up the dataset, each item exactly once; None where they do."""
    expected = math.prod(-(-size // part) for size, part in zip(held.shape, held.chunk, strict=True))
    if len(held.chunks) != expected:
        return f"{len(held.chunks):,} of {expected:,} chunks are stored"
    starts = {item.start for item in held.chunks}
    on_grid = all(
        all(place % part == 0 and place < size for place, part, size in zip(start, held.chunk, held.shape, strict=True))
        for start in starts
    )
    return None if on_grid and len(starts) == expected else "its chunks overlap, or lie outside of it"


def assemble(held: Chunked, read: Read, what: str) -> bytes | memoryview:
    """Return a dataset's bytes in C order; `Corrupt` for a chunk that does not unpack to its size or sum."""
    nbytes, itemsize = math.prod(held.chunk) * held.dtype.itemsize, held.dtype.itemsize
    made = np.empty(held.shape, held.dtype)  # the chunks make up all of it
    for item in held.chunks:
        label = f"{what}: the chunk at {item.start}"
        data = undone(read(item.offset, item.size, label), held.filters, item.skipped, itemsize, nbytes, label)
        if held.chunk == held.shape:
            return data
        block = np.frombuffer(data, held.dtype).reshape(held.chunk)
        target = made[tuple(slice(first, first + part) for first, part in zip(item.start, held.chunk, strict=True))]
        target[...] = block[tuple(slice(0, size) for size in target.shape)]
    return made.reshape(-1).view(np.uint8).data
