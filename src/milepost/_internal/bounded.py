"""Bounded reading of one regular file: every read is checked against the file's size before it happens."""

import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar, TypeVarTuple

from milepost._internal.fileid import identity_of
from milepost.core.types import Identity
from milepost.errors import CheckpointError, Corrupt, Outside, Torn, Vanished

HEADER_LIMIT = 100_000_000
"""Largest header or pickle that is read, in bytes: the limit that safetensors sets itself."""

COUNT_LIMIT = 1_000_000
"""Most tensors, or archive entries, of one file."""

CONFINED = "MILEPOST_CONFINED"
"""The variable in the environment of a reader under Landlock: `hidden` where it does not see foreign files either."""

CUT = "still being written, or was cut off"
AGAIN = "; the next run looks again; if nothing writes it any more, copy it again"
"""How messages about a file that is too short end."""

_CHUNK = 1 << 18
_PASSING = {
    *(errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ENOTCONN),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ECONNRESET),
}
"""Errors of a disk or network, or of a busy machine: they say nothing of the file."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open regular file: its path, its descriptor and the size it had when it was opened."""

    path: str
    descriptor: int
    size: int

    def at(self, offset: int, length: int, what: str) -> bytes:
        """Return exactly `length` bytes from `offset`; `Torn` where the file ends before them."""
        if offset < 0 or length < 0 or offset + length > self.size:
            self._inside(offset, length, what)
        data = os.pread(self.descriptor, length, offset)
        while len(data) < length:
            more = os.pread(self.descriptor, length - len(data), offset + len(data))
            if not more:
                raise Torn(f"{self.path}: became shorter during reading: {what} ends at byte {offset + len(data):,}")
            data += more
        return data

    def pieces(self, offset: int, length: int, what: str) -> Iterator[memoryview]:
        """Yield `length` bytes from `offset` in pieces of at most 256 KiB; each is overwritten by the next."""
        self._inside(offset, length, what)
        buffer = memoryview(bytearray(min(length, _CHUNK)))
        while length:
            window = buffer[: min(length, _CHUNK)]
            count = os.preadv(self.descriptor, [window], offset)
            if not count:
                raise Torn(f"{self.path}: became shorter during reading: {what} ends at byte {offset:,}")
            yield window[:count]
            offset += count
            length -= count

    def crc32(self, offset: int, length: int, what: str) -> int:
        """Return the CRC-32 of `length` bytes from `offset`, read in pieces."""
        if length <= _CHUNK:
            return zlib.crc32(self.at(offset, length, what))
        crc = 0
        for piece in self.pieces(offset, length, what):
            crc = zlib.crc32(piece, crc)
        return crc

    def _inside(self, offset: int, length: int, what: str) -> None:
        if offset < 0 or length < 0:
            raise Corrupt(f"{self.path}: {what} has a negative place: offset {offset:,}, length {length:,}")
        if offset + length > self.size:
            raise Torn(f"{self.path}: {what} ends at byte {offset + length:,}, the file has {self.size:,}")


@dataclass(frozen=True, slots=True)
class HeldFile(OpenFile):
    """A small file whose bytes were all read at once: many short reads of it cost one call to the system."""

    data: bytes

    def at(self, offset: int, length: int, what: str) -> bytes:
        """Return exactly `length` bytes from `offset`; `Torn` where the file ends before them."""
        self._inside(offset, length, what)
        return self.data[offset : offset + length]


@contextmanager
def opened(path: str) -> Iterator[OpenFile]:
    """Open a regular file for reading; every `OSError` becomes an error of the tree.

    Raises `Vanished` where the file is gone, `Torn` where it is not the one that is expected, `Outside` where the
    sandbox refuses it, and `Corrupt` where it cannot be read.
    """
    try:
        # O_NONBLOCK: a named pipe that lies in the folder must not hang the search.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Corrupt(f"{path}: {kind_of(status)}, not a file")
        known = _expected.get().get(path)
        if known is not None and (status.st_dev, status.st_ino) != (known.device, known.inode):
            raise Torn(f"{path}: another file took its place since it was found; the next run looks again")
        yield OpenFile(path, descriptor, status.st_size)
    except OSError as error:
        raise unreadable(path, error) from error
    finally:
        os.close(descriptor)


