"""Check who imports what from outside: the lists `base` and `extras` of [tool.milepost] in pyproject.toml.

Every import counts, also inside functions and through `import_module("name")`.  A third-party module that is neither in
the base nor allowed to the file is a breach, and so is an entry of the list that no file needs any more.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OWN = "milepost"
NOT_PYTHON = ""
DYNAMIC = ("import_module", "__import__")


@dataclass(frozen=True, slots=True)
class Rules:
    """Modules of every install; for every other one the files, or folders (ending in "/"), that may import it."""

    base: frozenset[str]
    extras: dict[str, tuple[str, ...]]

    def allows(self, module: str, path: str) -> bool:
        """Return whether a file may import a top-level module."""
        if module in self.base or module == OWN or module in sys.stdlib_module_names:
            return True
        return any(path == place or (place.endswith("/") and path.startswith(place)) for place in self.places(module))

    def places(self, module: str) -> tuple[str, ...]:
        """Return the files and folders that may import a module."""
        return self.extras.get(module, ())


def rules(pyproject: dict[str, Any]) -> Rules:
    """Read the two lists."""
    section = pyproject["tool"]["milepost"]
    return Rules(frozenset(section["base"]), {module: tuple(places) for module, places in section["extras"].items()})


def imports(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level module) for every absolute import of a file; `NOT_PYTHON` where it does not parse."""
    try:
        tree = ast.parse(text, path)
    except SyntaxError as error:
        yield error.lineno or 0, NOT_PYTHON
        return
    for node in ast.walk(tree):
        for name in _names(node):
            yield getattr(node, "lineno", 0), name.partition(".")[0]


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [item.name for item in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]):
            return [name] if called in DYNAMIC and not name.startswith(".") else []
        case _:
            return []


def breaches(sources: dict[str, str], allowed: Rules) -> list[str]:
    """Return a line for every import that is not allowed, and for every stale entry of the list."""
    found = []
    used: set[tuple[str, str]] = set()
    for path, text in sources.items():
        for line, module in imports(path, text):
            if module == NOT_PYTHON:
                found.append(f"{path}:{line}: is not Python")
            elif not allowed.allows(module, path):
                where = " or ".join(allowed.places(module)) or "nowhere yet ([tool.milepost.extras] in pyproject.toml)"
                found.append(f"{path}:{line}: imports {module}, which is allowed in {where}")
            used |= {(module, place) for place in allowed.places(module) if path.startswith(place)}
    listed = {(module, place) for module, places in allowed.extras.items() for place in places}
    found += [
        f"pyproject.toml: {place} is listed for {module} and does not import it" for module, place in listed - used
    ]
    return sorted(found)


def main() -> int:
    """Check every file of the package; return 1 where one imports what it may not."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        allowed = rules(tomllib.load(file))
    paths = sorted((ROOT / "src").rglob("*.py"))
    found = breaches({path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}, allowed)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
