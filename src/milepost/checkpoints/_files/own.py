"""What lies in the own folder of a checkpoint: its other files, those that an evaluation reads, other checkpoints."""

import os
from collections.abc import Iterator

from milepost.checkpoints._files.beside import is_hugging_face
from milepost.checkpoints._files.shards import main_name
from milepost.checkpoints.folders import own_folder
from milepost.checkpoints.names import checkpoint_name, is_candidate, is_passed_over

_DEEPEST = 3


def name_of(path: str) -> str:
    """Return the name of the checkpoint at a path, by what else lies in its own folder now."""
    own = own_folder(path)
    others = () if own is None else (other for other in _main_files(own) if not f"{other}/".startswith(f"{path}/"))
    return checkpoint_name(path, sum(1 for _ in others))


def read_beside(path: str) -> list[str]:
    """Return the other files of a checkpoint that lie where its main file lies and that an evaluation may read.

    They are all in its own folder but an optimizer's and the like: to hold those would hold their room.  In a run's
    folder, where Hugging Face's trainer leaves its best model, they are what its libraries write beside the weights.
    """
    folder = os.path.dirname(path)
    if own_folder(path) is not None:
        names = [name for name in _listed(folder) if not is_passed_over(name)]
    elif is_hugging_face(path):
        names = [name for name in _listed(folder) if name.endswith(".json")]
    else:
        return []
    files = [os.path.join(folder, name) for name in names]
    return [file for file in files if file != path and os.path.isfile(file)]


def files_below(folder: str) -> Iterator[str]:
    """Yield the paths of all files below a folder, links to folders among them, which are not followed."""
    for base, folders, names in os.walk(folder):
        yield from (os.path.join(base, name) for name in sorted(names))
        yield from (path for name in folders if os.path.islink(path := os.path.join(base, name)))


def _main_files(folder: str) -> Iterator[str]:
    depth = folder.count(os.sep)
    for base, folders, names in os.walk(folder):
        if base.count(os.sep) - depth >= _DEEPEST:
            folders.clear()
        yield from (os.path.join(base, name) for name in names if is_candidate(name) and main_name(name) is None)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
