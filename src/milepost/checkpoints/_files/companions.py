"""Checkpoints of several files: which file stands for the checkpoint, and which others are its parts.

The file that stands for a checkpoint is the one that its writer writes last; its identity is the checkpoint's.  A
format whose checkpoints have parts says so by a static method `part_of(name)`: the name of the standing file that a
file called `name` is a part of, by the name alone.
"""

import os
from collections.abc import Callable, Iterator
from functools import cache

from milepost.core.types import CheckpointFiles
from milepost.registry import classes

_PREFIX = ".index"
"""What TensorFlow puts behind a prefix, which is how its users write a checkpoint's address."""
_MOST = 10_000
"""Files of a folder that is one checkpoint: a folder with more is none."""
SAVED_MODEL = "saved_model.pb"
"""What makes a folder a SavedModel."""
_VARIABLES = os.path.join("variables", "variables.index")


def named(path: str) -> str:
    """Return the path that is meant: a TensorFlow prefix means the `.index` file beside its shards.

    >>> named("/usr")
    '/usr'
    """
    return path + _PREFIX if not os.path.lexists(path) and os.path.isfile(path + _PREFIX) else path


def part_of(name: str) -> str | None:
    """Return the name of the file that stands for the checkpoint that this file is a part of, by the name alone.

    >>> part_of("model.safetensors") is None
    True
    """
    return next((whole for ask in _asked() if (whole := ask(name)) is not None), None)


def standing(found: CheckpointFiles) -> str:
    """Return the path of the file that stands for a checkpoint.

    >>> from milepost.core.types import Identity
    >>> standing(CheckpointFiles("m", "x", ("m/a.index", "m/a.data"), Identity(0, 0, 0, 0, 0)))
    'm/a.index'
    """
    return found.paths[0] if found.paths else found.path


def standing_in(folder: str) -> str:
    """Return what stands for a folder that is one checkpoint: a SavedModel's index of variables, else the folder.

    >>> standing_in("/usr")
    '/usr'
    """
    index = os.path.join(folder, _VARIABLES)
    return index if os.path.isfile(index) and os.path.isfile(os.path.join(folder, SAVED_MODEL)) else folder


def parts_of(path: str) -> list[str]:
    """Return the paths of the parts of the checkpoint that a file stands for, as they lie beside it now.

    >>> parts_of("/no/such/model.index")
    []
    """
    folder, name = os.path.split(path)
    try:
        return sorted(os.path.join(folder, other) for other in os.listdir(folder) if part_of(other) == name)
    except OSError:
        return []


def files_in(folder: str) -> Iterator[str]:
    """Yield the paths, relative to it, of the ordinary files of a folder that is one checkpoint."""
    count = 0
    for base, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(base, name)
            count += 1
            if count > _MOST:
                return
            if os.path.isfile(path) and not os.path.islink(path):
                yield os.path.relpath(path, folder)


def moved(path: str, place: str, to: str) -> str:
    """Return a path beside or below `place` as it is called beside or below `to`.

    >>> moved("/pins/1/m.data", "/pins/1/m.index", "/runs/m.index"), moved("/x", "/pins/1/m.index", "/runs/m.index")
    ('/runs/m.data', '/x')
    """
    here = os.path.dirname(place) + os.sep
    return os.path.dirname(to) + os.sep + path.removeprefix(here) if path.startswith(here) else path


def reworded(text: str, place: str, to: str) -> str:
    """Return a message with the names of files beside `place` as they are called beside `to`.

    >>> reworded("/pins/1/m.data: 3 bytes", "/pins/1/m.index", "/runs/m.index")
    '/runs/m.data: 3 bytes'
    """
    return text.replace(os.path.dirname(place) + os.sep, os.path.dirname(to) + os.sep) if place != to else text


@cache
def _asked() -> tuple[Callable[[str], str | None], ...]:
    kinds = (getattr(kind, "part_of", None) for kind in classes("checkpoints.formats").values())
    return tuple(ask for ask in kinds if ask is not None)
