"""The header of a .npy file, parsed with bounds and without unpickling (NEP 1)."""

import re
from functools import lru_cache
from typing import Any, NamedTuple

from milepost._internal.budget import charge
from milepost.errors import Corrupt

MAGIC = b"\x93NUMPY"
LIMIT = 12 + 65_536
"""Bytes of the longest header that is parsed, its own start included."""

_DIMENSIONS = 64
_SHORT = 512
_NESTED = 32
_PIECE = 8
"""Bytes of a header that count as one node."""
# A Python literal of what NumPy writes: text without escapes, integers (of Python 2 too), brackets.
_TOKEN = re.compile(r"""\s*(?:([{}()\[\]:,])|'([^'\\]*)'|"([^"\\]*)"|(\d{1,19})L?(?!\w)|(True|False|None)(?!\w))""")
_CLOSING = {"(": ")", "[": "]"}
_WORDS = {"True": True, "False": False, "None": None}


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
    except ValueError as error:
        what = "the .npy header is not a Python literal of exactly descr, fortran_order and shape"
        raise Corrupt(f"{where}: {what}: {error}") from error


def _fields(raw: bytes) -> tuple[Any, tuple[int, ...], bool]:
    charge(nodes=len(raw) // _PIECE)
    text = raw.decode("utf-8").strip()
    found: dict[str, Any] = {}
    at = _sign(text, 0, "{")
    while not text.startswith("}", at):
        key, at = _value(text, at, 0)
        if not isinstance(key, str) or key in found:
            raise ValueError("a key is no text, or stands twice")
        found[key], at = _value(text, _sign(text, at, ":"), 0)
        at = _after(text, at, "}")
    if text[at + 1 :] or found.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("it holds something else")
    shape, fortran = found["shape"], found["fortran_order"]
    if type(fortran) is not bool:
        raise ValueError("fortran_order is not True or False")
    if not isinstance(shape, list | tuple) or len(shape) > _DIMENSIONS:
        raise ValueError(f"the shape is not a list of at most {_DIMENSIONS} integers")
    if any(type(size) is not int or not 0 <= size < 1 << 62 for size in shape):
        raise ValueError("the shape holds other items than integers from 0 to 2**62")
    return found["descr"], tuple(shape), fortran


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    """Return the value at a place, and the place after it: text, an integer, True, False, None, a tuple or a list."""
    token = _TOKEN.match(text, at)
    if token is None or depth > _NESTED:
        raise ValueError(f"no value that NumPy writes stands at its character {at:,}")
    sign, single, double, digits, word = token.groups()
    at = token.end()
    if sign is None:
        value = single if single is not None else double
        return (value if value is not None else int(digits) if digits else _WORDS[word]), at
    closing = _CLOSING.get(sign)
    if closing is None:
        raise ValueError(f"{sign!r} stands where a value belongs")
    items: list[Any] = []
    comma = False
    while not text.startswith(closing, at := _blank(text, at)):
        item, at = _value(text, at, depth + 1)
        items.append(item)
        before = at
        at = _after(text, at, closing)
        comma = text.startswith(",", _blank(text, before))
    if sign == "(" and len(items) == 1 and not comma:
        return items[0], at + 1  # in brackets, no tuple
    return (tuple(items) if sign == "(" else items), at + 1


def _after(text: str, at: int, closing: str) -> int:
    """Return the place of the next value, or of the closing sign."""
    at = _blank(text, at)
    return at if text.startswith(closing, at) else _blank(text, _sign(text, at, ","))


def _sign(text: str, at: int, sign: str) -> int:
    at = _blank(text, at)
    if not text.startswith(sign, at):
        raise ValueError(f"expected {sign!r} at its character {at:,}")
    return _blank(text, at + 1)


def _blank(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


_kept = lru_cache(maxsize=1024)(_fields)  # thousands of archives of one evaluation have the same few headers
