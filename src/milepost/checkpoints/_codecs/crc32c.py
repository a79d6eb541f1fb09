"""CRC-32C as TensorFlow's files keep it: masked, so that a checksum of data that holds checksums stays a good one."""

import google_crc32c
import numpy as np

from milepost._internal.bounded import OpenFile

_DELTA = 0xA282EAD8
_WORD = 0xFFFFFFFF


def masked(crc: int) -> int:
    """Return the masked form of a CRC-32C: turned right by 15 bits, plus a constant.

    >>> hex(masked(crc32c(b"123456789")))
    '0xc78ab0e5'
    """
    return (((crc >> 15) | (crc << 17)) + _DELTA) & _WORD


def crc32c(data: bytes | memoryview, before: int = 0) -> int:
    """Return the CRC-32C of bytes that follow others whose CRC-32C was `before`.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    # The C code takes an array whatever lies under it, where it would refuse a view.
    return int(google_crc32c.extend(before, np.frombuffer(data, np.uint8)))


def of_file(file: OpenFile, offset: int, length: int, what: str) -> int:
    """Return the masked CRC-32C of a run of a file, which is read in pieces."""
    crc = 0
    for piece in file.pieces(offset, length, what):
        crc = crc32c(piece, crc)
    return masked(crc)
