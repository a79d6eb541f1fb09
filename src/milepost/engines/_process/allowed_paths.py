"""What a confined reader may open, and the check that its answers name nothing else.

A process under Landlock cannot be given more rights: a place that is new, or that is another file or folder than it
was, needs a new reader.
"""

import os
from collections.abc import Container, Iterable, Sequence

from milepost.core.types import CheckpointFiles, Table
from milepost.errors import Crashed

_Target = tuple[str, int, int] | None


class Places:
    """The places that the present reader was started with.

    >>> places = Places("/tmp")
    >>> places.need(["/usr/share"]), places.need(["/usr/share/doc"]), places.need(["/usr/bin"])
    (True, False, True)
    """

    def __init__(self, spool: str, named: Sequence[str] = ()) -> None:
        self.spool = spool
        self._targets: dict[str, _Target] = {}
        self._real: set[str] = set()
        self.need(named)

    @property
    def named(self) -> list[str]:
        return list(self._targets)

    def need(self, paths: Iterable[str]) -> bool:
        """Add what was named and is not covered; True where a reader that was started before may not read it."""
        changed = False
        for path in dict.fromkeys(map(os.path.abspath, paths)):
            target = _target(path)
            if path in self._targets:
                changed |= self._targets[path] != target
            elif target is not None and _above(target[0], self._real):
                continue
            else:
                changed |= target is not None
            self._targets[path] = target
            if target is not None:
                self._real.add(target[0])
        self._real = {target[0] for target in self._targets.values() if target is not None}
        return changed

    def need_within(self, paths: Iterable[str]) -> bool:
        """Add, as `need`, those that lie under no named place.

        What lies under one is never added: a symbolic link there leads where nobody named anything.
        """
        wanted: dict[str, None] = {}
        for path in map(os.path.abspath, paths):
            around = _above(path, self._targets)
            wanted.update(dict.fromkeys(around or [path]))
        return self.need(wanted)


def check_found(checkpoints: Sequence[CheckpointFiles], paths: Sequence[str], named: Sequence[str]) -> None:
    """Raise `Crashed` where a reader lists something that lies nowhere under what it was asked for.

    The other files of a checkpoint of several may lie beside it, under one of the places that are `named`.
    """
    asked = set(map(os.path.abspath, paths))
    beside = asked | set(named)
    for files in checkpoints:
        for path in (files.path, *files.paths):
            if not _above(os.path.abspath(path), asked if path == files.path else beside):
                raise Crashed(f"the reader process answered with {path!r}, which it was not asked for, and was ended")


def check_table(table: Table, files: CheckpointFiles, spool: str) -> None:
    """Raise `Crashed` where a table points at a file that is neither the checkpoint's nor in its own spool."""
    own = {os.path.abspath(path) for path in (files.path, *files.paths, spool)}
    for file in {tensor.where.file for tensor in table.tensors}:
        path = os.path.abspath(file)
        if not _above(path, own):
            raise Crashed(f"the reader process points at {file!r} for {files.path}, and was ended")


def check_room(table: Table, room: str) -> bool:
    """Return whether a table points at the file that was given for unpacked tensors.

    Raises `Crashed` where more was written there than the table holds.
    """
    ends = [tensor.where.offset + tensor.where.nbytes for tensor in table.tensors if tensor.where.file == room]
    held, wanted = os.stat(room).st_size, max(ends, default=0)
    if held != wanted:
        raise Crashed(f"the reader process wrote {held:,} bytes for a table that holds {wanted:,}, and was ended")
    return bool(ends)


def _above(path: str, places: Container[str]) -> list[str]:
    """Return which of the places a path is, or lies beneath."""
    found = []
    while True:
        if path in places:
            found.append(path)
        path, before = os.path.dirname(path), path
        if path == before:
            return found


def _target(path: str) -> _Target:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return os.path.realpath(path), status.st_dev, status.st_ino
