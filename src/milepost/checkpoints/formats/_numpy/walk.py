"""From nested dicts, lists and tuples to a flat list of arrays with the keys and positions on the way to each."""

from typing import Any

from milepost._internal.bounded import COUNT_LIMIT
from milepost._internal.budget import charge
from milepost.checkpoints._codecs.pickle import Placeholder
from milepost.checkpoints._files.checks import NAME_LIMIT
from milepost.checkpoints.formats._numpy.pickled import PickledArray, array_of, is_array
from milepost.errors import Corrupt, Unsafe

_DEPTH = 100
_CHILD, _ROW = 300, 700
"""Bytes of a child that waits to be looked at, and of an array's description."""
_GLANCE = 4
"""Sixteen items that are looked at and passed over count as one node."""
_ALONE = "array"
"""The name of an array that is all that a pickle holds."""

Row = tuple[tuple[str, ...], PickledArray]


def arrays_in(value: Any, where: str) -> list[Row]:
    """Return the arrays of an unpickled value in the file's order, each with its keys and positions.

    Raises `Unsafe` for what could only be made by running the pickle, and `Corrupt` for nesting without end, for two
    arrays of one name, for names that are too long together, and for more than a million.
    """
    rows: list[Row] = []
    # Each waiting item: its way and the length of that, the value, ids of the containers around it.
    waiting: list[tuple[tuple[str, ...], int, Any, tuple[int, ...]]] = [((), 0, value, ())]
    while waiting:
        path, length, item, around = waiting.pop()
        if length > NAME_LIMIT:
            what = f"an array's name would be longer than {NAME_LIMIT:,} characters"
            raise Corrupt(f"{where}: {what}: {'/'.join(path)[:100]!r}...")
        if is_array(item):
            charge(made=_ROW + length)
            rows.append((path or (_ALONE,), array_of(item, f"{where}: array {'/'.join(path)[:200]!r}")))
        elif isinstance(item, Placeholder):
            made = item.address if isinstance(item.address, str) else "something"
            raise Unsafe(f"{where}: {'/'.join(path)[:200]!r} is made by {made[:200]!r}, which Milepost did not run")
        children = _children(item)
        if len(rows) > COUNT_LIMIT:
            raise Corrupt(f"{where}: more than {COUNT_LIMIT:,} arrays")
        if children and (len(around) >= _DEPTH or id(item) in around):
            raise Corrupt(f"{where}: containers are nested more than {_DEPTH} deep, or without end")
        charge(made=(_CHILD + 8 * len(path)) * len(children) + 8 * len(around), nodes=len(children))
        inside = (*around, id(item))
        waiting.extend(((*path, name), length + len(name) + 1, child, inside) for name, child in reversed(children))
    names = {"/".join(path) for path, _ in rows}
    if len(names) < len(rows):
        raise Corrupt(f"{where}: two arrays have one name once their keys are joined by '/'")
    return rows


def _children(item: Any) -> list[tuple[str, Any]]:
    if isinstance(item, dict | list | tuple):
        charge(nodes=len(item) >> _GLANCE)
    if isinstance(item, dict):
        return [(_text(key), child) for key, child in item.items() if _holds(child)]
    if isinstance(item, list | tuple):
        return [(str(number), child) for number, child in enumerate(item) if _holds(child)]
    return []


def _holds(child: Any) -> bool:
    return isinstance(child, dict | list | tuple | Placeholder)


def _text(key: Any) -> str:
    """Return a key as text; a tuple of texts, with which some flatten nested dicts, as the way that it stands for."""
    if isinstance(key, Placeholder):
        parts = key.arguments[0] if key.address == "key" else ()
        if not isinstance(parts, tuple) or len(parts) > _DEPTH or not all(isinstance(one, str) for one in parts):
            return "?"
        return "/".join(one[:NAME_LIMIT] for one in parts)
    return key if isinstance(key, str) else str(key[:NAME_LIMIT] if isinstance(key, bytes) else key)
