"""What a store asks of whatever holds it: four operations on immutable objects with slashed names."""

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from milepost._internal.atomic import disk_error, publish, readable, sync_folder
from milepost.errors import StoreError

_SAFE = re.compile(r"(?!\.)[A-Za-z0-9_+@=,.~-]+(/(?!\.)[A-Za-z0-9_+@=,.~-]+)*")
_TRIES = 10
_REMEMBERED = 4096
_FORCED: dict[str, set[str]] = {}
"""The folders, by store, whose names this process forced to disk."""


class Storage(Protocol):
    """The four operations.  Names are relative, slashed, of safe characters; objects never change once there."""

    def put(self, name: str, data: bytes | Callable[[BinaryIO], None], *, durable: bool = True) -> bool:
        """Put an object, whole and durable, if its name is free; False where it is taken, by now durably.

        With `durable` False it need not outlive the machine: a lease, a heartbeat.
        """

    def get(self, name: str) -> Path:
        """Return a local file with the object's content, to be read or mapped; `FileNotFoundError` where absent."""

    def list(self, folder: str) -> list[str]:
        """Return, sorted, the names of what lies directly in a folder; an absent folder is empty."""

    def delete(self, name: str) -> None:
        """Remove an object; an absent one is no error.  Folders that become empty are gone."""


def has(storage: Storage, name: str) -> bool:
    """Return whether an object is there."""
    try:
        storage.get(name)
    except FileNotFoundError:
        return False
    return True


class FolderStorage:
    """The four operations on a folder of a file system, shared by processes and hosts.

    Before each change the folder is looked at: where it is gone, or is another one than it was (by device and inode),
    nothing is written any more, and a `StoreError` says so.  The folder itself is never made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     storage = FolderStorage(folder)
    ...     storage.put("a/b", b"1"), storage.put("a/b", b"2"), storage.list("a"), storage.get("a/b").read_bytes()
    (True, False, ['b'], b'1')
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._root = str(self.root)
        self._forced = _FORCED.setdefault(os.path.realpath(root), set())
        self._opened = _folder_at(self._root)

    def check(self) -> None:
        """Raise a `StoreError` where the folder is gone, or is not the one that it was when this was made."""
        now = _folder_at(self._root)
        if now is None or now != self._opened:
            what = "it is gone" if now is None else "another folder is in its place"
            raise StoreError(
                f"{self._root}: expected the folder of the store as it was opened, but {what} (deleted, renamed, "
                "replaced, or its file system unmounted): nothing more is written; put the store back, or name the "
                "right one with --store, and start it again: what was finished is in the store that was opened"
            )

    def put(self, name: str, data: bytes | Callable[[BinaryIO], None], *, durable: bool = True) -> bool:
        """Put an object, whole and durable, if its name is free; a `StoreError` where the folder cannot be written."""
        path = self._text(name)
        folder = os.path.dirname(path)
        self.check()
        try:
            for _ in range(_TRIES):
                # Another process may remove a folder, empty at that moment, between the steps.
                with suppress(FileNotFoundError):
                    self._make(folder, durable=durable)
                    return publish(path, data, durable=durable)
        except OSError as error:
            raise disk_error(path, "could not be written", error) from error
        self.check()
        raise StoreError(f"{folder}: vanishes whenever it is made; is something cleaning the store's folder?")

    def get(self, name: str) -> Path:
        """Return the object's file; `FileNotFoundError` where it is absent, or claimed but never filled."""
        path = self._text(name)
        size = 0
        with readable(path), suppress(NotADirectoryError):  # a file lies where the store was
            size = os.stat(path).st_size
        if not size:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return Path(path)

    def forget_folders(self) -> None:
        """Take no folder for forced any more: a new store is made under an old name."""
        self._forced.clear()

    def list(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted, temporary files aside."""
        path = self._text(folder)
        try:
            with readable(path):
                names = os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if not name.startswith("."))

    def delete(self, name: str) -> None:
        """Remove an object and the folders that it leaves empty."""
        path = self._text(name)
        self.check()
        try:
            with suppress(FileNotFoundError):
                os.unlink(path)
        except OSError as error:
            raise disk_error(path, "could not be removed", error) from error
        folder = os.path.dirname(path)
        while folder != self._root:
            try:
                os.rmdir(folder)
            except OSError:
                return
            self._forced.discard(folder)
            folder = os.path.dirname(folder)

    def _text(self, name: str) -> str:
        if not _SAFE.fullmatch(name):
            raise StoreError(f"{name!r} cannot be a name in a store: letters, digits and _+@=,.~- only, no leading dot")
        return f"{self._root}/{name}"

    def _make(self, folder: str, *, durable: bool) -> None:
        """Make a folder below the root, and force its name to disk even where another process made it."""
        if folder == self._root or (folder in self._forced and os.path.isdir(folder)):
            return
        parent = os.path.dirname(folder)
        self._make(parent, durable=durable)
        with suppress(FileExistsError):
            os.mkdir(folder)
        if not durable:
            return
        sync_folder(parent)
        if len(self._forced) >= _REMEMBERED:
            self._forced.clear()
        self._forced.add(folder)


def _folder_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of the folder at a path; None where there is none."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise disk_error(path, "cannot be looked at", error) from error
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
