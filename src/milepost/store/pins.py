"""Pins: hard links inside the store to checkpoints that wait for their turn, so that deleting them loses nothing.

A pin costs no copy and touches nothing in the training folder.  It is no truth and belongs to no process: whoever finds
the checkpoint's result in the store releases it, and a watch that was killed finds what it had pinned.

    pins/<id>/<name of the file>      the link; the id is a digest of path, device and inode
    pins/<id>/@pin.json               the path that was pinned
"""

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from milepost.files import Owner, digest_json, publish_json, read_json

_NOTE = "@pin.json"
_NEW = "new-"
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned file: the path in the training folder and the link to it in the store."""

    path: str
    link: str


class Pins:
    """The pins of a store.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.npz").write_bytes(b"weights")
    ...     pins = Pins(Path(folder, "store"))
    ...     pin = pins.hold(f"{folder}/a.npz")
    ...     Path(folder, "a.npz").unlink()
    ...     Path(pin.link).read_bytes(), pins.release(pin), list(pins.held())
    (b'weights', None, [])
    """

    def __init__(self, store: Path) -> None:
        """Use a store's folder; `trouble` says why nothing can be pinned, once that was found out."""
        self._folder = Path(os.path.abspath(store), "pins")
        self.trouble: str | None = None

    def hold(self, path: str) -> Pin | None:
        """Pin a file, symbolic links followed; the pin that is there is returned as it is.

        None where the file is gone, or where this file system, or its owner's rights, do not allow a link.
        """
        try:
            status = os.stat(path)
        except OSError:
            return None
        folder = self._folder / digest_json([path, status.st_dev, status.st_ino])
        pin = Pin(path, str(folder / os.path.basename(path)))
        if not os.path.exists(pin.link):
            try:
                self._make(path, folder)
            except OSError as error:
                if error.errno not in _GONE:
                    self.trouble = self.trouble or f"{path}: {error.strerror or error}"
                return None
        if not _same(pin.link, status):  # replaced between the look and the link
            self.release(pin)
            return None
        return pin

    def _make(self, path: str, folder: Path) -> None:
        """Make a pin under a name that tells its maker, and move it into its place as a whole."""
        me = Owner.me().text()
        new = self._folder / f"{_NEW}{me}-{next(_numbers)}"
        new.mkdir(parents=True)
        try:
            os.link(os.path.realpath(path), new / os.path.basename(path))
            publish_json(new / _NOTE, {"path": path, "owner": me})
            with suppress(FileExistsError):
                new.rename(folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # another process was faster
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def held(self) -> Iterator[Pin]:
        """Yield every whole pin, whoever made it."""
        for folder in self._folders():
            if folder.name.startswith(_NEW):
                continue
            with suppress(OSError, KeyError, TypeError):
                pin = Pin(*_described(folder))
                if os.path.exists(pin.link):
                    yield pin

    def release(self, pin: Pin) -> None:
        """Remove a pin; one that is gone is no error."""
        shutil.rmtree(os.path.dirname(pin.link), ignore_errors=True)
        with suppress(OSError):
            self._folder.rmdir()

    def sweep(self) -> int:
        """Remove what a kill left half made, and what the dead pinned as far as it is still in its place.

        What is nowhere else stays: the next watch on its folder evaluates it.  Returns how many were removed.
        """
        removed = 0
        for folder in self._folders():
            if _useless(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        with suppress(OSError):
            self._folder.rmdir()
        return removed

    def _folders(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except OSError:
            return []


def _described(folder: Path) -> tuple[str, str]:
    path = str(read_json(folder / _NOTE)["path"])
    return path, str(folder / os.path.basename(path))


def _useless(folder: Path) -> bool:
    if folder.name.startswith(_NEW):
        return _dead(folder.name.removeprefix(_NEW).rpartition("-")[0])
    try:
        path, link = _described(folder)
        return _dead(str(read_json(folder / _NOTE)["owner"])) and _same(link, os.stat(path))
    except (OSError, KeyError, TypeError):
        return False


def _dead(text: str) -> bool:
    owner = Owner.parse(text)
    return owner is not None and owner.alive() is False


def _same(link: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(link), status)
    except OSError:
        return False
