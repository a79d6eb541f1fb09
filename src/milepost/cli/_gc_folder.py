"""What `gc` finds in a folder and what forbids touching it, and deleting what nothing forbids."""

import os
import stat
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from milepost._internal.fileid import identity
from milepost.checkpoints._files.own import files_below, name_of
from milepost.checkpoints._files.shards import shards_of
from milepost.checkpoints.folders import own_folder, run_folder
from milepost.checkpoints.names import checkpoint_name, epoch_of_name
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
    """What goes or stays as a whole: one checkpoint, or a checkpoint's own folder with all that lies in it.

    `listed` are the checkpoints as discovery lists them, `files` all files as they were looked at, the checkpoints' own
    first; `others` are those of a folder that are not the checkpoints' weights, as paths below it, with their bytes.
    """

    listed: tuple[CheckpointFiles, ...]
    run: str
    files: tuple[tuple[str, Content], ...]
    nbytes: int
    held: Held
    others: tuple[tuple[str, int], ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return os.path.isdir(self.held.path)


class Folder:
    """The checkpoints of a training folder, as the store knows them."""

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._real = os.path.realpath(path)
        self._reader = Reader()
        self._links = list(_links(path))
        self._pinned = _inodes(os.path.join(store.path, "pins"))
        self._claimed = _claimed(store)
        self._seen = defaultdict[str, list[CheckpointRecord]](list)
        for checkpoint in store.checkpoints():
            self._seen[_there(checkpoint.path)].append(checkpoint)
        self.places = [self._place(at, listed) for at, listed in _together(self._reader.discover([path]))]

    def _place(self, path: str, listed: list[CheckpointFiles]) -> Place:
        files, nbytes, odd = _looked_at(_files_of(path, listed), {file for one in listed for file in one.paths})
        seen = [self._records(one) for one in listed]
        known = [item for records in seen for item in records if item.digest is not None]
        runs = [item.run for records in seen for item in records]
        weights = tuple(sorted({str(one.digest) for one in known}))
        unknown = (self._unknown(one, records) for one, records in zip(listed, seen, strict=True))
        barred = odd or self._barred(path, files, weights) or next(filter(None, unknown), "")
        step = max((one.step for one in known if one.step is not None), default=None)
        first = listed[0].path
        run = runs[0] if runs else self._store.run_of(run_folder(first), note=False)
        name = name_of(first) if len(listed) == 1 else checkpoint_name(first)
        held = Held(path, name, step, weights, barred, epoch_of_name(first), _variants(known))
        return Place(tuple(listed), run, files, nbytes, held, _others(path, listed, files))

    def _records(self, listed: CheckpointFiles) -> list[CheckpointRecord]:
        """Return what is on record of the very content that lies at a path."""
        seen = self._seen.get(_there(listed.path), ())
        return [item for item in seen if item.identity.content == listed.identity.content]

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
        for target, link in self._links:
            within = (f"{_there(file)}{os.sep}".startswith(target + os.sep) for file, _ in files)
            if not link.startswith(path + os.sep) and any(within):
                return f"the symbolic link {os.path.basename(link)} points to it"
        if any(content[:2] in self._pinned for _, content in files):
            return "pinned: it waits for its evaluation"
        if any(digest in self._claimed for digest in weights):
            return "claimed: it is being evaluated"
        if any(os.path.basename(file) == "store.json" for file, _ in files):
            return "a store of results lies in it"
        if os.path.lexists(os.path.join(path, ".git")):
            return "a repository lies in it"
        return ""

    def delete(self, place: Place) -> None:
        """Delete a checkpoint with all its files unless it changed since it was looked at; a MilepostError says why.

        The deletion is on record before the first file goes, and its weights go before what lies beside them.
        """
        path, known = place.held.path, dict(place.files)
        now = self._reader.discover([path])
        if [(one.identity, one.paths) for one in now] != [(one.identity, one.paths) for one in place.listed]:
            raise MilepostError("changed while it was looked at: kept")
        if set(_files_of(path, now)) != set(known):
            raise MilepostError("a file came or went while it was looked at: kept")
        pinned, claimed = _inodes(os.path.join(self._store.path, "pins")), _claimed(self._store)
        if claimed & set(place.held.weights) or any(content[:2] in pinned for content in known.values()):
            raise MilepostError("an evaluation or a watch claimed it meanwhile: kept")
        for file, content in known.items():
            _check(os.lstat(file), content, "looked at: kept")
        facts = {"digests": list(place.held.weights), "step": place.held.step, "bytes": place.nbytes}
        for one in place.listed:
            Deletions(self._store.storage).add(place.run, one.path, one.identity, facts)
        folders = [base for base, _, _ in os.walk(path, topdown=False)] if place.is_folder else []
        for file, content in known.items():
            _unlink(file, content)
        for folder in folders:
            with suppress(OSError):  # something came into it
                os.rmdir(folder)


def _variants(known: Iterable[CheckpointRecord]) -> dict[str, str]:
    """Return the names of weights by digest; equal variants share one."""
    named = defaultdict[str, set[str]](set)
    for one in known:
        named[str(one.digest)].add(one.variant)
    return {digest: ", ".join(sorted(names)) for digest, names in named.items()}


def _together(found: Sequence[CheckpointFiles]) -> list[tuple[str, list[CheckpointFiles]]]:
    """Return checkpoints by the path of what goes or stays with each: its own folder, the outermost one, or itself."""
    owned = {one.path: own_folder(one.path) or one.path for one in found}
    folders = {folder for folder in owned.values() if os.path.isdir(folder)}
    groups: dict[str, list[CheckpointFiles]] = {}
    for one in found:
        above = [folder for folder in folders if f"{one.path}{os.sep}".startswith(folder + os.sep)]
        groups.setdefault(min(above, key=len, default=one.path), []).append(one)
    return list(groups.items())


def _files_of(path: str, listed: Iterable[CheckpointFiles]) -> dict[str, None]:
    """Return the paths of all files that go with a place, those of its checkpoints first."""
    own = [file for one in listed for file in (*one.paths, *shards_of(one.path)) if not os.path.isdir(file)]
    return dict.fromkeys([*own, *(files_below(path) if os.path.isdir(path) else ())])


def _others(
    path: str, listed: Iterable[CheckpointFiles], files: Iterable[tuple[str, Content]]
) -> tuple[tuple[str, int], ...]:
    if not os.path.isdir(path):
        return ()
    own = {file for one in listed for file in (*one.paths, *shards_of(one.path))}
    return tuple(sorted((os.path.relpath(file, path), content[2]) for file, content in files if file not in own))


def _looked_at(paths: Iterable[str], weights: Container[str]) -> tuple[tuple[tuple[str, Content], ...], int, str]:
    """Return the files with their identities, the bytes that deleting them frees, and what is odd about them."""
    files, nbytes, odd = [], 0, ""
    for file in paths:
        try:
            status = os.lstat(file)
        except OSError as error:
            return (), 0, f"cannot be looked at: {error.strerror}"
        if stat.S_ISLNK(status.st_mode) and file in weights:
            odd = "a symbolic link"
        elif not stat.S_ISLNK(status.st_mode) and not stat.S_ISREG(status.st_mode):
            odd = "not a file"
        files.append((str(file), identity(status).content))
        nbytes += status.st_size if status.st_nlink == 1 else 0  # another name would keep the bytes
    return tuple(files), nbytes, odd or ("" if files else "not a file")


def _check(status: os.stat_result, content: Content, when: str) -> None:
    if identity(status).content != content:  # a link in a file's place would be another inode
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
    """Yield the target and the path of every symbolic link below a folder."""
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(base, name)
            if os.path.islink(path):
                yield os.path.realpath(path), path


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
    held = [folder for folder in folders if is_held(store.storage, folder.key, heartbeats)]
    return {str(spec["weights"]) for folder in held if (spec := folder.spec()) is not None}
