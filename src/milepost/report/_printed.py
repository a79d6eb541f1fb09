"""Plain data for people: every name in its printed form, so that no text that is made of them need think of it."""

from collections.abc import Mapping
from typing import Any

from milepost.core.escaping import escaped

_TEXTS = frozenset({"message", "reason", "note", "notes"})
"""The keys of texts, which hold names, and are none; what writes them keeps their signs in check."""


def printed(item: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return an event, a row or what a checkpoint holds with its names, keys too, in their printed form.

    >>> printed({"event": "checkpoint", "name": "step\n9", "names": ["a\x1b"], "reason": "one\ntwo"})
    {'event': 'checkpoint', 'name': 'step\\x0a9', 'names': ['a\\x1b'], 'reason': 'one\ntwo'}
    """
    return {escaped(key): value if key in _TEXTS else _printed(value) for key, value in item.items()}


def _printed(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return printed(value)
    if isinstance(value, list | tuple):
        return [_printed(item) for item in value]
    return value
