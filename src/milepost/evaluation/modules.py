"""The user's modules that an evaluation file brings with it: what its text imports, and what ran meanwhile."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType

from milepost.evaluation.origin import Origin, is_foreign, origin
from milepost.evaluation.reading import Readings
from milepost.evaluation.source import ModuleText, source_of

IsInstalled = Callable[[str], bool]
"""Tells whether a module belongs to an installed distribution; one in its folders that does not is the user's."""


def sources_of(root: str, readings: Readings, is_installed: IsInstalled = lambda _: True) -> dict[str, bytes]:
    """Return the text of an evaluation file and of all the user's modules that it brings with it, by path.

    Imports count wherever they stand in a text, in functions that have not run yet too.  The text is what ran, or what
    lies on disk where it has not.
    """
    packages = Packages()
    found = dict[str, bytes]()
    waiting = [root]
    while waiting:
        path = waiting.pop()
        if path in found or (text := _text(path, readings)) is None:
            continue
        found[path] = text
        for name in imported(source_of(text), path, packages):
            file = file_of(name, os.path.dirname(root))
            if file is not None and (
                not is_foreign(file) or (origin(file) is Origin.PACKAGE and not is_installed(name))
            ):
                waiting.append(file)
        if not waiting:
            waiting = [path for path in readings.of("source", found.keys()) if path not in found]
    return found


class Packages:
    """The packages that imported modules belong to, where relative imports start: gathered once one is met."""

    @cached_property
    def _by_file(self) -> dict[str, str]:
        modules = [item for item in list(sys.modules.values()) if isinstance(item, ModuleType)]
        return {file: item.__package__ or "" for item in modules if (file := vars(item).get("__file__")) is not None}

    def of(self, path: str) -> str:
        """Return the package of the module with a file; "" where none was imported from it."""
        return self._by_file.get(path, "")


def imported(source: ModuleText, path: str, packages: Packages) -> frozenset[str]:
    """Names of modules that a source may import: `from a import b` may mean the module a.b; and all parent packages."""
    names: set[str] = set()
    for module, taken, level in source.imports:
        base = _absolute(module, level, packages.of(path)) if level else module
        names.update([base, *(f"{base}.{name}" for name in taken)])
    parts = {".".join(name.split(".")[:count]) for name in names for count in range(1, name.count(".") + 2)}
    return frozenset(parts - {""})


def _absolute(module: str, level: int, package: str) -> str:
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - level + 1])
    return ".".join(part for part in (base, module) if part)


def _text(path: str, readings: Readings) -> bytes | None:
    known = readings.sources.get(path)
    if known is not None or not path.endswith(".py"):
        return known
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def file_of(name: str, folder: str) -> str | None:
    """Return the file of a module: of the imported one, or where it would be found in a folder of the user's."""
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        return os.path.realpath(file) if isinstance(file, str) else None
    relative = name.replace(".", os.sep)
    for place in _folders(folder):
        for candidate in (f"{place}/{relative}.py", f"{place}/{relative}/__init__.py"):
            if os.path.isfile(candidate):
                return os.path.realpath(candidate)
    return None


def _folders(own: str) -> Iterator[str]:
    yield own
    yield from (item for item in sys.path if item and not is_foreign(f"{item}/module.py"))
