"""Single values that files hold beside tensors, as flat plain data: for `inspect` to show, and for nothing else."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from milepost.core.types import Json

MOST = 500
_DEPTH = 4
_NODES = 20_000
_ITEMS = 8
_TEXT = 300
_KEY = 200
_ODD = object()


def flat(
    value: Any, plain: Callable[[Any], Any] = lambda item: item, skip: Callable[[str], bool] = lambda _: False
) -> dict[str, Json]:
    """Return the numbers, texts and short lists in nested containers by their keys, joined with dots; at most 500.

    `plain` turns an object of another kind into a value or a container; `skip` leaves out containers at the top by key.

    >>> flat({"epoch": 3, "args": {"lr": 0.1, "sizes": [1, 2]}, "w": object()})
    {'epoch': 3, 'args.lr': 0.1, 'args.sizes': [1, 2]}
    """
    found: dict[str, Json] = {}
    waiting: deque[tuple[str, Any, int]] = deque([("", value, 0)])
    for _ in range(_NODES):
        if not waiting or len(found) >= MOST:
            break
        key, given, depth = waiting.popleft()
        item = plain(given)
        single = _single(item)
        if single is not _ODD:
            found[key] = single
        elif isinstance(item, Mapping) and depth < _DEPTH and not (depth == 1 and skip(key)):
            names = [name for name in islice(item, MOST) if isinstance(name, str | int)]
            names = names[: max(0, _NODES - len(waiting))]
            waiting.extend((_joined(key, name), item[name], depth + 1) for name in names)
    return found


def _joined(key: str, name: str | int) -> str:
    text = name[:_KEY] if isinstance(name, str) else str(name)
    return f"{key}.{text}"[-_KEY:] if key else text


def _single(item: Any) -> Any:
    """Return a value that is shown on one line; `_ODD` for any other."""
    if isinstance(item, str):
        return item[:_TEXT].encode("utf-8", "backslashreplace").decode()
    if isinstance(item, bool) or item is None or (isinstance(item, int) and -(1 << 63) <= item < 1 << 63):
        return item
    if isinstance(item, float):
        return item if math.isfinite(item) else str(item)
    if isinstance(item, list | tuple) and item and len(item) <= _ITEMS:
        items = [_ODD if isinstance(one, list | tuple) else _single(one) for one in item]  # one may hold itself
        if all(isinstance(one, str | int | float | bool) for one in items):
            return items
    return _ODD


def of_yaml(text: str) -> dict[str, Json]:
    r"""Return the plain entries of a YAML file of settings, by a reader of `key: value` lines and of lists below a key.

    What is nested deeper, and tags that ask for objects, are left out: nothing is built.

    >>> of_yaml("lr: 0.1\nname: 'a: b'\nsizes:\n- 1\n- 2\nopt: !!python/object:x {}\ndeep:\n  a: 1\n")
    {'lr': 0.1, 'name': 'a: b', 'sizes': [1, 2], 'deep.a': 1}
    """
    found: dict[str, Json] = {}
    above, level = "", 0  # the latest key at the margin, and how far what is below it is indented
    for line in text.splitlines()[: 20 * MOST]:
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        key, colon, value = bare.partition(":")
        if not bare or bare.startswith("#") or len(found) >= MOST:
            continue
        if bare.startswith("- "):
            _add_item(found, above if not level else "", bare[2:])
        elif colon and (not value or value.startswith(" ")) and indent in {0, level or indent}:
            above, level = (above, indent) if indent else (key, 0)
            single = _scalar(value) if value.strip() else _ODD
            if single is not _ODD:
                found[f"{above}.{key}"[:_KEY] if indent else key[:_KEY]] = single
    return found


def _add_item(found: dict[str, Json], key: str, text: str) -> None:
    """Add an item to the list below a key at the margin."""
    kept = found.setdefault(key, []) if key else None
    single = _scalar(text)
    if isinstance(kept, list) and len(kept) < _ITEMS and single is not _ODD:
        kept.append(single)


def _scalar(text: str) -> Any:
    text = text.strip()
    if text[:1] in "!&*{|>[":
        return _ODD if text[:1] != "[" else text[:_TEXT]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1][:_TEXT]
    words = {"true": True, "false": False, "null": None, "~": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return _single(kind(text)) if len(text) < 40 else text[:_TEXT]  # noqa: PLR2004 - no number is longer
        except ValueError:
            continue
    return text[:_TEXT]