_expected: ContextVar[Mapping[str, Identity]] = ContextVar("expected", default={})  # noqa: B039 - nothing changes it


@contextmanager
def expecting(files: Mapping[str, Identity]) -> Iterator[None]:
    """Have `opened` refuse other files than those that were found at these paths, as long as the block runs.

    The check is of the open file: a link that is exchanged between a look at the path and its opening changes nothing.
    """
    token = _expected.set(files)
    try:
        yield
    finally:
        _expected.reset(token)


def per_file(size: int) -> Callable[[Callable[[str, *Ts], T]], Callable[[str, *Ts], T]]:
    """Keep the last `size` results of a function of a path and more, each as long as the file is the same."""

    def decorate(function: Callable[[str, *Ts], T]) -> Callable[[str, *Ts], T]:
        @lru_cache(maxsize=size)
        def kept(_: Identity, path: str, *more: *Ts) -> T:
            return function(path, *more)

        def call(path: str, *more: *Ts) -> T:
            try:
                return kept(identity_of(path), path, *more)
            except OSError as error:
                raise unreadable(path, error) from error

        return call

    return decorate


def kind_of(status: os.stat_result) -> str:
    """Return in words what something that is no regular file is."""
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((text for test, text in kinds if test(status.st_mode)), "something unknown")


def unreadable(path: str, error: OSError) -> CheckpointError:
    """Return the error of the tree for a file that cannot be read, with what its user can do."""
    if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno == errno.ESTALE:
        if is_hidden(path):
            return Outside(_outside(path))
        return Vanished(f"{path}: no longer there; have the trainer keep more checkpoints if it deletes them too early")
    if isinstance(error, PermissionError):
        if _is_refused(path):
            return Outside(_outside(path))
        return Corrupt(_permission(path))
    if error.errno in _PASSING:
        return Torn(
            f"{path}: cannot be read: {error.strerror}; look at the disk or network behind it; the next run looks again"
        )
    return Corrupt(f"{path}: cannot be read: {error.strerror or error}")


def is_hidden(path: str) -> bool:
    """Return whether a path is a link to what this process's sandbox does not let it see, if it is there at all."""
    return os.environ.get(CONFINED) == "hidden" and os.path.islink(path) and not os.path.exists(path)


def dangling(path: str) -> str | None:
    """Return where a symbolic link leads that leads to nothing; None where no link is there (any more)."""
    with suppress(OSError):
        return f"a symbolic link to {os.readlink(path)}, which is not there"
    return None


def gone(path: str) -> Vanished | None:
    """Return the error of a link to nothing; None for others, and where it cannot be known."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        where = dangling(path)
        return None if where is None else Vanished(f"{path}: {where}: keep that checkpoint, or remove the link")
    except OSError:
        return None
    return None


def _is_refused(path: str) -> bool:
    """Return whether it is this process's sandbox that forbids what the rights of the file allow."""
    return CONFINED in os.environ and os.access(path, os.R_OK)


def _outside(path: str) -> str:
    return (
        f"{path}: the reader's sandbox refuses {os.path.realpath(path)}, which lies outside of the named paths; to "
        "have it read, name it or its folder too"
    )


def _permission(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return f"{path}: a folder on the way to it may not be entered by this user (uid {os.geteuid()})"
    mode = stat.S_IMODE(status.st_mode)
    hint = (
        "; safetensors 0.8 and later writes files that only their owner can read"
        if mode == stat.S_IRUSR | stat.S_IWUSR
        else ""
    )
    return (
        f"{path}: may not be read: mode {mode:04o}, owner uid {status.st_uid}, this process is uid {os.geteuid()}"
        f"{hint}; {_remedy(status)}"
    )


def _remedy(status: os.stat_result) -> str:
    ours = status.st_uid == os.geteuid() and not status.st_mode & stat.S_IRUSR
    return "chmod u+r" if ours else "as the owner: chmod g+r (or a+r)"
