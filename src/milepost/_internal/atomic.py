"""Files that are whole or absent: atomic publishing, owners of temporary files, bounded reads.

A file is written under a temporary name that names its owner, forced to disk, and linked to its final name only if
that name is still free: whoever comes first wins, and a kill at any moment leaves no half file under a final name.

This module imports nothing but the standard library, so that listing a store does not pay for NumPy.
"""

import errno
import itertools
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from milepost._internal.process import Owner
from milepost._internal.serialization import json_bytes
from milepost.errors import StoreError, StoreFull

PREFIX = ".tmp-"
"""Every temporary file begins with this, so that listings can pass it over."""

JSON_LIMIT = 64 * 2**20
"""Largest JSON file that is read; ours are a few kilobytes."""

_FULL = "free some room and run it again: nothing that was finished is lost"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHUT = "have its owner let you, or name another place with --store"
_REMEDIES = {
    **dict.fromkeys(_NO_ROOM, _FULL),
    errno.EROFS: "mount it for writing, or name another place with --store",
    errno.EACCES: _SHUT,
    errno.EPERM: _SHUT,
    errno.EIO: "look at the disk or network behind it, then run it again: nothing that was finished is lost",
    errno.ESTALE: "the network file system lost it for a moment: run it again, nothing that was finished is lost",
}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}
_DEAD_CLAIM_SECONDS = 60
_LONGEST_NAME = 60  # of a name that a temporary one repeats
_numbers = itertools.count()


# ----------------------------------------------------------------------------------------------------------- publishing


def publish(path: str | Path, data: bytes | Callable[[BinaryIO], None], *, durable: bool = True) -> bool:
    """Put a file under its name if the name is free; return False, and change nothing, where it is taken.

    `data` is the content, or a function that writes it (it may seek).  Once True is returned, the file is on disk,
    unless `durable` is False: then it is as good as any other file.  The folder must exist.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     publish(f"{folder}/a", b"first"), publish(f"{folder}/a", b"second"), read_bounded(f"{folder}/a", 99)
    (True, False, b'first')
    """
    final = os.fspath(path)
    folder = os.path.dirname(final) or "."
    if _is_filled(final):
        # Its writer may have been killed before it forced the name to disk: who relies on it must.
        if durable:
            sync_folder(folder)
        return False
    temporary = f"{folder}/{PREFIX}{Owner.me().text()}-{next(_numbers)}"
    try:
        with Path(temporary).open("xb") as stream:
            if callable(data):
                data(stream)
            else:
                stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        won = _put(temporary, final)
    finally:
        # What cannot be removed now is swept once this process is gone; it must not hide what went wrong before.
        with suppress(OSError):
            os.unlink(temporary)
    if durable:
        sync_folder(folder)
    return won


def _is_filled(path: str) -> bool:
    with suppress(FileNotFoundError):
        return os.stat(path).st_size > 0
    return False


