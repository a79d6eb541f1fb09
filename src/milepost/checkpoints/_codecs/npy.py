"""The header of a .npy file, parsed with bounds and without unpickling (NEP 1)."""

import ast
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from milepost.checkpoints._files.layout import checked_shape
from milepost.errors import Corrupt

MAGIC = b"\x93NUMPY"
LIMIT = 12 + 65_536
"""Bytes of the longest header that is parsed, its own start included."""

_OBJECTS = "holds Python objects (a pickle): reading them would run code; save plain arrays instead"
_TEXT = "text or dates of type "
_KEYS = {"descr", "fortran_order", "shape"}

_Holds = Literal["numbers", "objects", "text"]


@dataclass(frozen=True, slots=True)
class Npy:
    """What a header says: `dtype` is None where no plain numbers follow (see `descr`); data starts at `begin`.

    `holds` separates arrays of Python objects, which are pickles, and of text or dates, from those of numbers.
    """

    dtype: np.dtype[np.generic] | None
    descr: str
    shape: tuple[int, ...]
    fortran: bool
    begin: int
    holds: _Holds = "numbers"


def header(start: bytes, where: str) -> Npy:
    """Parse the first bytes of a .npy file.

    Raises `Corrupt` for what is no such header.
    """
    if not start.startswith(MAGIC) or len(start) < 10 or start[6] not in (1, 2, 3):  # noqa: PLR2004 - NEP 1
        raise Corrupt(f"{where}: not a .npy array: it begins with {start[:8]!r}")
    width = 2 if start[6] == 1 else 4
    begin = 8 + width + int.from_bytes(start[8 : 8 + width], "little")
    if begin > min(len(start), LIMIT):
        raise Corrupt(f"{where}: the .npy header declares {begin:,} bytes: longer than the entry, or than {LIMIT:,}")
    fields = _fields(start[8 + width : begin], where)
    if type(fields["fortran_order"]) is not bool:
        raise Corrupt(f"{where}: the .npy header's fortran_order is not True or False")
    shape = checked_shape(fields["shape"], where)
    dtype, descr = _dtype(fields["descr"], where)
    plain: _Holds = "text" if descr.startswith(_TEXT) else "numbers"
    return Npy(dtype, descr, shape, fields["fortran_order"], begin, "objects" if descr is _OBJECTS else plain)


def _fields(raw: bytes, where: str) -> dict[str, Any]:
    try:
        found = ast.literal_eval(raw.decode("utf-8").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise Corrupt(f"{where}: the .npy header is not a Python literal") from error
    if not isinstance(found, dict) or set(found) != _KEYS:
        raise Corrupt(f"{where}: the .npy header must hold exactly descr, fortran_order and shape")
    return found


def _dtype(descr: object, where: str) -> tuple[np.dtype[np.generic] | None, str]:
    if not isinstance(descr, str):
        if "O'" in repr(descr):
            return None, _OBJECTS
        return None, "a structured type"
    try:
        dtype = np.dtype(descr)
    except (TypeError, ValueError, SyntaxError) as error:
        raise Corrupt(f"{where}: the .npy header's type {descr[:40]!r} is not known") from error
    if dtype.hasobject:
        return None, _OBJECTS
    if dtype.kind == "V":
        return None, f"raw {dtype.itemsize}-byte items whose number type NumPy did not record (bfloat16 or float8?)"
    if dtype.kind in "USMm":
        return None, f"{_TEXT}{descr[:40]}"
    return (dtype, descr) if dtype.itemsize else (None, f"items of type {descr[:40]}")
