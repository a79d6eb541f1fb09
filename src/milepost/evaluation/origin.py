"""Whose code a file is: the user's own, or that of Python, of an installed package or of Milepost."""

import os
import sysconfig
from enum import IntEnum
from functools import cache
from pathlib import Path

_MILEPOST = os.path.join(str(Path(__file__).parents[1]), "")
_SITES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_PYTHON = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")


class Origin(IntEnum):
    """Who wrote the code of a frame."""

    USER = 0
    MILEPOST = 1
    IMPORTER = 2
    PACKAGE = 3
    PYTHON = 4
    NOBODY = 5


@cache
def origin(file: str) -> Origin:
    """Return who owns a code object's file name; what is no file (`<string>`) is nobody's.

    >>> origin("<frozen importlib._bootstrap>"), origin(os.__file__), origin("/home/me/site-packages/x/y.py")
    (<Origin.IMPORTER: 2>, <Origin.PYTHON: 4>, <Origin.PACKAGE: 3>)
    """
    if file.startswith(("<frozen importlib", "<frozen zipimport")):
        return Origin.IMPORTER
    if file.startswith("<"):
        return Origin.PYTHON if file.startswith("<frozen") else Origin.NOBODY
    if file.startswith(_MILEPOST):
        return Origin.MILEPOST
    path = os.path.realpath(file) if os.path.islink(file) else _resolved(file)
    # Packages may lie elsewhere too: the system's below a virtual environment's, or where a .pth file points.
    if any(site in path for site in _SITES):
        return Origin.PACKAGE
    if path.startswith(_MILEPOST):
        return Origin.MILEPOST
    return Origin.PYTHON if path.startswith(_installed()) else Origin.USER


def is_foreign(file: str) -> bool:
    """Return whether a file belongs to Python, to an installed package or to Milepost: nobody's evaluation code.

    >>> is_foreign(os.__file__), is_foreign("/home/me/eval.py")
    (True, False)
    """
    return origin(file) not in (Origin.USER, Origin.NOBODY)


def _resolved(file: str) -> str:
    folder, name = os.path.split(file)
    return f"{_real_folder(folder)}{os.sep}{name}"


@cache
def _real_folder(folder: str) -> str:
    """Resolve a folder once for all its files: each step of a path costs a call to the system."""
    return os.path.realpath(folder)


@cache
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({os.path.join(os.path.realpath(paths[name]), "") for name in _PYTHON})
