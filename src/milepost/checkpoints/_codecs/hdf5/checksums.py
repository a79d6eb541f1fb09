"""The two checksums of HDF5: lookup3 of its own structures, and Fletcher-32 of chunks.

HDF5 File Format Specification, version 3.0: every structure with a "Checksum" field holds Bob Jenkins' lookup3
(hashlittle, initial value 0) of the bytes before it.  Fletcher-32 is a filter (IV.A.2.l).
"""

import struct

import numpy as np

_MASK = 0xFFFFFFFF
_BLOCK = 12


def lookup3(data: bytes) -> int:
    """Return Jenkins' lookup3 of bytes, in 32 bits.

    >>> hex(lookup3(b"")), hex(lookup3(b"Four score and seven years ago"))
    ('0xdeadbeef', '0x17770551')
    """
    length = len(data)
    a = b = c = (0xDEADBEEF + length) & _MASK
    if not length:
        return c
    rounds = (length - 1) // _BLOCK
    words = struct.unpack(f"<{3 * rounds + 3}I", data + bytes(_BLOCK * (rounds + 1) - length))
    values = iter(words[:-3])
    for first, second, third in zip(values, values, values, strict=True):
        a, b, c = (a + first) & _MASK, (b + second) & _MASK, (c + third) & _MASK
        a = (a - c) & _MASK ^ (c << 4 & _MASK | c >> 28)
        c = (c + b) & _MASK
        b = (b - a) & _MASK ^ (a << 6 & _MASK | a >> 26)
        a = (a + c) & _MASK
        c = (c - b) & _MASK ^ (b << 8 & _MASK | b >> 24)
        b = (b + a) & _MASK
        a = (a - c) & _MASK ^ (c << 16 & _MASK | c >> 16)
        c = (c + b) & _MASK
        b = (b - a) & _MASK ^ (a << 19 & _MASK | a >> 13)
        a = (a + c) & _MASK
        c = (c - b) & _MASK ^ (b << 4 & _MASK | b >> 28)
        b = (b + a) & _MASK
    return _last(a + words[-3] & _MASK, b + words[-2] & _MASK, c + words[-1] & _MASK)


def _last(a: int, b: int, c: int) -> int:
    c = (c ^ b) - (b << 14 | b >> 18) & _MASK
    a = (a ^ c) - (c << 11 | c >> 21) & _MASK
    b = (b ^ a) - (a << 25 | a >> 7) & _MASK
    c = (c ^ b) - (b << 16 | b >> 16) & _MASK
    a = (a ^ c) - (c << 4 | c >> 28) & _MASK
    b = (b ^ a) - (a << 14 | a >> 18) & _MASK
    return (c ^ b) - (b << 24 | b >> 8) & _MASK


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
