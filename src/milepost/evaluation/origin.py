"""Whose code a file or a frame is: the user's own, or that of Python, of an installed package or of Milepost."""

import os
import sys
import sysconfig
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import FrameType

_MILEPOST = os.path.join(str(Path(__file__).parents[1]), "")
_SITES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_INIT = f"{os.sep}__init__.py"
_PYTHON = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
_RECORD = tuple(str(Path(__file__).with_name(f"{name}.py")) for name in ("recorder", "environment"))
_IMPORT_SYSTEM = ("_frozen_importlib", "_frozen_importlib_external", "zipimport")


class Origin(IntEnum):
    """Who wrote the code of a frame."""

    USER = 0
    MILEPOST = 1
    IMPORTER = 2
    PACKAGE = 3
    PYTHON = 4
    NOBODY = 5


USER, MILEPOST, IMPORTER, PACKAGE, PYTHON, NOBODY = Origin
"""The same by names of their own: `Origin.USER` is a call in Python 3.11, and is asked for at each of 9,000 events."""


def origin(file: str) -> Origin:
    """Return who owns a code object's file name; what is no file (`<string>`) is nobody's.

    A file belongs to whom its folder does, though it may be a link: package managers link files to a cache of theirs.

    >>> origin("<frozen importlib._bootstrap>"), origin(os.__file__), origin("/home/me/site-packages/x/y.py")
    (<Origin.IMPORTER: 2>, <Origin.PYTHON: 4>, <Origin.PACKAGE: 3>)
    """
    if file.startswith("<"):
        if file.startswith(("<frozen importlib", "<frozen zipimport")):
            return IMPORTER
        return PYTHON if file.startswith("<frozen") else NOBODY
    return _of_folder(file[: file.rfind(os.sep)])


def origin_of_frame(frame: FrameType) -> Origin:
    """Return who owns the code of a frame; frames of the record itself are nobody's.

    A frame of a module that is foreign is known by the module's file. To ask a frame for its code is an audit event of
    its own, and a stack is looked through for each of some thousand imports of a large package.
    """
    file = frame.f_globals.get("__file__")
    whose = _of_module(file) if isinstance(file, str) else USER
    return origin(frame.f_code.co_filename) if whose is USER else whose


@cache
def _of_module(file: str) -> Origin:
    if file in _RECORD:
        return NOBODY
    importers = [getattr(sys.modules.get(name), "__file__", None) for name in _IMPORT_SYSTEM]
    return IMPORTER if file in importers else origin(file)


def is_foreign(file: str) -> bool:
    """Return whether a file belongs to Python, to an installed package or to Milepost: nobody's evaluation code.

    >>> is_foreign(os.__file__), is_foreign("/home/me/eval.py")
    (True, False)
    """
    return origin(file) not in (USER, NOBODY)


def installed_name(file: str) -> str | None:
    """Return the name of a package or module that lies in no other package; None for a file inside of one.

    >>> [installed_name(f"/venv/lib/site-packages/{file}") for file in ("six.py", "torch/__init__.py", "torch/hub.py")]
    ['six', 'torch', None]
    """
    if not _is_outermost(file[: file.rfind(os.sep)]):
        return None  # as nearly all
    whole = file.removesuffix(_INIT)
    place = whole.rfind(os.sep)
    return whole[place + 1 :].partition(".")[0] if whole[: place + 1].endswith(_SITES) else None


@cache
def _is_outermost(folder: str) -> bool:
    """Return whether a folder is one of packages, or lies directly in one."""
    parent = folder[: folder.rfind(os.sep) + 1]
    return parent.endswith(_SITES) or f"{folder}{os.sep}".endswith(_SITES)


@cache
def _of_folder(folder: str) -> Origin:
    """Return what the files of a folder are, once for all of them; its name ends in no separator."""
    parent = folder[: folder.rfind(os.sep)]
    if parent and _of_folder(parent) is PACKAGE and not os.path.islink(folder):
        return PACKAGE  # the rest costs a call to the system for each step of the path
    path = os.path.join(os.path.realpath(folder), "")
    # Packages may lie elsewhere too: the system's below a virtual environment's, or where a .pth file points.
    if any(site in path for site in _SITES):
        return PACKAGE
    if path.startswith(_MILEPOST) or f"{folder}{os.sep}".startswith(_MILEPOST):
        return MILEPOST
    return PYTHON if path.startswith(_installed()) else USER


@cache
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({os.path.join(os.path.realpath(paths[name]), "") for name in _PYTHON})
