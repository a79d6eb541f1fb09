"""Symbolic links in a folder of checkpoints: followed within the named paths, a failed row where they lead out.

Otherwise whoever may write into the folder could have any file of the user's read.  A named link is followed.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from milepost._internal.bounded import OpenFile, is_hidden
from milepost._internal.fileid import identity
from milepost.checkpoints.names import is_candidate, step_of_name
from milepost.core.types import CheckpointFiles
from milepost.errors import Corrupt, Outside

_TRIES = 3
_KERNEL = re.compile(r"/(proc|sys|dev(?!/shm/))(/|$)")
_FOLDERS = re.compile(r"ckpt|checkpoint|weights|snapshot|model|last|latest|best", re.IGNORECASE)


def _real(path: str) -> str:
    """Return where a path really is; its plain place where links on the way are exchanged faster than they are read."""
    for _ in range(_TRIES):
        with suppress(OSError):
            return os.path.realpath(path)
    return os.path.abspath(path)


def roots_of(paths: Sequence[str]) -> tuple[str, ...]:
    """Return where the named paths really are."""
    return tuple(dict.fromkeys(map(_real, paths)))


def leads_out(path: str, roots: Sequence[str]) -> bool:
    """Return whether a path, links followed, lies outside of all named ones, where it is there or cannot be seen."""
    real = _real(path)
    return (os.path.exists(real) or is_hidden(path)) and not any(_beneath(real, root) for root in roots)


def refused(links: Sequence[str], roots: Sequence[str]) -> Iterator[CheckpointFiles]:
    """Return the rows of links that lead out and are named like checkpoints, or folders of them.

    A link to a folder above is passed over: it leads back.
    """
    for path in links:
        name, real = os.path.basename(path), _real(path)
        missed = is_candidate(name) and not os.path.isdir(path)
        if os.path.isdir(path) or (is_hidden(path) and not os.path.splitext(name)[1]):
            like = bool(_FOLDERS.search(name)) or step_of_name(path) is not None
            missed |= like and not any(_beneath(root, real) for root in roots)
        if missed:
            now = identity(os.lstat(path))
            yield CheckpointFiles(path, None, (path,), now, "failed", _not_followed(path, real))


def _not_followed(path: str, real: str) -> tuple[str, str]:
    if _KERNEL.match(real):  # naming it would not help
        what = f"a symbolic link to {real}, which the system makes up: no checkpoint"
        return Corrupt.kind, f"{path}: {what}; it was not followed; remove the link"
    return Outside.kind, (
        f"{path}: a symbolic link to {real}, outside of the named folders, was not followed; to have it "
        "followed, name the link, or the folder of its target, too"
    )


def check_shards(main: str, shards: Sequence[str], folder: str | None = None) -> None:
    """Raise `Corrupt` where a shard is a link that leads out of the folder of the checkpoint's main file.

    A shard may lie where the main file lies, or where that leads.  Where a `folder` is the checkpoint, the main file
    must lie in it.
    """
    if folder is not None and not _beneath(_real(main), _real(folder)):
        raise Corrupt(f"{main}: leads to {_real(main)}, out of the checkpoint's folder; it was not followed")
    places = {_real(os.path.dirname(main)), os.path.dirname(_real(main))}
    for shard in shards:
        real = _real(shard) if os.path.islink(shard) else None
        if real is not None and os.path.dirname(real) not in places:
            raise Corrupt(
                f"{main}: its shard {os.path.basename(shard)} is a symbolic link to {real}, in another folder: not "
                "followed; put a copy or a hard link in its place"
            )


def place_of(file: OpenFile, roots: Sequence[str]) -> str | None:
    """Return where an open file lies if that is outside of all roots; None within, and where that cannot be known."""
    try:
        real = os.readlink(f"/proc/self/fd/{file.descriptor}")
    except OSError:
        return None
    return None if any(_beneath(real, root) for root in roots) else real


def _beneath(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def is_outside(path: str, named: Sequence[str]) -> bool:
    """Return whether a path under the named ones is a symbolic link that leads out of all of them."""
    return path not in named and os.path.islink(path) and leads_out(path, roots_of(named))


def refused_link(path: str, named: Sequence[str]) -> CheckpointFiles | None:
    """Return the row of a link that leads out, if it is named like a checkpoint or a folder of them."""
    return next(refused([path], roots_of(named)), None)
