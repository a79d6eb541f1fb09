"""What `gc` finds in a folder and what forbids touching it, and deleting what nothing forbids."""

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from milepost._internal.fileid import identity
from milepost.checkpoints._files.shards import shards_of
from milepost.checkpoints.names import epoch_of_name
from milepost.checkpoints.reader import Reader
from milepost.core.types import CheckpointFiles
from milepost.errors import MilepostError
from milepost.report.retention import Held
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.deletions import Deletions
from milepost.store.leases import Heartbeats, is_held
from milepost.store.store import Store

Content = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """A checkpoint as discovery lists it, its run, and its files as they were looked at."""

    listed: CheckpointFiles
    run: str
    files: tuple[tuple[str, Content], ...]
    nbytes: int
    held: Held


class Folder:
    """The checkpoints of a training folder, as the store knows them."""

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._real = os.path.realpath(path)
        self._reader = Reader()
        self._links = dict(_links(path))
        self._pinned = _inodes(os.path.join(store.path, "pins"))
        self._claimed = _claimed(store)
        self._seen = defaultdict[str, list[CheckpointRecord]](list)
        for checkpoint in store.checkpoints():
            self._seen[_there(checkpoint.path)].append(checkpoint)
        self.places = [self._place(found) for found in self._reader.discover([path])]

    def _place(self, listed: CheckpointFiles) -> Place:
        path = listed.path
        beside = [file for file in shards_of(path) if file not in listed.paths]
        files, nbytes, odd = _looked_at([*listed.paths, *beside])
        seen = [one for one in self._seen.get(_there(path), ()) if one.identity.content == listed.identity.content]
        known = [one for one in seen if one.digest is not None]
        weights = tuple(sorted({str(one.digest) for one in known}))
        barred = odd or self._barred(path, files, weights) or self._unknown(listed, seen)
        step = max((one.step for one in known if one.step is not None), default=None)
        run = seen[0].run if seen else self._store.run_of(os.path.dirname(path), note=False)
        held = Held(path, os.path.basename(path), step, weights, barred, epoch_of_name(path))
        return Place(listed, run, files, nbytes, held)

    def _unknown(self, listed: CheckpointFiles, seen: Iterable[CheckpointRecord]) -> str:
        """Say why a checkpoint is no business of ours: only what was evaluated, as it is now, may ever go."""
        newest: dict[str, CheckpointRecord] = {}
        for one in seen:
            if one.failure is None or one.variant not in newest:
                newest[one.variant] = one
        if failure := listed.failure or next((one.failure for one in newest.values() if one.failure), None):
            return f"failed: {failure[0]}"
        if listed.state != "complete":
            return "still being written"
        if not newest:
            return "changed since it was evaluated" if _there(listed.path) in self._seen else "not evaluated yet"
        return ""

    def _barred(self, path: str, files: Iterable[tuple[str, Content]], weights: Iterable[str]) -> str:
        real = os.path.realpath(path)
        if os.path.islink(path):
            return "a symbolic link"
        if not real.startswith(self._real + os.sep) or real != _there(path):
            return "outside of the folder"
        for target, link in self._links.items():
            if any(_there(file) == target or _there(file).startswith(target + os.sep) for file, _ in files):
                return f"the symbolic link {link} points to it"
        if any(content[:2] in self._pinned for _, content in files):
            return "pinned: it waits for its evaluation"
        if any(digest in self._claimed for digest in weights):
            return "claimed: it is being evaluated"
        return ""

    def delete(self, place: Place) -> None:
        """Delete a checkpoint with all its files unless it changed since it was looked at; a MilepostError says why.

        The deletion is on record before the first file goes.
        """
        now = self._reader.discover([place.held.path])
        if [(one.identity, one.paths) for one in now] != [(place.listed.identity, place.listed.paths)]:
            raise MilepostError("changed while it was looked at: kept")
        pinned, claimed = _inodes(os.path.join(self._store.path, "pins")), _claimed(self._store)
        if claimed & set(place.held.weights) or any(content[:2] in pinned for _, content in place.files):
            raise MilepostError("an evaluation or a watch claimed it meanwhile: kept")
        for file, content in place.files:
            _check(os.lstat(file), content, "looked at: kept")
        facts = {"digests": list(place.held.weights), "step": place.held.step, "bytes": place.nbytes}
        Deletions(self._store.storage).add(place.run, place.held.path, place.listed.identity, facts)
        for file, content in place.files:
            _unlink(file, content)
        if os.path.isdir(place.held.path):
            with suppress(OSError):  # something of somebody else's is in it
                os.rmdir(place.held.path)


def _looked_at(paths: Iterable[str]) -> tuple[tuple[tuple[str, Content], ...], int, str]:
    """Return the files with their identities, the bytes that deleting them frees, and what is odd about them."""
    files, nbytes, odd = [], 0, ""
    for file in paths:
        try:
            status = os.lstat(file)
        except OSError as error:
            return (), 0, f"cannot be looked at: {error.strerror}"
        if not stat.S_ISREG(status.st_mode):
            odd = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a file"
        files.append((str(file), identity(status).content))
        nbytes += status.st_size if status.st_nlink == 1 else 0  # another name would keep the bytes
    return tuple(files), nbytes, odd or ("" if files else "not a file")


def _check(status: os.stat_result, content: Content, when: str) -> None:
    if not stat.S_ISREG(status.st_mode) or identity(status).content != content:
        raise MilepostError(f"changed while it was {when}")


def _unlink(file: str, content: Content) -> None:
    """Unlink within the very folder that was entered, so that a folder swapped for a link leads nowhere."""
    folder, name = os.path.split(file)
    handle = os.open(os.path.realpath(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _check(os.stat(name, dir_fd=handle, follow_symlinks=False), content, "deleted: the rest is kept")
        os.unlink(name, dir_fd=handle)
    finally:
        os.close(handle)


def _there(path: str) -> str:
    """Return a path whose folder is real but whose last name is as it is: a link is not its target."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _links(folder: str) -> Iterable[tuple[str, str]]:
    """Yield the target and the name of every symbolic link below a folder."""
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(base, name)
            if os.path.islink(path):
                yield os.path.realpath(path), name


def _inodes(folder: str) -> set[tuple[int, int]]:
    """Return device and inode of every file below a folder."""
    found = set()
    for base, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                status = os.stat(os.path.join(base, name))
                found.add((status.st_dev, status.st_ino))
    return found


def _claimed(store: Store) -> set[str]:
    """Return the digests of the weights that somebody who may be alive holds a lease on."""
    heartbeats = Heartbeats(store.storage)
    folders = [store.evaluation(key) for key in store.evaluations()]
    held = [folder for folder in folders if is_held(store.storage, f"{folder.folder}/leases", heartbeats)]
    return {str(spec["weights"]) for folder in held if (spec := folder.spec()) is not None}
