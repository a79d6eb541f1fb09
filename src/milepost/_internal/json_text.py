"""JSON of files, bounded before it is parsed: brackets and commas tell what it would become."""

import json
import re
from collections.abc import Callable
from typing import Any

from milepost._internal.budget import charge

_CONTAINER, _VALUE = 150, 60
"""Bytes of a list or dictionary, and of a value or key in one, in the usual case: CPython 3.11 on 64 bits."""
_ASTRAL = re.compile(rb"[\xf0-\xf4]")
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")


def parsed(raw: bytes, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return what a JSON text in UTF-8 holds; `ValueError` or `RecursionError` where it is none, or nested too deep.

    Raises `Corrupt` where it would become more than the budget of its checkpoint holds.

    >>> parsed(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    containers = raw.count(b"{") + raw.count(b"[")
    values = raw.count(b",") + raw.count(b":") + containers
    charge(
        made=(_width(raw) + _width_of_values(raw)) * len(raw) + _CONTAINER * containers + _VALUE * values, nodes=values
    )
    return json.loads(raw.decode("utf-8"), object_pairs_hook=pairs_hook)


def _width(raw: bytes) -> int:
    """Return the bytes of a character of a text: one character beyond its plane widens all."""
    return 1 if raw.isascii() else 4 if _ASTRAL.search(raw) else 2


def _width_of_values(raw: bytes) -> int:
    escaped = 1 if b"\\u" not in raw else 4 if _SURROGATE.search(raw) else 2
    return max(_width(raw), escaped)
