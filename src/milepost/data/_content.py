"""What identifies arrays by their content, at the speed of CRC-32C.

A CRC alone is too short to name content; so each array's bytes are cut into chunks of 16 MiB and the list of their
CRC-32C, with names, dtypes and shapes, is hashed by SHA-256.  Measured on one busy core, in memory: 15 GB/s (SHA-256 alone:
1.2 GB/s).  A change by accident goes unseen with probability 2**-32; a change on purpose is not defended against.
"""

import hashlib
from collections.abc import Iterator, Mapping

import google_crc32c
import numpy as np

from milepost.core import Array, canonical

_CHUNK = 1 << 24


def content_digest(arrays: Mapping[str, Array]) -> str:
    """Return 32 hex digits of names, dtypes, shapes and bytes of arrays; memory maps are read a chunk at a time.

    >>> import numpy as np
    >>> content_digest({"x": np.zeros(3)}) == content_digest({"x": np.zeros((6,))[::2]})
    True
    >>> content_digest({"x": np.zeros(3)}) == content_digest({"x": np.zeros((3, 1))})
    False
    """
    described = [
        [name, str(array.dtype), list(array.shape), [google_crc32c.value(chunk) for chunk in _chunks(array)]]
        for name, array in sorted(arrays.items())
    ]
    return hashlib.sha256(canonical(described).encode()).hexdigest()[:32]


def _chunks(array: Array) -> Iterator[bytes]:
    """Yield the array's bytes in C order, chunks of one size whatever the memory layout."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)
        for first in range(0, len(flat), _CHUNK):
            # google_crc32c takes any read-only buffer; its stubs know bytes only.
            yield flat[first : first + _CHUNK]  # type: ignore[misc]
        return
    pending = bytearray()
    rows = max(1, _CHUNK // max(1, array.nbytes // len(array)))
    for first in range(0, len(array), rows):
        pending += np.ascontiguousarray(array[first : first + rows]).tobytes()
        while len(pending) >= _CHUNK:
            yield bytes(pending[:_CHUNK])
            del pending[:_CHUNK]
    if pending:
        yield bytes(pending)
