"""The identity of a file as the file system tells it: a changed file has another one."""

import os

from milepost.core.types import Identity


def identity_of(path: str) -> Identity:
    """Return a file's identity, symbolic links followed; raises `OSError` as `os.stat` does.

    >>> identity_of("/").device == os.stat("/").st_dev
    True
    """
    return identity(os.stat(path))


def identity(status: os.stat_result) -> Identity:
    """Return the identity that a stat tells."""
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
