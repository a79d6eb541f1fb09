"""From a name to an object: classes are found by file, or by entry point, never by being listed somewhere.

A room is a sub-package (`metrics`, `checkpoints`, ...).  A public class with a string `name` that is defined in one of
the room's files (files that begin with `_` aside) is registered under that name.  Other distributions add theirs by an
entry point of the group `milepost.<room>` that names a class.  Rooms are imported by string only, and only when asked
for.
"""

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

from milepost.errors import MissingExtra, UsageError


def files(room: str) -> list[str]:
    """Return the names of a room's public modules, sorted, without importing any of them."""
    package = importlib.import_module(f"milepost.{room}")
    return sorted(item.name for item in pkgutil.iter_modules(package.__path__) if not item.name.startswith("_"))


def classes(room: str) -> dict[str, type[Any]]:
    """Return every registered class of a room by name.

    A file whose optional dependency is missing is left out; two classes of one name, and a format, engine or export of
    another distribution that lacks a member of its seam, are a `UsageError`.

    >>> classes("metrics")["top_k"].__name__
    'TopK'
    """
    found: dict[str, type[Any]] = {}
    for file in files(room):
        try:
            module = importlib.import_module(f"milepost.{room}.{file}")
        except MissingExtra:
            continue
        for name, item in _defined(module).items():
            _add(found, room, name, item)
    for point in _entry_points(room):
        item = point.load()
        _check_seam(room, point.value, item)
        _add(found, room, item.name, item)
    return found


def load(room: str, name: str) -> type[Any]:
    """Return the class that is registered under a name; raise a `UsageError` that lists the names otherwise."""
    found = classes(room)
    if name not in found:
        raise UsageError(f"unknown {_kind(room)} {name!r}; available: {', '.join(sorted(found)) or 'none'}")
    return found[name]


def _kind(room: str) -> str:
    """Return what a room holds, in the singular.

    >>> _kind("checkpoints.formats"), _kind("data")
    ('format', 'data source')
    """
    return "data source" if room == "data" else room.rpartition(".")[2].removesuffix("s")


def _defined(module: ModuleType) -> dict[str, type[Any]]:
    public = (item for attribute, item in vars(module).items() if not attribute.startswith("_"))
    own = [item for item in public if isinstance(item, type) and item.__module__ == module.__name__]
    return {name: item for item in own if isinstance(name := getattr(item, "name", None), str)}


def _check_seam(room: str, value: str, item: object) -> None:
    """Raise a `UsageError` where what an entry point names lacks a member; an Evaluation checks what it is made of."""
    # Only where another distribution adds something: the protocols import NumPy.
    from milepost.core.capabilities import members, missing  # noqa: PLC0415 - as said
    from milepost.core.protocols import Export, Format  # noqa: PLC0415 - as said
    from milepost.core.sessions import Engine  # noqa: PLC0415 - as said

    seam = {"checkpoints.formats": Format, "engines": Engine, "exports": Export}.get(room)
    lacking = missing(item, seam) if seam else []
    if seam and lacking:
        raise UsageError(
            f"{value}, an entry point of the group 'milepost.{room}', has no `{lacking[0]}`; expected a class with "
            f"{', '.join(members(seam))}: mend it, or uninstall its distribution"
        )


def _add(found: dict[str, type[Any]], room: str, name: str, item: type[Any]) -> None:
    if found.get(name, item) is not item:
        first = found[name]
        raise UsageError(
            f"two {_kind(room)}s are named {name!r}: {first.__module__}.{first.__qualname__} and "
            f"{item.__module__}.{item.__qualname__}; rename one"
        )
    found[name] = item


@cache
def _entry_points(room: str) -> tuple[Any, ...]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - a listing needs no entry points and pays no import

    return tuple(entry_points(group=f"milepost.{room}"))
