"""From nested dicts, lists and tuples to a flat list of arrays with the keys and positions on the way to each."""

from typing import Any

from milepost._internal.bounded import COUNT_LIMIT
from milepost.checkpoints._codecs.pickle import Placeholder
from milepost.checkpoints.formats._numpy.pickled import PickledArray, array_of, is_array
from milepost.errors import Corrupt, Unsafe

_DEPTH = 100
_NODES = 4 * COUNT_LIMIT
_ALONE = "array"
"""The name of an array that is all that a pickle holds."""

Row = tuple[tuple[str, ...], PickledArray]


def arrays_in(value: Any, where: str) -> list[Row]:
    """Return the arrays of an unpickled value in the file's order, each with its keys and positions.

    Raises `Unsafe` for what could only be made by running the pickle, and `Corrupt` for nesting without end, for two
    arrays of one name, and for more than a million.
    """
    rows: list[Row] = []
    # Each waiting item: its way, the value, ids of the containers around it.
    waiting: list[tuple[tuple[str, ...], Any, tuple[int, ...]]] = [((), value, ())]
    nodes = 0
    while waiting:
        path, item, around = waiting.pop()
        nodes += 1
        if is_array(item):
            rows.append((path or (_ALONE,), array_of(item, f"{where}: array {'/'.join(path)[:200]!r}")))
        elif isinstance(item, Placeholder):
            made = item.address if isinstance(item.address, str) else "something"
            raise Unsafe(f"{where}: {'/'.join(path)[:200]!r} is made by {made[:200]!r}, which Milepost did not run")
        children = _children(item)
        if len(rows) > COUNT_LIMIT or nodes + len(waiting) + len(children) > _NODES:
            raise Corrupt(f"{where}: more than {COUNT_LIMIT:,} arrays, or containers without end")
        if children and (len(around) >= _DEPTH or id(item) in around):
            raise Corrupt(f"{where}: containers are nested more than {_DEPTH} deep, or without end")
        waiting.extend(((*path, name), child, (*around, id(item))) for name, child in reversed(children))
    names = {"/".join(path) for path, _ in rows}
    if len(names) < len(rows):
        raise Corrupt(f"{where}: two arrays have one name once their keys are joined by '/'")
    return rows


def _children(item: Any) -> list[tuple[str, Any]]:
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
        return (
            "/".join(map(str, parts))
            if isinstance(parts, tuple) and all(isinstance(one, str) for one in parts)
            else "?"
        )
    return str(key) if not isinstance(key, int) or -(1 << 63) <= key < 1 << 63 else "?"  # endless numbers have no text
