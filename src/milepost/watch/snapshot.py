"""What lies in the folders of checkpoints, by name, size and times alone: cheap to ask again every second.

A folder is listed when its own time changed.  Single files are looked at every time where something is expected of
them: those that wait for their turn, and those whose names tell no step (`last`, `best`), which trainers overwrite.
All are looked at in a sweep every 30 seconds: a file that is overwritten in place leaves its folder's time as it was.
Nothing is opened here.
"""

import errno
import glob
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePath

from milepost._internal.fileid import identity
from milepost.checkpoints._files.links import is_outside
from milepost.checkpoints._files.shards import files_in, main_file_in, main_name
from milepost.checkpoints.discovery import is_store, is_whole, matches
from milepost.checkpoints.folders import is_unfinished
from milepost.checkpoints.names import is_passed_over, step_of_name
from milepost.core.types import Identity

SWEEP_SECONDS = 30.0
_RACY_NS = 2_000_000_000
"""A folder that changed less than this before it was listed may change again within the same tick of its clock."""
_OVERWRITTEN = 100
"""Most files without a step that are looked at every time."""
_DEPTH = 64
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What the system says of that which is not there; anything else (rights, a failing disk) may pass."""


Content = tuple[int, int, int, int]
"""A file's identity without its ctime."""

Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file, or a folder that is one checkpoint, as the file system shows it."""

    path: str
    identity: Identity
    root: str

    @property
    def key(self) -> Key:
        """What stays the same while the file is written: its path, and device and inode of what lies there."""
        return self.path, self.identity.device, self.identity.inode


@dataclass(frozen=True, slots=True)
class FolderChanges:
    """What differs from the scan before: files that are new or have new content, and those that are gone, as they were.

    `members` changed in any way: files of checkpoints that another file stands for.
    """

    new: tuple[ScannedFile, ...] = ()
    gone: tuple[ScannedFile, ...] = ()
    members: tuple[ScannedFile, ...] = ()


@dataclass(slots=True)
class _Folder:
    """A folder as it was listed: its own time, its files by name with the inode of the entry, its subfolders."""

    root: str
    around: tuple[tuple[int, int], ...]
    linked: bool
    trusted: int = 0
    inodes: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


class Snapshot:
    """The files under some roots, which need not exist yet; a root with `*`, `?` or `[` is a pattern until then.

    `roots` are, as of the latest scan, those without a pattern, there or not, and what matches a pattern.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     snapshot = Snapshot([f"{folder}/run"])
    ...     os.mkdir(f"{folder}/run")
    ...     _ = open(f"{folder}/run/step-1.npz", "wb").close()
    ...     new = snapshot.scan().new
    ...     os.unlink(f"{folder}/run/step-1.npz")
    ...     [os.path.basename(file.path) for file in (*new, *snapshot.scan().gone)]
    ['step-1.npz', 'step-1.npz']
    """

    def __init__(
        self, roots: Sequence[str], match: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Watch files and folders; `match` narrows as it does in `find`."""
        self._given = [os.path.abspath(root) for root in roots]
        self.roots = list(self._present())
        self._match = match
        self._clock = clock
        self._swept = -SWEEP_SECONDS
        self._folders: dict[str, _Folder] = {}
        self._files: dict[str, ScannedFile] = {}
        self._overwritten: dict[str, None] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._wholes: set[str] = set()
        main_path("")  # the formats are imported now: later that would take a second between a listing and its pins

    def scan(self, pending: Sequence[str] = (), *, full: bool = False) -> FolderChanges:
        """Look once.  `pending` are paths to look at whatever their folder says; `full` looks at every file."""
        if full or self._clock() - self._swept >= SWEEP_SECONDS:
            self._swept = self._clock()
            pending = list(self._files)
            for folder in self._folders.values():
                folder.trusted = 0
        changed: dict[str, ScannedFile | None] = {}
        self.roots = list(self._present())
        for root in self.roots:
            self._root(root, changed)
        for path in list(self._folders):
            if path in self._folders:
                self._relist(path, changed)
        members = [member for path in pending for member in self._members.get(path, ())]
        for path in (*pending, *members, *self._overwritten):
            known = self._files.get(path)
            if known is not None and path not in changed:
                self._look(path, known.root, changed)
        return self._apply(changed)

    def file(self, path: str) -> ScannedFile | None:
        """Return what is known of a path."""
        return self._files.get(path)

    def holds(self, file: ScannedFile) -> bool:
        """Return whether the very file lies under any name: it may have been renamed."""
        return any(one.key[1:] == file.key[1:] for one in list(self._files.values()))

    def is_whole(self, path: str) -> bool:
        """Return whether a folder is one checkpoint."""
        return path in self._wholes

    def members(self, path: str) -> list[str]:
        """Return the other files of the checkpoint at a path, or all files of a folder that is one."""
        if path in self._wholes:
            return [os.path.join(path, name) for name in files_in(path)]
        return sorted(self._members.get(path, ()))

    def root_of(self, path: str) -> str | None:
        """Return the root that a path lies under, though it may be gone; None where it lies under none."""
        above = (path, *map(str, PurePath(path).parents))
        matching = (folder for root in self._given for folder in above if folder == root or _is_match(folder, root))
        return next(matching, None)

    def _present(self) -> Iterator[str]:
        for root in self._given:
            if os.path.lexists(root) or not glob.has_magic(root):
                yield root
            else:
                yield from sorted(glob.glob(root))

    def _root(self, root: str, changed: dict[str, ScannedFile | None]) -> None:
        if root in self._folders:
            return
        try:
            status = os.stat(root)
        except OSError as error:
            if root in self._files and error.errno in _GONE:
                changed[root] = None
            return
        if stat.S_ISDIR(status.st_mode):
            key = (status.st_dev, status.st_ino)
            self._folders[root] = _Folder(root, (key,), linked=False)
        else:
            self._look(root, root, changed)

    def _relist(self, path: str, changed: dict[str, ScannedFile | None]) -> None:
        """List a folder if it changed, and its new subfolders with it."""
        folder = self._folders[path]
        try:
            status = os.stat(path)
            if status.st_mtime_ns == folder.trusted:
                return
            with os.scandir(path) as listing:
                entries = list(listing)
        except OSError as error:
            if error.errno in _GONE:
                self._drop(path, changed)
            folder.trusted = 0  # else it may be listed again before long: nothing in it is gone
            return
        # A second change within the tick of the folder's clock would go unseen: such a listing is not trusted.
        fresh = abs(time.time_ns() - status.st_mtime_ns) < _RACY_NS
        folder.trusted = 0 if fresh else status.st_mtime_ns
        names = [entry.name for entry in entries]
        if is_store(names):
            entries = []
        elif is_whole(path, names):
            self._wholes.add(path)
            self._look(path, folder.root, changed)
            entries = []
        visible = [entry for entry in entries if not is_passed_over(entry.name)]
        self._entries(path, folder, visible, changed)

    def _entries(
        self, path: str, folder: _Folder, entries: Sequence[os.DirEntry[str]], changed: dict[str, ScannedFile | None]
    ) -> None:
        before, folder.inodes = folder.inodes, {}
        below = set()
        for entry in entries:
            if _is_folder(entry):
                if not is_unfinished(entry.name):
                    below.add(entry.path)
                    self._enter(entry, folder, changed)
                continue
            folder.inodes[entry.name] = entry.inode()
            if before.get(entry.name) != entry.inode() and not self._look(entry.path, folder.root, changed):
                folder.inodes[entry.name] = folder.trusted = 0  # it is looked at again
        for name in before.keys() - folder.inodes.keys():
            changed[os.path.join(path, name)] = None
        for gone in folder.folders - below:
            self._drop(gone, changed)
        folder.folders = below

    def _enter(self, entry: os.DirEntry[str], folder: _Folder, changed: dict[str, ScannedFile | None]) -> None:
        if entry.path in self._folders:
            return
        try:
            status, link = entry.stat(), entry.is_symlink()
        except OSError:
            return
        key = (status.st_dev, status.st_ino)
        if key in folder.around or (link and folder.linked) or len(folder.around) >= _DEPTH:
            return
        if link and is_outside(entry.path, self.roots):
            changed[entry.path] = ScannedFile(entry.path, identity(status), folder.root)  # to be refused, not entered
            return
        self._folders[entry.path] = _Folder(folder.root, (*folder.around, key), folder.linked or link)
        self._relist(entry.path, changed)

    def _drop(self, path: str, changed: dict[str, ScannedFile | None]) -> None:
        """Forget a folder that is gone, with all below it."""
        folder = self._folders.pop(path, None)
        if folder is not None:
            changed.update({os.path.join(path, name): None for name in folder.inodes})
            for below in folder.folders:
                self._drop(below, changed)
        if path in self._files:
            changed[path] = None

    def _look(self, path: str, root: str, changed: dict[str, ScannedFile | None]) -> bool:
        """Look at a file; False where that cannot be done now, though it may be there."""
        try:
            status = os.stat(main_file_in(path) if path in self._wholes else path)
        except OSError as error:
            if error.errno not in _GONE:
                return False
            # A link to nothing is known by the link itself: `find` makes a row of it.
            with suppress(OSError):
                changed[path] = ScannedFile(path, identity(os.lstat(path)), root)
                return True
            changed[path] = None
            return True
        known = self._files.get(path)
        if known is None or known.identity.content != identity(status).content:
            changed[path] = ScannedFile(path, identity(status), root)
        return True

    def _apply(self, changed: dict[str, ScannedFile | None]) -> FolderChanges:
        new: list[ScannedFile] = []
        gone: list[ScannedFile] = []
        members: list[ScannedFile] = []
        for path, file in changed.items():
            known = self._files.get(path)
            main = main_path(path)
            if file is None:
                if known is not None:
                    (gone if main is None else members).append(self._files.pop(path))
                self._overwritten.pop(path, None)
                self._wholes.discard(path)
                if main is not None:
                    self._members.get(main, {}).pop(path, None)
            elif known is not None and known.identity.content == file.identity.content:
                continue
            elif main is not None:
                self._files[path] = file
                self._members.setdefault(main, {})[path] = None
                members.append(file)
            elif self._match is None or matches(path, file.root, self._match):
                self._files[path] = file
                new.append(file)
                if step_of_name(path) is None and len(self._overwritten) < _OVERWRITTEN:
                    self._overwritten[path] = None
        return FolderChanges(tuple(new), tuple(gone), tuple(members))


def main_path(path: str) -> str | None:
    """Return the path of the file that stands for a checkpoint of which this is a further file, None for any other.

    >>> main_path("/run/step-1.npz") is None
    True
    """
    name = main_name(os.path.basename(path))
    whole = None if name is None else os.path.join(os.path.dirname(path), name)
    # Users call epochs as Keras calls shards (model_00010.weights.h5): they are shards only where an index is there.
    return None if whole is None or (whole.endswith(".weights.json") and not os.path.lexists(whole)) else whole


def _is_match(path: str, root: str) -> bool:
    return glob.has_magic(root) and not os.path.lexists(root) and PurePath(path).match(root)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
