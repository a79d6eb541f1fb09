"""JSON of files, bounded before it is parsed: brackets and commas tell what it would become."""

import json
from collections.abc import Callable
from typing import Any

from milepost._internal.budget import charge

_CONTAINER, _VALUE = 150, 60
"""Bytes of a list or dictionary, and of a value or key in one, in the usual case: CPython 3.11 on 64 bits."""


def parsed(raw: bytes, pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Return what a JSON text in UTF-8 holds; `ValueError` or `RecursionError` where it is none, or nested too deep.

    Raises `Corrupt` where it would become more than the budget of its checkpoint holds.

    >>> parsed(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    containers = raw.count(b"{") + raw.count(b"[")
    values = raw.count(b",") + raw.count(b":") + containers
    charge(made=2 * len(raw) + _CONTAINER * containers + _VALUE * values, nodes=values)
    return json.loads(raw.decode("utf-8"), object_pairs_hook=pairs_hook)
