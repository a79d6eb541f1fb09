"""The spool: a session's own temporary folder, where the reader puts tensors that it had to decompress."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

from milepost._internal.process import runs

PREFIX = "milepost-spool-"
_NAME = re.compile(re.escape(PREFIX) + r"(\d+)-")


class Spool:
    """A folder `milepost-spool-<pid>-...` that lives as long as its session; making one sweeps those of dead owners.

    The owner holds a lock on the folder, which the kernel drops when the owner dies, however it dies.
    """

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._made = 0

    def folder(self) -> Path:
        """Return an empty folder: the one that it returned last, as long as that is empty."""
        path = self.path / str(self._made)
        if not is_empty(path):
            self._made += 1
            path = self.path / str(self._made)
            path.mkdir()
        return path

    def close(self) -> None:
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def is_empty(folder: Path) -> bool:
    """Return whether a folder is there, and holds nothing."""
    with contextlib.suppress(FileNotFoundError):
        return not os.listdir(folder)
    return False


def sweep() -> None:
    """Remove this user's spools whose owner is dead."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            match = _NAME.match(path.name)
            if match and path.lstat().st_uid == os.getuid() and not runs(int(match[1])):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    # The owner may live under another number, since containers can share the temporary folder: its lock decides.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(descriptor)