def _put(temporary: str, final: str) -> bool:
    try:
        os.link(temporary, final)
    except FileExistsError:
        # A network file system may carry a link out and yet report that it exists: the answer was lost and asked again.
        return _same(temporary, final) or _replace_dead_claim(temporary, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _claim(temporary, final) or _replace_dead_claim(temporary, final)
    return True


def _same(temporary: str, final: str) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samefile(temporary, final)
    return False


def _claim(temporary: str, final: str) -> bool:
    """Without hard links: claim the name with an empty file, then move the whole content over it in one step."""
    try:
        os.close(os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    os.replace(temporary, final)
    return True


def _replace_dead_claim(temporary: str, final: str) -> bool:
    """Take a name over whose claimant died between its two steps: an empty file, old by the file server's own clock."""
    try:
        claim, mine = os.stat(final), os.stat(temporary)
    except FileNotFoundError:
        return False
    if claim.st_size or mine.st_mtime - claim.st_mtime < _DEAD_CLAIM_SECONDS:
        return False
    with suppress(FileNotFoundError):
        os.unlink(final)
    return _claim(temporary, final)


def make_folder(folder: str | Path) -> None:
    """Make a folder with all that lead to it, each name forced to disk; one that is there is left as it is."""
    path = Path(folder)
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
    sync_folder(path.parent)


def sync_folder(folder: str | Path) -> None:
    """Force a folder's entries to disk, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def sweep(folder: str | Path) -> int:
    """Remove, in a folder and all below it, the temporary files whose owners are dead; return how many.

    Those of processes that run are left alone, and for a day those of other hosts.
    """
    removed = 0
    for path in _temporaries(os.fspath(folder)):
        owner = Owner.parse(path.name[len(PREFIX) :].rpartition("-")[0])
        with suppress(OSError):  # rubbish that cannot be removed is no reason to stop
            if owner is not None and owner.over(path.stat().st_mtime):
                path.unlink()
                removed += 1
    return removed


def replacing(final: str) -> str:
    """Return the temporary name of what is to replace a file or folder; what dead processes left there is removed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replacing(f"{folder}/a.csv").startswith(f"{folder}/.tmp-a.csv~")
    True
    """
    folder, name = os.path.split(os.path.abspath(final))
    begin = f"{PREFIX}{name[:_LONGEST_NAME]}~"
    with suppress(OSError):
        for other in os.listdir(folder):
            owner = Owner.parse(other.removeprefix(begin)) if other.startswith(begin) else None
            if owner is not None and owner.alive() is False:
                left = os.path.join(folder, other)
                shutil.rmtree(left) if os.path.isdir(left) and not os.path.islink(left) else os.unlink(left)
    return os.path.join(folder, begin + Owner.me().text())


def _temporaries(folder: str) -> Iterator[Path]:
    waiting = [folder]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                if entry.name.startswith(PREFIX):
                    yield Path(entry.path)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


# -------------------------------------------------------------------------------------------------------------- reading


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Turn what the system says while a file is read into a `StoreError`; that it is absent passes as it is."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise disk_error(path, "cannot be read", error) from error


def disk_error(path: str | Path, what: str, error: OSError) -> StoreError:
    """Return the error that says where, what the system said, and what to do.

    >>> str(disk_error("/evals/a", "could not be written", OSError(errno.EROFS, "Read-only file system")))
    '/evals/a: could not be written (Read-only file system); mount it for writing, or name another place with --store'
    """
    todo = _REMEDIES.get(error.errno or 0, "what was finished before is kept")
    kind = StoreFull if error.errno in _NO_ROOM else StoreError
    return kind(f"{path}: {what} ({error.strerror or error}); {todo}")


def read_bounded(path: str | Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes whole; a larger one, or none at all, is a `StoreError`.

    A file that is not there is the ordinary `FileNotFoundError` (or `NotADirectoryError`).
    """
    with readable(path), Path(path).open("rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path}: expected a regular file, found something else; move it away")
        if status.st_size <= limit:
            data = stream.read(limit + 1)
            if len(data) <= limit:
                return data
    raise StoreError(f"{path}: expected at most {limit} bytes, found {status.st_size}; not what Milepost writes")


def publish_json(path: str | Path, value: Any) -> bool:
    return publish(path, json_bytes(value))


def read_json(path: str | Path, limit: int = JSON_LIMIT) -> Any:
    """Read a JSON file of at most `limit` bytes; a `StoreError` says where it is damaged."""
    data = read_bounded(path, limit)
    try:
        return json.loads(data)
    except ValueError as error:
        raise StoreError(f"{path}: expected JSON, found damage ({error}); delete it to have it made again") from None


def read_object(path: str | Path, *keys: str) -> dict[str, Any]:
    """Read a small JSON object that has these keys; a `StoreError` where it is none, or lacks one."""
    found = read_json(path)
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise StoreError(f"{path}: expected {', '.join(keys)}, found another file; delete it to have it made again")
    return found
