"""Landlock by way of ctypes: a process gives up, for good, the right to open what lies outside of named places.

Structures, numbers and versions: Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h of the
kernel.  The three system calls have the same numbers on every machine.  No privilege is needed.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
import sys
from collections.abc import Sequence

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14

_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE
_OF_A_FILE = _WRITE_FILE | _READ_FILE

# What each version can take away: execute, write and read to make-symlink; then refer, truncate, device ioctl.
_BASE, _REFER, _DEVICE = (1 << 13) - 1, 1 << 13, 1 << 15
_FILES_OF = {1: _BASE, 2: _BASE | _REFER, 3: _BASE | _REFER | _TRUNCATE}
_TCP = 1 | 1 << 1
_SCOPE = 1 | 1 << 1

TCP_SINCE, SCOPE_SINCE = 4, 6
_TRUNCATE_SINCE, _DEVICE_SINCE = 3, 5


def abi() -> int:
    """Return the version that the kernel offers; 0 where it has no Landlock, or it is switched off."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(read: Sequence[str], write: Sequence[str], version: int) -> None:
    """Confine this thread, and those that it starts: it may `read` at and beneath places.

    Beneath the folders in `write` it may also write into files that are there: it makes, removes and empties none.
    From version 4 on TCP is refused as well, from version 6 on signals and abstract sockets to those outside.  Places
    that are not there are passed over.  The caller has set no_new_privs.  Raises `OSError`.
    """
    handled = _FILES_OF[min(version, _TRUNCATE_SINCE)] | (_DEVICE if version >= _DEVICE_SINCE else 0)
    fields = [handled, _TCP if version >= TCP_SINCE else 0, _SCOPE if version >= SCOPE_SINCE else 0]
    ruleset = struct.pack("=3Q", *fields)[: 24 if version >= SCOPE_SINCE else 16 if version >= TCP_SINCE else 8]
    descriptor = _call(_CREATE, ruleset, len(ruleset), 0)
    try:
        for places, rights in ((read, _READ), (write, _WRITE)):
            for place in places:
                _allow(descriptor, place, rights & handled)
        _call(_RESTRICT, descriptor, 0)
    finally:
        os.close(descriptor)


def _allow(ruleset: int, place: str, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                rights &= _OF_A_FILE
            _call(_ADD, ruleset, _BENEATH, struct.pack("=Qi", rights, descriptor), 0)
        finally:
            os.close(descriptor)


def _call(number: int, *arguments: int | bytes | None) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    passed = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    # The C function takes any number of arguments, so that each has to say how wide it is.
    result: int = library.syscall(ctypes.c_long(number), *passed)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code) if code != errno.ENOSYS else "the kernel has no Landlock")
    return result
