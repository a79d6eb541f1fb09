"""Pins: hard links inside the store to checkpoints that wait for their turn, so that deleting them loses nothing.

A pin costs no copy and touches nothing in the training folder.  It is no truth.  Each process has its own, since a file
that is overwritten in place stays the same file: who is done with it must not take it from who waits for what was
written over it.  What a killed watch had pinned is the next one's.  Where links cannot be made the note alone is left,
so that the next watch knows what was lost.

    pins/<id>/<name of the file>      the link; the id is a digest of path, device, inode and owner
    pins/<id>/<its other files>       where a checkpoint has several, and below its name where it is a folder
    pins/<id>/<files beside it>       that tell of it, such as its step
    pins/<id>/@pin.json               the path that was pinned, and the file's identity then
"""

import errno
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from milepost._internal.atomic import publish_json, read_json
from milepost._internal.fileid import identity_of
from milepost._internal.process import Owner
from milepost._internal.serialization import digest
from milepost.core.types import Identity
from milepost.errors import StoreError

_NOTE = "@pin.json"
_NEW = "new-"
_REST_SECONDS = 86400.0
"""A watch that was killed is soon started again, and counts on its pins until it has looked around."""
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned checkpoint: its path in the training folder and that of the link, or folder of links, in the store."""

    path: str
    link: str

    @property
    def holds(self) -> bool:
        """Whether there is a link, and not the note alone."""
        return os.path.exists(self.link)


class Pins:
    """The pins of a store.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.npz").write_bytes(b"weights")
    ...     os.mkdir(f"{folder}/store")
    ...     pins = Pins(Path(folder, "store"))
    ...     status = os.stat(f"{folder}/a.npz")
    ...     (pin,) = pins.hold([(f"{folder}/a.npz", status.st_dev, status.st_ino)])
    ...     Path(folder, "a.npz").unlink()
    ...     Path(pin.link).read_bytes(), pins.release(pin), list(pins.left())
    (b'weights', None, [])
    """

    def __init__(self, store: Path, check: Callable[[], None] = lambda: None) -> None:
        """Use a store's folder; `trouble` says why nothing can be pinned, once that was found out.

        `check` is called before each change: it raises a `StoreError` where the store is not there any more.
        """
        self._folder = Path(os.path.abspath(store), "pins")
        self._check = check
        self.trouble: str | None = None

    def __enter__(self) -> Self:
        """Make the folder, which stays for as long as somebody may pin: a confined reader is given this very one."""
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:  # a store that may only be read
            self.trouble = f"{self._folder}: {error.strerror or error}"
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, StoreError):
            self._check()
            self._folder.rmdir()

    def hold(
        self, wanted: Sequence[tuple[str, int, int]], members: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> list[Pin | None]:
        """Pin files, each given by path, device and inode, symbolic links followed; what is pinned already stays so.

        `members` are, by path, the other files of a checkpoint that has several: beside the path, or below it where it
        is a folder (then device and inode are those of one of them); one that comes late is pinned when asked again.
        All are linked before any is noted, which takes longer.  None stands for a file that is gone or was replaced,
        or that this file system, or its owner's rights, do not allow to be linked.
        """
        if wanted:
            self._check()
        made = [self._link(*item, members.get(item[0], ())) for item in wanted]
        return [None if new is None else self._note(new, *item) for new, item in zip(made, wanted, strict=True)]

    def add(self, pin: Pin, files: Iterable[str]) -> None:
        """Add files beside a pinned one to its pin, as far as they can be linked: it can be read without them."""
        self._check()
        for file in files:
            with suppress(OSError):
                _link_all([file], os.path.dirname(pin.path), os.path.dirname(pin.link))

    def has(self, path: str, device: int, inode: int) -> bool:
        """Return whether this process has a file pinned."""
        return self._pin(path, device, inode).holds

    def of_others(self, path: str, device: int, inode: int, workers: Iterable[str]) -> Iterator[Pin]:
        """Yield the pins of a file that these workers hold, as far as they are other processes."""
        for owner in {Owner.parse(worker.rpartition("-")[0]) for worker in workers} - {None, Owner.me()}:
            pin = self._pin(path, device, inode, owner)
            if pin.holds:
                yield pin

    def _link(self, path: str, device: int, inode: int, members: Sequence[str]) -> str | None:
        """Link a file under a name that tells the maker of the pin; "" where its pin is there."""
        link = self._pin(path, device, inode).link
        files = list(members) if os.path.isdir(path) else [path, *members]
        if os.path.exists(link):
            with suppress(OSError):  # without it the checkpoint is seen to be incomplete
                _link_all(files, os.path.dirname(path), os.path.dirname(link))
            return ""
        new = self._fresh()
        try:
            self._folder.mkdir(exist_ok=True)
            new.mkdir()
            made = _link_all(files, os.path.dirname(path), str(new))
            if (device, inode) in {(status.st_dev, status.st_ino) for status in map(os.stat, made)}:
                return str(new)
        except OSError as error:
            if error.errno not in _GONE:
                self.trouble = self.trouble or f"{path}: {error.strerror or error}"
                return str(new)
        shutil.rmtree(new, ignore_errors=True)
        return None

    def _note(self, new: str, path: str, device: int, inode: int) -> Pin | None:
        """Note what a link is for, and move both into their place as a whole."""
        pin = self._pin(path, device, inode)
        if not new:
            return pin
        note: dict[str, Any] = {"path": path, "owner": Owner.me().text()}
        try:
            if not os.path.exists(os.path.join(new, os.path.basename(path))):
                note["identity"] = asdict(identity_of(path))
            publish_json(Path(new, _NOTE), note)
            if not pin.holds:
                self.release(pin)  # the note of an earlier file, whose inode was given to this one
            os.rename(new, os.path.dirname(pin.link))
        except OSError as error:
            if error.errno in _GONE:
                return None  # nothing holds it, and it is gone
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
                self.trouble = self.trouble or f"{path}: {error.strerror or error}"
                return None
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return pin

    def _fresh(self) -> Path:
        return self._folder / f"{_NEW}{Owner.me().text()}-{next(_numbers)}"

    def _pin(self, path: str, device: int, inode: int, owner: Owner | None = None) -> Pin:
        name = digest([path, device, inode, (owner or Owner.me()).text()])
        return Pin(path, str(self._folder / name / os.path.basename(path)))

    def left(self) -> Iterator[tuple[Pin, Identity | None]]:
        """Yield the pins of this process and of the dead; what could not be linked with the identity that it had."""
        me = Owner.me()
        for folder in (folder for folder in self._folders() if not folder.name.startswith(_NEW)):
            with suppress(OSError, KeyError, TypeError):
                note = read_json(folder / _NOTE)
                owner = Owner.parse(str(note["owner"]))
                if owner is not None and (owner == me or owner.alive() is not True):
                    pin = _noted(folder, note)
                    yield pin, None if pin.holds else Identity(**note["identity"])

    def release(self, pin: Pin) -> None:
        """Remove a pin; one that is gone is no error."""
        self._check()
        # At once out of its place: a kill half through leaves what the next sweep knows to be nobody's.
        old = self._fresh()
        with suppress(OSError):
            os.rename(os.path.dirname(pin.link), old)
            shutil.rmtree(old, ignore_errors=True)

    def sweep(self) -> int:
        """Remove what a kill left half made, and what the dead pinned a day ago and is still in its place.

        What is nowhere else stays: the next watch on its folder evaluates it.  Returns how many were removed.
        """
        useless = [folder for folder in self._folders() if _useless(folder)]
        for folder in useless:
            shutil.rmtree(folder, ignore_errors=True)
        return len(useless)

    def _folders(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except OSError:
            return []


def _link_all(files: Sequence[str], base: str, folder: str) -> list[str]:
    """Link files below `base` to the same places below `folder`, and return them; what is gone is left out."""
    made = []
    for file in files:
        link = os.path.join(folder, os.path.relpath(file, base))
        os.makedirs(os.path.dirname(link), exist_ok=True)
        try:
            os.link(os.path.realpath(file), link)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _GONE:
                raise
            continue
        made.append(link)
    return made


def _noted(folder: Path, note: Mapping[str, Any]) -> Pin:
    return Pin(str(note["path"]), str(folder / os.path.basename(str(note["path"]))))


def _useless(folder: Path) -> bool:
    if folder.name.startswith(_NEW):
        return _dead(folder.name.removeprefix(_NEW).rpartition("-")[0])
    try:
        note = read_json(folder / _NOTE)
        pin = _noted(folder, note)
        if not pin.holds and "identity" not in note:  # somebody removed the link
            return _dead(str(note["owner"]))
        rests = time.time() - os.stat(folder / _NOTE).st_mtime > _REST_SECONDS
        return rests and _dead(str(note["owner"])) and os.path.samefile(pin.link, pin.path)
    except (OSError, KeyError, TypeError):
        return False


def _dead(text: str) -> bool:
    owner = Owner.parse(text)
    return owner is not None and owner.alive() is False
