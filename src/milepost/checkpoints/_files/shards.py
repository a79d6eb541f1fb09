"""Checkpoints of several files: which one stands for the checkpoint (its main file), and which are its shards.

The main file is the one that its writer writes last; its identity is the checkpoint's.
"""

import os
from collections.abc import Iterator
from functools import cache

from milepost._internal.bounded import unreadable
from milepost.checkpoints.names import INDEX, saver_shards
from milepost.core.capabilities import capability
from milepost.core.escaping import one_line
from milepost.core.protocols import ShardedFormat
from milepost.core.types import CheckpointFiles, Identity
from milepost.errors import Vanished
from milepost.registry import classes

SAVED_MODEL = "saved_model.pb"
"""What makes a folder a SavedModel."""
_VARIABLES = os.path.join("variables", "variables.index")
_MOST = 10_000
"""Files of a folder that is one checkpoint: a folder with more is none."""


def from_prefix(path: str) -> str:
    """Return the path that the user means by what TensorFlow calls a checkpoint; any other path is itself.

    A prefix means the `.index` file beside its shards.  What a sharded Saver V1 returns (`PREFIX-?????-of-00002`), and
    the name of any of its shards, mean the first shard that is there.
    """
    if not os.path.lexists(path) and os.path.isfile(path + INDEX):
        return path + INDEX
    return next(filter(os.path.isfile, saver_shards(path)), path)


def main_name(name: str) -> str | None:
    """Return the name of the main file that a file of this name is a shard of, by the name alone; None for no shard."""
    return next((main for form in _sharded() if (main := form.main_name(name)) is not None), None)


def main_file(files: CheckpointFiles) -> str:
    """Return the path of a checkpoint's main file."""
    return files.paths[0] if files.paths else files.path


def bytes_in(files: CheckpointFiles) -> int:
    """Return how many bytes the files of a checkpoint have together, as they were found."""
    return files.identity.size + sum(one.size for one in files.others)


def identities(files: CheckpointFiles) -> dict[str, Identity]:
    """Return which file was found at each path of a checkpoint, but for those that were not there."""
    known = (files.identity, *files.others)
    return {path: one for path, one in zip(files.paths, known, strict=False) if one.inode}


def main_file_in(folder: str) -> str:
    """Return the main file of a folder that is one checkpoint: a SavedModel's index of variables, else the folder."""
    index = os.path.join(folder, _VARIABLES)
    return index if os.path.isfile(index) and os.path.isfile(os.path.join(folder, SAVED_MODEL)) else folder


def shards_of(path: str) -> list[str]:
    """Return the paths of the shards of a checkpoint that lie beside its main file now.

    [] where the folder is gone, or may be passed through but not listed: a file that is named by itself can be read all
    the same.  Raises the error of the tree where the folder cannot be listed for another reason.
    """
    folder, name = os.path.split(path)
    try:
        listed = os.listdir(folder or os.curdir)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    except OSError as error:
        raise unreadable(folder or os.curdir, error) from error
    return sorted(os.path.join(folder, other) for other in listed if main_name(other) == name)


def size_of(path: str) -> int | None:
    """Return how many bytes a file has, links followed; None where it is not there.

    Raises the error of the tree where that cannot be known: such a file is not absent.
    """
    try:
        return os.stat(path).st_size
    except OSError as error:
        found = unreadable(path, error)
        if isinstance(found, Vanished):
            return None
        raise found from error


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
    beside = one_line(os.path.dirname(place) + os.sep)  # as a checkpoint's errors have it
    return text.replace(beside, one_line(os.path.dirname(to) + os.sep)) if place != to else text


@cache
def _sharded() -> tuple[ShardedFormat, ...]:
    made = (capability(kind(), ShardedFormat) for kind in classes("checkpoints.formats").values())
    return tuple(form for form in made if form is not None)
