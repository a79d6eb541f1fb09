"""The two checksums of HDF5: lookup3 of its own structures, and Fletcher-32 of chunks.

HDF5 File Format Specification, version 3.0: every structure with a "Checksum" field holds Bob Jenkins' lookup3
(hashlittle, initial value 0) of the bytes before it.  Fletcher-32 is a filter (IV.A.2.l).
"""

import struct

import numpy as np

_MASK = 0xFFFFFFFF
_BLOCK = 12
_WEIGHTS = np.arange(1 << 16, 0, -1, dtype=np.int64)
"""How often each word of a piece counts: as many times as there are words from it on."""


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
    # Only what is rotated next is cut to 32 bits: a sum or a difference may grow until then.
    for first, second, third in zip(values, values, values, strict=True):
        c = (c + third) & _MASK
        b += second
        a = (a + first - c ^ (c << 4 | c >> 28)) & _MASK
        c += b
        b = (b - a ^ (a << 6 | a >> 26)) & _MASK
        a += c
        c = (c - b ^ (b << 8 | b >> 24)) & _MASK
        b += a
        a = (a - c ^ (c << 16 | c >> 16)) & _MASK
        c += b
        b = (b - a ^ (a << 19 | a >> 13)) & _MASK
        a += c
        c = (c - b ^ (b << 4 | b >> 28)) & _MASK
        b += a
    return _last(a + words[-3] & _MASK, b + words[-2] & _MASK, c + words[-1] & _MASK)


def _last(a: int, b: int, c: int) -> int:
    c = (c ^ b) - (b << 14 | b >> 18) & _MASK
    a = (a ^ c) - (c << 11 | c >> 21) & _MASK
    b = (b ^ a) - (a << 25 | a >> 7) & _MASK
    c = (c ^ b) - (b << 16 | b >> 16) & _MASK
    a = (a ^ c) - (c << 4 | c >> 28) & _MASK
    b = (b ^ a) - (a << 14 | a >> 18) & _MASK
    return (c ^ b) - (b << 24 | b >> 8) & _MASK


def fletcher32(data: bytes | memoryview) -> int:
    """Return HDF5's Fletcher-32 of big-endian words of two bytes, the last one filled up with zero.

    Words are summed as this machine has them: a sum of swapped words is 256 times theirs, modulo 65,535.

    >>> hex(fletcher32(b"abcde"))
    '0x4ff029c7'
    """
    words = np.frombuffer(bytes(data) + b"\0" if len(data) % 2 else data, "<u2")
    low = high = 0
    for begin in range(0, len(words), len(_WEIGHTS)):
        piece = words[begin : begin + len(_WEIGHTS)].astype(np.int64)
        total = int(piece.sum())
        high += int(piece @ _WEIGHTS[-len(piece) :]) + (len(words) - begin - len(piece)) * total
        low += total
    if not low:
        return 0
    # Ones' complement sums fold 65,536 to 1, so that a sum of words that are not all zero is never 0 but 65,535.
    return (high * 256 % 0xFFFF or 0xFFFF) << 16 | (low * 256 % 0xFFFF or 0xFFFF)
