"""The identity of a file as the file system has it: a changed file has another one."""

import os
from collections.abc import Sequence
from contextlib import suppress

from milepost._internal.serialization import digest
from milepost.core.types import Identity


def identity_of(path: str) -> Identity:
    """Return a file's identity, symbolic links followed; raises `OSError` as `os.stat` does."""
    return identity(os.stat(path))


def identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def stamp(paths: Sequence[str]) -> str:
    """Return a digest of the identities of some files, ctime and all; "" where one cannot be looked at.

    No program can set a ctime: a file that is rewritten in place, its size and mtime restored, has another stamp.  So
    has one that was linked, renamed or given other rights: a stamp that differs says that its content may.
    """
    try:
        return digest([[*one.content, one.ctime_ns] for one in map(identity_of, paths)])
    except OSError:
        return ""


def is_changed(path: str, known: Identity) -> bool:
    """Return whether another file, or other content, lies at a path now; False where nothing does."""
    with suppress(FileNotFoundError):
        return identity_of(path).content != known.content
    return False


def is_overwritten(path: str, known: Identity) -> bool:
    """Return whether the very file that was known has other content now; False where it was replaced or deleted.

    A file that is replaced or deleted stays whole for who has mapped it; one that is overwritten does not.
    """
    with suppress(FileNotFoundError):
        now = identity_of(path).content
        return now[:2] == known.content[:2] and now != known.content
    return False
