"""Filters: which ones a dataset's chunks went through, and undoing them within a chunk's declared bounds.

HDF5 File Format Specification, version 3.0, section IV.A.2.l; those that h5py writes by itself are read: deflate,
shuffle and Fletcher-32.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from milepost.checkpoints._codecs.hdf5.blocks import Blocks, Fields
from milepost.checkpoints._codecs.hdf5.checksums import fletcher32
from milepost.errors import Corrupt

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
KNOWN = frozenset({DEFLATE, SHUFFLE, FLETCHER32})

_MOST = 32
_UNNAMED = 256
"""The first filter whose name is stored in a message of version 2."""


Packed = bytes | memoryview
"""A chunk's bytes, as they are between two filters."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter's number and its parameters."""

    code: int
    values: tuple[int, ...]


def pipeline(blocks: Blocks, body: bytes) -> tuple[Filter, ...]:
    """Return the filters of a message, in the order in which they were applied."""
    fields = Fields(blocks, "a list of filters", data=body)
    version, count = fields.unpack("BB")
    if version not in (1, 2) or count > _MOST:
        raise blocks.fault(f"a list of filters has version {version} and {count} filters")
    fields.take(6 if version == 1 else 0)
    made = []
    for _ in range(count):
        code = fields.uint(2)
        named = fields.uint(2) if version == 1 or code >= _UNNAMED else 0
        number = fields.unpack("2xH")[0]
        fields.take(named + (-named % 8 if version == 1 else 0))
        made.append(Filter(code, fields.unpack(f"{number}I")))
        fields.take(4 if version == 1 and number % 2 else 0)
    return tuple(made)


def undone(data: Packed, codes: tuple[int, ...], skipped: int, itemsize: int, nbytes: int, label: str) -> Packed:
    """Return a chunk of `nbytes` as it was before its filters, but for those that a bit of `skipped` leaves out.

    Raises `Corrupt` where it does not unpack to that size, or its checksum is that of other bytes.
    """
    for number in range(len(codes) - 1, -1, -1):
        if skipped >> number & 1:
            continue
        if codes[number] == DEFLATE:
            data = _inflated(data, nbytes + 4, label)  # a checksum may have been packed with it
        elif codes[number] == FLETCHER32:
            data = _verified(data, label)
        else:
            data = _unshuffled(data, itemsize)
    if len(data) != nbytes:
        raise Corrupt(f"{label} unpacks to {len(data):,} bytes, expected {nbytes:,}")
    return data


def _inflated(data: Packed, limit: int, label: str) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, limit)
    except zlib.error as error:
        raise Corrupt(f"{label} is damaged: it cannot be unpacked: {error}") from error


def _unshuffled(data: Packed, itemsize: int) -> Packed:
    count = len(data) // itemsize
    grouped = np.frombuffer(data, np.uint8, count * itemsize).reshape(itemsize, count)
    made = np.empty(len(data), np.uint8)
    items = made[: count * itemsize].reshape(count, itemsize)
    for place in range(itemsize):  # several times as fast as a transposed copy
        items[:, place] = grouped[place]
    made[count * itemsize :] = np.frombuffer(data, np.uint8)[count * itemsize :]
    return made.data


def _verified(data: Packed, label: str) -> Packed:
    body, stored = data[:-4], int.from_bytes(data[-4:], "little")
    found = fletcher32(body)
    if any(found >> shift & 0xFFFF != stored >> shift & 0xFFFF for shift in (0, 16)):
        raise Corrupt(f"{label} is damaged: Fletcher-32 stored {stored:08x}, computed {found:08x}")
    return body
