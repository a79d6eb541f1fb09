"""One checksum a row of inputs and label: whether a later pass sees the same rows, and which rows are there twice.

The bytes of a row are read as words of 64 bits, the last one filled up with zeros.  The high bits of each word are
folded into its low ones, since sums carry upwards only, and the words are summed modulo 2**64 under odd pseudo-random
multipliers (multilinear hashing: Lemire and Kaser, "Strongly universal string hashing is fast", 2014).  Rows that
differ in one word never have the same sum; others have it by chance.  It is made for accidents, not against an
adversary.  The multipliers are fixed: a row has one checksum in every process.

Measured by benchmarks/checksums.py: 0.10 to 0.16 ms a megabyte from 3 KB a row on, in the thread that reads ahead.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from milepost._internal.splitmix import Words, mixed, stream
from milepost.core.types import Array, Batch

_BLOCK = 1 << 17
"""Words that are summed at once: they stay in the second-level cache."""
_SHORT = 32
"""Words of a row, at most, that are summed by a product of matrices."""
_WORD = 8
_FOLD = np.uint64(29)
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
    for name in sorted(arrays):
        total = mixed(total + mixed(_sums(arrays[name]) ^ np.uint64(zlib.crc32(name.encode()))))
    return total


def _sums(array: Array) -> Words:
    """Return the sum of each row's folded words under their multipliers."""
    width = array.nbytes // max(1, len(array))
    words = -(-width // _WORD)
    sums, step = np.zeros(len(array), np.uint64), max(1, _BLOCK // max(1, words))
    folded = np.empty((min(step, len(array)), words), np.uint64)
    padded = np.zeros_like(folded) if width % _WORD else None
    for low in range(0, len(array) if words else 0, step):
        block = np.ascontiguousarray(array[low : low + step])
        read: Array = block.reshape(len(block), -1).view(np.uint8)
        if padded is not None:
            padded.view(np.uint8)[: len(read), :width] = read
            read = padded[: len(read)]
        piece = read.view(np.uint64)
        out = folded[: len(piece)]
        np.right_shift(piece, _FOLD, out=out)
        np.bitwise_xor(piece, out, out=out)
        sums[low : low + step] = _products(out, _multipliers(words))
    return sums


def _products(words: Words, multipliers: Words) -> Words:
    """Return words @ multipliers; of the two ways the one is faster for short rows, the other for long ones."""
    if len(multipliers) > _SHORT:
        found: Words = np.einsum("ij,j->i", words, multipliers)
        return found
    return words[:, 0] * multipliers if len(multipliers) == 1 else words @ multipliers


@lru_cache(maxsize=8)
def _multipliers(count: int) -> Words:
    return stream(0, count) | np.uint64(1)
