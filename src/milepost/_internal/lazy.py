"""Names that a package hands on without importing the files behind them (PEP 562).

A room (`milepost.metrics`) hands on the classes of its files.  Which file holds a class is read from the files' text,
so that nothing is imported but the file that is asked for; files added to the room's `__path__` count as its own.
"""

import ast
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Hooks: TypeAlias = tuple[Callable[[str], Any], Callable[[], list[str]]]
"""A module's `__getattr__` and `__dir__`."""


def room(package: str) -> Hooks:
    """Return `__getattr__` and `__dir__` for a room, whose classes are found by file.

    A class counts as the room's when it is public, stands at the top of a public file, and has a `name` (its registered
    name) of its own or from a base in the same file.

    >>> import milepost.metrics
    >>> "TopK" in dir(milepost.metrics)
    True
    """
    return _hooks(package, lambda name: _address(package, name), lambda: classes(package))


def table(package: str, addresses: Mapping[str, str]) -> Hooks:
    """Return `__getattr__` and `__dir__` for a package that hands on a fixed list: name to "module:attribute".

    >>> getter, lister = table("milepost", {"tau": "math:tau"})
    >>> round(getter("tau"), 2)
    6.28
    """
    return _hooks(package, addresses.get, lambda: addresses)


def _hooks(package: str, address: Callable[[str], str | None], names: Callable[[], Iterable[str]]) -> Hooks:
    def getter(name: str) -> Any:
        if name == "__all__":
            return sorted(names())
        found = address(name)
        if found is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        module, _, attribute = found.partition(":")
        thing = getattr(importlib.import_module(module), attribute)
        setattr(sys.modules[package], name, thing)  # so that it is asked for once only
        return thing

    def lister() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names()})

    return getter, lister


def classes(package: str) -> dict[str, str]:
    """Return every class that a room hands on, with the name of its file, sorted; imports none of the files.

    Raises ValueError where two files of the room define the same class.
    """
    found: dict[str, str] = {}
    for file, text in _texts(package):
        for name in _named_classes(file, text):
            if name in found:
                raise ValueError(f"{package}: {name} is defined in both {found[name]}.py and {file}.py; rename one")
            found[name] = file
    return dict(sorted(found.items()))


def _address(package: str, name: str) -> str | None:
    """Return where a class of a room is: parses only files whose text has the words `class NAME`."""
    for file, text in () if name.startswith("_") else _texts(package):
        if f"class {name}" in text and name in _named_classes(file, text):
            return f"{package}.{file}:{name}"
    return None


def _texts(package: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a room's public files, sorted by name; a sub-package is its `__init__.py`."""
    for item in sorted(pkgutil.iter_modules(sys.modules[package].__path__), key=lambda item: item.name):
        spec = None if item.name.startswith("_") else item.module_finder.find_spec(item.name, None)
        if spec is not None and spec.origin is not None:
            yield item.name, Path(spec.origin).read_text(encoding="utf-8")


def _named_classes(file: str, text: str) -> list[str]:
    named: set[str] = set()
    public: list[str] = []
    for node in ast.parse(text, f"{file}.py").body:
        if isinstance(node, ast.ClassDef) and (_names_itself(node) or _bases(node) & named):
            named.add(node.name)
            if not node.name.startswith("_"):
                public.append(node.name)
    return public


def _names_itself(node: ast.ClassDef) -> bool:
    targets: list[ast.expr] = []
    for item in node.body:
        if isinstance(item, ast.Assign):
            targets += item.targets
        elif isinstance(item, ast.AnnAssign) and item.value is not None:
            targets.append(item.target)
    return any(isinstance(target, ast.Name) and target.id == "name" for target in targets)


def _bases(node: ast.ClassDef) -> set[str]:
    plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
    return {base.id for base in plain if isinstance(base, ast.Name)}
