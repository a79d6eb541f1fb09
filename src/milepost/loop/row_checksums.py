"""One checksum a row of inputs and label: whether a later pass sees the same rows, and which rows are there twice.

The bytes of a row are read as words of 64 bits, the last one filled up with zeros.  High bits of each word are folded
into its low ones, since sums carry upwards only, and the words are summed modulo 2**64 under odd pseudo-random
multipliers (multilinear hashing: Lemire and Kaser, "Strongly universal string hashing is fast", 2014).  Rows that
differ in one word never have the same sum; others have it by chance.  It is made for accidents, not against an
adversary.  The multipliers are fixed by the array's name: a row has one checksum in every process.

A word's sign is worth 32 bits of the sum after one fold: 200,000 rows of ones and minus ones had 6 sums twice.  Short
rows, which are tables with signs and flags, are folded a second time, and had none.

Measured by benchmarks/checksums.py: 0.07 to 0.13 ms a megabyte from 3 KB a row on, in the thread that reads ahead; the
floor is a call of NumPy where a batch has few bytes, and elsewhere the three passes over what lies in the cache.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from milepost._internal.splitmix import Words, stream
from milepost.core.types import Array, Batch

_BLOCK = 1 << 17
"""Words that are summed at once: they stay in the second-level cache."""
_SHORT = 32
"""Words of a row, at most, that are folded twice, and summed by a product of matrices."""
_WORD = 8
_FOLD, _AGAIN = np.uint64(31), np.uint64(47)
"""Neither a byte's nor a number's width: a bit that is folded does not meet the same bit of a number beside its own."""


def with_checksums(batches: Iterable[Batch]) -> Iterator[tuple[Batch, Array | None]]:
    """Yield each batch with the checksums of its rows (uint64), None where its inputs are no arrays of numbers or text.

    >>> batch = Batch(np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0]]), np.array([0, 0, 0]))
    >>> _, (first, second, third) = next(with_checksums([batch]))
    >>> bool(first == third), bool(first == second)
    (True, False)
    """
    for batch in batches:
        yield batch, _checksums(batch)


def _checksums(batch: Batch) -> Array | None:
    inputs = batch.inputs if isinstance(batch.inputs, Mapping) else {"": batch.inputs}
    rows = len(batch.labels)
    found = {f"inputs/{name}": _plain(item, rows) for name, item in inputs.items()}
    labels = np.asarray(batch.labels)
    found["labels"] = labels.astype(np.int64) if labels.dtype.kind in "iub" else _plain(labels, rows)
    arrays = {name: item for name, item in found.items() if item is not None}
    return row_checksums(arrays, rows) if len(arrays) == len(found) else None


def _plain(item: Any, rows: int) -> Array | None:
    """Return an array of rows without Python objects; None for anything else."""
    try:
        array = np.asarray(item)
    except (TypeError, ValueError, RuntimeError):  # ragged rows, a tensor on a device
        return None
    return array if not array.dtype.hasobject and array.ndim and len(array) == rows else None


def row_checksums(arrays: Mapping[str, Array], rows: int) -> Words:
    """Return a checksum of each row of arrays, by their names; the width of text does not matter.

    >>> narrow, wide = np.array(["ab", "c"]), np.array(["ab", "c", "wide"])
    >>> (row_checksums({"": narrow}, 2) == row_checksums({"": wide}, 3)[:2]).tolist()
    [True, True]
    """
    total = np.zeros(rows, np.uint64)
    for name, array in arrays.items():
        _add(array, zlib.crc32(name.encode()), total)
    return total


def _add(array: Array, seed: int, total: Words) -> None:
    """Add to each row's total what its words are worth under their multipliers, and that the array is there."""
    width = array.nbytes // max(1, len(array))
    words = -(-width // _WORD)
    multipliers = _multipliers(seed, 1 + words)
    step = max(1, _BLOCK // max(1, words))
    folded = np.empty((min(step, len(array)), words), np.uint64)
    padded = np.zeros_like(folded) if width % _WORD else None
    for low in range(0, len(array) if words else 0, step):
        block = np.ascontiguousarray(array[low : low + step])
        read: Array = block.reshape(len(block), -1).view(np.uint8)
        if padded is not None:
            padded.view(np.uint8)[: len(read), :width] = read
            read = padded[: len(read)]
        total[low : low + step] += _products(_folded(read.view(np.uint64), folded[: len(read)]), multipliers[1:])
    total += multipliers[0]


def _folded(words: Words, out: Words) -> Words:
    np.right_shift(words, _FOLD, out=out)
    np.bitwise_xor(words, out, out=out)
    if words.shape[1] <= _SHORT:
        out ^= out >> _AGAIN
    return out


def _products(words: Words, multipliers: Words) -> Words:
    """Return words @ multipliers; of the two ways the one is faster for short rows, the other for long ones."""
    if len(multipliers) > _SHORT:
        found: Words = np.einsum("ij,j->i", words, multipliers)
        return found
    return words[:, 0] * multipliers if len(multipliers) == 1 else words @ multipliers


@lru_cache(maxsize=16)
def _multipliers(seed: int, count: int) -> Words:
    return stream(seed, count) | np.uint64(1)
