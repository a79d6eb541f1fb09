"""The header of a .npy file, parsed with bounds and without unpickling (NEP 1)."""

import ast
from functools import lru_cache
from typing import Any, NamedTuple

from milepost.errors import Corrupt

MAGIC = b"\x93NUMPY"
LIMIT = 12 + 65_536
"""Bytes of the longest header that is parsed, its own start included."""

_DIMENSIONS = 64
_SHORT = 512


class Npy(NamedTuple):
    """What a header says: `descr` is the file's own word for a type, unchecked; data starts at `begin`."""

    descr: Any
    shape: tuple[int, ...]
    fortran: bool
    begin: int


def header(start: bytes, where: str) -> Npy:
    """Parse the first bytes of a .npy file; `Corrupt` for what is no such header."""
    if not start.startswith(MAGIC) or len(start) < 10 or start[6] not in (1, 2, 3):  # noqa: PLR2004 - NEP 1
        raise Corrupt(f"{where}: not a .npy array: it begins with {start[:8]!r}")
    width = 2 if start[6] == 1 else 4
    begin = 8 + width + int.from_bytes(start[8 : 8 + width], "little")
    if begin > min(len(start), LIMIT):
        raise Corrupt(f"{where}: the .npy header declares {begin:,} bytes: longer than the entry, or than {LIMIT:,}")
    try:
        return Npy(*(_kept if begin <= _SHORT else _fields)(start[8 + width : begin]), begin)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        what = "the .npy header is not a Python literal of exactly descr, fortran_order and shape"
        raise Corrupt(f"{where}: {what}: {error}") from error


def _fields(raw: bytes) -> tuple[Any, tuple[int, ...], bool]:
    found = ast.literal_eval(raw.decode("utf-8").strip())
    if not isinstance(found, dict) or set(found) != {"descr", "fortran_order", "shape"}:
        raise ValueError("it holds something else")
    shape, fortran = found["shape"], found["fortran_order"]
    if type(fortran) is not bool:
        raise TypeError("fortran_order is not True or False")
    if not isinstance(shape, list | tuple) or len(shape) > _DIMENSIONS:
        raise ValueError(f"the shape is not a list of at most {_DIMENSIONS} integers")
    if any(type(size) is not int or not 0 <= size < 1 << 62 for size in shape):
        raise ValueError("the shape holds other items than integers from 0 to 2**62")
    return found["descr"], tuple(shape), fortran


_kept = lru_cache(maxsize=1024)(_fields)  # thousands of archives of one evaluation have the same few headers
